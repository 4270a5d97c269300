"""Opening files that the network names, only below configured data roots.

A path is followed link by link to where it really leads, and that place must lie below a root.
The directory is then held open and the file opened relative to it without following links, so
nobody can swap a link in between. Anything but a regular file is never opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from socs.closing import Closing
from socs.errors import ConfigError, FileNotReady, NotAllowed
from socs.problems import printable

OUTSIDE = "attempts_outside_roots"
NOT_REGULAR = "attempts_not_regular"
MISSING = "attempts_missing"
UNREADABLE = "attempts_unreadable"
MAX_OPEN_DIRECTORIES = 64

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DataRoots:
    """The directories below which files may be read.

    Args:
        roots: absolute paths; they need not exist yet (they may be mounted later).

    Raises:
        ConfigError: none is given, one is not absolute, or one is the whole file system.
    """

    def __init__(self, roots: Sequence[str | os.PathLike[str]]) -> None:
        self.roots = tuple(Path(root) for root in roots)
        if not self.roots:
            raise ConfigError("--data-root names no directory")
        for root in self.roots:
            if not root.is_absolute() or root == Path("/"):
                raise ConfigError(f"--data-root {root}: give an absolute path below /")

    def contain(self, real_path: str) -> bool:
        """True if ``real_path`` (absolute, links resolved) lies below a root or is one."""
        for root in self.roots:
            real_root = os.path.realpath(root)
            if real_path == real_root or real_path.startswith(real_root + "/"):
                return True
        return False

    def why_absent(self, path: str) -> str | None:
        """Why nothing at all is below the root of ``path``; None if something is."""
        root = next((root for root in self.roots if path.startswith(f"{root}/")), None)
        if root is None:
            return None
        with suppress(OSError), os.scandir(root) as entries:
            if next(entries, None) is not None:
                return None
        return f"--data-root {root} is not there, or empty: is it mounted?"

    def opener(self) -> Opener:
        """Something that opens many files and remembers directories; close it after each batch."""
        return Opener(self)


class Opener(Closing):
    """Opens files below the roots; a context manager. Not for several threads at once."""

    def __init__(self, roots: DataRoots) -> None:
        self._roots = roots
        self._directories: dict[str, int] = {}

    def close(self) -> None:
        """Close the directories; files opened stay open."""
        for descriptor in self._directories.values():
            os.close(descriptor)
        self._directories.clear()

    def open(self, path: str) -> int:
        """Open the regular file ``path`` for reading; the file descriptor is the caller's.

        Raises:
            NotAllowed: it leads outside the roots, or is not a regular file.
            FileNotReady: it is missing or cannot be read.
        """
        if "\0" in path or not path.startswith("/"):
            raise NotAllowed("not an absolute path", OUTSIDE)
        directory, _, name = path.rpartition("/")
        try:
            if name not in {"", ".", ".."}:
                descriptor = self._open_in(directory, name)
                if descriptor is not None:
                    return descriptor
            # A link, or a path that ends in dots: follow it to the end, then look again.
            directory, _, name = os.path.realpath(path).rpartition("/")
            descriptor = self._open_in(directory, name) if name else None
        except FileNotFoundError as error:
            raise FileNotReady("there is no such file", MISSING) from error
        except NotADirectoryError as error:
            raise FileNotReady("a part of the path is not a directory", MISSING) from error
        except OSError as error:
            raise FileNotReady(f"cannot be read: {error.strerror}", UNREADABLE) from error
        except UnicodeEncodeError as error:
            raise NotAllowed("no file can have this name", OUTSIDE) from error
        if descriptor is None:
            raise FileNotReady("the link changes while it is followed", UNREADABLE)
        return descriptor

    def _open_in(self, directory: str, name: str) -> int | None:
        """Open ``name`` in ``directory``; None if it is a link."""
        parent = self._directories.get(directory)
        if parent is None:
            parent = self._open_directory(directory)
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return None
        if not stat.S_ISREG(mode):
            raise NotAllowed("not a regular file", NOT_REGULAR)
        descriptor = os.open(name, _READ, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAllowed("not a regular file", NOT_REGULAR)
        return descriptor

    def _open_directory(self, directory: str) -> int:
        real = os.path.realpath(directory or "/")
        if not self._roots.contain(real):
            raise NotAllowed(f"leads to {printable(real)}, outside --data-root", OUTSIDE)
        descriptor = os.open(real, _DIRECTORY)
        # What was opened, not what was looked at, decides.
        if not self._roots.contain(os.readlink(f"/proc/self/fd/{descriptor}")):
            os.close(descriptor)
            raise NotAllowed("leads outside --data-root", OUTSIDE)
        if len(self._directories) >= MAX_OPEN_DIRECTORIES:
            self.close()
        self._directories[directory] = descriptor
        return descriptor
