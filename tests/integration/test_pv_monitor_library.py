"""The PV monitor without OCS: what gateways tell is known, kept, and there again after a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from socs.epics.knowledge.knowledge import Knowledge
from socs.epics.knowledge.wishes import Resync, Search
from socs.epics.monitor import upkeep
from socs.epics.monitor.asked_values import Paging
from socs.epics.monitor.monitor import PvMonitor
from socs.epics.monitor.pv_search import PvFilters
from socs.epics.search.searcher import Priority
from socs.epics.store.purge import PurgeAges
from socs.epics.summary import Found
from socs.epics.track.events import CA, PvEvent
from socs.errors import ConfigError, Malformed, NotAllowed
from socs.testing import wait_until
from socs.testing.mariadb import MariaDB
from tests.harness import rows
from tests.pv_monitor import GATEWAY, IOC, OTHER, Talker, running, stored

ANY = PvFilters()


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Of a database in a file."""
    for name in [name for name in os.environ if name.startswith("MYSQL_")]:
        monkeypatch.delenv(name)
    return {"SOCS_DATA_DIR": str(tmp_path / "database")}


def tell(monitor: PvMonitor, talker: Talker, **what: Any) -> None:
    """Have a gateway say something, and wait until it is known."""
    taken = monitor.counters["summaries_taken"]
    monitor.put(talker.name, talker.message(**what), time.time())
    wait_until(lambda: monitor.counters["summaries_taken"] > taken)


def found(monitor: PvMonitor, pattern: str = "*", **filters: Any) -> list[str]:
    monitor.search.refresh()
    group = filters.pop("group", None)
    page = monitor.queries.search(
        pattern, PvFilters(**filters), Paging(most=100), time.time(), group=group
    )
    assert page["total"] == len(page["rows"])
    return [row["name"] for row in page["rows"]]


def kinds(monitor: PvMonitor) -> list[str]:
    return [event.kind for event in monitor.told if isinstance(event, PvEvent)]


# -- what is known --------------------------------------------------------------------------------


def test_what_a_gateway_hears_can_be_asked_and_is_kept(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 3, b"A:TWO": 1, b"B:BAD{": 1})
        tell(monitor, talker, answers=[(b"A:ONE", IOC, 5064)], beacons=[(IOC, 5064, 500)])
        assert found(monitor) == ["A:ONE", "A:TWO", "B:BAD{"]
        assert found(monitor, "a*", state="ONLINE") == ["A:ONE"]
        info = monitor.queries.pv_info("A:ONE")
        assert info["requesters"][0]["source"] == "10.0.0.9:4711"
        assert info["requests"] == 3
        assert info["server"] == "10.0.0.1:5064"
        wait_until(lambda: monitor.queries.pv_info("A:ONE")["events"])
        (event,) = monitor.queries.pv_info("A:ONE")["events"]
        assert (event["kind"], event["name"]) == ("FOUND", "A:ONE")
        (server,) = monitor.queries.servers(Paging())["rows"]
        assert (server["server"], server["state"]) == ("10.0.0.1:5064", "ALIVE")
        (client,) = monitor.queries.clients(Paging())["rows"]
        assert (client["source"], client["requests"]) == ("10.0.0.9:4711", 5)
        (host,) = monitor.queries.hosts(Paging())["rows"]
        assert (host["host"], host["servers"]) == ("10.0.0.1", ["CA:5064"])
        status = monitor.status()
        assert status["unaccounted"] == {}
        assert status["troubles"] == []
        assert status["gateways"][0]["state"] == "LIVE"
        assert status["measures"]["pvs_online"] == 1
        assert status["measures"]["pvs"] == 3
    told = [event.kind for event in monitor.told]
    assert [event.kind for event in stored(env)] == told
    assert told.count("FOUND") == 1


def test_a_defect_of_the_program_is_counted_and_does_not_end_it(
    tmp_path: Path, env, monkeypatch: pytest.MonkeyPatch
) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A": 1})
        with monkeypatch.context() as broken:
            broken.setattr(Knowledge, "tick", lambda *_: 1 // 0)
            broken.setattr(Knowledge, "take", lambda *_: 1 // 0)
            monitor.put(talker.name, talker.message(), time.time())
            wait_until(lambda: monitor.counters["looks_failed"])
            wait_until(lambda: monitor.counters["summaries_failed"])
        tell(monitor, talker, requests={b"B": 1})
        assert found(monitor) == ["A", "B"]
        assert monitor.status()["unaccounted"] == {}


def test_pages_are_parts_of_the_whole_and_errors_name_the_parameter(tmp_path: Path, env) -> None:
    names = [f"P:{n:03d}".encode() for n in range(50)]
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests=dict.fromkeys(names, 1))
        monitor.search.refresh()
        now = time.time()
        page = monitor.queries.search("p:*", ANY, Paging(20, 15), now)
        assert (page["total"], page["start"]) == (50, 20)
        assert [row["name"] for row in page["rows"]] == [f"P:{n:03d}" for n in range(20, 35)]
        for filters, words in (
            ({"state": "THERE"}, "state: 'THERE' is none of NEVER_SEEN, ONLINE"),
            ({"protocol": "ca"}, "protocol: 'ca' is none of CA, PVA"),
            ({"server": "ioc1"}, "server: 'ioc1' is no address"),
            ({"server": "10.0.0.1:x"}, "server: 'CA:x' is no port"),
            ({"source_class": "x"}, "source_class: 'x' is none of client"),
            ({"requester": "x"}, "requester: 'x' is no address"),
        ):
            with pytest.raises(Malformed, match=words):
                monitor.queries.search("*", PvFilters(**filters), Paging(), now)
        for ask in (
            lambda: monitor.queries.pv_info("\ud800"),
            lambda: monitor.queries.events(name="\ud800"),
            lambda: monitor.update(["A", "\ud800"]),
            lambda: monitor.search.forget(["\ud800"]),
        ):
            with pytest.raises(Malformed, match=r"names?: is no text"):
                ask()
        with pytest.raises(Malformed, match="most: 0"):
            Paging(0, 0)
        with pytest.raises(NotAllowed, match="name: 'NOT:THERE' is not known"):
            monitor.queries.pv_info("NOT:THERE")
        with pytest.raises(Malformed, match="group: there is no group 'x'"):
            monitor.queries.search("*", ANY, Paging(), now, group="x")


def test_filters_take_what_they_say(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 1, b"A:TWO": 1})
        answers = [(b"A:ONE", IOC, 5064), (b"B:ONE", OTHER, 5070)]
        tell(monitor, talker, answers=answers)
        assert found(monitor, server="10.0.0.2") == ["B:ONE"]
        assert found(monitor, server="10.0.0.1:5064") == ["A:ONE"]
        assert found(monitor, server="10.0.0.1:5065") == []
        assert found(monitor, protocol="CA") == ["A:ONE", "B:ONE"]
        assert found(monitor, protocol="PVA") == []
        assert found(monitor, requester="10.0.0.9") == ["A:ONE", "A:TWO"]
        assert found(monitor, requester="10.0.0.8") == []
        assert found(monitor, asked_within=60.0) == ["A:ONE", "A:TWO"]
        assert found(monitor, source_class="client") == ["A:ONE", "A:TWO"]
        assert found(monitor, state="NEVER_SEEN") == ["A:TWO"]
        monitor.book.create_group("ring", hosts=["10.0.0.2"])
        assert found(monitor, group="ring") == ["B:ONE"]


def test_forgotten_names_are_gone_at_once_and_come_back_when_they_are_asked_for(
    tmp_path: Path, env
) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 1, b"A:TWO": 1})
        assert found(monitor) == ["A:ONE", "A:TWO"]
        assert monitor.search.forget(["A:ONE"]) == ["A:ONE"]
        page = monitor.queries.search("*", ANY, Paging(), time.time())
        assert [row["name"] for row in page["rows"]] == ["A:TWO"]
        other = Talker(boot="another")
        tell(monitor, other, requests={b"C:NEW": 1})  # gets the number that is free
        page = monitor.queries.search("*", ANY, Paging(), time.time())
        assert [row["name"] for row in page["rows"]] == ["A:TWO"]
        assert found(monitor) == ["A:TWO", "C:NEW"]
        with pytest.raises(NotAllowed, match="A:ONE"):
            monitor.search.forget(["A:TWO", "A:ONE"])
        tell(monitor, other, beacons=[(IOC, 5064, 500)])
        with pytest.raises(NotAllowed, match="server: it is not known, or not lost"):
            monitor.forget_server(CA, IOC, 5064)  # it is alive
        monitor._parts.knowledge.beacons.servers[CA, IOC, 5064].state = "LOST"
        monitor.forget_server(CA, IOC, 5064)
        assert monitor.queries.servers(Paging())["rows"] == []
        with pytest.raises(NotAllowed, match="application: it is not known"):
            monitor.forget_application("json:1")
        assert found(monitor) == ["A:TWO", "C:NEW"]


def test_what_is_wrong_with_messages_is_counted_by_cause(tmp_path: Path, env) -> None:
    talker, liar = Talker(), Talker("another-gateway")
    with running(tmp_path, env) as monitor:
        monitor.put(GATEWAY, liar.message(requests={b"X": 1}), time.time())
        monitor.put(GATEWAY, {"version": 1}, time.time())
        monitor.put(GATEWAY, None, time.time())
        tell(monitor, talker, requests={b"A:ONE": 1})
        numbers = monitor.status()["counters"]
        assert numbers["summaries_foreign"] == 1
        assert numbers["summaries_malformed"] == 2
        assert monitor.status()["unaccounted"] == {}
        assert found(monitor) == ["A:ONE"]
        text = " ".join(monitor.lines)
        assert "a summary of 'another-gateway'" in text


def test_a_gap_is_told_and_names_are_asked_for_anew(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 1})
        talker.message(requests={b"A:TWO": 5})  # lost on the way
        tell(monitor, talker, requests={b"A:TWO": 1})
        wait_until(lambda: monitor.wished)
        assert monitor.wished[0].gateway == GATEWAY
        assert "GATEWAY_LISTENS" in [event.kind for event in monitor.told]
        assert monitor.status()["gateways"][0]["summaries_missed"] == 1


def test_a_silent_gateway_is_blind_and_nothing_is_lost_by_that(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, answers=[(b"A:ONE", IOC, 5064)], last=True)
        status = monitor.status()
        assert status["gateways"][0]["state"] == "ENDED"
        assert any(GATEWAY in trouble for trouble in status["troubles"])
        assert monitor.queries.pv_info("A:ONE")["state"] == "ONLINE"
        with pytest.raises(NotAllowed, match="no gateway can search"):
            monitor.update(["A:ONE"])


def test_searching_now_is_a_wish_and_its_outcome_an_event(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker)
        assert monitor.update(["A:ONE"]) == 1
        wait_until(lambda: monitor.wished)
        assert monitor.wished == [Search(GATEWAY, (b"A:ONE",), Priority.PAGE)]
        now = time.time()
        outcome = Found(CA, b"A:ONE", ((IOC, 5064, IOC, b""),), 1, now, now)
        tell(monitor, talker, found=[outcome])
        wait_until(lambda: "FOUND" in kinds(monitor) or monitor.queries.pv_info("A:ONE"))
        with pytest.raises(NotAllowed, match="polling is off"):
            monitor.poll()
        assert monitor.poll(on=True)["enabled"]
        monitor.poll()


# -- what people say ------------------------------------------------------------------------------


def test_what_is_expected_is_missed_and_acknowledged_by_somebody(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        book = monitor.book
        tell(monitor, talker, beacons=[(IOC, 5064, 500)])
        book.expect("10.0.0.1", "ann", time.time(), ports=["CA:5064"], ignored=["json:1"])
        (row,) = monitor.queries.hosts(Paging())["rows"]
        assert (row["expected_ports"], row["ignored"]) == (["CA:5064"], ["json:1"])
        book.maintain("10.0.0.1", "ann", time.time(), maintenance=True)
        assert monitor.queries.hosts(Paging())["rows"][0]["maintenance"] is True
        book.describe("10.0.0.1", "ann", time.time(), "ring")
        book.create_group("all", hosts=["10.0.0.1"])
        number = book.note("10.0.0.1", "look at the fan", "bob", time.time(), needs_ack=True)
        (row,) = monitor.queries.hosts(Paging(), group="all")["rows"]
        assert (row["description"], row["groups"]) == ("ring", ["all"])
        wait_until(lambda: book.open_entries()[IOC] == 1)
        (entry,) = book.logs("10.0.0.1", unacknowledged=True)
        assert (entry["id"], entry["text"], entry["author"]) == (number, "look at the fan", "bob")
        assert book.acknowledge("ann", time.time(), ids=[number]) == 1
        assert book.logs("10.0.0.1")[0]["acknowledged_by"] == "ann"
        book.edit_group("all", add=["10.0.0.3"], remove=["10.0.0.1"])
        assert book.groups() == [{"name": "all", "description": "", "hosts": ["10.0.0.3"]}]
        book.delete_group("all")
        assert book.groups() == []
        for act, words in (
            (lambda: book.note("ioc1", "x", "ann", 0.0), "host: 'ioc1' is no address"),
            (lambda: book.note("10.0.0.1", "", "ann", 0.0), "text: is empty"),
            (lambda: book.note("10.0.0.1", "x", " ", 0.0), "author: is empty"),
            (lambda: book.expect("10.0.0.1", "ann", 0.0, ports=["5064"]), "ports: '5064'"),
            (lambda: book.expect("10.0.0.1", "ann", 0.0, ports="CA:1"), "ports: 'CA:1' is no list"),
            (lambda: book.create_group("x", hosts=["a"]), "hosts: 'a'"),
            (lambda: book.edit_group("x", add="10.0.0.1"), "add: '10.0.0.1' is no list"),
        ):
            with pytest.raises(Malformed, match=words):
                act()


# -- crashes and outages --------------------------------------------------------------------------


class Child:
    """A monitor as a process of its own, to be killed."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.pv_monitor", str(directory)],
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.until(lambda line: line == "ready")

    def say(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, is_it: Callable[[str], bool]) -> None:
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if is_it(self.lines[-1]):
                return
        pytest.fail(f"the monitor ended: {self.lines}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.mark.parametrize("snapshot", [True, False])
def test_killed_and_started_again_it_knows_all_and_tells_nothing_twice(
    tmp_path: Path, env, snapshot: bool
) -> None:
    names = [f"A:{n:02d}" for n in range(20)]
    child = Child(tmp_path, env)
    try:
        for name in names[:10]:
            child.say(f"answer {name}")
        child.until(lambda line: line == f"FOUND {names[9]}")
        if snapshot:
            child.say("snapshot")
            child.until(lambda line: line == "snapshot")
        for name in names[10:]:
            child.say(f"answer {name}")
        child.until(lambda line: line == f"FOUND {names[19]}")
    finally:
        child.kill()
    talker = Talker(boot="after")
    with running(tmp_path, env) as monitor:
        assert found(monitor, state="ONLINE") == names
        for name in names:
            tell(monitor, talker, answers=[(name.encode(), IOC, 5064)], beacons=[(IOC, 5064, 10)])
        assert kinds(monitor) == []
        assert [e.kind for e in monitor.told] == ["GATEWAY_LISTENS"]
        (server,) = monitor.queries.servers(Paging())["rows"]
        assert server["state"] == "ALIVE"
    told = [event.name.decode() for event in stored(env) if isinstance(event, PvEvent)]
    assert told == names


def test_at_the_end_all_is_in_a_snapshot_and_the_files_table(tmp_path: Path, env) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 7})
    with running(tmp_path, env) as monitor:
        assert monitor.queries.pv_info("A:ONE")["requests"] == 7
        wait_until(lambda: rows(env))
        assert monitor.status()["snapshots"]["kept"] == 1
    ((path, _),) = rows(env)
    assert Path(path).name.startswith("epics-snapshot-")


def test_a_line_of_statistics_is_written_and_what_is_old_is_thrown_away(
    tmp_path: Path, env
) -> None:
    talker, old = Talker(), PurgeAges(events=50.0, logs=50.0, names=50.0, sources=50.0)
    with running(tmp_path, env, ages=old) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 7}, answers=[(b"A:TWO", IOC, 5064)])
        (path,) = wait_until(lambda: [*(tmp_path / "snapshots").glob("epics-statistics-*.part")])
        line = json.loads(wait_until(path.read_text).splitlines()[0])
        assert {"time", "pvs", "pvs_online", "requests_client_rate", "gateways_live"} <= line.keys()
        wait_until(lambda: monitor.status()["counters"]["ioc_events_waiting"] == 0)
        keeping = monitor._parts.upkeep
        keeping.purge(time.time())
        assert found(monitor) == ["A:ONE", "A:TWO"]
        keeping.purge(time.time() + 100)
        assert found(monitor) == []
        numbers = monitor.status()["counters"]
        assert numbers["names_purged"] == 2
        assert numbers["sources_purged"] == 1
        assert numbers["ioc_events_purged"] == len(monitor.told)
    assert stored(env) == []


def test_invented_names_make_room_when_there_is_hardly_any(
    tmp_path: Path, env, monkeypatch: pytest.MonkeyPatch
) -> None:
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, requests={b"A:ONE": 1, b"B:BAD": 1})
        tell(monitor, talker, answers=[(b"A:ONE", IOC, 5064)])
        keeping, later = monitor._parts.upkeep, time.time() + upkeep.ASKED_AGAIN + 1
        keeping.make_room(later)
        assert found(monitor) == ["A:ONE", "B:BAD"]
        most = monitor.settings.knowledge.limits.names
        monkeypatch.setattr(upkeep, "CROWDED", 1.5 / most)
        keeping.make_room(later - 10)
        assert found(monitor) == ["A:ONE", "B:BAD"]
        keeping.make_room(later)
        assert found(monitor) == ["A:ONE"]
        assert monitor.counters["names_crowded_out"] == 1
        # Its number is of no use any more; the gateway tells the name again when it is asked to.
        tell(monitor, talker, requests={b"B:BAD": 1})
        wait_until(lambda: Resync(GATEWAY) in monitor.wished)


def test_two_monitors_of_one_directory_cannot_be(tmp_path: Path, env) -> None:
    with (
        running(tmp_path, env),
        pytest.raises(ConfigError, match="another process"),
        running(tmp_path, env),
    ):
        pass


def test_two_monitors_of_one_folder_cannot_be(tmp_path: Path, env) -> None:
    """Each would take up, and throw away, the snapshots of the other."""
    folder = tmp_path / "snapshots"
    with (
        running(tmp_path / "one", env, folder=folder),
        pytest.raises(ConfigError, match="--folder: another PV monitor writes to"),
        running(tmp_path / "two", env, folder=folder),
    ):
        pass
    with running(tmp_path / "two", env, folder=folder):
        pass  # the first has ended


def outage(tmp_path: Path, server: MariaDB, seconds: float, rate: float) -> None:
    """Events go on while the database is away; afterwards all are there, in their order."""
    env = server.env()
    talker = Talker()
    names = iter(f"N:{n:05d}".encode() for n in range(100_000))
    with running(tmp_path, env) as monitor:

        def one() -> None:
            tell(monitor, talker, answers=[(next(names), IOC, 5064)])

        for _ in range(5):
            one()
        wait_until(lambda: monitor.status()["counters"]["ioc_events_waiting"] == 0)
        server.kill()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            one()
            time.sleep(rate)
        wait_until(lambda: monitor.status()["troubles"])
        assert monitor.status()["counters"]["ioc_events_waiting"] > 0
        server.start()
        one()
        wait_until(lambda: monitor.status()["counters"]["ioc_events_waiting"] == 0, 30)
        told = list(monitor.told)
        status = monitor.status()
        assert status["unaccounted"] == {}
        assert status["counters"]["ioc_events_stored"] == len(told)
    assert [(e.time, e.kind) for e in stored(env)] == [(e.time, e.kind) for e in told]


def test_events_outlive_an_outage_of_the_database(tmp_path: Path, mariadb_private) -> None:
    outage(tmp_path, mariadb_private, 2.0, 0.02)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_events_outlive_five_minutes_without_the_database(tmp_path: Path, mariadb_private) -> None:
    outage(tmp_path, mariadb_private, 300.0, 0.05)


def test_it_starts_without_its_database_and_works_on(tmp_path: Path, mariadb_private) -> None:
    server = mariadb_private
    env = server.env()
    talker = Talker()
    with running(tmp_path, env) as monitor:
        tell(monitor, talker, answers=[(b"A:ONE", IOC, 5064)], beacons=[(IOC, 5064, 500)])
        monitor.book.expect("10.0.0.1", "ann", time.time(), ports=["CA:5064", "CA:5070"])
        wait_until(lambda: monitor.status()["counters"]["ioc_events_waiting"] == 0)
    server.kill()
    again = Talker(boot="again")
    with running(tmp_path, env) as monitor:
        assert found(monitor, state="ONLINE") == ["A:ONE"]
        (row,) = monitor.queries.hosts(Paging())["rows"]
        assert row["expected_ports"] == ["CA:5064", "CA:5070"]
        assert "notes_missing" in monitor.queries.hosts(Paging())
        assert monitor.queries.pv_info("A:ONE")["events_missing"]
        tell(monitor, again, answers=[(b"A:TWO", IOC, 5064)], beacons=[(IOC, 5064, 501)])
        assert kinds(monitor) == ["FOUND"]
        server.start()
        wait_until(lambda: monitor.status()["counters"]["ioc_events_waiting"] == 0, 30)
    names = [event.name for event in stored(env) if isinstance(event, PvEvent)]
    assert names == [b"A:ONE", b"A:TWO"]
