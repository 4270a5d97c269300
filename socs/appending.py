"""Writing at the end of a file that is open: as a whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from socs.errors import StorageUnavailable


class InUse(StorageUnavailable):
    """Another process is writing this file."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the system become ours, but for a name that is taken."""
    try:
        yield
    except FileExistsError:
        raise
    except BlockingIOError as error:
        raise InUse(f"{path} is in use by another process") from error
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from error


def append_whole(path: Path, file: int, data: bytes, size: int | None) -> None:
    """Write ``data`` behind the first ``size`` bytes; what fails in the middle is cut off.

    Args:
        path: named in errors.
        file: its descriptor.
        data: what to write.
        size: None for what is no regular file, where nothing can be cut off.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    done = 0
    try:
        with translated(path):
            while done < len(data):
                rest = memoryview(data)[done:]
                # At its place: what a failed attempt has left is written over.
                done += os.write(file, rest) if size is None else os.pwrite(file, rest, size + done)
    except StorageUnavailable:
        if size is not None:
            with suppress(OSError):
                os.ftruncate(file, size)
        raise
