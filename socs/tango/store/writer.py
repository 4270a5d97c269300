"""The writer of lines: takes them from any thread, and never holds that up."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from socs.closing import Closing
from socs.counters import TANGO_FILES, Counters
from socs.problems import Problems
from socs.tango.store.series import MIB, LinesSeries, SeriesSettings, Tell

QUEUE_BYTES = 64 * MIB  # some minutes of a large site while the disk is full
PAUSE = 0.2  # s without a look for what is due
LONG = 5.0  # s for one step

log = logging.getLogger(__name__)


class LinesWriter(Closing):
    """Writes lines into files, one after the other, in a thread of its own.

    No method raises for what the disk does: see :meth:`troubles`. While it refuses, lines wait in
    memory as far as there is room, and are written when it does not any more.

    Args:
        settings: of the files.
        queue_bytes: of lines in memory.
        on_finished, on_settled: see :class:`.LinesSeries`; called in the thread.
        counters: must know :data:`socs.counters.TANGO_FILES`; own ones by default.
        report: gets a line for the log when something goes wrong; the default logs a warning.
        clock: gives the UNIX time [s].
    """

    def __init__(
        self,
        settings: SeriesSettings,
        *,
        queue_bytes: int = QUEUE_BYTES,
        on_finished: Tell = lambda file: None,
        on_settled: Tell = lambda file: None,
        counters: Counters | None = None,
        report: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counters = counters or Counters(TANGO_FILES)
        self._folder = settings.folder
        self._series = LinesSeries(
            settings,
            counters=self.counters,
            on_finished=on_finished,
            on_settled=on_settled,
            problems=Problems(report),
            clock=clock,
        )
        self._room = queue_bytes
        self._queue: deque[bytes | None] = deque()  # None: a new file begins
        self._queued = 0  # bytes
        self._waiting = 0  # lines
        self._changed = threading.Condition()
        self._stopping = False
        self._busy_since: float | None = None
        self._status: dict[str, Any] = self._series.status()
        self._troubles: list[str] = []
        self._thread = threading.Thread(target=self._run, name="tango-lines", daemon=True)

    def start(self) -> None:
        """Take up what an earlier writer has left, and begin."""
        self._thread.start()

    def write(self, line: bytes) -> bool:
        """Have ``line`` written, which has no line feed in it. Does not wait.

        What finds no room is dropped, counted as ``lines_queue_full``, and False is returned.
        """
        with self._changed:
            if self._stopping or self._queued + len(line) > self._room:
                self.counters.add_all({"lines_to_write": 1, "lines_queue_full": 1})
                return False
            self.counters.add("lines_to_write")
            self._queue.append(line)
            self._queued += len(line)
            self._waiting += 1
            self._changed.notify()
        return True

    def rotate(self) -> None:
        """Begin a new file with the next line."""
        with self._changed:
            self._queue.append(None)
            self._changed.notify()

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued, complete the file at hand, and end.

        What takes longer than ``timeout`` [s] goes on in the background; what that does not live
        to complete, the next start does.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        elif not self._thread.ident:
            self._drop_all()

    def troubles(self) -> list[str]:
        """What cannot be written, completed or registered, and why; empty when all is well."""
        since = self._busy_since
        if since is not None and time.monotonic() - since > LONG:
            busy = f"{self._folder} has been busy for {time.monotonic() - since:.0f} s"
            return [*self._troubles, busy]
        return self._troubles

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name (:mod:`socs.counters`)."""
        with self._changed:
            return {**self.counters.snapshot(), "lines_waiting": self._waiting}

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for session data."""
        return {**self._status, "queued_bytes": self._queued, "troubles": self.troubles()}

    # -- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._at_end():
            self._careful(self._write_some)
        self._careful(self._end)

    def _at_end(self) -> bool:
        """Has all been done? Waits for something to do, but not long."""
        with self._changed:
            if (not self._queue or self._troubles) and not self._stopping:
                self._changed.wait(PAUSE)
            return self._stopping

    def _write_some(self, now: float) -> None:
        """Write what is queued, as far as the disk takes it."""
        self._series.tick(now)
        for _ in range(len(self._queue)):
            if not self._write_first(now):
                return

    def _write_first(self, now: float) -> bool:
        line = self._queue[0]
        if line is None:
            self._series.rotate()
            self._series.tick(now)
        elif not self._series.append(line, now):
            return False
        with self._changed:
            self._queue.popleft()
            if line is not None:
                self._queued -= len(line)
                self._waiting -= 1
                self.counters.add("lines_written")
        return True

    def _end(self, now: float) -> None:
        self._series.try_again()
        self._write_some(now)
        self._drop_all()
        self._series.close(now)

    def _drop_all(self) -> None:
        with self._changed:
            self.counters.add("lines_unwritten", self._waiting)
            self._queue.clear()
            self._queued = self._waiting = 0

    def _careful(self, do: Callable[[float], object]) -> None:
        """Call ``do`` with the time. A defect in it must not end the thread."""
        self._busy_since = now = time.monotonic()
        try:
            do(now)
            self._status, self._troubles = self._series.status(), self._series.troubles()
        except Exception as error:
            self.counters.add("line_file_errors")
            self._troubles = [f"a defect: {type(error).__name__}: {error}"]
            log.exception("a defect in the writer of lines")
        self._busy_since = None
