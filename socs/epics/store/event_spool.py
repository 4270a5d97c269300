"""Events on disk, in order, until the database has them: a SQLite file in WAL mode.

An event is known by the spool's *life*, which is a new one each time the file is opened, and by
its number. Both stand in its row, and no two rows may have the same; so an event that is sent
again is not stored again, whatever became of the first attempt. As no life is lived twice, this
holds for copies of the file, too.

All methods may be called from any thread. They raise :class:`StorageUnavailable` when the disk
refuses; nothing was changed then.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import msgspec

from socs.closing import Closing
from socs.db.spool_file import SpoolFile
from socs.epics.store.event_rows import EventRow
from socs.errors import StorageUnavailable

DEFAULT_QUOTA = 1 << 28  # bytes on disk; about half a million events
QUEUED, REFUSED = 0, 2


class SpooledEvent(msgspec.Struct, frozen=True):
    """An event as the spool has it; ``life`` and ``number`` are its own for all time."""

    number: int
    life: str
    row: EventRow


class EventSpoolFull(StorageUnavailable):
    """The quota is reached; nothing was taken."""


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    life: str
    row: EventRow


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Entry).decode


class EventSpool(Closing):
    """The events in ``directory``; one process at a time.

    Args:
        directory: made if it is missing.
        quota: bytes on disk beyond which nothing more is taken.

    Attributes:
        quarantined: where a damaged predecessor was put, or None.

    Raises:
        ConfigError: the directory cannot be used, or another process has it.
    """

    def __init__(self, directory: Path, *, quota: int = DEFAULT_QUOTA) -> None:
        self.path = Path(directory) / "events.sqlite"
        self._quota = quota
        self._mutex = threading.RLock()
        self._file = SpoolFile(self.path)
        self._db = self._file.db
        self.quarantined = self._file.quarantined
        self._life = uuid.uuid4().hex
        self._counts = {QUEUED: 0, REFUSED: 0}
        self._counts |= dict(self._db.execute("SELECT state, count(*) FROM entries GROUP BY 1"))

    def close(self) -> None:
        with self._mutex:
            if self._file is not None:
                self._file.close()
                self._file = None  # type: ignore[assignment]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StorageUnavailable(f"events' spool {self.path}: {error}") from error

    def append(self, rows: Sequence[EventRow], now: float) -> None:
        """Put ``rows`` on disk, all or none; they are there when this returns.

        Raises:
            EventSpoolFull: the quota is reached.
        """
        entries = [(now, _encode(_Entry(self._life, row))) for row in rows]
        with self._mutex:
            if entries and self.size() >= self._quota:
                raise EventSpoolFull(
                    f"events' spool {self.path}: its quota of {self._quota} bytes is reached; "
                    "bring the database back"
                )
            with self._transaction() as db:
                db.executemany("INSERT INTO entries (received, file) VALUES (?, ?)", entries)
            self._counts[QUEUED] += len(entries)

    def first(self, limit: int) -> list[SpooledEvent]:
        """The events that came first, up to ``limit``, all of one life."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT id, file FROM entries WHERE state = ? ORDER BY id LIMIT ?",
                (QUEUED, limit),
            ).fetchall()
        found = [(number, _decode(blob)) for number, blob in rows]
        same = takewhile(lambda each: each[1].life == found[0][1].life, found)
        return [SpooledEvent(number, entry.life, entry.row) for number, entry in same]

    def waiting(self, limit: int) -> list[EventRow]:
        """The events that came first, up to ``limit``, of any life."""
        query = "SELECT file FROM entries WHERE state = ? ORDER BY id LIMIT ?"
        with self._transaction() as db:
            rows = db.execute(query, (QUEUED, limit)).fetchall()
        return [_decode(blob).row for (blob,) in rows]

    def remove(self, numbers: Iterable[int]) -> int:
        """The database has these: forget them; how many were there."""
        keys = [(number,) for number in numbers]
        with self._mutex:
            with self._transaction() as db:
                db.executemany("DELETE FROM entries WHERE id = ?", keys)
            self._counts[QUEUED] -= len(keys)
        return len(keys)

    def refuse(self, event: SpooledEvent, reason: str) -> None:
        """The database will never take this one: keep it aside, for a person to look at."""
        with self._mutex:
            with self._transaction() as db:
                db.execute(
                    "UPDATE entries SET state = ?, detail = ? WHERE id = ?",
                    (REFUSED, reason, event.number),
                )
            self._counts[QUEUED] -= 1
            self._counts[REFUSED] += 1

    def counts(self) -> dict[str, int]:
        """``{"queued": n, "refused": n}``"""
        return {"queued": self._counts[QUEUED], "refused": self._counts[REFUSED]}

    def size(self) -> int:
        """Bytes that are in use on disk, those that are free within the file left out."""
        with self._mutex:
            try:
                (pages,) = self._db.execute("PRAGMA page_count").fetchone()
                (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
                (page,) = self._db.execute("PRAGMA page_size").fetchone()
            except sqlite3.Error as error:
                raise StorageUnavailable(f"events' spool {self.path}: {error}") from error
        return int((pages - free) * page)
