"""Events, logs, groups and expectations in both kinds of database, over outages and deaths."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from socs.db.engine import Database
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode import ca
from socs.epics.store import groups, hosts, logs, purge, tables
from socs.epics.store.event_writer import EventWriter, WriterSettings
from socs.epics.store.history import Place, Wanted, select_events
from socs.epics.track.events import CA, PVA, ApplicationEvent, HostEvent, PvEvent, ServerEvent
from socs.epics.track.hosts import Expected
from socs.errors import ConfigError, Malformed, NotAllowed, StorageUnavailable
from socs.testing import wait_until
from socs.testing.cutter import Moment, TcpCutter, is_mysql_commit
from socs.testing.mariadb import MariaDB
from tests.epics_packets import batch, request
from tests.epics_requests import searched_ca

A, B, C = 0x0A000001, 0x0A000002, 0xFFFFFFFE
T = 1_800_000_000.123456


@pytest.fixture
def database(files_env) -> Iterator[Database]:
    made = Database(files_env, statement_timeout=5)
    tables.ensure_tables(made)
    yield made
    made.close()


def told(*times: float, kind: str = "MISSING") -> list[HostEvent]:
    """Events that come with an entry of the log, unless they are of another kind."""
    return [HostEvent(time, kind, "c", {"n": time}, A) for time in times]


def stored(database: Database) -> list[float]:
    """Times of all events, in the order in which they came."""
    found, place = [], None
    while True:
        page = select_events(database, most=1000, after=place)
        found += page.events
        place = page.next
        if place is None:
            return [each.event.time for each in sorted(found)]


# -- tables and reads -----------------------------------------------------------------------------


def test_tables_are_made_once(files_env) -> None:
    database = Database(files_env)
    with pytest.raises(StorageUnavailable, match="lacks socs_epics_events_v1"):
        tables.ensure_tables(database, create=False)
    assert tables.ensure_tables(database)
    assert not tables.ensure_tables(database)
    assert not tables.ensure_tables(database, create=False)
    database.close()


def test_events_come_back_as_they_were(database, tmp_path: Path) -> None:
    events = [
        ServerEvent(T, "NEW", "c", {"id": 0, "heard": T}, CA, C, 65535),
        PvEvent(T + 1, "LOST", "c", {"x": "ü'\"%s\\"}, 5, b"A:\xff\x00\x01'%s", PVA, A, 5075),
        ApplicationEvent(T + 2, "RESTARTED", "c", {"title": "t"}, "json:1", A, 5064),
        HostEvent(T + 3, "MISSING", "c", {"missing": "x"}, B),
    ]
    with EventWriter(tmp_path / "spool", database) as writer:
        writer.start()
        writer.put(events, now=T)
        wait_until(lambda: writer.counters["ioc_events_stored"] == 4)
        assert writer.numbers()["ioc_events_waiting"] == 0
        assert writer.troubles() == []
    page = select_events(database)
    assert [each.event for each in page.events] == events[::-1]
    assert page.next is None

    def found(**wanted: object) -> list[float]:
        return [each.event.time - T for each in select_events(database, Wanted(**wanted)).events]

    assert found(subject="pv") == [1]
    assert found(kinds=("NEW", "LOST")) == [1, 0]
    assert found(kinds=("NEW",), subject="pv") == []
    assert found(host=A) == [2, 1]
    assert found(host=A, port=5064) == [2]
    assert found(name=b"A:\xff\x00\x01'%s") == [1]
    assert found(name=b"a:\xff\x00\x01'%s") == []
    assert found(name=b"json:1") == [2]
    assert found(since=T + 1, until=T + 3) == [2, 1]
    texts = [(entry.kind, entry.text) for entry in logs.unacknowledged(database)]
    assert texts == [
        ("MISSING", "MISSING 10.0.0.2: c"),
        ("RESTARTED", "RESTARTED t on 10.0.0.1: c"),
        ("NEW", "NEW CA server 255.255.255.254:65535: c"),
    ]


def test_pages_hold_each_event_once_even_if_times_are_the_same(database, tmp_path: Path) -> None:
    times = [T, T, T, T + 0.000001, T + 5, T + 5, T - 3]
    with EventWriter(tmp_path / "spool", database) as writer:
        writer.start()
        writer.put(told(*times), now=T)
        wait_until(lambda: writer.counters["ioc_events_stored"] == len(times))
    found, place, pages = [], None, 0
    while pages == 0 or place is not None:
        page = select_events(database, Wanted(host=A), most=2, after=place)
        found += page.events
        place, pages = page.next, pages + 1
    assert [each.event.time for each in found] == sorted(times, reverse=True)
    assert len({each.id for each in found}) == len(times)
    assert pages == 4
    assert select_events(database, after=Place(T - 3, 0)).events == []


def test_questions_that_make_no_sense(database) -> None:
    with pytest.raises(Malformed, match="most"):
        select_events(database, most=0)
    with pytest.raises(Malformed, match="most"):
        logs.select_logs(database, most=10**6)
    with pytest.raises(Malformed, match="subject"):
        select_events(database, Wanted(subject="gateway"))


def test_notes_and_acknowledging(database) -> None:
    first = logs.add_note(database, A, " power off; '--\" ünï ", "me", T, needs_ack=True)
    second = logs.add_note(database, A, "seen", "you", T + 1)
    third = logs.add_note(database, B, "again", "you", T + 2, needs_ack=True)
    assert [entry.id for entry in logs.select_logs(database)] == [third, second, first]
    assert [entry.id for entry in logs.select_logs(database, A, before=second)] == [first]
    (entry,) = logs.unacknowledged(database, A)
    assert (entry.text, entry.author, entry.kind) == ("power off; '--\" ünï", "me", "NOTE")
    assert logs.count_unacknowledged(database) == {A: 1, B: 1}
    assert logs.acknowledge(database, "boss", T + 9, ids=[first, second]) == 1
    assert logs.acknowledge(database, "other", T + 10, ids=[first]) == 0
    (entry,) = logs.select_logs(database, A, before=second)
    assert (entry.acknowledged_by, entry.acknowledged_at) == ("boss", T + 9)
    assert logs.acknowledge(database, "boss", T + 1, host=B) == 0, "it came later"
    assert logs.acknowledge(database, "boss", T + 2, host=B) == 1
    ahead = logs.add_note(database, B, "of a clock that was ahead", "me", T + 9000, needs_ack=True)
    assert logs.acknowledge(database, "boss", T + 3, ids=[ahead]) == 1
    assert logs.unacknowledged(database) == []
    for wrong in ({}, {"ids": [1], "host": A}):
        with pytest.raises(Malformed, match="either"):
            logs.acknowledge(database, "boss", T, **wrong)
    with pytest.raises(Malformed, match="text: is empty"):
        logs.add_note(database, A, "  ", "me", T)
    with pytest.raises(Malformed, match="no IPv4"):
        logs.add_note(database, 2**32, "x", "me", T)
    with pytest.raises(Malformed, match="by"):
        logs.acknowledge(database, "", T, host=A)


def test_groups(database) -> None:
    groups.create_group(database, "vacuum", "pumps", [A, B])
    groups.create_group(database, "rf")
    with pytest.raises(NotAllowed, match="'rf' already"):
        groups.create_group(database, "rf")
    groups.edit_group(database, "rf", new_name="RF", description="d", add=[A, C])
    groups.edit_group(database, "vacuum", add=[A], remove=[B])
    assert groups.select_groups(database) == [
        groups.Group("RF", "d", frozenset([A, C])),
        groups.Group("vacuum", "pumps", frozenset([A])),
    ]
    assert [group.name for group in groups.select_groups(database, C)] == ["RF"]
    with pytest.raises(NotAllowed, match="'RF' already"):
        groups.edit_group(database, "vacuum", new_name="RF")
    groups.delete_group(database, "RF")
    for act in (groups.delete_group, groups.edit_group):
        with pytest.raises(NotAllowed, match="no group 'RF'"):
            act(database, "RF")
    assert [group.name for group in groups.select_groups(database)] == ["vacuum"]
    with pytest.raises(Malformed, match="over 64"):
        groups.create_group(database, "x" * 65)


def test_what_is_expected_of_hosts(database) -> None:
    hosts.expect(database, A, "me", T, applications=["json:1"], ports=[(CA, 5064)])
    hosts.expect(database, A, "me", T, applications=["alive:ä"], ignored=["json:1", (PVA, 5075)])
    hosts.maintain(database, B, "me", T, maintenance=True)
    hosts.describe(database, B, "you", T + 1, "gate valve")
    hosts.maintain(database, C, "me", T, maintenance=False)
    assert hosts.select_expected(database) == {
        A: Expected(frozenset(["alive:ä"]), frozenset(), frozenset(["json:1", (PVA, 5075)])),
        B: Expected(maintenance=True),
    }
    assert hosts.select_notes(database)[B] == ("gate valve", True, "you", T + 1)
    hosts.expect(database, A, "me", T)
    hosts.maintain(database, B, "me", T, maintenance=False)
    assert hosts.select_expected(database) == {}
    with pytest.raises(Malformed, match="both"):
        hosts.expect(database, A, "me", T, applications=["json:1"], ignored=["json:1"])
    with pytest.raises(Malformed, match="no protocol and port"):
        hosts.expect(database, A, "me", T, ports=[(3, 5064)])
    with pytest.raises(Malformed, match="no key"):
        hosts.expect(database, A, "me", T, applications=["port:1:5064"])


def test_old_rows_are_purged(database, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(purge, "PIECE", 3)
    with EventWriter(tmp_path / "spool", database) as writer:
        writer.start()
        writer.put(told(*range(1, 11)), now=T)
        wait_until(lambda: writer.counters["ioc_events_stored"] == 10)
    logs.acknowledge(database, "me", 4.0, host=A)
    ages = purge.PurgeAges(events=92.0, logs=92.0)
    assert purge.purge_tables(database, ages, 100.0) == {"events": 7, "logs": 4}
    assert stored(database) == [8, 9, 10]
    assert len(logs.unacknowledged(database)) == 6, "old ones among them"
    assert len(logs.select_logs(database)) == 6


def test_idle_names_and_sources_are_forgotten() -> None:
    inventory = Inventory(InventoryLimits(names=10), secret=1)
    for now, name in ((T, b"OLD:PV"), (T + 50, b"NEW:PV")):
        arrived = batch([(f"10.0.0.{len(name)}", int(now - T) + 1, request(name))], now)
        searched_ca(inventory, arrived, ca.decode(arrived))
    for before, gone in ((T, 0), (T + 40, 1)):
        idle = inventory.idle(before)
        inventory.forget(idle)
        assert (len(idle), inventory.sources.forget(before)) == (gone, gone)
    assert inventory.names.names(np.flatnonzero(inventory.names.known)) == [b"NEW:PV"]
    with pytest.raises(ConfigError, match="logs"):
        purge.PurgeAges(logs=0.0)


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(since=1.0), "events_v1_time"),
        (Wanted(subject="pv", kinds=("LOST",)), "events_v1_kind"),
        (Wanted(host=A), "events_v1_host"),
        (Wanted(name=b"x"), "events_v1_name"),
    ],
    ids=["time", "kind", "host", "name"],
)
def test_pages_are_found_by_an_index(tmp_path: Path, wanted: Wanted, index: str) -> None:
    database = Database({"SOCS_DATA_DIR": str(tmp_path)})
    tables.ensure_tables(database)
    asked: list[tuple[str, object]] = []
    sa.event.listen(
        database.engine,
        "before_cursor_execute",
        lambda c, cursor, statement, parameters, context, many: asked.append(
            (statement, parameters)
        ),
    )
    select_events(database, wanted, after=Place(T, 5))
    statement, parameters = next(each for each in asked if each[0].startswith("SELECT"))
    with database.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    database.close()
    assert index in str(plan[0])
    assert "SEARCH" in str(plan[0])


# -- outages and deaths ---------------------------------------------------------------------------


def test_database_stopped_and_killed_while_events_come(
    mariadb_private: MariaDB, tmp_path: Path
) -> None:
    server = mariadb_private
    database = Database(server.env(), statement_timeout=2)
    put: list[float] = []

    def put_some(writer: EventWriter) -> None:
        for _ in range(20):
            fresh = [float(len(put) + n) for n in range(25)]
            writer.put(told(*fresh), now=T)
            put.extend(fresh)

    settings = WriterSettings(batch=40)
    lines: list[str] = []
    with EventWriter(tmp_path / "s", database, settings, report=lines.append) as writer:
        writer.start()
        put_some(writer)
        wait_until(lambda: writer.counters["ioc_events_stored"] > 0)
        server.kill()
        put_some(writer)
        wait_until(writer.troubles, 20)
        server.start()
        put_some(writer)
        wait_until(lambda: writer.numbers()["ioc_events_waiting"] == 0, 40)
        server.stop()
        put_some(writer)
        wait_until(writer.troubles, 20)
    assert "events wait on disk" in lines[0]
    with EventWriter(tmp_path / "s", database, settings) as writer:
        assert writer.counters["ioc_events_at_start"] > 0
        server.start()
        writer.start()
        wait_until(lambda: writer.numbers()["ioc_events_waiting"] == 0, 40)
        assert writer.troubles() == []
    assert stored(database) == put
    assert sum(logs.count_unacknowledged(database).values()) == len(put)
    database.close()


def test_database_that_hangs_is_asked_again(mariadb_private: MariaDB, tmp_path: Path) -> None:
    database = Database(mariadb_private.env(), statement_timeout=1)
    with EventWriter(tmp_path / "spool", database) as writer:
        writer.start()
        writer.put(told(0.0), now=T)
        wait_until(lambda: writer.counters["ioc_events_stored"] == 1, 20)
        mariadb_private.pause()
        writer.put(told(*range(1, 100)), now=T)
        wait_until(writer.troubles, 30)
        mariadb_private.resume()
        wait_until(lambda: writer.counters["ioc_events_stored"] == 100, 30)
        wait_until(lambda: writer.troubles() == [])
    assert stored(database) == list(range(100))
    database.close()


@pytest.mark.parametrize("moment", list(Moment))
def test_connection_cut_around_commit(mariadb, tmp_path: Path, moment: Moment) -> None:
    """Nobody learns whether the COMMIT took place; yet each event is there once."""
    env = mariadb.env()
    with TcpCutter((env["MYSQL_HOST"], int(env["MYSQL_PORT"]))) as cutter:
        host, port = cutter.address
        database = Database(env | {"MYSQL_HOST": host, "MYSQL_PORT": str(port)})
        tables.ensure_tables(database)
        with EventWriter(tmp_path / "spool", database) as writer:
            writer._probe_at = float("inf")  # whose transactions would be cut instead
            writer.start()
            for cut in range(4):
                cutter.arm(is_mysql_commit, moment)
                kind = ("MISSING", "RUNNING")[cut % 2]
                writer.put(told(*range(cut * 10, cut * 10 + 10), kind=kind), now=T)
                wait_until(lambda n=cut: writer.counters["ioc_events_stored"] == 10 * n + 10, 20)
                cutter.disarm()
            assert cutter.cuts >= 4
            assert stored(database) == list(range(40))
        database.close()


PUTTING = """
import sys
from pathlib import Path
from socs.db.engine import Database
from socs.epics.store.event_writer import EventWriter, WriterSettings
from socs.epics.track.events import HostEvent
writer = EventWriter(Path(sys.argv[1]), Database(), WriterSettings(batch=7))
writer.start()
for time in range(int(sys.argv[2]), 10**9):
    writer.put([HostEvent(float(time), "MISSING", "c", {}, 1)], now=1.0)
    print(time, flush=True)
"""


def test_process_killed_again_and_again(database, tmp_path: Path) -> None:
    spool, begin = tmp_path / "spool", 0
    for _ in range(3):
        command = [sys.executable, "-c", PUTTING, str(spool), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if int(line) >= begin + 100:
                    break
            process.kill()
            rest = process.stdout.read().split("\n")
        told_last = max([int(line), *(int(text) for text in rest[:-1])])
        with EventWriter(spool, database) as writer:
            writer.start()
            wait_until(lambda w=writer: w.numbers()["ioc_events_waiting"] == 0, 20)
        present = stored(database)
        assert present == list(range(len(present)))
        assert told_last < len(present) <= told_last + 2  # it may have died before it told
        begin = len(present)


# -- privileges -----------------------------------------------------------------------------------


def test_privileges_of_the_documentation_are_enough(mariadb, tmp_path: Path) -> None:
    admin = Database(mariadb.env())
    tables.ensure_tables(admin)
    admin.close()
    database = Database(mariadb.create_user("monitor", "SELECT, INSERT, UPDATE, DELETE"))
    with EventWriter(tmp_path / "spool", database, WriterSettings(create_tables=False)) as writer:
        writer.start()
        writer.put(told(1.0), now=T)
        wait_until(lambda: writer.counters["ioc_events_stored"] == 1)
    logs.acknowledge(database, "me", T, host=A)
    groups.create_group(database, "g", hosts=[A])
    groups.delete_group(database, "g")
    hosts.describe(database, A, "me", T, "d")
    assert purge.purge_tables(database, purge.PurgeAges(), T) == {"events": 1, "logs": 1}
    database.close()
