"""What an archiver asks of the database and tells it, each in a transaction of its own.

A claim whose commit got no answer may have been made or not: it is given back with the next one.
Outcomes are told until the database has answered, however long that takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import TypeVar

import sqlalchemy as sa

from socs.archive.selection import of_archive
from socs.archive.settings import ArchiveSettings
from socs.archive.storage import NOT_PLACED
from socs.counters import Counters
from socs.db import claims, copies
from socs.db.claims import Archived, Failure
from socs.db.engine import Database
from socs.errors import OurError, RowRefused, StorageUnavailable
from socs.problems import printable

T = TypeVar("T")

WAITS = (0.1, 0.5, 1.0, 2.0)  # s between attempts at the database


class Ledger:
    """An archiver's claims and outcomes in ``database``. For one thread.

    Args:
        settings: what a site configures.
        database: holds the files table and that of the copies.
        counters: must know :data:`socs.counters.ARCHIVE`.
        stopping: when it is set, nothing is tried again.
        on_problem: called with why the database does not answer, and with None once it has.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        database: Database,
        *,
        counters: Counters,
        stopping: threading.Event,
        on_problem: Callable[[str | None], object],
    ) -> None:
        self._settings, self._database, self._owner = settings, database, settings.instance_id
        self._counters, self._stopping, self._on_problem = counters, stopping, on_problem
        self._until = 0.0  # end of the last claim, UNIX time [s]
        self._unsure: list[float] = []  # ends of claims of which no answer came
        self._failures = 0  # since the database last answered

    def give_all_back(self) -> None:
        """Give back all claims of this archiver, also those of an earlier life.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        with self._database.begin() as connection:
            claims.prepare(connection, self._owner)
        self._unsure.clear()

    def claim(self, limit: int) -> list[sa.RowMapping]:
        """Claim up to ``limit`` files: their rows.

        Raises:
            AlreadyStored: another archiver was faster; the same at once may work.
            StorageUnavailable: the database does not answer.
        """
        until = self._end_of_claim()
        try:
            with self._database.begin() as connection:
                if self._unsure:
                    claims.give_back(connection, self._owner, self._unsure)
                rows = claims.claim(
                    connection,
                    self._owner,
                    self._settings.targets,
                    limit=limit,
                    now=time.time(),
                    until=until,
                    max_attempts=self._settings.max_copy_attempts,
                    only=of_archive(self._settings.archive_name),
                )
        except StorageUnavailable:
            self._unsure.append(until)
            raise
        self._unsure.clear()
        self._answered()
        return rows

    def renew(self, ids: Collection[int]) -> None:
        """Hold on to the claims on ``ids``.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        with self._database.begin() as connection:
            claims.renew(connection, self._owner, list(ids), self._end_of_claim())
        self._answered()

    def settle(self, archived: list[Archived], failed: list[Failure]) -> set[int]:
        """Write down outcomes, whatever it takes: the ids of those that were still ours.

        Raises:
            StorageUnavailable: the database did not answer, and it is time to stop.
        """
        if not archived and not failed:
            return set()
        now = time.time()
        try:
            return self._until_committed(
                lambda connection: claims.settle(connection, self._owner, archived, failed, now)
            )
        except RowRefused as error:
            if len(archived) + len(failed) > 1:  # one of them; the others shall not suffer
                parts = [self.settle([item], []) for item in archived]
                parts += [self.settle([], [item]) for item in failed]
                return set().union(*parts)
            item = archived[0] if archived else failed[0]
            attempts = self._settings.max_copy_attempts
            refused = Failure(
                item.file_id, copies.FAILED, attempts, NOT_PLACED, printable(str(error))
            )
            return self.settle([], [refused])

    def release(self, ids: Collection[int], *, due: float, detail: str) -> None:
        """Give back the claims on ``ids``, to be tried again when it is ``due`` (UNIX time [s]).

        Raises:
            StorageUnavailable: the database did not answer, and it is time to stop.
        """
        detail = printable(detail, copies.DETAIL_LENGTH)
        self._until_committed(
            lambda connection: claims.release(
                connection, self._owner, ids, due=due, cause="not_tried", detail=detail
            )
        )

    def wait_after(self, error: OurError) -> float:
        """The database failed: make that known; how long to wait before the next attempt [s]."""
        self._counters.add("database_errors", int(isinstance(error, StorageUnavailable)))
        self._on_problem(str(error))
        self._failures += 1
        return WAITS[min(self._failures, len(WAITS)) - 1]

    def _until_committed(self, act: Callable[[sa.Connection], T]) -> T:
        """The result of ``act`` in a transaction, which is repeated while the database is away."""
        while True:
            try:
                with self._database.begin() as connection:
                    result = act(connection)
            except StorageUnavailable as error:
                if self._stopping.wait(self.wait_after(error)):
                    raise
            else:
                self._answered()
                return result

    def _answered(self) -> None:
        if self._failures:
            self._failures = 0
            self._on_problem(None)

    def _end_of_claim(self) -> float:
        """A time that no other claim of this archiver has."""
        self._until = max(time.time() + self._settings.lease, self._until + 1e-3)
        return self._until
