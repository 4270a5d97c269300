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

PERIOD = 5.0  # s between two looks, usually
SHORTEST_PERIOD = 0.5  # s
SHARE = 0.05  # of the time, at most, that looking may take
RECOUNT = 3600.0  # s after which all is counted again: rows may appear with low numbers


class Statistics:
    """What the feed ``archive_stats`` and the gauges tell. Brought up to date by one thread.

    Args:
        settings: which rows count.
        counters: of the archiver.

    Attributes:
        last_file_copied: path in the archive.
        states: numbers of copies by state, without ``archived``.
        problem: why the database does not tell, or None.
    """

    def __init__(self, settings: ArchiveSettings, counters: Counters) -> None:
        self._targets, self._max_attempts = list(settings.targets), settings.max_copy_attempts
        self._only = of_archive(settings.archive_name)
        self._counters = counters
        self._look_at = self._looked_at = self._recount_at = 0.0  # monotonic [s]
        self._rest = 0.0  # s until the next look, at least
        self._newest = 0  # id of the newest row counted
        self._files = self._bytes = self._uncopied = 0
        self._finalized_until = 0.0
        self._last_file_added = ""
        self.last_file_copied = ""
        self.states: Mapping[str, int] = {}
        self.problem: str | None = None

    def update(self, database: Database, now: float, *, at_once: bool = False) -> None:
        """Look again, if it is time to; ``now`` is a monotonic time [s]."""
        if now < self._look_at and not at_once:
            return
        began = time.monotonic()
        try:
            with database.read() as connection:
                self._count(connection, now)
                self._uncopied, earliest = copies.on_their_way(
                    connection, self._targets, self._max_attempts, only=self._only
                )
                self.states = copies.counts(connection)
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

    def _count(self, connection: sa.Connection, now: float) -> None:
        columns = files.table.c
        if now >= self._recount_at:
            self._recount_at = now + RECOUNT
            self._newest = self._files = 0
            total = sa.select(sa.func.coalesce(sa.func.sum(copies.table.c.size), 0))
            bytes_now = int(connection.execute(total).scalar_one())
            self._bytes = bytes_now - self._counters["bytes_archived"]
        newest = connection.execute(sa.select(sa.func.max(columns.id))).scalar() or 0
        fresh = (
            columns.id > self._newest,
            columns.id <= newest,
            columns.instance_id.in_(self._targets),
            self._only,
        )
        number = connection.execute(sa.select(sa.func.count()).where(*fresh)).scalar_one()
        if number:
            last = sa.select(columns.path).where(*fresh).order_by(columns.id.desc()).limit(1)
            self._last_file_added = connection.execute(last).scalar() or ""
        self._files += number
        self._newest = newest

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
