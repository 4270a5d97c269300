"""Files that this program writes, each registered once, whatever crashes meanwhile.

A file that was handed over may come again after a crash, as long as something beside it, its
*marker*, says that this is not settled: a journal, an unfinished name. So the spool notes the file
together with its entry, in one transaction, until the marker is gone.

:class:`FinishedFiles` puts files into a spool; :class:`FileRegister` has the spool, and the
registrar that empties it, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from socs.counters import CONSERVATION, FILES, Counters, imbalances
from socs.dataroots import DataRoots
from socs.db.engine import Database
from socs.db.pysmurf_files_manager import ensure_table
from socs.db.registrar import RegisteredFiles, Registrar, RowConstants
from socs.db.spool import DEFAULT_QUOTA, FileEntry, Spool
from socs.errors import StorageUnavailable

LAST_FILES = 5  # registered files shown in the status
EQUATIONS = CONSERVATION[-1:]  # of files


class FileKind(NamedTuple):
    """What the files of one writer are.

    Attributes:
        action: value of that column of the table.
        format: value of that column of the table.
        marker_of: where the marker of a file is while the file may come again.
    """

    action: str
    format: str
    marker_of: Callable[[Path], Path]


class FinishedFile(NamedTuple):
    """A file that is complete.

    Attributes:
        path: its final name, absolute.
        id: what tells it from all other files of its kind, also after a crash.
        time: UTC of what is first in it, UNIX time [s].
    """

    path: str
    id: str
    time: float


class FinishedFiles:
    """Puts complete files of one kind into ``spool``.

    Args:
        spool: from where files get into the table.
        kind: of the files.
        pub_id: value of that column of the table.
        clock: gives the UNIX time [s].
    """

    def __init__(
        self,
        spool: Spool,
        kind: FileKind,
        *,
        pub_id: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool, self._kind = spool, kind
        self._pub_id, self._clock = pub_id, clock

    def finished(self, file: FinishedFile) -> bool:
        """Put ``file`` into the spool, unless that was done before; True if it was put.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        key = f"{self._kind.action}/{file.id}"
        if key in self._spool.streams():
            return False
        entry = FileEntry(
            path=file.path,
            action=self._kind.action,
            timestamp=file.time,
            action_timestamp=int(file.time),
            format=self._kind.format,
            pub_id=self._pub_id,
        )
        note = os.fsencode(file.path)
        self._spool.append([entry], now=self._clock(), streams={key: note})
        return True

    def settled(self) -> None:
        """The marker of a file is gone: forget all files of which that is so.

        Raises:
            StorageUnavailable: the spool refuses; it is done with the next file.
        """
        gone = {
            key: b""
            for key, path in self._spool.streams().items()
            if key.startswith(f"{self._kind.action}/")
            and not self._kind.marker_of(Path(os.fsdecode(path))).exists()
        }
        self._spool.append([], now=self._clock(), streams=gone)


class FileRegister:
    """Registers complete files of one kind, each once; they wait on disk for the database.

    Args:
        kind: of the files.
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
        kind: FileKind,
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
        self._started = False
        self._files = FinishedFiles(self.spool, kind, pub_id=pub_id)
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
        """Start registering; before the writer, which may have files at once."""
        self._started = True
        self.registrar.start()

    def stop(self, timeout: float = 10.0) -> dict[str, int]:
        """Finish the batch at hand; call it after the writer's. What is left stays in the spool.

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

    def close(self) -> None:
        """Stop as :meth:`stop` does, on the way out of another error: of its own it tells none."""
        with suppress(StorageUnavailable):
            self.stop()

    def take(self, file: FinishedFile) -> None:
        """Take a complete file; the same one again does nothing.

        Raises:
            StorageUnavailable: the spool refuses; call again.
        """
        if self._files.finished(file):
            self.counters.add("files_spooled")

    def settled(self, file: object = None) -> None:
        """The file will not come again.

        Raises:
            StorageUnavailable: the spool refuses; it is done with the next file.
        """
        self._files.settled()

    def _registered(self, rows: RegisteredFiles) -> None:
        self._last_files = (self._last_files + [row[0] for row in rows])[-LAST_FILES:]

    def retry_failed(self, cause: str | None = None) -> int:
        """Queue failed files again; how many."""
        return self.spool.retry(cause=cause, now=time.time())

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
        ended = self._started and not self.registrar.alive
        by_itself = ["Registrar has stopped by itself"] if ended else []
        return by_itself + self.registrar.troubles()

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

    def status_with(self, writer: Mapping[str, Any]) -> dict[str, Any]:
        """The :meth:`status` of the files and that of their writer, in one."""
        files = self.status()
        return {
            **files,
            **writer,
            "counters": {**writer["counters"], **files["counters"]},
            "unaccounted": {**writer["unaccounted"], **files["unaccounted"]},
            "troubles": [*writer["troubles"], *files["troubles"]],
        }
