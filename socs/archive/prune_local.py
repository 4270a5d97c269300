"""Deleting archived files on this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from socs.archive.archived import Copy, untouched
from socs.archive.policy import ArchivedFile
from socs.archive.sources import CHANGED, DELETED, GONE, REFUSED, Fate
from socs.closing import Closing
from socs.dataroots import MISSING, DataRoots
from socs.db.fingerprint import md5_of
from socs.errors import ConfigError, PeerError

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalSources(Closing):
    """Files below ``roots``; those that are in the archive ``data_dir`` are never touched.

    Raises:
        ConfigError: a root and the archive are within each other; the message names both.
    """

    batch = 1

    def __init__(self, roots: DataRoots, data_dir: str) -> None:
        self._roots = roots
        archive = os.path.realpath(data_dir)
        for root in roots.roots:
            real = os.path.realpath(root)
            if f"{archive}/".startswith(f"{real}/") or f"{real}/".startswith(f"{archive}/"):
                raise ConfigError(
                    f"--data-dir {data_dir} and --data-root {root}: one is within the other"
                )
        self._opener = roots.opener()

    def close(self) -> None:
        """Close the directories that are held open."""
        self._opener.close()

    def look(self, files: Sequence[ArchivedFile]) -> Mapping[int, Fate]:
        """See :class:`~socs.archive.sources.Sources`."""
        self._opener.close()  # another look may find other directories
        found = {}
        for file in files:
            descriptor = self._open(file)
            if isinstance(descriptor, Fate):
                found[file.id] = descriptor
                continue
            size = os.fstat(descriptor).st_size
            os.close(descriptor)
            if file.size is not None and size != file.size:
                found[file.id] = Fate(CHANGED, f"its size is {size} bytes, not {file.size}")
        return found

    def remove(
        self, files: Sequence[tuple[ArchivedFile, Copy]], *, dry_run: bool
    ) -> Mapping[int, Fate]:
        """See :class:`~socs.archive.sources.Sources`."""
        return {file.id: self._remove(file, copy, dry_run) for file, copy in files}

    def _open(self, file: ArchivedFile) -> int | Fate:
        try:
            if stat.S_ISLNK(os.lstat(file.source).st_mode):
                return Fate(REFUSED, "it is a link")
        except (OSError, ValueError):
            pass  # the opener knows why
        try:
            return self._opener.open(file.source)
        except PeerError as error:
            if error.cause != MISSING:
                return Fate(REFUSED, str(error))
            if why := self._roots.why_absent(file.source):
                return Fate(REFUSED, why)
            return Fate(GONE, "was not there any more")

    def _remove(self, file: ArchivedFile, copy: Copy, dry_run: bool) -> Fate:
        descriptor = self._open(file)
        if isinstance(descriptor, Fate):
            return descriptor
        try:
            status = os.fstat(descriptor)
            if _is_copy(status, copy):
                return Fate(REFUSED, f"it is the archived copy itself, {copy.path}")
            try:
                found = md5_of(descriptor, status.st_size)
            except OSError as error:
                return Fate(REFUSED, f"cannot be read: {error.strerror}")
            if found != file.md5sum:
                return Fate(CHANGED, f"its MD5 is {found.hex()}, not {file.md5sum.hex()}")
            return self._unlink(file, copy, status, dry_run)
        finally:
            os.close(descriptor)

    def _unlink(
        self, file: ArchivedFile, copy: Copy, status: os.stat_result, dry_run: bool
    ) -> Fate:
        """Remove the name of the open file, if it still is the one of ``status``."""
        directory, _, name = file.source.rpartition("/")
        held = -1
        try:
            held = os.open(os.path.realpath(directory), _DIRECTORY)
            # What was opened, not what was looked at, decides.
            if not self._roots.contain(os.readlink(f"/proc/self/fd/{held}")):
                return Fate(REFUSED, "its directory was moved out of --data-root just now")
            if not copy.is_there():
                return Fate(REFUSED, f"its copy {copy.path} was touched just now")
            if not untouched(status, os.stat(name, dir_fd=held, follow_symlinks=False)):
                return Fate(CHANGED, "it was written to, or replaced, just now")
            if not dry_run:
                os.unlink(name, dir_fd=held)
        except FileNotFoundError:
            return Fate(GONE, "was deleted or moved just now")
        except OSError as error:
            return Fate(REFUSED, f"cannot be deleted: {error.strerror}")
        finally:
            if held >= 0:
                os.close(held)
        return Fate(DELETED)


def _is_copy(status: os.stat_result, copy: Copy) -> bool:
    """Is this the file of ``copy``: a hard link to it, or the same seen through another mount?"""
    there = copy.status
    return status.st_ino == there.st_ino and (
        status.st_dev == there.st_dev
        or (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        == (there.st_size, there.st_mtime_ns, there.st_ctime_ns)
    )
