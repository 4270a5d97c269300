"""Numbers about an archive, kept at a cost that grows with what is new, not with the table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from socs.archive.selection import of_archive
from socs.archive.settings import ArchiveSettings
from socs.counters import Counters
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.errors import StorageUnavailable
from socs.problems import printable

PERIOD = 5.0  # s between two looks, usually
SHORTEST_PERIOD = 0.5  # s
SHARE = 0.05  # of the time, at most, that looking may take
FAILED_SHOWN = 20  # failed files in the status
WINDOW = 50_000  # ids looked at in one statement
RECOUNT = 3600.0  # s after which all is counted again: rows may appear with low numbers


class Statistics:
    """What the feed ``archive_stats`` and the gauges tell. Brought up to date by one thread.

    Args:
        settings: which rows count.
        counters: of the archiver.

    Attributes:
        last_file_copied: path in the archive.
        states: numbers of copies by state, without ``archived``.
        failed_files: the newest without a good copy, fit for session data.
        unknown_targets: those without any row, as far as was looked.
        problem: why the database does not tell, or None.
    """

    def __init__(self, settings: ArchiveSettings, counters: Counters) -> None:
        self._targets, self._max_attempts = list(settings.targets), settings.max_copy_attempts
        self._only = of_archive(settings.archive_name)
        self._ours = (files.table.c.instance_id.in_(self._targets), self._only)
        self._counters = counters
        self._look_at = self._looked_at = self._recount_at = 0.0  # monotonic [s]
        self._rest = 0.0  # s until the next look, at least
        self._newest = 0  # id of the newest row counted
        self._files = self._bytes = self._uncopied = 0
        self._finalized_until = 0.0
        self._last_file_added = ""
        self.last_file_copied = ""
        self.failed_files: list[dict[str, Any]] = []
        self.unknown_targets: list[str] = []
        self.states: Mapping[str, int] = {}
        self.problem: str | None = None

    def update(self, database: Database, now: float) -> None:
        """Look again, if it is time to; ``now`` is a monotonic time [s]."""
        if now < self._look_at:
            return
        began = time.monotonic()
        try:
            with database.read() as connection:
                if self._count(connection, now):
                    began = time.monotonic()  # counting all is rare: the next look need not wait
                self._uncopied, earliest = copies.on_their_way(
                    connection, self._targets, self._max_attempts, only=self._only
                )
                self.states = copies.counts(connection, *self._ours)
                self._look_at_failed(connection)
            self.problem = None
        except StorageUnavailable as error:
            self.problem = str(error)
        else:
            self._finalized_until = time.time() if earliest is None else earliest - 1
        self._rest = (time.monotonic() - began) / SHARE
        self._looked_at, self._look_at = now, now + max(PERIOD, self._rest)

    def look_soon(self) -> None:
        """Something has come to its end: look again as soon as that is not too costly."""
        self._look_at = min(self._look_at, self._looked_at + max(SHORTEST_PERIOD, self._rest))

    def _count(self, connection: sa.Connection, now: float) -> bool:
        """Count what is new, or all; true if all."""
        anew = now >= self._recount_at
        first = 0 if anew else self._newest
        newest = connection.execute(sa.select(sa.func.max(files.table.c.id))).scalar() or 0
        number = size = 0
        for start in range(first + 1, newest + 1, WINDOW):  # so that no statement takes long
            window = files.table.c.id.between(start, min(start + WINDOW - 1, newest))
            counted, copied = self._count_window(connection, window, with_sizes=anew)
            number, size = number + counted, size + copied
        if anew:
            self._recount_at = now + RECOUNT
            self._files, self._bytes = number, size - self._counters["bytes_archived"]
        else:
            self._files += number
        if anew or (number and self.unknown_targets):
            self._look_for_targets(connection)
        self._newest = newest
        return anew

    def _count_window(
        self, connection: sa.Connection, window: sa.ColumnElement[bool], *, with_sizes: bool
    ) -> tuple[int, int]:
        """Number of our files in a part of the table, and the bytes of their copies."""
        columns, own = files.table.c, copies.table.c
        query = sa.select(sa.func.count(columns.id), sa.func.max(columns.id))
        number, last = connection.execute(query.where(window, *self._ours)).one()
        if last is not None:
            path = sa.select(columns.path).where(columns.id == last)
            self._last_file_added = connection.execute(path).scalar() or ""
        if not with_sizes:
            return number, 0
        sizes = sa.select(sa.func.coalesce(sa.func.sum(own.size), 0)).join_from(
            files.table, copies.table, own.file_id == columns.id
        )
        return number, int(connection.execute(sizes.where(window, *self._ours)).scalar_one())

    def _look_for_targets(self, connection: sa.Connection) -> None:
        columns = files.table.c
        both = columns.copied.in_((True, False))  # so that the index serves
        self.unknown_targets = [
            target
            for target in self._targets
            if connection.execute(
                sa.select(columns.id).where(both, columns.instance_id == target).limit(1)
            ).scalar()
            is None
        ]

    def _look_at_failed(self, connection: sa.Connection) -> None:
        rows = []
        if self.gauges()["files_failed"]:
            rows = copies.newest_at_rest(connection, *self._ours, limit=FAILED_SHOWN)
        self.failed_files = [
            {
                "id": row["id"],
                "path": printable(row["path"]),
                "state": row["state"],
                "cause": row["cause"],
                "detail": printable(row["detail"] or ""),
            }
            for row in rows
        ]

    def gauges(self) -> dict[str, int]:
        """Those of :data:`socs.counters.ARCHIVE_NOW` that are looked up in the database."""
        at_rest = (*copies.AT_REST, *copies.DAMAGED)
        failed = sum(self.states.get(state, 0) for state in at_rest)
        return {"files_uncopied": self._uncopied, "files_failed": failed}

    def archive_stats(self) -> dict[str, Any]:
        """What the feed ``archive_stats`` tells; ``finalized_until`` is a UNIX time [s]."""
        gauges = self.gauges()
        return {
            "num_files": self._files,
            "uncopied_files": gauges["files_uncopied"],
            "failed": gauges["files_failed"],
            "bytes": self._bytes + self._counters["bytes_archived"],
            "last_file_added": self._last_file_added,
            "last_file_copied": self.last_file_copied,
            "finalized_until": self._finalized_until,
        }
