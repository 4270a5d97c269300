"""The files of a writer, one after the other: begun, limited in size, completed, handed over."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tables

from socs.appending import InUse
from socs.attempts import Attempts, each
from socs.counters import Counters
from socs.errors import ConfigError, StorageUnavailable
from socs.problems import Problems
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import formats
from socs.slow_signal.store.growing import Completed, GrowingFile, new_head
from socs.slow_signal.store.naming import Names
from socs.slow_signal.store.recovery import recover_one

MAX_TOGETHER = 512  # readouts that are flushed together
MAX_WAITING = 8192  # readouts in memory while the disk refuses: 38 MB, 13 minutes at 10 Hz
MAX_NAMES = 1000  # names to try for a new file

Tell = Callable[[Completed], object]
T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeriesSettings:
    """How the files of a writer are written.

    Attributes:
        layout: one of :data:`.formats.LAYOUTS`.
        attributes: of each file.
        filters: ``tables.Filters`` instead of those of the layout.
        size_limit: bytes of a file; None: no limit.
        flush_every: seconds for which a readout may be lost by a crash of the program.
        sync_every: seconds for which it may be lost by a crash of the machine.

    Raises:
        ConfigError: a time is none; the message names it.
    """

    layout: str = formats.DEFAULT_LAYOUT
    attributes: Mapping[str, Any] | None = None
    filters: tables.Filters | None = None
    size_limit: int | None = None
    flush_every: float = 1.0
    sync_every: float = 10.0

    def __post_init__(self) -> None:
        for name in ("flush_every", "sync_every"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name}: {value:g} is no number of seconds")


@dataclass(frozen=True)
class _Unregistered:
    """A complete file; ``forget`` deletes its journal, ``leave`` leaves that for the next start."""

    completed: Completed
    forget: Callable[[], None]
    leave: Callable[[], None]


class FileSeries:
    """Files with the names of ``names``, for one thread. Blocks while it reads and writes.

    Times are those of any monotonic clock [s]. Nothing is raised for what the disk does: see
    :meth:`troubles`.

    Args:
        names: of the files.
        settings: of the files.
        counters: must know :data:`socs.counters.SLOW_SIGNAL_FILES`.
        on_finished: called with each complete file, again and again until it does not raise. After
            a crash it may be called once more with the same id.
        on_settled: called when that cannot happen any more.
        problems: are told what goes wrong.
        clock: gives the UNIX time [s].

    Raises:
        ConfigError: a setting is wrong.
    """

    def __init__(
        self,
        names: Names,
        settings: SeriesSettings,
        *,
        counters: Counters,
        on_finished: Tell = lambda completed: None,
        on_settled: Tell = lambda completed: None,
        problems: Problems | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        new_head(settings.layout, settings.attributes, settings.filters, 0.0)  # are they right?
        self._names, self._settings, self._clock = names, settings, clock
        self._counters = counters
        self._on_finished, self._on_settled = on_finished, on_settled
        self._attempts = Attempts(
            "files of readouts", problems or Problems(), lambda: counters.add("data_file_errors")
        )
        self._waiting: deque[Readouts | None] = deque()  # None: a new file begins here
        self._n_waiting = 0
        self._current: GrowingFile | None = None
        self._ended: deque[GrowingFile] = deque()
        self._has_looked = False
        self._leftovers: deque[Path] = deque()
        self._complete: deque[_Unregistered] = deque()
        self._flushed = self._synced = 0.0
        self.last: Completed | None = None

    # -- what its owner calls -------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Take up what an earlier writer of these files has left."""
        self._flushed = self._synced = now
        self._names.tidy()
        self._settle(now)

    def write(self, readouts: Readouts, now: float) -> None:
        """Add ``readouts`` (n,). A new file begins where the readout number is 1."""
        taken = readouts[: max(0, MAX_WAITING - self._n_waiting)]
        self._counters.add_all(
            {
                "readouts_to_write": len(readouts),
                "readouts_unwritten": len(readouts) - len(taken),
            }
        )
        for i, part in enumerate(np.split(taken, np.flatnonzero(taken["number"] == 1))):
            if i:
                self._waiting.append(None)
            if len(part):
                self._waiting.append(part)
        self._n_waiting += len(taken)
        if self._n_waiting >= formats.BLOCK:
            self._flush(now)

    def new_file(self) -> None:
        """Begin a new file with the next readout."""
        self._waiting.append(None)

    def tick(self, now: float) -> None:
        """Do what is due; call it several times a second."""
        if self._waiting and now >= self._flushed + self._settings.flush_every:
            self._flush(now)
        if now >= self._synced + self._settings.sync_every:
            self._synced = now
            self._attempts.attempt("sync", now, self._sync)
        self._settle(now)

    def close(self, now: float) -> None:
        """Complete everything that can be. The rest is left to the next start."""
        self._attempts.try_again()
        self._flush(now)
        self._end()
        self._settle(now)
        self._counters.add("readouts_unwritten", self._n_waiting)
        self._waiting.clear()
        self._n_waiting = 0
        for file in self._ended:
            file.close()
        for item in self._complete:
            item.leave()

    def troubles(self) -> list[str]:
        """What cannot be done, and why; empty when all is well."""
        told = self._attempts.troubles()
        if self._current is not None and self._current.problem is not None:
            told.append(self._current.problem)
        return told

    @property
    def waiting(self) -> int:
        """Readouts in memory that were not flushed yet; any thread may ask."""
        return self._n_waiting

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for session data."""
        return {
            "file": str(self._current.path) if self._current else None,
            "readouts": self._current.readouts if self._current else 0,
            "bytes": self._current.size() if self._current else 0,
            "waiting": self._n_waiting,
            "incomplete_files": len(self._ended) + len(self._leftovers),
            "unregistered_files": len(self._complete),
            "last_file": self.last.path if self.last else None,
        }

    # -- from memory into the journal -----------------------------------------------------------

    def _flush(self, now: float) -> None:
        self._flushed = now
        self._attempts.attempt("write", now, self._flush_all)

    def _flush_all(self) -> None:
        while self._waiting:
            self._flush_some()

    def _flush_some(self) -> None:
        """Put the first of what waits into a file: all of it, or nothing."""
        if self._waiting[0] is None:
            self._end()
            self._waiting.popleft()
            return
        parts: list[Readouts] = []
        while self._waiting and (part := self._waiting[0]) is not None:
            room = MAX_TOGETHER - sum(map(len, parts))
            if not room:
                break
            self._waiting.popleft()
            parts.append(part[:room])
            if len(part) > room:
                self._waiting.appendleft(part[room:])
        readouts = parts[0] if len(parts) == 1 else np.concatenate(parts)
        try:
            self._file_for(len(readouts)).append(readouts)
        except StorageUnavailable:
            self._waiting.appendleft(readouts)
            raise
        self._n_waiting -= len(readouts)
        self._counters.add("readouts_written", len(readouts))

    def _file_for(self, count: int) -> GrowingFile:
        """The current file, or a new one if there is none or ``count`` more would be too many."""
        file, limit = self._current, self._settings.size_limit
        if file is not None and limit is not None and file.readouts:
            size = file.size()
            if size + count * size / file.readouts > limit:
                self._end()
        if self._current is None:
            self._current = self._begin()
        return self._current

    def _begin(self) -> GrowingFile:
        now, settings = self._clock(), self._settings
        head = new_head(settings.layout, settings.attributes, settings.filters, now)
        in_use = {file.path for file in self._ended}  # also if somebody has deleted them
        for path in islice(self._names.candidates(now), MAX_NAMES):
            if path in in_use:
                continue
            try:
                file = GrowingFile(path, head)
            except FileExistsError:
                continue
            self._names.given_out(path)
            return file
        raise StorageUnavailable(f"no free name for a file in {self._names.folder}")

    def _end(self) -> None:
        if self._current is not None:
            self._ended.append(self._current)
            self._current = None

    def _sync(self) -> None:
        if self._current is not None:
            try:
                self._current.journal.sync()
            except StorageUnavailable:
                self._end()  # nobody knows what of it will be on the disk
                raise
            self._current.journal.check_place()

    # -- from the journal to those who must know ------------------------------------------------

    def _settle(self, now: float) -> None:
        """Complete what has ended and what was left; hand over what is complete."""
        self._attempts.attempt("recover", now, self._recover_all)
        self._attempts.attempt("complete", now, lambda: each(self._ended, self._complete_one))
        self._attempts.attempt("register", now, lambda: each(self._complete, self._hand_over))

    def _recover_all(self) -> None:
        if not self._has_looked:
            self._leftovers.extend(self._names.journals())
            self._has_looked = True
        each(self._leftovers, self._recover)

    def _recover(self, path: Path) -> None:
        try:
            found = recover_one(path, tell=self._tell_damage)
        except InUse:  # of another writer, whose prefix begins like ours
            return
        if found is not None:
            completed, journal = found
            self._counters.add("data_files_recovered")
            self._complete.append(_Unregistered(completed, journal.dispose, journal.close))

    def _tell_damage(self, text: str) -> None:
        self._counters.add("data_files_damaged")
        log.error(text)

    def _complete_one(self, file: GrowingFile) -> None:
        if file.readouts:
            completed = file.complete()
            self._complete.append(_Unregistered(completed, file.settle, file.close))
            if file.journal.is_damaged:
                self._tell_damage(
                    f"{file.journal.path} was damaged while it was written; {completed.readouts} of"
                    f" {file.readouts} readouts are good"
                )
        else:
            file.settle()

    def _hand_over(self, item: _Unregistered) -> None:
        self._on_finished(item.completed)
        item.forget()
        self.last = item.completed
        self._counters.add("data_files_completed")
        try:
            self._on_settled(item.completed)
        except Exception:
            log.exception("%s is settled, but not everybody took note", item.completed.path)
