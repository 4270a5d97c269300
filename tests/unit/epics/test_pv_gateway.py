"""A gateway without OCS: its options, its sources, its troubles."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path
from typing import Any

import pytest

from socs.counters import imbalances
from socs.epics.applications.asking import AskingSettings
from socs.epics.gateway.gateway import EQUATIONS, Gateway
from socs.epics.gateway.options import add_options, gateway_settings
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.ports import EpicsPorts
from socs.epics.search.searcher import Priority, SearchSettings
from socs.epics.summary import Summary, decode, encode
from socs.errors import ConfigError, NotAllowed
from socs.sim.iocs import free_ports
from socs.testing import wait_until
from tests.epics_packets import RECEIVED, beacon, request
from tests.pcap_files import RAW, pcap, udp

PORTS = EpicsPorts()


def settings_of(*words: str) -> GatewaySettings:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    return gateway_settings(
        argparse.Namespace(**vars(parser.parse_args(words)), instance_id="gateway")
    )


class Running:
    """A gateway, and what it told."""

    def __init__(self, **settings: Any) -> None:
        self.told: list[Summary] = []
        self.lines: list[str] = []
        self.gateway = Gateway(
            GatewaySettings("g", **{"interval": 0.05} | settings),
            self.take,
            self.lines.append,
        )

    def take(self, summary: Summary) -> None:
        self.told.append(summary)
        self.gateway.under_way.became(summary.number, "summaries_published")

    def __enter__(self) -> Running:
        self.gateway.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.stop()


def test_defaults_send_nothing() -> None:
    settings = settings_of()
    assert settings == GatewaySettings("gateway", gathering=settings.gathering, ask=settings.ask)
    assert not settings.search.enabled
    assert not settings.ask.enabled


def test_options_are_settings() -> None:
    settings = settings_of(
        *("--listen", "capture", "--interface", "eth0", "eth1", "--networks", "10.0.1.0/24"),
        *("--port-ca", "15064", "--interval", "1", "--allow-sender", "10.0.0.0/8"),
        *("--search", "true", "--search-address", "10.0.1.255", "--search-rate", "20"),
        *("--max-names", "1000", "--receive-buffer", "2", "--ask", "true", "--alive-magic", "305"),
    )
    assert (settings.listen, settings.interfaces) == ("capture", ("eth0", "eth1"))
    assert (settings.networks, settings.allow) == (("10.0.1.0/24",), ("10.0.0.0/8",))
    assert settings.ports == EpicsPorts(15064)
    assert (settings.interval, settings.receive_buffer) == (1.0, 2 << 20)
    assert settings.search == SearchSettings(True, 20.0)
    assert settings.search_addresses == ("10.0.1.255",)
    assert (settings.gathering.names, settings.gathering.magic) == (1000, 305)
    assert settings.ask.enabled


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--interval", "60"], "interval"),
        (["--networks", "10.0.0.1/8"], "networks"),
        (["--networks", *["10.0.0.1"] * 1025], "networks: 1025 are more than 1024"),
        (["--search", "true"], "search_addresses"),
        (["--search-rate", "1000"], "datagrams_per_second"),
        (["--port-ca", "5065"], "two of them are the same"),
        (["--source", "x.pcap", "--ask", "true"], "source"),
        (["--max-names", "100000000"], "names"),
    ],
)
def test_options_that_make_no_sense_are_named(words: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=f"gateway: .*{named}"):
        settings_of(*words)


def test_addresses_for_searches_are_looked_at_before_the_start() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Running(search=SearchSettings(True), search_addresses=("nowhere",))


def test_what_is_switched_off_is_refused() -> None:
    with Running(ports=free_ports(), listen="sockets", address="127.0.0.1") as running:
        with pytest.raises(NotAllowed, match="--search"):
            running.gateway.search(["A"], Priority.PAGE)
        with pytest.raises(NotAllowed, match="--ask"):
            running.gateway.ask("names", 1, 2, 3)


def test_it_tells_while_nothing_happens_and_says_when_it_ends() -> None:
    with Running(ports=free_ports(), listen="sockets", address="127.0.0.1") as running:
        wait_until(lambda: len(running.told) > 2, 10)
        assert not running.gateway.finished
        assert "opens sockets" in running.lines[0]
    assert [each.last for each in running.told] == [False] * (len(running.told) - 1) + [True]
    assert [each.number for each in running.told] == list(range(len(running.told)))
    running.gateway.stop()  # harmless


def test_a_port_that_is_taken_is_named_and_nothing_is_left_open() -> None:
    ports = free_ports()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", ports.pva))
        running = Running(ports=ports, listen="sockets", address="127.0.0.1")
        with pytest.raises(ConfigError, match=str(ports.pva)):
            running.gateway.start()
    with Running(ports=ports, listen="sockets", address="127.0.0.1"):
        pass


def test_monitors_are_told_what_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("capture: not here")

    monkeypatch.setattr("socs.epics.gateway.listening.open_packet_socket", refuse)
    ports = free_ports()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as repeater:
        repeater.bind(("127.0.0.1", ports.beacons))
        with Running(ports=ports, address="127.0.0.1") as running:
            wait_until(lambda: running.told)
    assert {each.left_out for each in running.told} == {("beacons",)}
    assert decode(encode(running.told[0])).left_out == ("beacons",)


def test_our_own_searches_are_left_out_also_if_the_network_came_after_us() -> None:
    search = SearchSettings(enabled=True)
    to_us = {"search": search, "search_addresses": ("127.0.0.1",), "address": "127.0.0.1"}
    with Running(ports=free_ports(), listen="sockets", **to_us) as running:
        gathering, questions = running.gateway._gathering, running.gateway._questions
        own = gathering.own.tolist()
        assert own == questions.sources().tolist() != []
        gathering.own = gathering.own[:0]  # as if there had been no route at the start
        wait_until(lambda: gathering.own.tolist() == own)


def test_damaged_datagrams_are_told_with_their_sender_once() -> None:
    ports = free_ports()
    with (
        Running(ports=ports, listen="sockets", address="127.0.0.1") as running,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for _ in range(3):
            sender.sendto(b"\x00\x01", ("127.0.0.1", ports.ca))
        wait_until(lambda: running.gateway.counters["ca_header_cut"] == 3, 10)
        wait_until(lambda: len(running.lines) > 1, 10)
        port = sender.getsockname()[1]
        assert f"ca_header_cut, last from 127.0.0.1:{port}: 00 01" in running.lines[1:]
        assert running.gateway.status()["troubles"] == []


def test_a_defect_does_not_end_it() -> None:
    with Running(ports=free_ports(), listen="sockets", address="127.0.0.1") as running:
        wait_until(lambda: running.told, 10)
        gathering = running.gateway._gathering
        assert gathering is not None
        gathering.take = _raise_once(gathering.take)  # type: ignore[method-assign]
        wait_until(lambda: running.gateway.counters["gathering_errors"] == 1, 10)
        assert "gathering_errors: 1" in running.gateway.status()["troubles"]
        before = len(running.told)
        wait_until(lambda: len(running.told) > before, 10)


def test_summaries_are_accounted_for_while_they_are_handed_on_and_when_that_fails() -> None:
    class Looking(Running):
        def take(self, summary: Summary) -> None:
            status = self.gateway.status()
            seen.append((status["unaccounted"], status["counters"]["summaries_under_way"]))
            if not summary.number:
                raise RuntimeError("unforeseen")
            super().take(summary)

    seen: list[tuple[dict[str, int], int]] = []
    with Looking(ports=free_ports(), listen="sockets", address="127.0.0.1") as running:
        wait_until(lambda: running.told, 10)
    assert seen == [({}, 1)] * len(seen)
    status = running.gateway.status()
    numbers = status["counters"]
    assert status["unaccounted"] == {}
    assert (numbers["summaries_unpublished"], numbers["gathering_errors"]) == (1, 1)
    assert numbers["summaries_published"] == len(running.told)
    # In summaries, too: each was made after what it tells had been counted.
    for before, summary in enumerate(running.told, 1):
        assert not imbalances(summary.counters, EQUATIONS)
        assert summary.counters["summaries_made"] == before


def test_while_no_cable_is_there_monitors_are_told_nothing_and_then_of_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cable = [True]
    monkeypatch.setattr("socs.epics.gateway.gateway.has_carrier", lambda *_: cable[0])
    with Running(ports=free_ports(), listen="sockets", address="127.0.0.1") as running:
        wait_until(lambda: running.told, 10)
        cable[0] = False
        wait_until(lambda: running.gateway.counters["intervals_deaf"] > 3, 10)
        status, deaf = running.gateway.status(), len(running.told)
        assert status["troubles"] == ["no interface of these networks has a carrier"]
        assert status["counters"]["summaries_made"] == deaf
        cable[0] = True
        wait_until(lambda: len(running.told) > deaf, 10)
        assert running.gateway.status()["troubles"] == []
    last, first = running.told[deaf - 1 : deaf + 1]
    assert first.began > last.ended
    assert first.number > last.number + 3
    assert [line.split(":")[0] for line in running.lines[1:]] == [
        "monitors are told nothing",
        "an interface has a carrier again; monitors are told what it hears",
    ]


def _raise_once(call: Any) -> Any:
    calls: list[int] = []

    def sometimes(*args: Any, **how: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("unforeseen")
        return call(*args, **how)

    return sometimes


# -- capture files --------------------------------------------------------------------------------


def write(path: Path, seconds: float = 1.0, damaged: bool = False) -> Path:
    """Eleven searches and beacons, over some seconds."""
    packets = []
    for step in range(11):
        time = RECEIVED + seconds * step / 10
        packets.append((time, udp(request(b"N%d" % (step % 3)), to_port=PORTS.ca)))
        packets.append((time, udp(beacon(step), to_port=PORTS.beacons)))
    path.write_bytes(pcap(packets, link=RAW)[: -5 if damaged else None])
    return path


@pytest.mark.parametrize("speed", [0.0, 10.0])
def test_a_file_is_told_with_its_times(tmp_path: Path, speed: float) -> None:
    with Running(source=write(tmp_path / "x.pcap"), speed=speed) as running:
        wait_until(lambda: running.gateway.finished, 10)
        status = running.gateway.status()
    told = running.told
    assert told[-1].last
    assert sum(each.last for each in told) == 1
    assert told[-1].totals == {"requests": 11, "datagrams": 11}
    times = [row["time"] for each in told for row in each.ca_beacons]
    assert times == pytest.approx([RECEIVED + step / 10 for step in range(11)])
    for each in told:
        assert all(each.began <= row["time"] <= each.ended for row in each.ca_beacons)
    assert told[0].began == pytest.approx(RECEIVED)
    assert status["source"]["ended"]
    assert (status["troubles"], status["unaccounted"]) == ([], {})
    assert running.lines[-1] == f"{tmp_path / 'x.pcap'} is at its end"
    assert status["counters"]["pcap_datagrams"] == status["counters"]["datagrams_gathered"] == 22


def test_a_replay_goes_at_its_own_speed_and_can_be_stopped(tmp_path: Path) -> None:
    with Running(source=write(tmp_path / "x.pcap", seconds=1e6)) as running:
        wait_until(lambda: len(running.told) > 1, 10)
    assert running.told[-1].last
    assert running.told[-1].totals["requests"] == 1
    assert running.lines[-1].endswith("not read to its end")


def test_a_file_that_is_cut_off_is_told_so(tmp_path: Path) -> None:
    with Running(source=write(tmp_path / "x.pcap", damaged=True), speed=0.0) as running:
        wait_until(lambda: running.gateway.finished, 10)
        (trouble,) = running.gateway.status()["troubles"]
    assert trouble in running.lines[-1]
    assert sum(len(each.ca_beacons) for each in running.told) == 10


def test_senders_that_are_not_allowed_are_left_out_of_a_file(tmp_path: Path) -> None:
    source = write(tmp_path / "x.pcap")
    with Running(source=source, speed=0.0, allow=("10.9.0.0/16",)) as running:
        wait_until(lambda: running.gateway.finished, 10)
    assert running.told[-1].totals["requests"] == 0
    assert running.gateway.counters["sender_not_allowed"] == 22


@pytest.mark.parametrize(
    ("contents", "named"), [(None, "cannot read"), (b"nothing of this kind", ""), (b"", "")]
)
def test_files_that_are_none_are_refused(tmp_path: Path, contents: Any, named: str) -> None:
    path = tmp_path / "x.pcap"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(ConfigError, match=f"x.pcap.*{named}|{named}.*x.pcap"):
        Running(source=path, speed=0.0).gateway.start()


def test_asking_is_settings_of_its_own() -> None:
    with pytest.raises(ConfigError, match="source"):
        GatewaySettings("g", source=Path("x"), ask=AskingSettings(True))


def test_beacons_count_at_the_port_of_the_site_whatever_it_is(tmp_path: Path) -> None:
    ports = free_ports()
    path = tmp_path / "x.pcap"
    packets = [
        (RECEIVED, udp(beacon(1, port=0), to_port=ports.beacons)),
        (RECEIVED, udp(beacon(1, port=0), from_port=ports.beacons, to_port=40000)),  # relayed
    ]
    path.write_bytes(pcap(packets, link=RAW))
    with Running(source=path, speed=0.0, ports=ports) as running:
        wait_until(lambda: running.gateway.finished, 10)
        assert running.gateway.status()["counters"]["beacons_relayed"] == 1
    assert [row["port"] for each in running.told for row in each.ca_beacons] == [ports.ca]
