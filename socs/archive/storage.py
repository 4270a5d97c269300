"""The directory of the archive: a file gets its name there when it is whole and verified.

A copy is written as ``<5 digits>/.suprsync-<instance id>/part-<file id>``: on the file system
where it will stay, and where the readers downstream pass it by, which take each entry of the
archive's directory for a number and each file in an ``outputs`` directory for data. It is
verified, flushed to the disk and then linked to its name, which fails if that is taken: nothing
is ever replaced.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count

from socs.archive.paths import Place
from socs.db.fingerprint import md5_of
from socs.errors import FileNotReady, StorageUnavailable

NOT_PLACED = "attempts_not_placed"
MOST_OF_ONE_NAME = 1000  # files with different contents and the same name
STAGING = ".suprsync-"
FILE_MODE, DIRECTORY_MODE = 0o664, 0o775  # a group may delete, and others read
MAX_KNOWN_DIRECTORIES = 10_000

_TIMECODE = re.compile(r"[0-9]{5}")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What concerns one file only, where the directory as a whole can be written.
_OF_ONE_FILE = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS}


class Storage:
    """The archive below ``data_dir``, for one archiver. Threads and processes may share it.

    Args:
        data_dir: absolute path.
        instance_id: of the archiver.
        file_mode: permissions of archived files.
        directory_mode: permissions of new directories.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        instance_id: str,
        *,
        file_mode: int = FILE_MODE,
        directory_mode: int = DIRECTORY_MODE,
    ) -> None:
        self.data_dir = str(data_dir).rstrip("/") or "/"
        self.instance_id = instance_id
        self.file_mode, self.directory_mode = file_mode, directory_mode
        self._known: set[str] = set()  # directories that are there

    def path(self, place: Place, number: int = 0) -> str:
        """The absolute path of ``place``."""
        return f"{self.data_dir}/{place.path(number)}"

    def staging(self, timecode: str) -> str:
        """The directory for temporary names, made if it is missing.

        Raises:
            StorageUnavailable: it cannot be made; the message names it.
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
            raise StorageUnavailable(f"--data-dir {self.data_dir} cannot be written")

    def find(self, place: Place, md5sum: bytes) -> tuple[str, int] | None:
        """The file of these contents at ``place``, also under a number: its path and size.

        Raises:
            StorageUnavailable: the archive cannot be read.
        """
        for number in range(MOST_OF_ONE_NAME):
            path = self.path(place, number)
            with self.translated(path):
                size = self._size_if_same(path, md5sum)
            if size is None:
                return None
            if size >= 0:
                return path, size
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
        size = os.stat(part).st_size
        for number in count():
            path = self.path(place, number)
            directory = os.path.dirname(path)
            with self.translated(path):
                self._make(directory)
                try:
                    _link(part, path)
                except FileExistsError:
                    there = self._size_if_same(path, md5sum, size)
                    if there is None:  # gone again; the next name will do as well
                        continue
                    if there >= 0:
                        os.unlink(part)
                        return path
                else:
                    with suppress(FileNotFoundError):
                        os.unlink(part)
                    flush(directory)
                    return path
            if number >= MOST_OF_ONE_NAME:
                raise FileNotReady(f"{number} other files have the name {path}", NOT_PLACED)
        raise AssertionError("counting has no end")

    def clean(self, parts_of: str | None = None) -> int:
        """Remove what this archiver left under temporary names; how many files there were.

        Args:
            parts_of: only for this timecode.
        """
        removed = 0
        for timecode in [parts_of] if parts_of else self.timecodes():
            staging = f"{self.data_dir}/{timecode}/{STAGING}{self.instance_id}"
            if os.path.isdir(staging):
                removed += sum(len(names) for _, _, names in os.walk(staging))
                shutil.rmtree(staging, ignore_errors=True)
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
            OSError: the directory cannot be reached.
        """
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

    def _make(self, directory: str) -> None:
        """Make ``directory`` and those above it, for good: also after a loss of power."""
        if directory in self._known:
            return
        if directory != self.data_dir:
            parent = os.path.dirname(directory)
            self._make(parent)
            with suppress(FileExistsError):
                os.mkdir(directory)
                os.chmod(directory, self.directory_mode)
                flush(parent)
            if not os.path.isdir(directory):
                raise NotADirectoryError(errno.ENOTDIR, "there is a file of this name", directory)
        if len(self._known) >= MAX_KNOWN_DIRECTORIES:
            self._known.clear()
        self._known.add(directory)

    def _size_if_same(self, path: str, md5sum: bytes, size: int | None = None) -> int | None:
        """Size of the file at ``path`` if it has these contents; -1 if others, None if none."""
        try:
            descriptor = os.open(path, _OPEN)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EISDIR}:
                return -1
            raise
        try:
            status = os.fstat(descriptor)
            if size is not None and status.st_size != size:
                return -1
            try:
                same = md5_of(descriptor, status.st_size) == md5sum
            except IsADirectoryError:
                return -1
            return status.st_size if same else -1
        finally:
            os.close(descriptor)


def _link(part: str, path: str) -> None:
    """Give ``part`` the name ``path`` as well, unless that is taken."""
    try:
        os.link(part, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links. The name is taken first, then filled at once.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            os.rename(part, path)
        except OSError:
            os.unlink(path)
            raise


def flush(directory: str) -> None:
    """Have the entries of ``directory`` written to the disk, where its file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
