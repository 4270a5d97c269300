"""Capture files are told as they are: who asked, who answered, what happened, what is wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from socs.cli import epics_capture
from socs.cli.epics_capture import Capture, CaptureSettings
from socs.cli.epics_capture_report import report_of
from socs.cli.epics_replay import sections
from socs.cli.main import EXIT_ERROR, main
from socs.epics.knowledge.knowledge import Knowledge
from socs.epics.ports import EpicsPorts
from socs.errors import ConfigError
from tests import epics_pva as pva
from tests.epics_packets import RECEIVED, beacon, request, response, version
from tests.pcap_files import framed, pcap, udp

CLIENT, OTHER, IOC, SECOND = "10.0.0.1", "10.0.0.3", "10.0.0.2", "10.0.0.4"
Frame = tuple[float, bytes]
REAL = Path(__file__).parents[2] / "captures" / "epics_loopback.jsonl"  # see test_captures


def sent(at: float, contents: bytes, **ways) -> Frame:
    return RECEIVED + at, framed(udp(contents, **ways), 1)


def asks(at: float, *names: bytes, source: str = CLIENT, port: int = 40000) -> Frame:
    contents = version() + b"".join(request(name, cid) for cid, name in enumerate(names, start=1))
    return sent(at, contents, source=source, from_port=port)


def answers(at: float, *channels: int, source: str = IOC, to: int = 40000) -> Frame:
    contents = version() + b"".join(map(response, channels))
    return sent(at, contents, source=source, destination=CLIENT, from_port=5064, to_port=to)


def beats(at: float, number: int, source: str = IOC) -> Frame:
    return sent(at, beacon(number), source=source, to_port=5065)


def written(path: Path, *frames: Frame) -> Path:
    path.write_bytes(pcap(sorted(frames)))
    return path


def read(*paths: Path, **settings) -> Capture:
    capture = Capture(paths, CaptureSettings(**settings))
    parts = [at.part for at in capture.read()]
    assert parts == sorted(parts)
    return capture


def told(*paths: Path, top: int = 20, **settings):
    report = report_of(read(*paths, **settings), top)
    json.dumps(report, allow_nan=False)
    return report


def kinds(report) -> list[tuple[str, str, float]]:
    return [
        (event["subject"], event["kind"], round(event["time"] - RECEIVED, 3))
        for event in report["events"]
    ]


def test_beacons_count_at_the_port_of_the_site_whatever_it_is(tmp_path):
    ports = EpicsPorts(ca=15064, beacons=15065)
    path = written(
        tmp_path / "a.pcap",
        *(sent(n, beacon(n), source=IOC, to_port=15065) for n in range(3)),
    )
    report = told(path, ports=ports)
    assert next(kind for _, kind, _ in kinds(report)) in {"NEW", "DETECTED"}


def test_who_asked_and_who_answered(tmp_path):
    path = written(
        tmp_path / "a.pcap",
        asks(0.0, b"A", b"B"),
        answers(0.1, 1),
        asks(1.0, b"B", source=OTHER),
        asks(1.5, b"B.VAL", b"C"),
        asks(10.0, b"bad name"),
    )
    report = told(path)
    assert report["totals"]["requests"] == 6
    assert report["totals"]["requests_per_s"] == pytest.approx(0.6)
    assert report["totals"]["names"] == 4
    assert (report["totals"]["online"], report["totals"]["invalid"]) == (1, 1)
    never = [(row["name"], row["clients"], row["requests"]) for row in report["never_answered"]]
    assert never[0] == ("B", 2, 3)
    assert {*never[1:]} == {("C", 1, 1), ("bad name", 1, 1)}
    assert report["never_answered"][0]["sources"] == [f"{CLIENT}:40000", f"{OTHER}:40000"]
    (server,) = report["servers"]
    assert (server["server"], server["pvs"], server["state"]) == (f"{IOC}:5064", 1, "no beacons")
    assert [(row["source"], row["requests"]) for row in report["clients"]] == [
        (f"{CLIENT}:40000", 5),
        (f"{OTHER}:40000", 1),
    ]
    assert kinds(report) == [("pv", "FOUND", 0.1)]
    assert report["unaccounted"] == {}
    assert told(path, top=1)["never_answered"] == report["never_answered"][:1]


def test_names_over_pv_access_count_as_well(tmp_path):
    search = pva.search([(1, b"P"), (2, b"Q")])
    path = written(tmp_path / "a.pcap", sent(0, search, to_port=5076))
    report = told(path)
    assert report["totals"]["requests"] == 2
    assert {row["name"] for row in report["never_answered"]} == {"P", "Q"}


def test_two_servers_of_a_name(tmp_path):
    path = written(
        tmp_path / "a.pcap",
        asks(0.0, b"A"),
        answers(0.1, 1),
        answers(0.2, 1, source=SECOND),
    )
    (row,) = told(path)["duplicates"]
    assert (row["name"], row["state"]) == ("A", "DUPLICATE")
    assert {each["server"] for each in row["servers"]} == {f"{IOC}:5064", f"{SECOND}:5064"}


def test_a_server_that_falls_silent_is_told_when_it_is_and_not_when_traffic_comes(tmp_path):
    frames = [beats(15.0 * n, n) for n in range(4)]
    path = written(tmp_path / "a.pcap", *frames, asks(500.0, b"A"), beats(501.0, 30))
    lost, resumed = kinds(told(path))[1:]
    assert lost[:2] == ("server", "LOST")
    assert 45.0 + 60.0 <= lost[2] <= 45.0 + 60.0 + 2.0
    assert resumed[1] in {"RESUMED", "RESTARTED"}
    assert resumed[2] == 501.0


def test_nothing_is_lost_between_two_captures(tmp_path):
    first = written(tmp_path / "b.pcap", *(beats(15.0 * n, n) for n in range(4)))
    later = written(tmp_path / "a.pcap", *(beats(15.0 * n, n) for n in range(200, 204)))
    report = told(later, first)  # in the order of time, whatever that of the command line
    assert {kind for _, kind, _ in kinds(report)}.isdisjoint({"LOST", "RESTARTED"})
    assert ("other", "GATEWAY_LISTENS", 3000.0) in kinds(report)
    close = written(tmp_path / "c.pcap", *(beats(45.0 + 3.0 * n, 4) for n in range(1, 2)))
    report = told(first, close)
    assert all(subject != "other" for subject, _, _ in kinds(report))


def test_files_that_overlap_are_refused(tmp_path):
    one = written(tmp_path / "a.pcap", asks(0.0, b"A"), asks(100.0, b"A"))
    two = written(tmp_path / "b.pcap", asks(50.0, b"A"), asks(60.0, b"A"))
    with pytest.raises(ConfigError, match=r"b\.pcap begins before an earlier file ends"):
        read(one, two)


def test_what_is_cut_off_damaged_and_not_understood_is_told(tmp_path, capsys):
    path = written(
        tmp_path / "a.pcap",
        asks(0.0, b"A"),
        sent(1.0, b"\x00\x06\xff\xf8" + bytes(12)),
        asks(2.0, b"B"),
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    report = told(path)
    assert [row["name"] for row in report["never_answered"]] == ["A"]
    assert "the last packet is cut off" in report["cut_off"][0]
    assert report["counters"]["ca_payload_cut"] == 1
    assert report["faults"]["ca_payload_cut"].startswith(f"{CLIENT}:40000: 00 06 ff f8")
    assert main(["epics", "replay", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "ca_payload_cut\t1\t" in printed
    assert "the last packet is cut off" in printed

    damaged = tmp_path / "damaged.pcap"
    damaged.write_bytes(whole + struct.pack("<IIII", 1, 1, 1 << 20, 1 << 20) + bytes(99))
    assert main(["epics", "replay", str(damaged)]) == EXIT_ERROR
    assert "the file is damaged" in capsys.readouterr().out


def test_what_is_no_capture_of_epics_is_refused(tmp_path, capsys):
    text = tmp_path / "notes.txt"
    text.write_text("these are no packets")
    other = written(tmp_path / "a.pcap", sent(0.0, b"hello", to_port=53))
    missing = tmp_path / "missing.pcap"
    for path, why in (
        (text, "neither pcap nor pcapng"),
        (other, "no datagram from or to the ports 5064, 5065, 5066, 5076, 5678 is in the files"),
        (missing, "cannot read"),
    ):
        assert main(["epics", "replay", str(path)]) == EXIT_ERROR
        assert why in capsys.readouterr().err


def test_other_ports_and_subnets(tmp_path):
    search = version() + request(b"A", 7)
    answer = response(7, port=6064)
    path = written(
        tmp_path / "a.pcap",
        sent(0.0, search, to_port=6064),
        sent(0.1, answer, source=IOC, destination=CLIENT, from_port=6064, to_port=40000),
    )
    ports = EpicsPorts(ca=6064, beacons=6065)
    assert told(path, ports=ports)["totals"]["online"] == 1
    report = told(path, ports=ports, subnets=("192.168.0.0/16",))
    assert report["totals"]["online"] == 0
    assert report["counters"]["answers_elsewhere"] == 1


def test_tables_say_when_answers_cannot_be_there(tmp_path):
    path = written(tmp_path / "a.pcap", asks(0.0, b"A"))
    titles = [each.title for each in sections(told(path), 10)]
    assert "asked for and never answered" not in titles
    assert any("answers are not in these files" in title for title in titles)


def test_more_clients_than_are_remembered_are_at_least_so_many(tmp_path):
    path = written(tmp_path / "a.pcap", *(asks(n / 10, b"A", port=40000 + n) for n in range(20)))
    report = told(path)
    (row,) = report["never_answered"]
    assert (row["clients"], row["more_clients"]) == (8, True)
    table = next(each for each in sections(report, 10) if each.title.startswith("asked"))
    assert table.rows[0]["clients"] == "8+"


def test_names_with_odd_bytes_are_printed_harmlessly(tmp_path, capsys):
    odd = b"E\x1b[2J\xff"
    path = written(tmp_path / "a.pcap", asks(0.0, odd))
    assert main(["epics", "replay", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "E\\x1b[2J" in printed
    assert main(["epics", "replay", str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["never_answered"]
    assert row["name"] == "E\x1b[2J\\xff"


def test_further_events_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(epics_capture, "MOST_EVENTS", 1)
    path = written(tmp_path / "a.pcap", asks(0.0, b"A", b"B"), answers(0.1, 1, 2))
    report = told(path)
    assert len(report["events"]) == 1
    assert report["events_left_out"] == 1
    assert report["kinds"] == [{"subject": "pv", "kind": "FOUND", "count": 2}]


def test_names_without_an_answer_are_ranked_by_clients_then_by_requests(tmp_path):
    path = written(
        tmp_path / "a.pcap",
        asks(0.0, b"RARE", b"OFTEN", b"OFTEN", b"OFTEN", b"BOTH", b"ONCE"),
        asks(1.0, b"BOTH", source=OTHER),
        asks(2.0, b"ONCE"),
    )
    names = [row["name"] for row in told(path)["never_answered"]]
    assert names == ["BOTH", "OFTEN", "ONCE", "RARE"]
    assert [row["name"] for row in told(path, top=2)["never_answered"]] == ["BOTH", "OFTEN"]


def test_real_traffic_is_told_as_it_was(tmp_path):
    frames = [
        sent(
            line["t"],
            bytes.fromhex(line["hex"]),
            source=line["src"],
            destination=line["dst"],
            from_port=line["sport"],
            to_port=line["dport"],
        )
        for line in map(json.loads, REAL.read_text().splitlines())
    ]
    path = tmp_path / "real.pcap"
    path.write_bytes(pcap(frames))
    report = told(path)
    states = {name: report["totals"][name] for name in ("online", "duplicate", "never_answered")}
    assert states == {"online": 2, "duplicate": 0, "never_answered": 2}
    never = {row["name"]: row["requests"] for row in report["never_answered"]}
    assert never == {"TST:NOPE": 13, "TST:NOPE:LONGER": 3}
    servers = {(row["protocol"], row["server"]): row["pvs"] for row in report["servers"]}
    assert servers["CA", "127.0.0.1:5064"] == 2
    assert servers["PVA", "127.0.0.1:5075"] == 1
    found = [event["name"] for event in report["events"] if event["kind"] == "FOUND"]
    assert sorted(found) == ["TST:PV00001", "TST:PV00002"]
    assert report["unaccounted"] == {}


def test_no_summary_is_larger_than_it_may_be_however_dense_traffic_is(tmp_path, monkeypatch):
    monkeypatch.setattr(epics_capture, "MOST_WAITING", 20)
    monkeypatch.setattr(epics_capture, "BATCH", 8)
    sizes = []

    class Watched(Knowledge):
        def take(self, summary, now):
            sizes.append(len(summary.ca_beacons))
            return super().take(summary, now)

    monkeypatch.setattr(epics_capture, "Knowledge", Watched)
    path = written(tmp_path / "a.pcap", *(beats(n / 1e5, n) for n in range(100)))
    assert told(path)["totals"]["beacons"] == sum(sizes) == 100
    assert max(sizes) <= 20
