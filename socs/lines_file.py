"""A file of JSON objects, one a line, valid to the last line whatever kills the program.

Each line is written at once and as a whole, or not at all. If the program or the machine dies in
the middle of that, at most the last line is torn; who opens the file next cuts it off.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from pathlib import Path

import msgspec

from socs.appending import append_whole, translated
from socs.closing import Closing
from socs.errors import ConfigError, OurError, StorageUnavailable

MOST_MENDED = 64 * 2**20  # bytes of a last line without a line feed that are looked at

_is_json = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LinesFile(Closing):
    """A file open for writing, by nobody else meanwhile. See :func:`create`, :func:`reopen`.

    Attributes:
        path: where it is.
        size: bytes of whole lines.
        torn: whether a torn last line was cut off.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.size, self.torn = path, 0, False
        self._file = file
        self._is_regular = stat.S_ISREG(os.fstat(file).st_mode)

    def append(self, line: bytes) -> None:
        """Add ``line``, which has no line feed in it: all of it, or nothing.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        data = line + b"\n"
        append_whole(self.path, self._file, data, self.size if self._is_regular else None)
        self.size += len(data)

    def sync(self) -> None:
        """Have it on the disk, not only with the system.

        Raises:
            StorageUnavailable: that failed.
        """
        with translated(self.path):
            os.fdatasync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self) -> None:
        with translated(self.path):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                return  # a file system without locks

    def _mend_end(self) -> None:
        """Cut off what follows the last whole line."""
        with translated(self.path):
            length = os.fstat(self._file).st_size
            self.size, rest = _end_of_lines(self._file, length)
        if rest[:1] not in (b"", b"{", b"\0"):
            raise ConfigError(f"{self.path} is no file of JSON lines; name another one")
        if _is_object(rest):
            self.append(rest)
        elif self.size < length:
            with translated(self.path):
                os.ftruncate(self._file, self.size)
            self.torn = True


def create(path: Path) -> LinesFile:
    """Begin a file.

    Raises:
        FileExistsError: the name is taken.
        StorageUnavailable: it cannot be written.
    """
    made = LinesFile(path, _opened(path, os.O_CREAT | os.O_EXCL))
    try:
        made._lock()
    except StorageUnavailable:
        made.close()
        raise
    return made


def reopen(path: Path, *, truncate: bool = False, create: bool = False) -> LinesFile:
    """Go on with a file; a torn last line is cut off. A device or pipe will do.

    Args:
        path: of the file.
        truncate: begin anew with it.
        create: make it if it is missing.

    Raises:
        InUse: another process is writing it.
        ConfigError: its end is no JSON: it is none of ours.
        StorageUnavailable: it cannot be written.
    """
    found = LinesFile(path, _opened(path, os.O_CREAT if create else 0))
    try:
        if found._is_regular:
            found._lock()
            if truncate:
                with translated(path):
                    os.ftruncate(found._file, 0)
            found._mend_end()
    except OurError:
        found.close()
        raise
    return found


def _opened(path: Path, flags: int) -> int:
    with translated(path):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | flags, 0o666)


def _end_of_lines(file: int, length: int) -> tuple[int, bytes]:
    """Where the last whole line of ``file`` ends, line feed included [bytes]; what follows it.

    A line with zeros in it is not whole: a machine that went down leaves such.
    """
    if not length:
        return 0, b""
    with mmap.mmap(file, length, access=mmap.ACCESS_READ) as data:
        end = data.rfind(b"\n") + 1
        while end and data.find(b"\0", start := data.rfind(b"\n", 0, end - 1) + 1, end) >= 0:
            end = start
        return end, data[end : end + MOST_MENDED]


def _is_object(text: bytes) -> bool:
    try:
        _is_json(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return True
