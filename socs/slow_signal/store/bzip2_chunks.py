"""SSDAQ's chunks of a table, decompressed by several threads at once.

They are shuffled and compressed with bzip2, which takes nearly all the time that reading does, and
which the HDF5 library does in one thread, with a little less work altogether. So it is left to the
library while others use the processors. Here the library hands over the chunks as they are in the
file, which depends on the version of PyTables that wrote it::

    bzip2( shuffled( rows ))                        without checksums
    bzip2( shuffled( rows | checksum of rows ))     until 3.9, thus SSDAQ's
    bzip2( shuffled( rows )) | checksum of that     since

Whatever is not as it should be here is left to the library: it says what is wrong.
"""

from __future__ import annotations

import bz2
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tables
from numpy.typing import NDArray

from socs.closing import Closing
from socs.slow_signal.store.fletcher import CHECKSUM, is_right
from socs.slow_signal.store.hdf5 import reading

MAX_THREADS = 8
ENOUGH = 2  # processors for threads to be of use
RUNNING = Path("/proc/loadavg")
MAX_CHUNK = 1 << 24  # bytes; sums over more would overflow


class Bzip2Chunks(Closing):
    """Reads rows of a table by its chunks.

    Args:
        path: of the file, for messages.
        table: of which :func:`can_unpack` says yes.
    """

    def __init__(self, path: str | os.PathLike[str], table: tables.Table) -> None:
        self._path, self._table = path, table
        (self._rows,) = table.chunkshape
        self._checked = bool(table.filters.fletcher32)
        self._threads: ThreadPoolExecutor | None = None

    def read(self, start: int, stop: int) -> NDArray[np.void] | None:
        """Rows ``start`` to ``stop``, or None if the library has to read them.

        Raises:
            Malformed: the file is damaged.
        """
        first = start - start % self._rows
        if stop - first <= self._rows or _idle_processors() < ENOUGH:
            return None
        with reading(self._path):
            stored = [self._stored(row) for row in range(first, stop, self._rows)]
        if None in stored:
            return None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(min(_processors(), MAX_THREADS), "bzip2-chunks")
        rows = np.empty((len(stored), self._rows), self._table.dtype)
        if not all(self._threads.map(self._unpack, stored, rows)):
            return None
        return rows.reshape(-1)[start - first : stop - first]

    def _stored(self, row: int) -> bytes | None:
        """The chunk that begins with ``row``; None if it is not stored as the others are."""
        info = self._table.chunk_info((row,))
        if info.filter_mask or not info.size or info.size > MAX_CHUNK:
            return None
        stored: bytes = self._table.read_chunk((row,))
        return stored

    def _unpack(self, stored: bytes, rows: NDArray[np.void]) -> bool:
        """All ``rows`` of a chunk; False if the library has to read them."""
        memory = rows.view(np.uint8)
        stream = bz2.BZ2Decompressor()
        try:
            shuffled = stream.decompress(stored, len(memory) + CHECKSUM + 1)
        except (OSError, ValueError):
            return False
        within, behind = shuffled[len(memory) :], stream.unused_data
        found = {len(within), len(behind)}
        if not stream.eof or len(shuffled) < len(memory):
            return False
        if found != ({0, CHECKSUM} if self._checked else {0}):
            return False
        planes = np.frombuffer(shuffled, np.uint8, len(memory)).reshape(-1, self._rows)
        memory.reshape(self._rows, -1)[:] = planes.T
        if within:
            return is_right(memory, within)
        return not behind or is_right(np.frombuffer(stored, np.uint8)[:-CHECKSUM], behind)

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None


def can_unpack(table: tables.Table) -> bool:
    """Are the chunks of ``table`` as described above, and is there a second processor to use?"""
    filters, shape = table.filters, table.chunkshape
    if filters.complib != "bzip2" or not filters.shuffle or not shape:
        return False
    small = shape[0] * table.dtype.itemsize <= MAX_CHUNK
    return bool(small and table.byteorder == "little" and _processors() >= ENOUGH)


def _processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))


def _idle_processors() -> int:
    """Those that nobody but the calling thread uses at this moment, with its own."""
    try:
        running = int(RUNNING.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        running = 1
    return _processors() - max(running - 1, 0)
