"""The journal of a file that is being written: what is in it survives the writer.

HDF5 changes its index in place. A writer that is killed meanwhile leaves a file that does not
open, or has lost readouts that were flushed long before. So readouts go first to a journal
``<name>.hdf5.journal``, to which is only appended, and from there into the HDF5 file; the journal
is deleted when that is complete. It is also what is read while the file is being written::

    head     magic 8 bytes | length u32 | CRC-32 u32 | JSON of Head
    block    magic u32 | length u32 | CRC-32 u32 | kind u32 | data, see blocks.py
    block    ...

Little endian; the CRC covers what follows it. What comes after the first block that is cut short
or whose CRC is wrong is not part of the journal.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from socs.appending import append_whole, translated
from socs.closing import Closing
from socs.errors import FileNotReady, Malformed, PeerError, StorageUnavailable
from socs.slow_signal.store import blocks

SUFFIX = ".journal"
VERSION = 1
MAX_HEAD = 1 << 24  # bytes
MAX_BLOCK = 1 << 28  # bytes
READOUTS, TELESCOPE = 1, 2  # kinds of blocks

_MAGIC, _BLOCK_MAGIC = b"SOCSJRNL", b"SOCB"
_HEAD = struct.Struct("<8sII")
_BLOCK = struct.Struct("<4sIII")
_WINDOW = 1 << 20  # bytes


class Head(msgspec.Struct, frozen=True):
    """What is known of the file from its beginning.

    Attributes:
        id: of the file, 32 hexadecimal digits.
        layout: of the file that is made of it.
        attributes: of this file; text, numbers, and lists of numbers.
        filters: arguments of ``tables.Filters``, if not those of the layout.
        started: when it was begun, UNIX time [s].
        writer: version of the program.
    """

    id: str
    layout: str
    attributes: dict[str, Any]
    filters: dict[str, Any] | None
    started: float
    writer: str
    version: int = VERSION


class Block(NamedTuple):
    """A block: its kind, the place and length of its data [bytes], the readouts in it."""

    kind: int
    offset: int
    length: int
    readouts: int


class Journal(Closing):
    """A journal open for writing, by nobody else meanwhile. See :meth:`create`, :meth:`take_over`.

    Attributes:
        path: where it is.
        head: what was written at its beginning.
        size: bytes of what is in it.
        is_damaged: set by who finds it so.
    """

    def __init__(self, path: Path, file: int, head: Head, size: int) -> None:
        self.path, self.head, self.size = path, head, size
        self.is_damaged = False
        self._file = file

    @classmethod
    def create(cls, path: Path, head: Head) -> Journal:
        """Begin a journal.

        Raises:
            FileExistsError: the name is taken.
            StorageUnavailable: it cannot be written.
        """
        with translated(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        journal = cls(path, file, head, 0)
        text = msgspec.json.encode(head)
        try:
            with translated(path):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal._write(_HEAD.pack(_MAGIC, len(text), zlib.crc32(text)) + text)
        except StorageUnavailable:
            journal.delete()
            raise
        return journal

    @classmethod
    def take_over(cls, path: Path) -> Journal:
        """Have a journal whose writer is gone, to complete what it began or to delete it.

        Raises:
            InUse: its writer is still there.
            StorageUnavailable: it cannot be opened.
            FileNotReady: it cannot be read.
            Malformed: its head is damaged.
        """
        with translated(path):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with translated(path):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            head, size = read_head(file, path)
        except (StorageUnavailable, PeerError):
            os.close(file)
            raise
        return cls(path, file, head, size)

    def append(self, kind: int, data: bytes) -> None:
        """Add a block; it is there as a whole or not at all.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        number = struct.pack("<I", kind)
        check = zlib.crc32(data, zlib.crc32(number))
        self._write(b"".join((_BLOCK.pack(_BLOCK_MAGIC, len(data), check, kind), data)))

    def _write(self, data: bytes) -> None:
        append_whole(self.path, self._file, data, self.size)
        self.size += len(data)

    def sync(self) -> None:
        """Have it on the disk, not only with the system.

        Raises:
            StorageUnavailable: that failed.
        """
        with translated(self.path):
            os.fdatasync(self._file)

    def check_place(self) -> None:
        """Is it still where it was made? If not, what is in it ends with this process.

        Raises:
            StorageUnavailable: no, somebody has deleted, moved or replaced it.
        """
        with suppress(OSError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                return
        raise StorageUnavailable(f"{self.path} was deleted, moved or replaced while it is written")

    def scan(self) -> JournalScan:
        """What is in it, also if somebody has deleted it.

        Raises:
            FileNotReady: it cannot be read.
        """
        return JournalScan(self.path, os.dup(self._file))

    def rename(self, path: Path) -> None:
        """Move it to ``path``, which nobody else may be about to use.

        Raises:
            StorageUnavailable: that failed.
        """
        with translated(self.path):
            os.rename(self.path, path)
        self.path = path

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def delete(self) -> None:
        """Remove it, and close it."""
        with suppress(OSError):
            os.unlink(self.path)
        self.close()

    def dispose(self) -> None:
        """Delete it, or set it aside if it is damaged."""
        if self.is_damaged:
            set_aside(self.path)
            self.close()
        else:
            self.delete()


class JournalScan(Closing):
    """The blocks of a journal, also while it is being written.

    Attributes:
        head: what was written at its beginning.
        blocks: those found so far; :meth:`refresh` looks for more.
        end: where the last of them ends [bytes].

    Args:
        path: where it is.
        file: the journal, if it is open already; closed with this.

    Raises:
        FileNotReady: it cannot be opened.
        Malformed: it has no head.
    """

    def __init__(self, path: Path, file: int | None = None) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if file is None else file
        except OSError as error:
            raise FileNotReady(f"cannot read {path}: {error.strerror}") from error
        try:
            self.head, self.end = read_head(self._file, path)
        except Malformed:
            self.close()
            raise
        self.blocks: list[Block] = []
        self.refresh()

    def refresh(self) -> bool:
        """Look for blocks that have been added; True if there are any."""
        known = len(self.blocks)
        while (block := self._at(self.end)) is not None:
            self.blocks.append(block)
            self.end = block.offset + block.length
        return len(self.blocks) > known

    def _at(self, offset: int) -> Block | None:
        """The block whose head is at ``offset``; None if there is no whole and good one."""
        head = self._read(_BLOCK.size, offset)
        if len(head) < _BLOCK.size:
            return None
        magic, length, check, kind = _BLOCK.unpack(head)
        if magic != _BLOCK_MAGIC or length > MAX_BLOCK:
            return None
        data = self._read(length, offset + _BLOCK.size)
        if len(data) < length or zlib.crc32(data, zlib.crc32(head[-4:])) != check:
            return None
        readouts = blocks.count(data) if kind == READOUTS else 0
        return Block(kind, offset + _BLOCK.size, length, readouts)

    def data(self, block: Block) -> bytes:
        """The data of ``block``, one of :attr:`blocks`."""
        return self._read(block.length, block.offset)

    def _read(self, length: int, offset: int) -> bytes:
        return _read(self._file, length, offset, self.path)

    def is_damaged(self) -> bool:
        """Are there good blocks after a bad one? A writer that was killed leaves none."""
        size = os.fstat(self._file).st_size
        offset = self.end
        while offset < size:
            window = self._read(_WINDOW, offset)
            found = window.find(_BLOCK_MAGIC)
            while found >= 0:
                if self._at(offset + found) is not None:
                    return True
                found = window.find(_BLOCK_MAGIC, found + 1)
            offset += _WINDOW - len(_BLOCK_MAGIC) + 1
        return False

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def set_aside(path: Path) -> Path:
    """Give a damaged journal a name under which nobody takes it up, for a person to look at."""
    aside = path.with_name(f"{path.name}.damaged-{time.time():.0f}")
    with suppress(OSError):
        os.rename(path, aside)
    return aside


def read_head(file: int, path: Path) -> tuple[Head, int]:
    """The head of the journal that is open as ``file``, and where it ends [bytes].

    Raises:
        FileNotReady: it cannot be read.
        Malformed: there is none, or one of another version.
    """
    start = _read(file, _HEAD.size, 0, path)
    text, check = b"", -1
    if len(start) == _HEAD.size:
        magic, length, check = _HEAD.unpack(start)
        if magic == _MAGIC and length <= MAX_HEAD:
            text = _read(file, length, _HEAD.size, path)
    if zlib.crc32(text) != check:
        raise Malformed(f"{path} is no journal, or its beginning is damaged")
    try:
        head = msgspec.json.decode(text, type=Head)
    except msgspec.DecodeError as error:
        raise Malformed(f"{path}: {error}") from error
    if head.version != VERSION:
        raise Malformed(f"{path} is of version {head.version}; this program knows {VERSION}")
    return head, _HEAD.size + len(text)


def _read(file: int, length: int, offset: int, path: Path) -> bytes:
    try:
        return os.pread(file, length, offset)
    except OSError as error:
        raise FileNotReady(f"cannot read {path}: {error.strerror}") from error
