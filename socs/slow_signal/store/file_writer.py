"""The file writer of the camera: takes readouts from any thread and never holds that up."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from typing import Any

import tables

from socs.closing import Closing
from socs.counters import SLOW_SIGNAL_FILES, Counters
from socs.errors import ConfigError
from socs.problems import Problems
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import formats
from socs.slow_signal.store.growing import Completed
from socs.slow_signal.store.naming import Names, directory_and_name
from socs.slow_signal.store.series import FileSeries, SeriesSettings

MIB = 1 << 20
QUEUE_BYTES = 64 * MIB
# PyTables' filter for Blosc2 begins and ends four threads for each chunk of 256 kB, unless this
# variable tells it not to: a third of the CPU of writing. It does not ask for anything else.
COMPRESSION_THREADS = "BLOSC_NTHREADS"
PAUSE = 0.2  # s without a look for what is due
LONG = 5.0  # s for one step; after a crash, or with a layout for exchange, it may be all right

log = logging.getLogger(__name__)


class SSFileWriter(Closing):
    """Writes readouts into files, one after the other, in a thread of its own.

    A new file begins with the readout number 1, at the size limit, and on request. Files have
    their names when they are complete; no other file is replaced. What is being written survives
    a crash as far as it was flushed, and is completed by the next writer with the same folder and
    prefix. No method raises for what the disk does: see :meth:`troubles`.

    Args:
        file_prefix: how the names of files begin; may have directories.
        folder: where they are; made if it is missing.
        file_enumerator: how they go on: ``date``, ``order``, or not at all (:mod:`.naming`).
        layout: ``native``, ``seed`` or ``ssdaq``.
        filesize_lim: MiB of a file; 0 or None: no limit.
        attrs: attributes of each file: text, numbers, and arrays of numbers.
        filters: ``tables.Filters`` instead of those of the layout.
        flush_every: seconds for which a readout may be lost by a crash of the program.
        sync_every: seconds for which it may be lost by a crash of the machine.
        queue_bytes: of readouts in memory before the thread gets at them.
        on_finished: called with each :class:`Completed` file, in the thread, again and again until
            it does not raise. After a crash it may be called once more with the same id, see
            :mod:`.registration`.
        on_settled: called when that cannot happen any more.
        counters: must know :data:`socs.counters.SLOW_SIGNAL_FILES`; own ones by default.
        report: gets a line for the log when something goes wrong; the default logs a warning.

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(
        self,
        file_prefix: str,
        folder: str | PathLike[str] = "",
        file_enumerator: str | None = None,
        *,
        layout: str = formats.DEFAULT_LAYOUT,
        filesize_lim: float | None = None,
        attrs: Mapping[str, Any] | None = None,
        filters: tables.Filters | None = None,
        flush_every: float = 1.0,
        sync_every: float = 10.0,
        queue_bytes: int = QUEUE_BYTES,
        on_finished: Callable[[Completed], object] = lambda completed: None,
        on_settled: Callable[[Completed], object] = lambda completed: None,
        counters: Counters | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.counters = counters or Counters(SLOW_SIGNAL_FILES)
        names = _names(folder, file_prefix, file_enumerator)
        self._folder = names.folder
        self._series = FileSeries(
            names,
            SeriesSettings(
                layout=layout,
                attributes=attrs,
                filters=filters,
                size_limit=_size_limit(filesize_lim),
                flush_every=flush_every,
                sync_every=sync_every,
            ),
            counters=self.counters,
            on_finished=on_finished,
            on_settled=on_settled,
            problems=Problems(report),
        )
        self._room = queue_bytes
        self._queue: deque[Readouts | None] = deque()  # None: a new file begins
        self._queued = 0  # bytes, with those that the thread has taken but not come to
        self._changed = threading.Condition()
        self._stopping = False
        self._busy_since: float | None = None
        self._status: dict[str, Any] = self._series.status()
        self._troubles: list[str] = []
        self._thread = threading.Thread(target=self._run, name="slow-signal-files", daemon=True)
        os.environ.setdefault(COMPRESSION_THREADS, "1")

    def start(self) -> None:
        """Take up what an earlier writer has left, and begin."""
        self._thread.start()

    def write(self, readouts: Readouts) -> None:
        """Have ``readouts`` (n,) written; they must not be changed from here on. Does not wait.

        What finds no room is dropped and counted as ``readouts_queue_full``.
        """
        with self._changed:
            if self._stopping or self._queued + readouts.nbytes > self._room:
                self.counters.add("readouts_queue_full", len(readouts))
                return
            self._queue.append(readouts)
            self._queued += readouts.nbytes
            self._changed.notify()

    def new_file(self) -> None:
        """Begin a new file with the next readout."""
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
        elif not self._thread.ident:  # it was never started
            self.counters.add(
                "readouts_queue_full", sum(len(r) for r in self._take() if r is not None)
            )

    @property
    def alive(self) -> bool:
        """Is the thread running?"""
        return self._thread.is_alive()

    def troubles(self) -> list[str]:
        """What cannot be written, completed or registered, and why; empty when all is well."""
        busy = self._busy_since and time.monotonic() - self._busy_since
        if busy and busy > LONG:
            return [*self._troubles, f"{self._folder} has been busy for {busy:.0f} s"]
        return self._troubles

    @property
    def problem(self) -> str | None:
        """The first of :meth:`troubles`."""
        return next(iter(self.troubles()), None)

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for session data."""
        now = {"queued_bytes": self._queued, "waiting": self._series.waiting}
        return {**self._status, **now, "problem": self.problem}

    # -- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        self._careful(partial(self._and_look, self._series.start))
        while not self._at_end():
            taken = self._take()
            for readouts in taken:
                if readouts is None:
                    self._series.new_file()
                else:
                    with self._changed:
                        self._queued -= readouts.nbytes
                    self._careful(partial(self._series.write, readouts))
            self._careful(partial(self._and_look, self._series.tick))
        self._careful(partial(self._and_look, self._series.close))

    def _at_end(self) -> bool:
        with self._changed:
            return self._stopping and not self._queue

    def _take(self) -> list[Readouts | None]:
        """What is in the queue; waits for it, but not long."""
        with self._changed:
            if not self._queue and not self._stopping:
                self._changed.wait(PAUSE)
            taken = list(self._queue)
            self._queue.clear()
        return taken

    def _and_look(self, do: Callable[[float], object], now: float) -> None:
        do(now)
        self._status, self._troubles = self._series.status(), self._series.troubles()

    def _careful(self, do: Callable[[float], object]) -> None:
        """Call ``do`` with the time. A defect in it must not end the thread."""
        self._busy_since = now = time.monotonic()
        try:
            do(now)
        except Exception as error:
            self.counters.add("data_file_errors")
            self._troubles = [f"a defect: {type(error).__name__}: {error}"]
            log.exception("a defect in the file writer")
        self._busy_since = None


def _size_limit(mib: float | None) -> int | None:
    """``filesize_lim`` in bytes; None for no limit."""
    if not mib:
        return None
    if not 0 < mib < math.inf:
        raise ConfigError(f"filesize_lim: {mib:g} is no size in MiB; 0 is for no limit")
    return int(mib * MIB)


def _names(folder: str | PathLike[str], prefix: str, enumerator: str | None) -> Names:
    below, name = directory_and_name(folder, prefix)
    names = Names(below, name, enumerator)
    try:
        names.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {below}: {error.strerror}") from error
    return names
