"""The border to the HDF5 library: one thread at a time, its errors become ours, and no pickles.

PyTables reads pickled objects in attributes, as soon as it opens a file: whoever wrote the file
could have it run any program. Such attributes stay the bytes that they are.
"""

from __future__ import annotations

import re
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
_SYSTEM_SAYS = re.compile("error message = '([^']*)'")
_of_thread = threading.local()
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
    with _alone, _quiet():
        try:
            yield
        except _ERRORS as error:
            raise StorageUnavailable(f"cannot write {path}: {_reason(error)}") from error


def flush(leaf: tables.Leaf) -> None:
    """Have all of the file written that ``leaf`` is in. For :func:`writing`.

    One call of the library, and then a look at how it went: ``file.flush()`` makes several, and a
    good one hides one that failed. What that one could not write, the next one does write, but
    does not enter into the index of the file, and zeros are read (HDF5 1.14).

    Raises:
        OSError: it was not; the file is of no use any more.
    """
    leaf.flush()
    _look_for_errors()


def close(file: tables.File) -> None:
    """Close ``file``. For :func:`writing`.

    Raises:
        OSError: what it should hold was not written.
    """
    file.close()
    _look_for_errors()


def _look_for_errors() -> None:
    """PyTables does not look whether the library could flush or close a file. The library knows."""
    trace = tables.HDF5ExtError._dump_h5_backtrace()
    if trace:
        said = _SYSTEM_SAYS.search(str(trace))
        raise OSError(said[1] if said else "the HDF5 library could not write it")


@contextmanager
def reading(path: str | PathLike[str]) -> Iterator[None]:
    """Alone with the library, to read ``path``.

    Raises:
        FileNotReady: there is no such file, or it may not be read.
        Malformed: it is damaged.
    """
    with _alone, _quiet(), _no_pickles():
        try:
            yield
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise FileNotReady(f"cannot read {path}: {error.strerror or error}") from error
        except _ERRORS as error:
            raise Malformed(f"cannot read {path}: {_reason(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Have the library not print its trace of calls; PyTables sees to that for one thread only."""
    if not getattr(_of_thread, "is_quiet", False):
        tables.silence_hdf5_messages(True)
        _of_thread.is_quiet = True
    yield


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
    said = _SYSTEM_SAYS.search(str(getattr(error, "h5backtrace", "")))
    if said:
        return said[1]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
