"""Complete files of readouts on their way into the files table: spool and registrar.

Wired to a :class:`.SlowSignalStream` with ``on_finished=register.finished`` and
``on_settled=register.settled``. While the database is away the files wait in the spool, on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from socs.counters import CONSERVATION, FILES, Counters, imbalances
from socs.dataroots import DataRoots
from socs.db.engine import Database
from socs.db.pysmurf_files_manager import ensure_table
from socs.db.registrar import RegisteredFiles, Registrar, RowConstants
from socs.db.spool import DEFAULT_QUOTA, Spool
from socs.slow_signal.store import Completed, Registration

LAST_FILES = 5  # registered files shown in the status
EQUATIONS = CONSERVATION[-1:]  # of files


class FileRegister:
    """Registers complete files, each once.

    Args:
        spool_dir: directory of the spool.
        database: holds the files table.
        roots: directories below which files may be read; that of the writer must be one.
        constants: what goes into every row, and how files are read.
        pub_id: value of that column.
        spool_quota: bytes on disk that the spool may use.
        create_table: create the files table if it is missing.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: a setting is wrong; the message names it.
        StorageUnavailable: the spool's disk refuses.
    """

    def __init__(
        self,
        spool_dir: Path,
        database: Database,
        roots: Sequence[str],
        constants: RowConstants,
        *,
        pub_id: str | None = None,
        spool_quota: int = DEFAULT_QUOTA,
        create_table: bool = True,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.counters = Counters(FILES)
        data_roots = DataRoots(roots)
        self.spool = Spool(spool_dir, quota=spool_quota)
        if self.spool.quarantined:
            report(f"the spool was damaged; it is kept as {self.spool.quarantined}, look at it")
        self._at_start = sum(self.spool.counts().values())
        self._last_files: list[str] = []
        self._registration = Registration(self.spool, pub_id=pub_id)
        self.registrar = Registrar(
            self.spool,
            database,
            data_roots,
            constants,
            counters=self.counters,
            prepare=lambda: ensure_table(database, create=create_table),
            on_registered=self._registered,
            report=report,
        )

    def start(self) -> None:
        """Start registering; before the stream, which may have files at once."""
        self.registrar.start()

    def stop(self, timeout: float = 10.0) -> dict[str, int]:
        """Finish the batch at hand; call it after the stream's. What is left stays in the spool.

        Returns:
            The last :meth:`numbers`.

        Raises:
            StorageUnavailable: the spool's disk does not tell them; all is stopped, though.
        """
        self.registrar.stop(timeout)
        try:
            return self.numbers()
        finally:
            self.spool.close()

    def finished(self, completed: Completed) -> None:
        """Take a complete file; the same one again does nothing.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        if self._registration.finished(completed):
            self.counters.add("files_spooled")

    def settled(self, completed: Completed) -> None:
        """The file will not come again.

        Raises:
            StorageUnavailable: the spool refuses; it is done with the next file.
        """
        self._registration.settled(completed)

    def _registered(self, rows: RegisteredFiles) -> None:
        self._last_files = (self._last_files + [row[0] for row in rows])[-LAST_FILES:]

    def retry_failed(self, cause: str | None = None) -> int:
        """Queue failed files again; how many."""
        return self.spool.retry(cause=cause, now=time.time())

    def discard_failed(self, cause: str) -> int:
        """Forget the files that failed for ``cause``, which then have no row; how many."""
        count = self.spool.discard(cause=cause)
        self.counters.add("files_discarded", count)
        return count

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name (:mod:`socs.counters`)."""
        counts = self.spool.counts()
        return {
            **self.counters.snapshot(),
            "files_pending": counts["queued"],
            "files_waiting": counts["waiting"],
            "files_failed": counts["failed"],
            "files_at_start": self._at_start,
        }

    def troubles(self) -> list[str]:
        """Why files are not being registered; empty when all is well."""
        ended = [] if self.registrar.alive else ["Registrar has stopped by itself"]
        return ended + self.registrar.troubles()

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON)."""
        numbers = self.numbers()
        return {
            "counters": numbers,
            "unaccounted": imbalances(numbers, EQUATIONS),
            "troubles": self.troubles(),
            "backlog": numbers["files_pending"] + numbers["files_waiting"],
            "last_files": self._last_files,
            **self.registrar.status(),
        }
