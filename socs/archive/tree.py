"""What is in the directory of the archive, and what its tree says of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from socs.archive.paths import LAST_TIME, MARKERS, TIMESTREAMS, UNKNOWN
from socs.archive.storage import STAGING
from socs.errors import StorageUnavailable

SET_ASIDE = f"{STAGING}altered"  # <5 digits>/.suprsync-altered: copies that were found altered
EVERY = 1000  # entries between two calls of `tick`

_TIMECODE = re.compile(r"[0-9]{5}")
_ACTION = re.compile(r"([0-9]{1,10})_(.*)", re.DOTALL)


@dataclass
class Listing:
    """What is in one directory of a day.

    Attributes:
        files: absolute paths of all that is no directory.
        temporary: of files under temporary names.
        set_aside: number of copies set aside.
        unreadable: ``(path, why)`` of directories that cannot be read.
    """

    files: set[str] = field(default_factory=set)
    temporary: list[str] = field(default_factory=list)
    set_aside: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


class Tree:
    """The directory ``data_dir`` (absolute) as it is found.

    A link to a directory is followed if it leads out of the archive, as to another disk, for so do
    the archiver and the readers; links within the archive are only other names.
    """

    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir.rstrip("/") or "/"
        self._identity: tuple[int, int] | None = None

    def check(self, files_expected: bool = False) -> None:
        """Return if the archive is there, and the same as at the first call.

        Args:
            files_expected: a directory without any day's will not do: nothing is mounted there.

        Raises:
            StorageUnavailable: it is not; the message names it and says what to look at.
        """
        name = f"--data-dir {self.data_dir}"
        try:
            status = os.stat(self.data_dir)
            with os.scandir(self.data_dir) as entries:
                empty = not any(_TIMECODE.fullmatch(entry.name) for entry in entries)
        except OSError as error:
            raise StorageUnavailable(
                f"{name} cannot be read: {error.strerror} (is it mounted?)"
            ) from error
        identity = (status.st_dev, status.st_ino)
        if self._identity not in (None, identity):
            raise StorageUnavailable(f"{name} is another directory than before: what was mounted?")
        self._identity = identity
        if empty and files_expected:
            raise StorageUnavailable(
                f"{name} holds no five-digit directory, and the table has files in it: is it "
                "mounted?"
            )

    def entries(self) -> tuple[list[str], list[str]]:
        """The five-digit directories, in order, and the names of all else.

        Raises:
            StorageUnavailable: the archive cannot be read.
        """
        self.check()
        timecodes: list[str] = []
        others: list[str] = []
        with os.scandir(self.data_dir) as entries:
            for entry in entries:
                good = _TIMECODE.fullmatch(entry.name) and entry.is_dir()
                (timecodes if good else others).append(entry.name)
        return sorted(timecodes), sorted(others)

    def list(self, timecode: str, tick: Callable[[], None] = lambda: None) -> Listing:
        """All files below the directory ``timecode``, which need not be there."""
        found = Listing()
        top = f"{self.data_dir}/{timecode}"
        waiting, followed = [top], {os.path.realpath(top)}
        number = 0
        while waiting:
            directory = waiting.pop()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        number += 1
                        if number % EVERY == 0:
                            tick()
                        if not entry.is_dir():
                            found.files.add(entry.path)
                        elif directory == top and entry.name == MARKERS:
                            continue
                        elif directory == top and entry.name.startswith(STAGING):
                            self._list_staging(entry, found)
                        elif not entry.is_symlink() or self._leads_out(entry, followed):
                            waiting.append(entry.path)
            except OSError as error:
                if directory != top or os.path.lexists(top):
                    found.unreadable.append((directory, error.strerror or str(error)))
        return found

    def _leads_out(self, entry: os.DirEntry[str], followed: set[str]) -> bool:
        """Does this link to a directory lead to another place, and one not seen yet?"""
        real = os.path.realpath(entry.path)
        home = os.path.realpath(self.data_dir)
        inside = f"{real}/".startswith(f"{home}/") or home.startswith(f"{real}/")
        if inside or real in followed:
            return False
        followed.add(real)
        return True

    def _list_staging(self, entry: os.DirEntry[str], found: Listing) -> None:
        paths = [
            os.path.join(parent, name) for parent, _, names in os.walk(entry.path) for name in names
        ]
        if entry.name == SET_ASIDE:
            found.set_aside += len(paths)
        else:
            found.temporary += paths


def described(relative: str) -> dict[str, Any]:
    """What the tree says of the file ``relative`` to the archive: columns of the files table."""
    parts = relative.split("/")
    told: dict[str, Any] = {"plot": False}
    if len(parts) == 3:
        return told | {"action": TIMESTREAMS}
    if len(parts) == 5:
        told["pub_id"] = None if parts[1] == UNKNOWN else parts[1]
        told["plot"] = parts[3] == "plots"
        action = _ACTION.fullmatch(parts[2])
        if action is not None:
            told["action"] = None if action[2] == UNKNOWN else action[2]
            if int(action[1]) <= LAST_TIME:
                told["action_timestamp"] = int(action[1])
    return told


def utc(seconds: float) -> datetime | None:
    """UNIX time [s] as the files table has times; None for one that it has no room for."""
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.year >= 1970 else None
