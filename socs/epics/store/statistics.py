"""A file for each day of UTC, with a line of statistics for each minute: JSON Lines.

::

    epics-statistics-20261120.0.jsonl         complete, never changed
    epics-statistics-20261121.0.jsonl.part    of this day; a restart goes on with it

The number is 0 unless the clock was set back over the end of a day.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import ClassVar

import msgspec

from socs import lines_file
from socs.closing import Closing
from socs.db.finished_files import FileKind
from socs.epics.store.periodic import PeriodicFiles, PeriodicSettings
from socs.errors import StorageUnavailable
from socs.lines_file import LinesFile
from socs.part_files import PART, part_of

KIND = FileKind(action="epics_statistics", format="jsonl", marker_of=part_of)
ENDING = ".jsonl"
_DAY = "%Y%m%d"


@dataclass(frozen=True)
class StatisticsSettings(PeriodicSettings):
    """How statistics are written: a line each ``period``."""

    WHAT: ClassVar[str] = "statistics"

    prefix: str = "epics-statistics-"
    period: float = 60.0


class DailyStatistics(PeriodicFiles[StatisticsSettings], Closing):
    """Writes lines, and hands over the files of days that are over."""

    _day = ""
    _file: LinesFile | None = None  # of that day

    def add(self, values: Mapping[str, object], now: float) -> bool:
        """Add a line of ``values``, what can be JSON, with the time; False if it is lost.

        It is on the disk when this returns.
        """
        self._last = now
        line = msgspec.json.encode({"time": now, **values})
        if self._attempt(lambda: self._add(line, now)):
            self.counters.add("minute_lines_written")
            return True
        self.counters.add("minute_lines_lost")
        return False

    def tick(self, now: float) -> bool:
        """Complete the files of days that are over; False if that failed. Call it each minute."""
        return self._attempt(lambda: self._complete(_day_of(now)))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, line: bytes, now: float) -> None:
        day = _day_of(now)
        if self._file is None or day != self._day:
            self.close()
            self._file, self._day = self._open(day), day
        self._file.append(line)
        self._file.sync()

    def _open(self, day: str) -> LinesFile:
        """The file of ``day``: a new one, or one that an earlier run left."""
        try:
            self._settings.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"cannot make {self._settings.folder}: {error.strerror}"
            raise StorageUnavailable(text) from error
        for number in count():
            path = self._settings.folder / f"{self._settings.prefix}{day}.{number}{ENDING}"
            if not path.exists():
                return lines_file.reopen(part_of(path), create=True)
        raise AssertionError("numbers do not end")

    def _complete(self, today: str) -> None:
        if self._day != today:
            self.close()
        for day, part in self._parts():
            if day != today or part.with_name(part.name.removesuffix(PART)).exists():
                self._finish_day(day, part)

    def _finish_day(self, day: str, part: Path) -> None:
        path = part.with_name(part.name.removesuffix(PART))
        if not path.exists():
            with lines_file.reopen(part) as file:  # cuts off what a crash has torn
                file.sync()
        began = datetime.strptime(day, _DAY).replace(tzinfo=timezone.utc).timestamp()
        self._finish(path, began)
        self.counters.add("minute_files_completed")

    def _parts(self) -> list[tuple[str, Path]]:
        """Files that are not settled, each after its day."""
        prefix = re.escape(self._settings.prefix)
        pattern = re.compile(rf"{prefix}(\d{{8}})\.\d+{re.escape(ENDING + PART)}")
        try:
            names = sorted(path.name for path in self._settings.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            text = f"cannot read {self._settings.folder}: {error.strerror}"
            raise StorageUnavailable(text) from error
        matches = filter(None, map(pattern.fullmatch, names))
        return [(match[1], self._settings.folder / match[0]) for match in matches]


def _day_of(now: float) -> str:
    return datetime.fromtimestamp(math.floor(now), timezone.utc).strftime(_DAY)
