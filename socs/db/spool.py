"""Durable queue in front of the database: a SQLite file in WAL mode, fsynced at each commit.

Life of an entry (the diagram in the documentation is drawn from :data:`STATES`)::

    append -> queued -> (begin .. finish) registered: deleted
                     -> postpone -> waiting -> queued again when due
                     -> fail     -> failed  -> retry -> queued

A *batch* is a numbered set of entries on its way to the database. ``begin`` writes down which
entries it holds before the database sees them, ``finish`` deletes them when it has committed,
``abandon`` gives them back. What a crash leaves behind is one open batch, and the database itself
tells whether it was committed (:mod:`socs.db.batches`).

All methods may be called from any thread. They raise :class:`StorageUnavailable` when the disk
refuses (nothing was changed then).
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import msgspec

from socs.db.spool_file import SpoolFile
from socs.errors import StorageUnavailable

DEFAULT_QUOTA = 1 << 30  # bytes on disk; about 2 million waiting files
LONGEST_WAIT = 60.0  # s until the next attempt; an entry due later was put off by another clock
QUEUED, WAITING, FAILED = 0, 1, 2

# state: (who moves it on, into which states)
STATES = {
    "queued": ("registrar", ("registered", "waiting", "failed")),
    "waiting": ("clock", ("queued",)),
    "failed": ("operator", ("queued",)),
    "registered": ("", ()),
}

# SQLite uses the partial index only where a statement repeats its condition, `state > 0`.
IS_WAITING = f"state > 0 AND state = {WAITING}"
IS_FAILED = f"state > 0 AND state = {FAILED}"
SELECT = "SELECT id, received, file, attempts, cause, detail FROM entries"


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to register: what its announcement said. Times are UNIX times [s]."""

    path: str
    action: str | None = None
    timestamp: float | None = None
    action_timestamp: int | None = None
    format: str | None = None
    plot: bool = False
    pub_id: str | None = None
    pysmurf_version: str | None = None


class SpooledFile(msgspec.Struct, frozen=True):
    """An entry as the spool holds it. ``received`` is a UNIX time [s]."""

    id: int
    received: float
    file: FileEntry
    attempts: int = 0
    cause: str | None = None
    detail: str | None = None


class OpenBatch(msgspec.Struct, frozen=True):
    """A batch whose fate in the database is not known yet."""

    number: int
    ids: list[int]
    digest: str


class SpoolFull(StorageUnavailable):
    """The spool has reached its quota; nothing was taken."""


_encode = msgspec.json.Encoder().encode
_decode_file = msgspec.json.Decoder(FileEntry).decode


class Spool:
    """The queue in ``directory``; one process at a time.

    Args:
        directory: made if it is missing.
        quota: bytes on disk beyond which nothing more is taken.

    Raises:
        ConfigError: the directory cannot be used, or another process has this spool open.
    """

    def __init__(self, directory: Path, *, quota: int = DEFAULT_QUOTA) -> None:
        self.path = Path(directory) / "spool.sqlite"
        self.quota = quota
        self._mutex = threading.RLock()
        self._file = SpoolFile(self.path)
        self._db = self._file.db
        self.quarantined = self._file.quarantined
        self._taken_up_to = 0
        self._handed_out: set[int] = set()  # waiting entries that are being attempted
        (self._total,) = self._db.execute("SELECT count(*) FROM entries").fetchone()
        self.arrived = threading.Event()

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; its errors become ours."""
        with self._mutex:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise StorageUnavailable(f"spool {self.path}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Committed at the end of the block; what is kept in memory changes only after that."""
        with self._alone() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @property
    def identity(self) -> str:
        """What the database knows this spool by (32 hexadecimal digits)."""
        with self._alone() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'spool_id'").fetchone()
        return str(row[0])

    def renew_identity(self) -> None:
        """Take a new identity, because batch numbers of the old one were used by another copy."""
        with self._transaction() as db:
            db.execute("UPDATE meta SET value = ? WHERE key = 'spool_id'", (uuid.uuid4().hex,))

    # -- taking in ------------------------------------------------------------------------------

    def append(
        self,
        files: Sequence[FileEntry],
        *,
        now: float,
        streams: Mapping[str, bytes] | None = None,
    ) -> None:
        """Put ``files`` on disk, and with them the state of sequence tracking, as one unit.

        An empty state in ``streams`` deletes the stream.

        Raises:
            SpoolFull: the quota is reached.
        """
        rows = [(now, _encode(file)) for file in files]
        with self._mutex:
            if rows and self.is_full():
                raise SpoolFull(
                    f"spool {self.path}: its quota of {self.quota} bytes is reached; "
                    "bring the database back, or raise --spool-quota"
                )
            with self._transaction() as db:
                db.executemany("INSERT INTO entries (received, file) VALUES (?, ?)", rows)
                for key, state in (streams or {}).items():
                    if state:
                        db.execute("INSERT OR REPLACE INTO streams VALUES (?, ?)", (key, state))
                    else:
                        db.execute("DELETE FROM streams WHERE key = ?", (key,))
            self._total += len(rows)
        if rows:
            self.arrived.set()

    def streams(self) -> dict[str, bytes]:
        """The saved state of sequence tracking, by stream."""
        with self._alone() as db:
            return dict(db.execute("SELECT key, state FROM streams"))

    # -- handing out ----------------------------------------------------------------------------

    def take(self, limit: int, *, now: float, received_before: float) -> list[SpooledFile]:
        """Up to ``limit`` entries to attempt; each is handed out once.

        An entry comes again after :meth:`postpone`, :meth:`retry`, or a restart of the process.
        Times in the future (the clock was set back) do not hold an entry up.
        """
        with self._alone() as db:
            again = self._due(db, limit, now)
            queued = db.execute(
                f"{SELECT} WHERE id > ? AND state = {QUEUED} ORDER BY id LIMIT ?",
                (self._taken_up_to, limit),
            ).fetchall()
            settled = takewhile(lambda row: not received_before < row[1] <= now, queued)
            fresh = [_spooled(row) for row in settled]
            # Each kind gets half, and what the other leaves.
            again = again[: max(limit - len(fresh), limit // 2)]
            fresh = fresh[: limit - len(again)]
            self._handed_out.update(entry.id for entry in again)
            if fresh:
                self._taken_up_to = fresh[-1].id
            elif not queued:  # do not look at those that are at rest again
                (last,) = db.execute("SELECT max(id) FROM entries").fetchone()
                self._taken_up_to = last or self._taken_up_to
        return again + fresh

    def _due(self, db: sqlite3.Connection, limit: int, now: float) -> list[SpooledFile]:
        """Up to ``limit`` waiting entries that are due and not being attempted."""
        moments = (("due <= ?", now), ("due > ?", now + LONGEST_WAIT))
        rows = [
            row
            for condition, moment in moments
            for row in db.execute(
                f"{SELECT} WHERE {IS_WAITING} AND {condition} ORDER BY due LIMIT ?",
                (moment, limit + len(self._handed_out)),
            )
        ]
        return [_spooled(row) for row in rows if row[0] not in self._handed_out][:limit]

    def rewind(self) -> None:
        """Hand everything out again, as after a restart of the process."""
        with self._mutex:
            self._taken_up_to = 0
            self._handed_out.clear()

    def next_due(self, *, settle: float) -> float | None:
        """UNIX time [s] at which :meth:`take` will have something; None when nothing waits."""
        with self._alone() as db:
            fresh = db.execute(
                f"SELECT received FROM entries WHERE id > ? AND state = {QUEUED}"
                " ORDER BY id LIMIT 1",
                (self._taken_up_to,),
            ).fetchone()
            waiting = db.execute(
                f"SELECT id, due FROM entries WHERE {IS_WAITING} ORDER BY due LIMIT ?",
                (len(self._handed_out) + 1,),
            ).fetchall()
        moments = [due for id, due in waiting if id not in self._handed_out]
        return min(moments + ([fresh[0] + settle] if fresh else []), default=None)

    # -- batches --------------------------------------------------------------------------------

    def begin(self, entries: Sequence[SpooledFile]) -> OpenBatch:
        """Open the next batch and write down that it holds ``entries``."""
        ids = sorted(entry.id for entry in entries)
        text = b"\n".join(_encode(entry.file) for entry in entries)
        digest = hashlib.blake2b(text, digest_size=8).hexdigest()
        with self._transaction() as db:
            (last,) = db.execute(
                "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'last_batch'"
                " UNION ALL SELECT 0 LIMIT 1"
            ).fetchone()
            number = last + 1
            db.execute("INSERT OR REPLACE INTO meta VALUES ('last_batch', ?)", (str(number),))
            packed = msgspec.json.encode(_ranges(ids)).decode()
            db.execute("INSERT INTO batch VALUES (?, ?, ?)", (number, packed, digest))
        return OpenBatch(number, ids, digest)

    def open_batches(self) -> list[OpenBatch]:
        """Batches begun and neither finished nor abandoned: at most one, after a crash."""
        with self._alone() as db:
            rows = db.execute("SELECT number, ids, digest FROM batch ORDER BY number")
            return [OpenBatch(number, _unpacked(ids), digest) for number, ids, digest in rows]

    def finish(self, batch: OpenBatch) -> None:
        """The database has committed ``batch``: its entries are done."""
        with self._mutex:
            with self._transaction() as db:
                for first, last in _ranges(batch.ids):
                    db.execute("DELETE FROM entries WHERE id BETWEEN ? AND ?", (first, last))
                db.execute("DELETE FROM batch WHERE number = ?", (batch.number,))
            self._total -= len(batch.ids)
            self._handed_out.difference_update(batch.ids)

    def abandon(self, batch: OpenBatch) -> None:
        """The database has not committed ``batch`` and never will: its entries are free again."""
        with self._transaction() as db:
            db.execute("DELETE FROM batch WHERE number = ?", (batch.number,))

    # -- entries that cannot be registered ------------------------------------------------------

    def postpone(self, outcomes: Iterable[tuple[SpooledFile, float, str, str]]) -> None:
        """Let entries wait: ``(entry, due, cause, detail)`` each, ``due`` a UNIX time [s]."""
        rows = [(WAITING, due, cause, detail, e.id) for e, due, cause, detail in outcomes]
        self._set_aside(rows)

    def fail(self, outcomes: Iterable[tuple[SpooledFile, str, str]]) -> None:
        """Put entries to rest as failed: ``(entry, cause, detail)`` each."""
        rows = [(FAILED, 0.0, cause, detail, entry.id) for entry, cause, detail in outcomes]
        self._set_aside(rows)

    def _set_aside(self, rows: Sequence[tuple[int, float, str, str, int]]) -> None:
        if rows:
            with self._mutex:
                with self._transaction() as db:
                    db.executemany(
                        "UPDATE entries SET state = ?, due = ?, cause = ?, detail = ?,"
                        " attempts = attempts + 1 WHERE id = ?",
                        rows,
                    )
                self._handed_out.difference_update(row[-1] for row in rows)

    def retry(self, *, cause: str | None = None, now: float) -> int:
        """Queue failed entries again (those with ``cause``, or all); how many."""
        with self._transaction() as db:
            count = db.execute(
                f"UPDATE entries SET state = {WAITING}, due = ?, attempts = 0"
                f" WHERE {IS_FAILED} AND (? IS NULL OR cause = ?)",
                (now, cause, cause),
            ).rowcount
        if count:
            self.arrived.set()
        return count

    def discard(self, *, cause: str) -> int:
        """Delete the failed entries with ``cause``; how many."""
        with self._transaction() as db:
            count = db.execute(
                f"DELETE FROM entries WHERE {IS_FAILED} AND cause = ?", (cause,)
            ).rowcount
        with self._mutex:
            self._total -= count
        return count

    def failed(self, limit: int = 20) -> list[SpooledFile]:
        """The failed entries that came last."""
        with self._alone() as db:
            rows = db.execute(
                # They all have `due` = 0: said here, for then the index has them in this order.
                f"{SELECT} WHERE {IS_FAILED} AND due = 0 ORDER BY id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [_spooled(row) for row in rows]

    # -- numbers --------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Entries by state: ``{"queued": n, "waiting": n, "failed": n}``."""
        with self._alone() as db:
            at_rest = dict(
                db.execute("SELECT state, count(*) FROM entries WHERE state > 0 GROUP BY 1")
            )
            total = self._total
        waiting, failed = at_rest.get(WAITING, 0), at_rest.get(FAILED, 0)
        return {"queued": total - waiting - failed, "waiting": waiting, "failed": failed}

    def paths(self) -> set[str]:
        """Paths of all entries."""
        with self._alone() as db:
            return {_decode_file(row[0]).path for row in db.execute("SELECT file FROM entries")}

    def size(self) -> int:
        """Bytes in use on disk, free pages not counted."""
        with self._alone() as db:
            pages, free, page = (
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return int((pages - free) * page)

    def is_full(self) -> bool:
        """Is the quota reached?"""
        return self.size() >= self.quota

    def close(self) -> None:
        """Close the file and let another process have it."""
        with self._mutex:
            self._file.close()


def _spooled(row: tuple[int, float, bytes, int, str | None, str | None]) -> SpooledFile:
    id, received, file, attempts, cause, detail = row
    return SpooledFile(id, received, _decode_file(file), attempts, cause, detail)


def _ranges(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted numbers as inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for id in ids:
        if ranges and ranges[-1][1] == id - 1:
            ranges[-1] = (ranges[-1][0], id)
        else:
            ranges.append((id, id))
    return ranges


def _unpacked(text: str) -> list[int]:
    return [
        id
        for first, last in msgspec.json.decode(text, type=list[tuple[int, int]])
        for id in range(first, last + 1)
    ]
