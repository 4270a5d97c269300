"""The file that a command line was told to write polls to."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

from socs.closing import Closing
from socs.errors import StorageUnavailable
from socs.lines_file import LinesFile, reopen
from socs.problems import Problems, printable

ROOM = 64 * 2**20  # bytes of lines that wait for a disk that refuses


def _warn(text: str) -> None:
    print(printable(text, 1000), file=sys.stderr, flush=True)


class OutputFile(Closing):
    """Lines go to ``path`` at once and whole. While the disk refuses, they wait in memory.

    Args:
        path: of the file.
        append: go on with a file that is there; else it is emptied, and that is told.

    Attributes:
        dropped: lines for which there was no room.

    Raises:
        ConfigError: it is no file of JSON lines.
        StorageUnavailable: it cannot be written.
    """

    def __init__(self, path: Path, *, append: bool) -> None:
        try:
            size = path.stat().st_size if path.is_file() else 0
        except OSError as error:
            raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from error
        self._file: LinesFile = reopen(path, truncate=not append, create=True)
        if size and not append:
            _warn(f"{path} was emptied of {size} bytes; -a goes on with such a file")
        if self._file.torn:
            _warn(f"the last line of {path} was not whole, and was cut off")
        self._waiting: deque[bytes] = deque()
        self._bytes = self.dropped = 0
        self._problems = Problems(_warn)

    def add(self, line: bytes) -> None:
        """Write ``line``, and what waits before it."""
        if self._bytes + len(line) > ROOM:
            self.dropped += 1
            return
        self._waiting.append(line)
        self._bytes += len(line)
        self._write_waiting()

    def _write_waiting(self) -> None:
        try:
            while self._waiting:
                self._file.append(self._waiting[0])
                self._bytes -= len(self._waiting.popleft())
        except StorageUnavailable as error:
            self._problems.report("write", f"{error}; polls are kept in memory", time.monotonic())

    def close(self) -> None:
        """Write what waits, if that is possible now; what is not written is told."""
        self._write_waiting()
        left = len(self._waiting) + self.dropped
        self._waiting.clear()
        if left:
            _warn(f"{left} polls could not be written to {self._file.path}")
            self.dropped = 0
        self._file.close()
