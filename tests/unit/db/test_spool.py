"""The durable queue: what was appended is there after any end, and handed out as documented."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from socs.db.spool import LONGEST_WAIT, FileEntry, Spool, SpooledFile, SpoolFull
from socs.errors import ConfigError, StorageUnavailable

NOW = 1_700_000_000.0


def entries(count: int, start: int = 0) -> list[FileEntry]:
    return [FileEntry(path=f"/data/{number}.npy") for number in range(start, start + count)]


def take_all(spool: Spool, now: float = NOW + 10) -> list[SpooledFile]:
    return spool.take(10_000, now=now, received_before=now)


@pytest.fixture
def spool(tmp_path: Path):
    spool = Spool(tmp_path / "spool")
    yield spool
    spool.close()


def reopened(spool: Spool) -> Spool:
    """The spool as the next process finds it."""
    spool.close()
    return Spool(spool.path.parent)


def test_appended_entries_survive_the_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(entries(3), now=NOW, streams={"a": b"state"})
    spool = reopened(spool)
    assert [entry.file.path for entry in take_all(spool)] == [e.path for e in entries(3)]
    assert spool.streams() == {"a": b"state"}
    spool.close()


def test_all_fields_come_back(spool: Spool) -> None:
    file = FileEntry("/d/ü '\n.npy", "take_iv", 1.5, 1, "npy", True, "crate", "4.1")
    spool.append([file], now=NOW)
    assert take_all(spool)[0].file == file


def test_entries_are_handed_out_once(spool: Spool) -> None:
    spool.append(entries(5), now=NOW)
    assert len(spool.take(3, now=NOW + 1, received_before=NOW + 1)) == 3
    assert len(take_all(spool)) == 2
    assert take_all(spool) == []
    spool.rewind()
    assert len(take_all(spool)) == 5


def test_entries_settle_before_they_are_handed_out(spool: Spool) -> None:
    spool.append(entries(1), now=NOW)
    assert spool.take(1, now=NOW + 0.4, received_before=NOW - 0.1) == []
    assert spool.next_due(settle=0.5) == NOW + 0.5
    assert len(spool.take(1, now=NOW + 0.5, received_before=NOW)) == 1
    assert spool.next_due(settle=0.5) is None


def test_clock_set_back_holds_nothing_up(spool: Spool) -> None:
    spool.append(entries(2), now=NOW + 3600)
    (first, second) = spool.take(2, now=NOW, received_before=NOW - 0.5)
    spool.postpone([(first, NOW + 3600, "c", ""), (second, NOW + 5, "c", "")])
    assert NOW + 3600 > NOW + LONGEST_WAIT
    assert spool.take(2, now=NOW, received_before=NOW) == [
        SpooledFile(first.id, NOW + 3600, first.file, 1, "c", "")
    ]


def test_finished_batch_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(entries(4), now=NOW)
    taken = take_all(spool)
    batch = spool.begin([taken[0], taken[2], taken[3]])
    spool.finish(batch)
    assert spool.counts() == {"queued": 1, "waiting": 0, "failed": 0}
    spool = reopened(spool)
    assert [entry.file.path for entry in take_all(spool)] == ["/data/1.npy"]
    assert spool.open_batches() == []
    spool.close()


def test_open_batch_survives_with_its_number_and_digest(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(entries(4), now=NOW)
    batch = spool.begin(take_all(spool))
    identity = spool.identity
    spool = reopened(spool)
    assert spool.open_batches() == [batch]
    assert spool.identity == identity
    spool.abandon(batch)
    again = spool.begin(take_all(spool))
    assert again.number == batch.number + 1
    assert again.ids == batch.ids
    spool.close()


def test_digest_tells_other_files_apart(spool: Spool) -> None:
    spool.append(entries(2), now=NOW)
    first, second = take_all(spool)
    assert spool.begin([first]).digest != spool.begin([second]).digest


def test_waiting_entry_comes_again_when_due(spool: Spool) -> None:
    spool.append(entries(1), now=NOW)
    (entry,) = take_all(spool)
    spool.postpone([(entry, NOW + 60, "attempts_missing", "no such file")])
    assert spool.take(1, now=NOW + 59, received_before=NOW) == []
    assert spool.next_due(settle=0) == NOW + 60
    (again,) = spool.take(1, now=NOW + 60, received_before=NOW)
    assert (again.attempts, again.cause) == (1, "attempts_missing")
    assert spool.take(1, now=NOW + 61, received_before=NOW) == []


def test_failed_entry_rests_until_retried(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(entries(2), now=NOW)
    first, second = take_all(spool)
    spool.fail([(first, "attempts_missing", "x"), (second, "attempts_refused", "y")])
    spool = reopened(spool)
    assert take_all(spool) == []
    assert [(e.file.path, e.cause) for e in spool.failed()] == [
        ("/data/1.npy", "attempts_refused"),
        ("/data/0.npy", "attempts_missing"),
    ]
    assert spool.retry(cause="attempts_missing", now=NOW) == 1
    (again,) = take_all(spool)
    assert (again.file.path, again.attempts) == ("/data/0.npy", 0)
    assert spool.counts()["failed"] == 1
    spool.close()


def test_discarded_entry_is_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(entries(3), now=NOW)
    first, second, _ = take_all(spool)
    spool.fail([(first, "attempts_missing", "x"), (second, "attempts_refused", "y")])
    assert spool.discard(cause="attempts_missing") == 1
    assert spool.counts() == {"queued": 1, "waiting": 0, "failed": 1}
    spool = reopened(spool)
    assert spool.counts() == {"queued": 1, "waiting": 0, "failed": 1}
    assert spool.retry(now=NOW) == 1
    spool.close()


def test_quota_refuses_files_but_not_sequence_state(tmp_path: Path) -> None:
    spool = Spool(tmp_path, quota=200_000)
    while spool.size() < spool.quota:
        spool.append(entries(100), now=NOW)
    with pytest.raises(SpoolFull, match="--spool-quota"):
        spool.append(entries(1), now=NOW)
    held = spool.counts()["queued"]
    assert 500 < held < 10_000
    spool.append([], now=NOW, streams={"a": b"1"})
    assert spool.streams() == {"a": b"1"}
    spool.finish(spool.begin(take_all(spool)))
    spool.append(entries(1), now=NOW)
    spool.close()


def test_second_process_is_refused(spool: Spool) -> None:
    with pytest.raises(ConfigError, match="in use by another process; set --data-dir"):
        Spool(spool.path.parent)


def test_directory_that_cannot_be_written_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--data-dir"):
        Spool(tmp_path / "file")


def test_refused_write_changes_nothing(spool: Spool) -> None:
    spool.append(entries(1), now=NOW)
    other = sqlite3.connect(spool.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    spool._db.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(StorageUnavailable, match="locked"):
        spool.append(entries(1, 1), now=NOW)
    other.execute("ROLLBACK")
    other.close()
    spool.append(entries(1, 2), now=NOW)
    assert [entry.file.path for entry in take_all(spool)] == ["/data/0.npy", "/data/2.npy"]


def test_waiting_entries_are_found_by_index(spool: Spool) -> None:
    """A backlog of millions must not make each look at the waiting ones a scan."""
    seen: list[str] = []
    spool._db.set_trace_callback(seen.append)
    take_all(spool)
    spool.next_due(settle=0)
    spool.counts()
    spool.failed()
    spool._db.set_trace_callback(None)
    selects = [statement for statement in seen if statement.startswith("SELECT")]
    assert len(selects) >= 5
    for statement in selects:
        plan = " ".join(row[3] for row in spool._db.execute(f"EXPLAIN QUERY PLAN {statement}"))
        assert "SCAN entries" not in plan, statement


def torn(path: Path, seed: int) -> None:
    """What a power failure may leave of the write-ahead log: cut, zeroed, or with a bit flipped."""
    random.seed(seed)
    wal = Path(f"{path}-wal")
    data = bytearray(wal.read_bytes())
    start = random.randrange(len(data) // 2, len(data))
    kind = seed % 3
    if kind == 0:
        del data[start:]
    elif kind == 1:
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    else:
        data[start] ^= 1 << random.randrange(8)
    wal.write_bytes(data)


@pytest.mark.parametrize("seed", range(60))
def test_torn_log_keeps_whole_transactions_before_the_tear(tmp_path: Path, seed: int) -> None:
    spool = Spool(tmp_path / "a")
    for start in range(0, 100, 5):
        spool.append(entries(5, start), now=NOW, streams={"s": str(start).encode()})
    # A copy of the files as they are, as a power failure would leave them.
    copy = tmp_path / "b"
    copy.mkdir()
    for file in (tmp_path / "a").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    spool.close()
    torn(copy / "spool.sqlite", seed)
    found = Spool(copy)
    paths = [entry.file.path for entry in take_all(found)]
    assert found.quarantined is None
    assert len(paths) % 5 == 0
    assert len(paths) >= 40
    assert paths == [entry.path for entry in entries(len(paths))]
    assert found.streams() == {"s": str(len(paths) - 5).encode()}
    found.close()


def test_damaged_file_is_kept_and_replaced(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(entries(1), now=NOW)
    identity = spool.identity
    spool.close()
    spool.path.write_bytes(os.urandom(20_000))
    spool = Spool(tmp_path)
    assert spool.quarantined is not None
    assert spool.quarantined.stat().st_size == 20_000
    assert spool.identity != identity
    assert take_all(spool) == []
    spool.close()


class RefusesCommits:
    """A connection whose next ``refusals`` commits meet a full disk."""

    def __init__(self, db: sqlite3.Connection, refusals: int) -> None:
        self._db, self.refusals = db, refusals

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.refusals:
            self.refusals -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return self._db.execute(statement, *parameters)


def test_refused_commit_changes_no_number(spool: Spool) -> None:
    spool.append(entries(4), now=NOW)
    taken = take_all(spool)
    batch = spool.begin(taken[:2])
    spool._db = RefusesCommits(spool._db, 3)
    with pytest.raises(StorageUnavailable):
        spool.finish(batch)
    with pytest.raises(StorageUnavailable):
        spool.append(entries(1, 9), now=NOW)
    with pytest.raises(StorageUnavailable):
        spool.fail([(taken[3], "c", "")])
    assert spool.counts() == {"queued": 4, "waiting": 0, "failed": 0}
    spool.finish(batch)
    assert spool.counts() == {"queued": 2, "waiting": 0, "failed": 0}


def test_refused_commit_does_not_hand_out_again(spool: Spool) -> None:
    spool.append(entries(1), now=NOW)
    (entry,) = take_all(spool)
    spool.postpone([(entry, NOW, "c", "")])
    (entry,) = take_all(spool)
    spool._db = RefusesCommits(spool._db, 1)
    with pytest.raises(StorageUnavailable):
        spool.postpone([(entry, NOW, "c", "")])
    assert take_all(spool) == []


def test_disk_that_refuses_to_be_read_is_unavailable(spool: Spool, monkeypatch) -> None:
    class Broken:
        def execute(self, *statement: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(spool, "_db", Broken())
    reads = [
        spool.counts,
        spool.size,
        spool.failed,
        spool.streams,
        spool.paths,
        spool.open_batches,
        lambda: spool.identity,
        lambda: spool.next_due(settle=0),
        lambda: take_all(spool),
    ]
    for read in reads:
        with pytest.raises(StorageUnavailable, match="disk I/O error"):
            read()


def test_neither_new_nor_waiting_entries_hold_up_the_others(spool: Spool) -> None:
    spool.append(entries(10), now=NOW)
    spool.postpone([(entry, NOW, "attempts_missing", "") for entry in take_all(spool)])
    spool.append(entries(10, 100), now=NOW)
    attempts = [entry.attempts for entry in spool.take(6, now=NOW + 1, received_before=NOW + 1)]
    assert sorted(attempts) == [0, 0, 0, 1, 1, 1]
    assert len(spool.take(12, now=NOW + 1, received_before=NOW + 1)) == 12
    assert len(take_all(spool)) == 2


def test_entries_at_rest_cost_nothing(spool: Spool) -> None:
    """Many that failed must not be passed over at each look, nor sorted to be shown."""
    spool.append(entries(20_000), now=NOW)
    spool.fail([(entry, "attempts_missing", "") for entry in spool.take(20_000, **LATER)])
    spool.rewind()
    assert spool.take(10, **LATER) == []  # passes over them, once
    assert steps(spool, lambda: spool.take(10, **LATER)) < 100
    assert steps(spool, lambda: spool.next_due(settle=0)) < 100
    assert steps(spool, lambda: spool.failed(10)) < 100
    spool.append(entries(1, 30_000), now=NOW)
    assert [entry.file.path for entry in spool.take(10, **LATER)] == ["/data/30000.npy"]


def test_waiting_entries_cost_nothing_until_they_are_due(spool: Spool) -> None:
    spool.append(entries(20_000), now=NOW)
    spool.postpone([(e, NOW + 60, "attempts_missing", "") for e in spool.take(20_000, **LATER)])
    assert steps(spool, lambda: spool.take(10, **LATER)) < 100
    assert steps(spool, lambda: spool.next_due(settle=0)) < 100


LATER = {"now": NOW + 1, "received_before": NOW + 1}


def steps(spool: Spool, call: Callable[[], object]) -> int:
    """Hundreds of instructions that SQLite's machine needs for ``call``."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    spool._db.set_progress_handler(tick, 100)
    call()
    spool._db.set_progress_handler(None, 0)
    return count
