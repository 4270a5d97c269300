"""Looking whether an archived copy is what it should be, and holding on to it meanwhile.

A copy is a regular file at the path of its row, below the archive's directory, and no link leads
there. It is held open, so that what follows concerns the very file that was hashed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

import msgspec

from socs.closing import Closing
from socs.db.copies import ALTERED, LOST
from socs.db.fingerprint import md5_of
from socs.errors import StorageUnavailable

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Damage(msgspec.Struct, frozen=True):
    """A copy that is not right.

    ``state`` is that of :mod:`socs.db.copies`; None when nothing can be said, as it could not be
    read. ``md5sum`` is what it was found to have.
    """

    state: str | None
    detail: str
    md5sum: bytes | None = None


class Copy(Closing):
    """A copy that was found right; a context manager.

    Attributes:
        path: absolute.
        descriptor: of the open file.
        status: as it was when it was hashed.
    """

    def __init__(self, directory: int, name: str, descriptor: int, path: str) -> None:
        self._directory, self._name = directory, name
        self.descriptor, self.path = descriptor, path
        self.status = os.fstat(descriptor)

    def is_there(self) -> bool:
        """Does its name still mean the file that was hashed, with nothing written to it?"""
        try:
            now = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        before = self.status
        return os.path.samestat(now, before) and (now.st_size, now.st_mtime_ns) == (
            before.st_size,
            before.st_mtime_ns,
        )

    def close(self) -> None:
        """Close file and directory."""
        for descriptor in (self._directory, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._directory = self.descriptor = -1


def untouched(before: os.stat_result, now: os.stat_result) -> bool:
    """Are these of one file, with nothing done to it in between?"""

    def times(status: os.stat_result) -> tuple[int, ...]:
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    return os.path.samestat(before, now) and times(before) == times(now)


def open_copy(
    data_dir: str, path: str, md5sum: bytes, tick: Callable[[], object] = lambda: None
) -> Copy | Damage:
    """Open and hash the archived copy at ``path``.

    Args:
        data_dir: directory of the archive, absolute.
        path: absolute.
        md5sum: what its contents should have, 16 bytes.
        tick: called now and then while it is hashed.

    Raises:
        StorageUnavailable: the archive is not there; the message names it.
    """
    if not path.startswith(f"{data_dir}/") or os.path.normpath(path) != path or "\0" in path:
        return Damage(None, f"its copy {path} is not below --data-dir {data_dir}")
    copy = _opened(data_dir, path)
    damage = copy if isinstance(copy, Damage) else _hashed(copy, md5sum, tick)
    if damage is None:
        return copy
    if isinstance(copy, Copy):
        copy.close()
    return damage


def check_archive(data_dir: str) -> None:
    """Return if there is anything below ``data_dir``.

    Raises:
        StorageUnavailable: there is not, as where the archive's file system is not mounted.
    """
    try:
        with os.scandir(data_dir) as entries:
            empty = next(entries, None) is None
    except OSError as error:
        raise StorageUnavailable(f"--data-dir {data_dir}: {error.strerror}") from error
    if empty:
        raise StorageUnavailable(f"--data-dir {data_dir} is empty: is it mounted?")


def _opened(data_dir: str, path: str) -> Copy | Damage:
    """The regular file at ``path``, not hashed yet."""
    *directories, name = path[len(data_dir) + 1 :].split("/")
    held = -1
    try:
        # The archive's own directory may be a link: it is what the operator named.
        held = os.open(data_dir, _DIRECTORY & ~os.O_NOFOLLOW)
        for directory in directories:
            outer, held = held, os.open(directory, _DIRECTORY, dir_fd=held)
            os.close(outer)
        if not stat.S_ISREG(os.stat(name, dir_fd=held, follow_symlinks=False).st_mode):
            return Damage(ALTERED, f"{path} is not a regular file")
        copy = Copy(held, name, os.open(name, _READ, dir_fd=held), path)
        held = -1
        return copy
    except FileNotFoundError:
        check_archive(data_dir)
        return Damage(LOST, f"there is no {path}")
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            return Damage(None, f"a part of {path} is a link, or no directory")
        return Damage(None, f"{path} cannot be read: {error.strerror}")
    finally:
        if held >= 0:
            os.close(held)


def _hashed(copy: Copy, md5sum: bytes, tick: Callable[[], object]) -> Damage | None:
    """None if the contents are as they should be, and nobody writes to them."""
    with suppress(OSError):  # read it from the disk, not from memory: it is to last
        os.posix_fadvise(copy.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        found = md5_of(copy.descriptor, copy.status.st_size, tick)
    except OSError as error:
        return Damage(None, f"{copy.path} cannot be read: {error.strerror}")
    if found != md5sum:
        text = f"MD5 of {copy.path} is {found.hex()}, size {copy.status.st_size} bytes"
        return Damage(ALTERED, text, found)
    if not untouched(copy.status, os.fstat(copy.descriptor)):
        return Damage(None, f"{copy.path} is being written")
    return None
