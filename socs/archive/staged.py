"""Files on their way from another machine: a tree in the directory for temporary names.

rsync writes there, each file under its whole path at the source, so that a transfer that was
interrupted is found again. Of the file ``/a/b`` there is at most one of ::

    <tree>/a/b                  whole, as rsync has checked
    <tree>/a/.b.XXXXXX          being written; left behind when rsync was killed
    <tree>/a/.socs-partial/b    the part that an earlier transfer brought
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from socs.archive.rsync import PARTIAL
from socs.db.fingerprint import md5_of

NAME = "pull"  # of the tree, in the directory for temporary names
KEPT = 7 * 86_400  # s; for parts that nobody asks for any more: longer than a week-end's outage

_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[A-Za-z0-9]{6}", re.DOTALL)
# No such file; among other reasons, because this file system can have none of that name.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Tree:
    """The files below ``directory``; all methods take absolute paths at the source."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, source: str) -> str:
        """Where ``source`` is when it is whole."""
        return f"{self.directory}{source}"

    def partial(self, source: str) -> str:
        """Where the part of ``source`` is that came before an interruption."""
        directory, name = os.path.split(self.path(source))
        return f"{directory}/{PARTIAL}/{name}"

    def kind(self, source: str) -> int:
        """``S_IFREG``, ``S_IFDIR`` or what else is there instead of ``source``; 0 if nothing."""
        with _unless_absent():
            return stat.S_IFMT(os.lstat(self.path(source)).st_mode)
        return 0

    def seal(
        self, source: str, mode: int, tick: Callable[[], object] = lambda: None
    ) -> tuple[bytes, int]:
        """Flush the whole file to the disk and give it its permissions; MD5 and size [bytes].

        ``tick`` is called now and then.

        Raises:
            OSError: it cannot be read.
        """
        descriptor = os.open(self.path(source), _READ)
        try:
            os.fchmod(descriptor, mode)
            size = os.fstat(descriptor).st_size
            md5sum = md5_of(descriptor, size, tick)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return md5sum, size

    def another(self, source: str) -> str:
        """A second, flushed copy of the whole file; its path, the same each time.

        Raises:
            OSError: it cannot be made.
        """
        copy = f"{self.directory}-copy"  # outside the tree, where rsync writes
        with suppress(FileNotFoundError):
            os.unlink(copy)
        shutil.copy2(self.path(source), copy, follow_symlinks=False)
        descriptor = os.open(copy, _READ)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return copy

    def remove(self, source: str) -> None:
        """Remove the whole file, if it is there."""
        with _unless_absent():
            os.unlink(self.path(source))

    def drop(self, source: str) -> None:
        """Remove all there is of ``source``. No rsync may be running in the tree."""
        self.resume([source])
        self.remove(source)
        with _unless_absent():
            os.unlink(self.partial(source))

    def resume(self, sources: Iterable[str]) -> None:
        """Make the parts of ``sources`` ready to be used. No rsync may be running in the tree.

        What a killed rsync was writing becomes the part, if it is the larger one.

        Raises:
            OSError: the tree cannot be written.
        """
        for directory, names in _by_directory(map(self.path, sources)).items():
            for unfinished, name in _unfinished(directory, names):
                part = f"{directory}/{PARTIAL}/{name}"
                # rsync writes into the part: it must not be an archived file by another name.
                status = os.lstat(unfinished)
                if status.st_nlink == 1 and status.st_size > _size(part):
                    os.makedirs(os.path.dirname(part), mode=0o700, exist_ok=True)
                    os.replace(unfinished, part)
                else:
                    os.unlink(unfinished)
            for name in names:
                with _unless_absent():
                    os.utime(f"{directory}/{PARTIAL}/{name}")  # asked for: see `forget`

    def bytes(self, sources: Iterable[str]) -> dict[str, int]:
        """Of which of ``sources`` something is here, and how many bytes."""
        found: dict[str, int] = {}
        for directory, names in _by_directory(map(self.path, sources)).items():
            sizes = {name: _size(f"{directory}/{name}") for name in names}
            for name, size in sizes.items():
                sizes[name] = max(size, _size(f"{directory}/{PARTIAL}/{name}"))
            for path, name in _unfinished(directory, names):
                sizes[name] = max(sizes[name], _size(path))
            below = directory[len(self.directory) :]
            found |= {f"{below}/{name}": size for name, size in sizes.items() if size >= 0}
        return found

    def prune(self, sources: Iterable[str]) -> None:
        """Remove the directories that held ``sources`` and are empty now, and so the tree."""
        sources = list(sources)
        for source in sources:
            _gone(self.path(source))  # it was a directory
        for directory in sorted(_by_directory(map(self.path, sources)), reverse=True):
            with suppress(OSError):
                os.rmdir(f"{directory}/{PARTIAL}")
            empty = directory
            while empty.startswith(self.directory) and _gone(empty):
                empty = os.path.dirname(empty)

    def forget(self, before: float) -> int:
        """Remove files that were neither written nor asked for since ``before`` (UNIX time [s]).

        Returns:
            How many there were.
        """
        removed = 0
        for directory, _, names in os.walk(self.directory, topdown=False):
            for name in names:
                with suppress(OSError):  # it is somebody else's problem, and will be told there
                    if os.lstat(f"{directory}/{name}").st_ctime < before:
                        os.unlink(f"{directory}/{name}")
                        removed += 1
            with suppress(OSError):  # not empty
                os.rmdir(directory)
        return removed


@contextmanager
def _unless_absent() -> Iterator[None]:
    """Go on behind the block when what it looks for is not there."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ABSENT:
            raise


def _gone(directory: str) -> bool:
    """Remove ``directory`` if it is empty; True when it is not there any more."""
    try:
        os.rmdir(directory)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


def _by_directory(paths: Iterable[str]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for path in paths:
        directory, name = os.path.split(path)
        groups.setdefault(directory, set()).add(name)
    return groups


def _unfinished(directory: str, names: set[str]) -> Iterator[tuple[str, str]]:
    """What rsync was, or is, writing in ``directory``: the path, and which of ``names`` it is."""
    entries: list[str] = []
    with _unless_absent():
        entries = os.listdir(directory)
    for entry in entries:
        match = _UNFINISHED.fullmatch(entry)
        # rsync puts no second dot in front of a name that has one.
        for name in (match["name"], f".{match['name']}") if match else ():
            if name in names:
                yield f"{directory}/{entry}", name


def _size(path: str) -> int:
    """Size of the regular file at ``path``; -1 if there is none."""
    with _unless_absent():
        status = os.lstat(path)
        return status.st_size if stat.S_ISREG(status.st_mode) else -1
    return -1
