"""Is everything in an HDF5 file that was written to it? Asked before its journal is deleted.

Whatever an error leaves behind looks good to most programs: the library fills in zeros for chunks
that are not in its index. Every chunk must be there, with the checksum that the library gave it
when it compressed the rows; so nothing is decompressed here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import tables

from socs.errors import PeerError, StorageUnavailable
from socs.slow_signal.store.fletcher import CHECKSUM, is_right
from socs.slow_signal.store.hdf5 import reading


def check_stored(path: str | os.PathLike[str], wanted: Mapping[str, range]) -> None:
    """Look whether the complete file ``path`` is whole.

    Args:
        path: of the file.
        wanted: by the name of each table or array with its group, the rows that were written;
            those before them are zeros and need not be there.

    Raises:
        StorageUnavailable: it is not; the message says where.
    """
    try:
        with reading(path):
            file = tables.open_file(str(path))
        try:
            for name, rows in wanted.items():
                with reading(path):
                    leaf = file.get_node(name)
                _check_leaf(path, leaf, rows)
        finally:
            with reading(path):
                file.close()
    except PeerError as error:
        raise StorageUnavailable(f"{error}; it was just written") from error


def _check_leaf(path: str | os.PathLike[str], leaf: tables.Leaf, rows: range) -> None:
    if leaf.nrows != rows.stop:
        raise StorageUnavailable(
            f"{path}: {leaf._v_pathname} has {leaf.nrows} rows; {rows.stop} were written"
        )
    step = int(leaf.chunkshape[0])
    for start in range(rows.start - rows.start % step, rows.stop, step):
        with reading(path):
            good = _is_stored(leaf, start, min(start + step, rows.stop))
        if not good:
            raise StorageUnavailable(
                f"{path}: rows {start} to {min(start + step, rows.stop) - 1} of"
                f" {leaf._v_pathname} were written, but are not in it"
            )


def _is_stored(leaf: tables.Leaf, start: int, stop: int) -> bool:
    """Is the chunk with these rows there, as the library wrote it?"""
    try:
        stored = leaf.read_chunk((start, *(0,) * (leaf.ndim - 1)))
    except tables.NoSuchChunkError:
        return False
    if leaf.filters.fletcher32:
        return is_right(np.frombuffer(stored, np.uint8)[:-CHECKSUM], stored[-CHECKSUM:])
    leaf.read(start, stop)  # nothing tells whether it is right but that it can be decompressed
    return True
