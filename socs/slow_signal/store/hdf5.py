"""The border to the HDF5 library: one thread at a time, its errors become ours, and no pickles.

PyTables reads pickled objects in attributes, as soon as it opens a file: whoever wrote the file
could have it run any program. Such attributes stay the bytes that they are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from types import SimpleNamespace
from typing import Any, NoReturn

import tables
import tables.attributeset

from socs.errors import FileNotReady, Malformed, StorageUnavailable

_alone = threading.RLock()  # neither PyTables nor the library may be used by several threads
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
    with _alone, _no_pickles():
        try:
            yield
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise FileNotReady(f"cannot read {path}: {error.strerror or error}") from error
        except _ERRORS as error:
            raise Malformed(f"cannot read {path}: {_reason(error)}") from error


@contextmanager
def _no_pickles() -> Iterator[None]:
    """Have PyTables refuse to unpickle. Nobody else may use it meanwhile, and nobody else does."""
    theirs = tables.attributeset.pickle
    tables.attributeset.pickle = SimpleNamespace(loads=_refuse)
    try:
        yield
    finally:
        tables.attributeset.pickle = theirs


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise ValueError("pickled objects are not read")


def _reason(error: Exception) -> str:
    """What the library says, without its trace of calls."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
