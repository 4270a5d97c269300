"""An archiver with all that belongs to it, as the agent runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from socs.archive.archiver import Archiver
from socs.archive.markers import Markers
from socs.archive.moving import Job
from socs.archive.paths import SMURF, TIMESTREAMS
from socs.archive.selection import ALL
from socs.archive.settings import ArchiveSettings
from socs.db import copies
from socs.db.engine import Database
from socs.errors import OurError, PeerError
from socs.problems import Problems

MARKER_PERIOD = 60.0  # s between two looks whether a day is complete


class ArchiveService:
    """An archiver and the markers of complete days, not started yet.

    Args:
        settings: what the site configures.
        database: holds the files table.
        report: called with lines for the log, in any thread.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """

    def __init__(
        self, settings: ArchiveSettings, database: Database, *, report: Callable[[str], None]
    ) -> None:
        storage = settings.storage()
        both = settings.archive_name == ALL
        self._markers = Markers(
            storage,
            database,
            settings.targets,
            settings.max_copy_attempts,
            archive_names=(SMURF, TIMESTREAMS) if both else (settings.archive_name,),
        )
        self.archiver = Archiver(
            settings,
            database,
            storage,
            settings.mover(storage, report),
            prepare=lambda: self._prepare(database, create=settings.create_table),
            on_archived=self._archived,
            report=report,
        )
        self._problems = Problems(report)
        self._report = report
        self._marker_problem: str | None = None
        self._prepared, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._mark, name="archiver-markers", daemon=True)

    def start(self) -> None:
        """Start archiving."""
        self.archiver.start()
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop; what is under way is done again after the next start."""
        self._stopping.set()
        self._prepared.set()
        self.archiver.stop(timeout)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def look_now(self) -> None:
        """Look for files at once, not after the poll interval."""
        self.archiver.look_now()

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON)."""
        status = self.archiver.status()
        told = any(trouble in (self._marker_problem or "") for trouble in status["troubles"])
        if self._marker_problem is not None and not told:
            status["troubles"].append(self._marker_problem)
        return status

    def _prepare(self, database: Database, *, create: bool) -> None:
        copies.ensure_table(database, create=create)
        self._prepared.set()

    def _archived(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._markers.touched(job.place.timecode, job.place.archive_name)

    def _mark(self) -> None:
        self._prepared.wait()
        while not self._stopping.is_set():
            try:
                for marker in self._markers.update(time.time()):
                    self._report(
                        f"timecode {marker.timecode} of {marker.archive_name} is complete: "
                        f"{marker.num_files} files, {marker.not_archived} not archived"
                    )
                self._marker_problem = None
            except (OurError, PeerError) as error:
                self._marker_problem = f"days are not marked as complete: {error}"
            except Exception as error:  # noqa: BLE001  a defect: say so, and go on
                self._marker_problem = f"markers: {type(error).__name__}: {error}"
                self._problems.report("defect", self._marker_problem, time.monotonic())
            # What is not there yet, the tables for one, is tried again before long.
            self._stopping.wait(MARKER_PERIOD if self._marker_problem is None else 5.0)
