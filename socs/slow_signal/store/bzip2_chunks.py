"""SSDAQ's chunks of a table, decompressed by several threads at once.

They are shuffled and compressed with bzip2, which takes nearly all the time that reading does, and
which the HDF5 library does in one thread. Here the library hands over the chunks as they are in the
file, which depends on the version of PyTables that wrote it::

    bzip2( shuffled( rows ))                        without checksums
    bzip2( shuffled( rows | checksum of rows ))     until 3.9, thus SSDAQ's
    bzip2( shuffled( rows )) | checksum of that     since

The checksum is Fletcher's, of big-endian 16-bit words.
Whatever is not as it should be here is left to the library: it says what is wrong.
"""

from __future__ import annotations

import bz2
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tables
from numpy.typing import NDArray

from socs.closing import Closing
from socs.slow_signal.store.hdf5 import reading

MAX_THREADS = 8
MAX_CHUNK = 1 << 24  # bytes; in sums of more the checksum would overflow
CHECKSUM = 4  # bytes
ONES = 0xFFFF  # a checksum's halves are modulo this


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
        if stop - first <= self._rows:
            return None  # a single chunk: the library is as fast
        with reading(self._path):
            stored = [self._stored(row) for row in range(first, stop, self._rows)]
        if None in stored:
            return None
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_threads(), "bzip2-chunks")
        parts = []
        for part in self._threads.map(self._unpacked, stored):
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts)[start - first : stop - first]

    def _stored(self, row: int) -> bytes | None:
        """The chunk that begins with ``row``; None if it is not stored as the others are."""
        info = self._table.chunk_info((row,))
        if info.filter_mask or not info.size or info.size > MAX_CHUNK:
            return None
        stored: bytes = self._table.read_chunk((row,))
        return stored

    def _unpacked(self, stored: bytes) -> NDArray[np.void] | None:
        """All rows of a chunk."""
        dtype = self._table.dtype
        size = self._rows * dtype.itemsize
        stream = bz2.BZ2Decompressor()
        try:
            shuffled = stream.decompress(stored, size + CHECKSUM + 1)
        except (OSError, ValueError):
            return None
        if not stream.eof or len(shuffled) < size:
            return None
        planes = np.frombuffer(shuffled, np.uint8, size).reshape(dtype.itemsize, self._rows)
        rows = np.ascontiguousarray(planes.T).reshape(-1)
        within, behind = shuffled[size:], stream.unused_data
        if len(within) + len(behind) != CHECKSUM * self._checked:
            return None
        if within and not _is_right(rows, within):
            return None
        if behind and not _is_right(np.frombuffer(stored, np.uint8)[:-CHECKSUM], behind):
            return None
        unpacked: NDArray[np.void] = rows.view(dtype)
        return unpacked

    def close(self) -> None:
        """End the threads."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None


def can_unpack(table: tables.Table) -> bool:
    """Are the chunks of ``table`` as described above, and is there a second processor to use?"""
    filters, shape = table.filters, table.chunkshape
    if filters.complib != "bzip2" or not filters.shuffle or filters.bitshuffle or not shape:
        return False
    small = shape[0] * table.dtype.itemsize <= MAX_CHUNK
    return bool(small and table.byteorder == "little" and _threads() > 1)


def _threads() -> int:
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


def _is_right(checked: NDArray[np.uint8], checksum: bytes) -> bool:
    """Does the checksum belong to these bytes?"""
    even = np.pad(checked, (0, len(checked) % 2))
    words = even.view(">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64)
    found = int(words.sum()), int(np.dot(words, weights))
    second, first = divmod(int.from_bytes(checksum, "little"), ONES + 1)
    return all((a - b) % ONES == 0 for a, b in zip(found, (first, second), strict=True))
