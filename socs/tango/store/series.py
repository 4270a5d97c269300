"""One file of lines after the other, for one thread.

::

    <prefix><UTC>.<number>.jsonl.part   every line, at once; deleted when the file is settled
    <prefix><UTC>.<number>.jsonl        complete, never changed, replaces nothing

When a file is complete it gets its name, and only when who must know of it does, ``.part`` goes.
So what a crash left is found by its ``.part``, and is completed, or handed over again, at the next
start. (Where files cannot have two names, ``.part`` goes at once: a crash in that very moment
leaves a complete file that nobody was told of.)
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

from socs import lines_file
from socs.appending import InUse, translated
from socs.attempts import Attempts, each
from socs.counters import Counters
from socs.db.finished_files import FileKind, FinishedFile
from socs.errors import ConfigError, StorageUnavailable
from socs.lines_file import LinesFile
from socs.part_files import PART, part_of, sync_directory, take_name
from socs.problems import Problems

ENDING = ".jsonl"
MAX_NAMES = 10_000  # names tried for one file
MIB = 1 << 20
_UTC = "%Y%m%dT%H%M%SZ"

T = TypeVar("T")
Tell = Callable[[FinishedFile], object]

log = logging.getLogger(__name__)


KIND = FileKind(action="tango_events", format="jsonl", marker_of=part_of)


@dataclass(frozen=True)
class SeriesSettings:
    """How a series is written.

    Attributes:
        folder: where the files are; made if it is missing.
        prefix: how their names begin.
        max_bytes: of a file, unless one line is longer.
        max_age: seconds after which a new file begins.
        sync_every: seconds for which lines may be lost by a crash of the machine.
    """

    folder: Path
    prefix: str = "tango-"
    max_bytes: int = 64 * MIB
    max_age: float = 86_400.0
    sync_every: float = 10.0

    def __post_init__(self) -> None:
        if "/" in self.prefix or "\0" in self.prefix or self.prefix.startswith("."):
            raise ConfigError(f"{self.prefix!r} cannot begin the names of files")
        for name in ("max_bytes", "max_age", "sync_every"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")


class LinesSeries:
    """Files of lines in ``settings.folder``. Blocks while it writes.

    Times are those of any monotonic clock [s].

    Args:
        settings: how they are written.
        counters: must know :data:`socs.counters.TANGO_FILES`.
        on_finished: called with each complete file, again and again until it does not raise. After
            a crash it may be called once more with the same id.
        on_settled: called when that cannot happen any more.
        problems: are told what goes wrong.
        clock: gives the UNIX time [s].
    """

    def __init__(
        self,
        settings: SeriesSettings,
        *,
        counters: Counters,
        on_finished: Tell = lambda file: None,
        on_settled: Tell = lambda file: None,
        problems: Problems | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._counters, self._clock = settings, counters, clock
        self._on_finished, self._on_settled = on_finished, on_settled
        self._attempts = Attempts(
            "files of lines", problems or Problems(), lambda: counters.add("line_file_errors")
        )
        self._current: LinesFile | None = None
        self._begun = self._synced = 0.0
        self._synced_size = 0
        self._has_looked = False
        self._leftovers: deque[Path] = deque()
        self._ended: deque[LinesFile] = deque()
        self.last: str | None = None

    # -- what its owner calls -------------------------------------------------------------------

    def append(self, line: bytes, now: float) -> bool:
        """Add ``line``; False if the disk refuses it now, and nothing of it was written."""
        return self._attempts.attempt("write", now, lambda: self._append(line, now))

    def rotate(self) -> None:
        """Begin a new file with the next line."""
        if self._current is not None:
            self._ended.append(self._current)
            self._current = None

    def tick(self, now: float) -> None:
        """Do what is due; call it several times a second."""
        if self._current is not None and now >= self._begun + self._settings.max_age:
            self.rotate()
        if now >= self._synced + self._settings.sync_every:
            self._synced = now
            self._attempts.attempt("sync", now, self._sync)
        self._attempts.attempt("recover", now, self._recover_all)
        self._attempts.attempt("complete", now, lambda: each(self._ended, self._complete))

    def close(self, now: float) -> None:
        """Complete everything that can be. The rest is left to the next start."""
        self._attempts.try_again()
        self.rotate()
        self.tick(now)
        for file in self._ended:
            file.close()

    def try_again(self) -> None:
        """Do not wait any longer before trying what was refused."""
        self._attempts.try_again()

    def troubles(self) -> list[str]:
        """What cannot be done, and why; empty when all is well."""
        return self._attempts.troubles()

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for session data."""
        return {
            "file": str(self._current.path) if self._current else None,
            "bytes": self._current.size if self._current else 0,
            "unsettled_files": len(self._ended) + len(self._leftovers),
            "last_file": self.last,
        }

    # -- writing --------------------------------------------------------------------------------

    def _append(self, line: bytes, now: float) -> None:
        file = self._current
        if file is not None and file.size and file.size + len(line) >= self._settings.max_bytes:
            self.rotate()
        if self._current is None:
            self._current = self._begin()
            self._begun, self._synced_size = now, 0
        self._current.append(line)

    def _begin(self) -> LinesFile:
        with translated(self._settings.folder):
            self._settings.folder.mkdir(parents=True, exist_ok=True)
        utc = datetime.fromtimestamp(self._clock(), timezone.utc).strftime(_UTC)
        stem = self._settings.folder / f"{self._settings.prefix}{utc}"
        for path in islice(_free_names(stem), MAX_NAMES):
            with suppress(FileExistsError):
                return lines_file.create(part_of(path))
        raise StorageUnavailable(f"no free name for a file in {self._settings.folder}")

    def _sync(self) -> None:
        file = self._current
        if file is not None and file.size > self._synced_size:
            self._synced_size = file.size
            try:
                file.sync()
            except StorageUnavailable:
                self.rotate()  # nobody knows what of it will be on the disk
                raise

    # -- from `.part` to those who must know ----------------------------------------------------

    def _recover_all(self) -> None:
        if not self._has_looked:
            self._leftovers.extend(self._parts())
            self._has_looked = True
        each(self._leftovers, self._recover)

    def _parts(self) -> list[Path]:
        """What earlier writers of this series left, by name."""
        pattern = re.escape(self._settings.prefix) + rf"\d{{8}}T\d{{6}}Z\.\d+{ENDING}{PART}"
        with translated(self._settings.folder):
            try:
                names = os.listdir(self._settings.folder)
            except FileNotFoundError:
                return []
        found = sorted(name for name in names if re.fullmatch(pattern, name))
        return [self._settings.folder / name for name in found]

    def _recover(self, part: Path) -> None:
        try:
            file = lines_file.reopen(part)
        except InUse:  # of another writer with this folder and prefix
            return
        self._counters.add("lines_torn", int(file.torn))
        try:
            if self._complete(file):
                self._counters.add("line_files_recovered")
        except BaseException:
            file.close()
            raise

    def _complete(self, file: LinesFile) -> bool:
        """Name, hand over and settle ``file``; False if it was empty, and is gone.

        May be tried again, also by another process after a crash.
        """
        if not file.size:
            with translated(file.path):
                file.path.unlink()
            file.close()
            return False
        file.sync()
        finished = self._named(file)
        self._on_finished(finished)
        with translated(file.path):
            file.path.unlink(missing_ok=True)
        file.close()
        self.last = finished.path
        self._counters.add("line_files_completed")
        try:
            self._on_settled(finished)
        except Exception:
            log.exception("%s is settled, but not everybody took note", finished.path)
        return True

    def _named(self, file: LinesFile) -> FinishedFile:
        """Give ``file`` its final name, which is another one if that is taken."""
        path = file.path.with_name(file.path.name.removesuffix(PART))
        with translated(path):
            while not _has_name(file.path, path):
                try:
                    take_name(file.path, path)
                except FileExistsError:
                    path = next(_free_names(path.with_name(path.name.rsplit(".", 2)[0])))
                    os.rename(file.path, part_of(path))  # the two always have the same name
                    file.path = part_of(path)
            sync_directory(path.parent)
        utc = path.name.removeprefix(self._settings.prefix).split(".")[0]
        begun = datetime.strptime(utc, _UTC).replace(tzinfo=timezone.utc).timestamp()
        return FinishedFile(str(path.absolute()), str(path.absolute()), begun)


def _free_names(stem: Path) -> Iterator[Path]:
    """``stem`` with a number and the ending, those that are free."""
    for number in count():
        path = stem.with_name(f"{stem.name}.{number}{ENDING}")
        if not os.path.lexists(path) and not os.path.lexists(part_of(path)):
            yield path


def _has_name(part: Path, path: Path) -> bool:
    """Is ``part`` the file ``path`` already?"""
    try:
        return not part.exists() or os.path.samefile(part, path)
    except FileNotFoundError:
        return False
