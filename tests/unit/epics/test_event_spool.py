"""Events on disk: in order, kept over deaths of the process, each known by a name of its own."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from socs.db.engine import Database
from socs.epics.store import tables
from socs.epics.store.event_rows import row_of
from socs.epics.store.event_spool import EventSpool, EventSpoolFull
from socs.epics.store.event_writer import EventWriter
from socs.epics.store.history import select_events
from socs.epics.track.events import HostEvent
from socs.errors import ConfigError, StorageUnavailable


def rows(*numbers: int):
    return [row_of(HostEvent(1000.0 + n, "MISSING", "test", {"n": n}, 7)) for n in numbers]


def times(events) -> list[float]:
    return [event.row.time - 1000 for event in events]


def test_events_come_back_in_order_and_go_when_removed(tmp_path: Path) -> None:
    with EventSpool(tmp_path) as spool:
        spool.append(rows(3, 1, 2), now=5.0)
        first = spool.first(2)
        assert times(first) == [3, 1]
        spool.remove([event.number for event in first])
        assert times(spool.first(9)) == [2]
        assert spool.counts() == {"queued": 1, "refused": 0}


def test_events_of_an_earlier_life_come_first_and_keep_their_names(tmp_path: Path) -> None:
    with EventSpool(tmp_path) as spool:
        spool.append(rows(1), now=5.0)
        (before,) = spool.first(9)
    with EventSpool(tmp_path) as spool:
        spool.append(rows(2), now=5.0)
        assert spool.first(9) == [before]
        spool.remove([before.number])
        (after,) = spool.first(9)
        assert after.life != before.life
        assert after.number > before.number


def test_refused_events_are_kept_aside(tmp_path: Path) -> None:
    with EventSpool(tmp_path) as spool:
        spool.append(rows(1, 2), now=5.0)
        spool.refuse(spool.first(1)[0], "too odd")
        assert times(spool.first(9)) == [2]
    with EventSpool(tmp_path) as spool:
        assert spool.counts() == {"queued": 1, "refused": 1}


def test_quota(tmp_path: Path) -> None:
    with EventSpool(tmp_path, quota=200_000) as spool:
        while spool.size() < 200_000:
            spool.append(rows(*range(100)), now=5.0)
        with pytest.raises(EventSpoolFull, match="quota of 200000"):
            spool.append(rows(1), now=5.0)
        queued = spool.counts()["queued"]
        while events := spool.first(1000):
            spool.remove([event.number for event in events])
        assert queued > 100
        spool.append(rows(1), now=5.0)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with EventSpool(tmp_path), pytest.raises(ConfigError, match="in use"):
        EventSpool(tmp_path)


def test_a_closed_spool_refuses_in_our_words(tmp_path: Path) -> None:
    spool = EventSpool(tmp_path)
    spool.close()
    spool.close()
    with pytest.raises(StorageUnavailable):
        spool.first(1)


def test_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"no database at all" * 1000)
    with EventSpool(tmp_path) as spool:
        assert spool.quarantined is not None
        spool.append(rows(1), now=5.0)
        assert times(spool.first(9)) == [1]


class Crashes(RuleBasedStateMachine):
    """Death at every point: before and after COMMIT, before and after the spool was trimmed.

    The thread of the writer is not started; its steps are taken here.
    """

    copies = Bundle("copies")

    def __init__(self) -> None:
        super().__init__()
        import tempfile  # noqa: PLC0415

        self.directory = Path(tempfile.mkdtemp())
        self.database = Database({"SOCS_DATA_DIR": str(self.directory / "data")})
        tables.ensure_tables(self.database)
        self.put: list[float] = []
        self.lives = 0
        self.live()

    def live(self) -> None:
        self.writer = EventWriter(self.directory / f"spool{self.lives}", self.database)

    def die(self) -> None:
        self.writer.spool.close()

    @rule(count=st.integers(1, 5))
    def put_events(self, count: int) -> None:
        fresh = [float(len(self.put) + n) for n in range(count)]
        self.writer.put([HostEvent(t, "MISSING", "c", {}, 7) for t in fresh], now=1.0)
        self.put += fresh

    @rule()
    def die_and_live(self) -> None:
        self.die()
        self.live()

    @rule(limit=st.integers(1, 4))
    def store(self, limit: int) -> None:
        if events := self.writer.spool.first(limit):
            self.writer._store(events)

    @rule(limit=st.integers(1, 4))
    def die_after_commit(self, limit: int) -> None:
        if events := self.writer.spool.first(limit):
            already = self.writer._stored(events)
            if not already:
                self.writer._insert(events)
        self.die_and_live()

    @rule()
    def go_on_with_a_copy(self) -> None:
        """Of the spool as it was at the death; nothing was put since."""
        self.die()
        old, self.lives = self.lives, self.lives + 1
        source = self.directory / f"spool{old}"
        shutil.copytree(source, self.directory / f"spool{self.lives}")
        self.live()

    @invariant()
    def what_is_stored_is_the_beginning_of_what_was_put(self) -> None:
        stored = select_events(self.database, most=1000).events[::-1]
        assert [each.event.time for each in stored] == self.put[: len(stored)]
        ids = [each.id for each in stored]
        assert ids == sorted(ids)

    def teardown(self) -> None:
        while events := self.writer.spool.first(100):
            self.writer._store(events)
        self.what_is_stored_is_the_beginning_of_what_was_put()
        assert len(select_events(self.database, most=1000).events) == len(self.put)
        with self.database.read() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM socs_epics_logs_v1").scalar()
        assert count == len(self.put)
        self.die()
        self.database.close()
        shutil.rmtree(self.directory)


Crashes.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestCrashes = Crashes.TestCase


def test_disk_that_refuses_delays_events_and_drops_are_counted(tmp_path: Path, monkeypatch) -> None:
    database = Database({"SOCS_DATA_DIR": str(tmp_path / "data")})
    tables.ensure_tables(database)
    writer = EventWriter(tmp_path / "spool", database)
    monkeypatch.setattr(writer, "_settings", type(writer._settings)(most_held=3))
    append = writer.spool.append

    def refuse(rows, now) -> None:
        raise StorageUnavailable("no space left")

    monkeypatch.setattr(writer.spool, "append", refuse)
    writer.put([HostEvent(float(n), "RUNNING", "c") for n in range(5)], now=1.0)
    assert writer.troubles() == ["no space left"]
    assert writer.numbers()["ioc_events_waiting"] == 3
    assert writer.counters["ioc_events_dropped_disk"] == 2
    monkeypatch.setattr(writer.spool, "append", append)
    writer.put([HostEvent(9.0, "RUNNING", "c")], now=2.0)
    assert writer.troubles() == []
    assert [event.row.time for event in writer.spool.first(9)] == [0, 1, 2, 9]
    writer.close()
    database.close()


def test_refused_row_does_not_hold_up_the_others(tmp_path: Path, monkeypatch) -> None:
    database = Database({"SOCS_DATA_DIR": str(tmp_path / "data")})
    tables.ensure_tables(database)
    with database.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER poison BEFORE INSERT ON socs_epics_events_v1 WHEN NEW.time = 3"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )
    with EventWriter(tmp_path / "spool", database) as writer:
        writer.put([HostEvent(float(n), "RUNNING", "c") for n in range(7)], now=1.0)
        writer._store(writer.spool.first(100))
        stored = select_events(database).events
        assert [each.event.time for each in stored] == [6, 5, 4, 2, 1, 0]
        assert writer.counters["ioc_events_refused"] == 1
        assert "1 events in" in writer.troubles()[0]
    database.close()


def test_the_spool_is_flushed_to_the_disk(tmp_path: Path) -> None:
    with EventSpool(tmp_path) as spool:
        assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert isinstance(spool._db, sqlite3.Connection)
