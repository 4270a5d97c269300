"""The directory of the archive: a file gets its name there when it is whole and verified.

A copy is written as ``<5 digits>/.suprsync-<instance id>/part-<file id>``: on the file system
where it will stay, and where the readers downstream pass it by, which take each entry of the
archive's directory for a number and each file in an ``outputs`` directory for data. It is
verified, flushed to the disk and then linked to its name, which fails if that is taken: nothing
is ever replaced.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from socs.archive.paths import Place
from socs.db.fingerprint import md5_of
from socs.errors import FileNotReady, StorageUnavailable

NOT_PLACED = "attempts_not_placed"
MOST_OF_ONE_NAME = 1000  # files with different contents and the same name
STAGING = ".suprsync-"
RESERVED = ("altered", "prune")  # in its place: what other directories of this kind are for
FILE_MODE, DIRECTORY_MODE = 0o664, 0o775  # a group may delete, and others read
MAX_KNOWN_DIRECTORIES = 10_000

_TIMECODE = re.compile(r"[0-9]{5}")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What concerns one file only, where the directory as a whole can be written: its directory's
# permissions, its name (file servers refuse some), a link that leads to another file system.
_OF_ONE_FILE = {
    *(errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
    *(errno.EINVAL, errno.EILSEQ, errno.EXDEV, errno.EMLINK),
}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}
_NO_SUCH_CALL = {errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_UNREADABLE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.ENXIO, errno.ENODEV}
_NOT_WRITTEN = {errno.EIO, errno.ENOSPC, errno.EDQUOT}
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_libc = ctypes.CDLL(None, use_errno=True)


class Storage:
    """The archive below ``data_dir``, for one archiver. Threads and processes may share it.

    Args:
        data_dir: absolute path.
        instance_id: of the archiver.
        file_mode: permissions of archived files.
        directory_mode: permissions of new directories.
        tick: called now and then while files are compared.

    Errors of the system become :class:`StorageUnavailable` where no file could be written, and
    :class:`FileNotReady` with the cause ``attempts_not_placed`` where this one could not.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        instance_id: str,
        *,
        file_mode: int = FILE_MODE,
        directory_mode: int = DIRECTORY_MODE,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self.data_dir = str(data_dir).rstrip("/") or "/"
        self.instance_id = instance_id
        self.file_mode, self.directory_mode = file_mode, directory_mode
        self._tick = tick
        self._known: set[str] = set()  # directories that are there

    def path(self, place: Place, number: int = 0) -> str:
        """The absolute path of ``place``."""
        return f"{self.data_dir}/{place.path(number)}"

    def staging(self, timecode: str) -> str:
        """The directory for temporary names, made if it is missing.

        Raises:
            StorageUnavailable, FileNotReady: it cannot be made; the message names it.
        """
        return self.directory(timecode, f"{STAGING}{self.instance_id}")

    def directory(self, *names: str) -> str:
        """The directory of these ``names`` below the archive's, made if it is missing.

        Raises:
            StorageUnavailable, FileNotReady: it cannot be made; the message names it.
        """
        directory = "/".join((self.data_dir, *names))
        with self.translated(directory):
            self._make(directory)
        return directory

    def leave(self, timecode: str) -> None:
        """Take the directory for temporary names away, unless something is in it."""
        staging = f"{self.data_dir}/{timecode}/{STAGING}{self.instance_id}"
        self._known.discard(staging)
        with suppress(OSError):
            os.rmdir(staging)

    def check(self) -> None:
        """Return if the archive can be written.

        Raises:
            StorageUnavailable: it cannot; the message names the directory and what to change.
        """
        if not os.path.isdir(self.data_dir):
            raise StorageUnavailable(
                f"--data-dir {self.data_dir} is not a directory (is it mounted?)"
            )
        if not os.access(self.data_dir, os.W_OK | os.X_OK):
            with suppress(OSError):
                if os.statvfs(self.data_dir).f_flag & os.ST_RDONLY:
                    raise StorageUnavailable(f"--data-dir {self.data_dir} is mounted read-only")
            raise StorageUnavailable(f"--data-dir {self.data_dir} cannot be written")

    def find(self, place: Place, md5sum: bytes, size: int | None = None) -> tuple[str, int] | None:
        """The file of these contents at ``place``, also under a number: its path and size.

        Args:
            place: where it belongs.
            md5sum: of its contents, 16 bytes.
            size: of its contents, if known: then files of other sizes are not read.

        Raises:
            StorageUnavailable: the archive cannot be read.
            FileNotReady: no file can be at ``place``.
        """
        for number in range(MOST_OF_ONE_NAME):
            path = self.path(place, number)
            with self.translated(path):
                there = self._size_if_same(path, md5sum, size)
                if there is None:
                    return None
                if there >= 0:
                    flush(os.path.dirname(path))  # who placed it may have died before
                    return path, there
        return None

    def put(self, part: str, place: Place, md5sum: bytes) -> str:
        """Give a verified, flushed copy its name.

        Args:
            part: path of the copy, in :meth:`staging`; gone afterwards.
            place: where it belongs.
            md5sum: of its contents, 16 bytes.

        Returns:
            The absolute path: of the copy, or of a file with the same contents that was there.

        Raises:
            StorageUnavailable: the archive cannot be written.
            FileNotReady: this file cannot be placed; ``attempts_not_placed``.
        """
        with self.translated(part):
            size = os.stat(part).st_size
        for number in range(MOST_OF_ONE_NAME):
            path = self.path(place, number)
            directory = os.path.dirname(path)
            with self.translated(path):
                self._make(directory)
                try:
                    _name(part, path)
                except FileExistsError:
                    there = self._size_if_same(path, md5sum, size)
                    if there is None or there < 0:  # gone again, or another file: the next name
                        continue
                with suppress(FileNotFoundError):
                    os.unlink(part)
                flush(directory)
                return path
        text = f"{MOST_OF_ONE_NAME} other files have the name {self.path(place)}"
        raise FileNotReady(text, NOT_PLACED)

    def clean(self, parts_of: str | None = None) -> int:
        """Remove what this archiver left under temporary names; how many files there were.

        Args:
            parts_of: only for this timecode.
        """
        removed = 0
        for timecode in [parts_of] if parts_of else self.timecodes():
            staging = f"{self.data_dir}/{timecode}/{STAGING}{self.instance_id}"
            there = _files_below(staging)
            shutil.rmtree(staging, ignore_errors=True)
            removed += there - _files_below(staging)
            self._known.discard(staging)
        return removed

    def timecodes(self) -> list[str]:
        """The five-digit directories of the archive, in order; empty when it cannot be read."""
        with suppress(OSError):
            return sorted(name for name in os.listdir(self.data_dir) if _TIMECODE.fullmatch(name))
        return []

    def free(self) -> int:
        """Bytes that may still be written.

        Raises:
            StorageUnavailable: the directory cannot be reached.
        """
        with self.translated(self.data_dir):
            status = os.statvfs(self.data_dir)
        return status.f_bavail * status.f_frsize

    @contextmanager
    def translated(self, path: str) -> Iterator[None]:
        """Turn errors of the system at ``path`` in the archive into ours."""
        try:
            yield
        except OSError as error:
            text = f"{path}: {error.strerror}"
            if error.errno == errno.ENOENT:  # a directory was taken away under our feet
                self._known.clear()
            self.check()
            if error.errno in _OF_ONE_FILE:
                raise FileNotReady(text, NOT_PLACED) from error
            raise StorageUnavailable(f"cannot write {text}") from error
        except ValueError as error:  # a lone surrogate, or a NUL
            raise FileNotReady(f"no file can have the name {path!r}", NOT_PLACED) from error

    def _make(self, directory: str) -> None:
        """Make ``directory`` and those above it, for good: also after a loss of power."""
        if directory in self._known:
            return
        if directory != self.data_dir:
            parent = os.path.dirname(directory)
            self._make(parent)
            with suppress(FileExistsError):
                os.mkdir(directory)
                group = os.stat(directory).st_mode & stat.S_ISGID  # inherited: chmod would clear it
                with suppress(PermissionError):  # of file systems without permissions
                    os.chmod(directory, self.directory_mode | group)
                flush(parent)
            if not os.path.isdir(directory):
                raise NotADirectoryError(errno.ENOTDIR, "there is a file of this name", directory)
        if len(self._known) >= MAX_KNOWN_DIRECTORIES:
            self._known.clear()
        self._known.add(directory)

    def _size_if_same(self, path: str, md5sum: bytes, size: int | None = None) -> int | None:
        """Size of the file at ``path`` if it has these contents; -1 if others, None if none.

        What is no file, or cannot be read, has others: it keeps its name, and nobody is held up.
        """
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _UNREADABLE:
                return -1
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or size not in (None, status.st_size):
                return -1
            try:
                same = md5_of(descriptor, status.st_size, self._tick) == md5sum
            except OSError as error:
                if error.errno in _UNREADABLE:
                    return -1
                raise
            return status.st_size if same else -1
        finally:
            os.close(descriptor)


def _name(part: str, path: str) -> None:
    """Give ``part`` the name ``path``, unless that is taken; its old name may stay.

    Raises:
        FileExistsError: it is taken.
        OSError: it cannot be done.
    """
    try:
        os.link(part, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return
    try:
        _rename(part, path)
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
    else:
        return
    # The name is taken first, then filled at once. A crash in between leaves an empty file.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        os.rename(part, path)
    except OSError:
        with suppress(OSError):
            os.unlink(path)
        raise


def _rename(part: str, path: str) -> None:
    """Rename ``part`` unless ``path`` is taken, in one call of the system; Python has none."""
    names = os.fsencode(part), os.fsencode(path)
    try:
        call = _libc.renameat2
    except AttributeError as error:  # an old C library
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path) from error
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def _files_below(directory: str) -> int:
    return sum(len(names) for _, _, names in os.walk(directory))


def flush(directory: str) -> None:
    """Have the entries of ``directory`` written to the disk, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:  # file servers have many ways to say that they do not do that
        if error.errno in _NOT_WRITTEN:
            raise
    finally:
        os.close(descriptor)
