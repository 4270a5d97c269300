"""The border to the HDF5 library: one thread at a time, and its errors become ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

import tables

from socs.errors import FileNotReady, Malformed, StorageUnavailable

# PyTables and the library are not safe to be used by several threads.
_alone = threading.RLock()
_ERRORS = (
    *(tables.HDF5ExtError, tables.NodeError, OSError, RuntimeError),
    *(ValueError, TypeError, AttributeError, KeyError),  # of PyTables, about damaged files
)


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[None]:
    """Alone with the library, to write ``path``.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    with _alone:
        try:
            yield
        except _ERRORS as error:
            raise StorageUnavailable(f"cannot write {path}: {_reason(error)}") from error


@contextmanager
def reading(path: str | PathLike[str]) -> Iterator[None]:
    """Alone with the library, to read ``path``.

    Raises:
        FileNotReady: there is no such file, or it may not be read.
        Malformed: it is damaged.
    """
    with _alone:
        try:
            yield
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise FileNotReady(f"cannot read {path}: {error.strerror or error}") from error
        except _ERRORS as error:
            raise Malformed(f"cannot read {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What the library says, without its trace of calls."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
