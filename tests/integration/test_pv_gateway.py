"""PVGateway as an OCS agent: real servers and clients on loopback, and a subscriber to its feed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import ocs
import pytest

from socs.counters import EPICS_GATEWAY_CONSERVATION, imbalances
from socs.epics.decode.heartbeat import decode
from socs.epics.gateway.listening import look_around
from socs.epics.ports import EpicsPorts
from socs.epics.track.events import CA
from socs.sim.heartbeat_app import command_line, truth_of
from socs.sim.iocs import BROADCAST, EpicsSite, free_ports
from socs.sim.leash import Leash
from socs.sim.site import AgentInstance
from socs.testing import wait_until
from socs.wire.captured import CapturedBatch
from socs.wire.pcap import PcapWriter
from tests.epics_packets import RECEIVED, address, beacon, request, version
from tests.summaries import hearing, told

GATEWAY = "gateway-1"
LOCAL = address("127.0.0.1")
NO_CAPTURE = look_around([5064]).no_capture


@pytest.fixture(scope="module")
def epics(tmp_path_factory) -> Iterator[EpicsSite]:
    """A real IOC; shared, as it takes seconds to start."""
    with EpicsSite(tmp_path_factory.mktemp("epics")) as made:
        made.add("one", {made.prefix + "A": "float", made.prefix + "B": "enum"})
        made.start("one")
        yield made


@pytest.fixture
def free() -> EpicsPorts:
    return free_ports()


def instance(ports: EpicsPorts, *options: str) -> AgentInstance:
    given = [word for use, port in ports.by_use().items() for word in (f"--port-{use}", str(port))]
    return AgentInstance("PVGateway", GATEWAY, ["--interval", "0.2", *given, *options])


def data(client: Any) -> dict[str, Any]:
    return client.listen.status().session.get("data") or {}


def listening(site: Any) -> Any:
    """Start the gateway; its client, once it listens."""
    site.start_agent(GATEWAY)
    site.wait_joined(GATEWAY)
    client = site.client(GATEWAY)
    wait_until(lambda: data(client).get("source"), 20, "listening")
    return client


def done(reply: Any) -> tuple[bool, str]:
    """Success and last message of a task."""
    return reply.session["success"], reply.session["messages"][-2][1]


@pytest.mark.timeout(120)
def test_a_subscriber_hears_what_real_clients_ask(site, epics: EpicsSite, tmp_path: Path) -> None:
    made = site([instance(epics.ports, "--listen", "sockets")])
    wanted = [epics.prefix + "A", epics.prefix + "MISSING"]
    with hearing(made, [GATEWAY], tmp_path / "heard") as heard:
        client = listening(made)
        epics.search("reader", wanted)
        try:
            wait_until(lambda: set(wanted) <= {name for name, _ in told(heard())[0]}, 20)
            wait_until(lambda: epics.connected("reader"), 20)
        finally:
            epics.end_search("reader")
        assert {host for (name, host) in told(heard())[0] if name in wanted} == {LOCAL}
        before = data(client)
        assert before["source"]["way"] == "sockets"
        assert "opens sockets, as it was asked for" in before["source"]["reason"]
        assert any(
            "answers of servers are not seen" in text for text in before["source"]["warnings"]
        )
        assert before["unaccounted"] == {}

        assert done(client.resync())[0]
        wait_until(lambda: heard()[-1].epoch == 1, 10, "another epoch")
        assert made.stop_agent(GATEWAY) == 0
        wait_until(lambda: heard()[-1].last, 10, "the last summary")
    summaries = heard()
    assert [each.number for each in summaries] == list(range(len(summaries)))
    assert len({each.boot for each in summaries}) == 1
    for earlier, later in pairwise(summaries):
        assert earlier.ended == later.began
    counters = summaries[-1].counters
    asked = sum(told(summaries)[0].values())
    assert asked == counters["requests_named"] == summaries[-1].totals["requests"] > 0


@pytest.mark.timeout(120)
def test_exactly_what_was_sent_is_heard_over_an_end_by_kill(site, tmp_path: Path, free) -> None:
    made = site([instance(free, "--listen", "sockets", "--udp-address", "127.0.0.1")])
    with (
        hearing(made, [GATEWAY], tmp_path / "heard") as heard,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):

        def ask(*names: str) -> None:
            contents = b"".join(request(name.encode()) for name in names)
            sock.sendto(version() + contents, ("127.0.0.1", free.ca))

        def asked(boot: str) -> dict[str, int]:
            of_boot = [each for each in heard() if each.boot == boot]
            return {name: count for (name, _), count in told(of_boot)[0].items()}

        boots = []
        for times in (3, 5):
            client = listening(made)
            boots.append(data(client)["boot"])
            for _ in range(times):
                ask("A", "B.VAL", "A")
            wanted = {"A": 2 * times, "B": times}
            wait_until(lambda wanted=wanted: asked(boots[-1]) == wanted, 20, "all requests")
            made.kill_agent(GATEWAY)
        assert boots[0] != boots[1]
        assert not any(each.last for each in heard())


@pytest.mark.timeout(120)
def test_searches_find_real_servers_and_are_not_heard_as_others(
    site, epics: EpicsSite, tmp_path: Path
) -> None:
    options = ["--listen", "sockets", "--search", "true", "--search-address", BROADCAST]
    made = site([instance(epics.ports, *options)])
    there, missing = epics.prefix + "B", epics.prefix + "NOWHERE"
    with hearing(made, [GATEWAY], tmp_path / "heard") as heard:
        client = listening(made)
        assert client.search(names=[])[0] == ocs.ERROR
        assert client.search(names=["X"], priority="soon")[0] == ocs.ERROR
        reply = client.search(names=[there, missing], priority="page")
        assert done(reply) == (True, "Searching for 2 more names")
        assert reply.session["data"]["asked"] == 2
        wait_until(lambda: len([f for s in heard() for f in s.found]) == 4, 30, "results")
        found = {(each.protocol, each.name): each for s in heard() for each in s.found}
        (server,) = found[CA, there.encode()].servers
        assert server[:3] == (LOCAL, epics.ports_of("one")["ca"], LOCAL)
        assert found[CA, missing.encode()].servers == ()
        assert found[CA, missing.encode()].attempts == 3
        assert {name for name, _ in told(heard())[0]}.isdisjoint({there, missing})
        counters = data(client)["counters"]
        assert counters["requests_own"] > 0
        assert counters["search_datagrams"] <= 2 * 3 * 2


@pytest.mark.timeout(120)
def test_nothing_is_asked_unless_it_is_switched_on(site, free, tmp_path: Path) -> None:
    made = site([instance(free, "--listen", "sockets", "--udp-address", "127.0.0.1")])
    client = listening(made)
    success, text = done(client.search(names=["A"]))
    assert (success, text) == (False, "searching is off: see --search")
    success, text = done(client.ask(what="names", host="127.0.0.1", port=5000, sequence=1))
    assert (success, text) == (False, "asking applications is off: see --ask")
    assert client.ask(what="names", host="nobody", port=5000, sequence=1)[0] == ocs.ERROR
    assert client.listen.stop()[0] == ocs.OK
    assert client.listen.wait(timeout=60)[0] == ocs.OK
    ended = data(client)
    assert ended["unaccounted"] == {}
    assert ended["counters"]["summaries_made"] == ended["summaries"] > 0
    assert ended["counters"]["summaries_under_way"] == 0
    assert done(client.resync()) == (False, "Not listening: start the process listen first")
    assert client.listen.start()[0] == ocs.OK
    wait_until(lambda: data(client).get("source"), 20)
    assert data(client)["searching"]["enabled"] is False


@pytest.mark.skipif(bool(NO_CAPTURE), reason=NO_CAPTURE)
@pytest.mark.timeout(120)
def test_a_capture_overhears_who_serves_what(site, epics: EpicsSite, tmp_path: Path) -> None:
    made = site([instance(epics.ports, "--interface", "lo")])
    there = epics.prefix + "A"
    with hearing(made, [GATEWAY], tmp_path / "heard") as heard:
        client = listening(made)
        assert data(client)["source"]["way"] == "capture"
        epics.search("reader", [there], library="caproto")

        def answers() -> list[tuple[bytes, int, int]]:
            names = told(heard())[1]
            return [
                (names[each.epoch, int(row["name"])], int(row["port"]), int(row["protocol"]))
                for each in heard()
                for row in each.answers
            ]

        try:
            wanted = (there.encode(), epics.ports_of("one")["ca"], CA)
            wait_until(lambda: wanted in answers(), 20, "an answer")
        finally:
            epics.end_search("reader")


@pytest.mark.timeout(120)
def test_an_application_is_asked_for_its_names(site, free, tmp_path: Path) -> None:
    options = ("--listen", "sockets", "--udp-address", "127.0.0.1", "--ask", "true")
    made = site([instance(free, *options)])
    with hearing(made, [GATEWAY], tmp_path / "heard") as heard, closing(Leash()) as leash:
        client = listening(made)
        command = command_line(("127.0.0.1", free.heartbeats), names=25, period=0.2)
        child = leash.start(command, log=tmp_path / "app.log", env=dict(os.environ))
        truth = wait_until(lambda: truth_of(child.output()), 20, "the application")

        def beats() -> list[int]:
            found = [beat for each in heard() for beat in each.beats]
            return [decode(beat.datagram).sequence for beat in found if beat.port == truth.port]

        wait_until(beats, 20, "heartbeats")
        reply = client.ask(
            what="names", host="127.0.0.1", port=truth.port, sequence=beats()[-1], server=5064
        )
        assert done(reply) == (True, "It is being asked")
        wait_until(lambda: [t for each in heard() for t in each.told], 20, "its names")
        (answer,) = [t for each in heard() for t in each.told]
        assert (answer.kind, answer.host, answer.port) == ("names", LOCAL, truth.port)
        assert sorted(answer.texts) == sorted(truth.names)
        assert len(truth.names) == 25
        assert (answer.server, answer.ending, answer.total) == (5064, "complete", 25)


@pytest.mark.own_router
@pytest.mark.timeout(120)
def test_what_a_router_that_is_away_does_not_take_is_a_gap_of_known_size(
    site, free, tmp_path: Path
) -> None:
    made = site([instance(free, "--listen", "sockets", "--udp-address", "127.0.0.1")])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def ask(name: bytes) -> None:
            sock.sendto(version() + request(name), ("127.0.0.1", free.ca))

        with hearing(made, [GATEWAY], tmp_path / "before") as heard:
            listening(made)
            ask(b"BEFORE")
            wait_until(lambda: told(heard())[0], 20)
        made.kill_router()
        for _ in range(7):
            ask(b"AWAY")
        made.start_router()
        made.wait_joined(GATEWAY, 60)
        with hearing(made, [GATEWAY], tmp_path / "after") as later:
            wait_until(later, 30, "summaries")
            last, first = heard()[-1], later()[0]
            assert first.boot == last.boot
            assert first.number > last.number + 1
            assert first.totals["requests"] == 8
            client = made.client(GATEWAY)
            wait_until(lambda: data(client).get("counters"), 20)
            assert data(client)["counters"]["summaries_unpublished"] > 0
            assert done(client.resync())[0]
            wait_until(lambda: later()[-1].epoch == 1, 10)
            ask(b"AWAY")
            wait_until(lambda: ("AWAY", LOCAL) in told(later())[0], 20)


@pytest.mark.timeout(120)
def test_a_capture_file_is_told_with_its_times(site, free, tmp_path: Path) -> None:
    path = tmp_path / "traffic.pcap"
    write_capture(path, free)
    made = site([instance(free, "--source", str(path), "--speed", "0")])
    with hearing(made, [GATEWAY], tmp_path / "heard") as heard:
        made.start_agent(GATEWAY)
        made.wait_joined(GATEWAY)
        client = made.client(GATEWAY)
        assert client.listen.wait(timeout=60)[0] == ocs.OK
        assert done(client.listen.status()) == (True, f"{path} is at its end")
        wait_until(lambda: heard() and heard()[-1].last, 20)
    summaries = heard()
    assert [each.number for each in summaries] == list(range(len(summaries)))  # all arrived
    asked = told(summaries)[0]
    assert asked == {(f"PV:{n}", address("10.0.0.1")): 3 for n in range(40)}
    times = [row["time"] for each in summaries for row in each.ca_beacons]
    assert times == pytest.approx([RECEIVED + second for second in range(20)])
    assert summaries[0].began == pytest.approx(RECEIVED)
    assert summaries[-1].ended == pytest.approx(RECEIVED + 19)
    assert len(summaries) > 15
    assert not imbalances(summaries[-1].counters, EPICS_GATEWAY_CONSERVATION)
    ended = data(client)
    assert ended["unaccounted"] == {}
    assert ended["counters"]["summaries_made"] == len(summaries)
    assert ended["counters"]["summaries_under_way"] == 0


def write_capture(path: Path, ports: EpicsPorts) -> None:
    """Twenty seconds: a beacon in each, and all of 40 names asked for three times."""
    with PcapWriter(path) as writer:
        for second in range(20):
            names = [f"PV:{(6 * second + k) % 40}".encode() for k in range(6)]
            contents = [version() + b"".join(map(request, names)), beacon(second)]
            sizes = [len(each) for each in contents]
            rows = np.zeros((2, 512), np.uint8)
            for row, each in zip(rows, contents, strict=True):
                row[: len(each)] = np.frombuffer(each, np.uint8)
            writer.write(
                CapturedBatch(
                    rows,
                    np.array(sizes, np.uint32),
                    np.full(2, address("10.0.0.1"), np.uint32),
                    np.array([40000, 40001], np.uint16),
                    RECEIVED + second,
                    None,
                    np.full(2, 0xFFFFFFFF, np.uint32),
                    np.array([ports.ca, ports.beacons], np.uint16),
                    np.full(2, RECEIVED + second),
                )
            )
