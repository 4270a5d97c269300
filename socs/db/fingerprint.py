"""What registration needs to know of a file: size, time and MD5, taken from one open file."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

import msgspec

from socs.dataroots import MISSING, Opener
from socs.errors import FileNotReady

GROWING = "attempts_growing"
SMALL = 1 << 20  # bytes; read whole, in one call
CHUNK = 1 << 20


class Fingerprint(msgspec.Struct, frozen=True):
    """``path`` is the name found (with an appended ``.npy``, if that is what was there);
    ``modified`` is a UNIX time [s]; ``md5sum`` 16 bytes."""

    path: str
    size: int
    modified: float
    md5sum: bytes


class TooLargeHere(Exception):
    """The file is larger than the caller is willing to read now."""


def fingerprint(
    opener: Opener,
    path: str,
    *,
    now: float,
    settle: float,
    seen: str | None = None,
    largest: int | None = None,
) -> Fingerprint:
    """Fingerprint ``path``, or ``path + ".npy"`` when only that exists (numpy appends it).

    Args:
        opener: opens the file below the data roots.
        path: absolute path as announced.
        now: UNIX time [s].
        settle: a file changed less than this many seconds ago is still being written, unless it
            is exactly as it was ``seen`` last time (the file server's clock may be wrong).
        seen: ``detail`` of the last :class:`FileNotReady` with cause ``attempts_growing``.
        largest: leave larger files alone.

    Raises:
        FileNotReady, NotAllowed: from ``opener``; ``attempts_growing`` when still being written.
        TooLargeHere: larger than ``largest`` bytes.
    """
    try:
        descriptor = opener.open(path)
    except FileNotReady as error:
        if error.cause != MISSING or path.endswith(".npy"):
            raise
        try:
            descriptor = opener.open(f"{path}.npy")
        except FileNotReady:
            raise error from None
        path = f"{path}.npy"
    try:
        before = os.fstat(descriptor)
        if largest is not None and before.st_size > largest:
            raise TooLargeHere
        if now - settle < before.st_mtime and _looks(before) != seen:
            raise FileNotReady(_looks(before), GROWING)
        try:
            md5sum = md5_of(descriptor, before.st_size)
        except OSError as error:
            raise FileNotReady(
                f"cannot be read: {error.strerror}", "attempts_unreadable"
            ) from error
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise FileNotReady(_looks(after), GROWING)
        return Fingerprint(path, after.st_size, after.st_mtime, md5sum)
    finally:
        os.close(descriptor)


def _looks(status: os.stat_result) -> str:
    return f"{status.st_size} bytes, changed {status.st_mtime_ns}"


def md5_of(descriptor: int, size: int, tick: Callable[[], object] = lambda: None) -> bytes:
    """MD5 (16 bytes) of the first ``size`` bytes of an open file; ``tick`` is called now and then.

    Raises:
        OSError: it cannot be read, or is shorter.
    """
    if size <= SMALL:
        data = os.pread(descriptor, size + 1, 0)
        if len(data) >= size:
            return hashlib.md5(data, usedforsecurity=False).digest()
    digest = hashlib.md5(usedforsecurity=False)
    buffer = bytearray(CHUNK)
    offset = 0
    # No further than it was long at first: a file may grow faster than it can be read.
    while offset < size and (count := os.preadv(descriptor, [buffer], offset)):
        digest.update(memoryview(buffer)[:count])
        offset += count
        tick()
    if offset < size:
        raise OSError(errno.EIO, "it ended before its size")
    return digest.digest()
