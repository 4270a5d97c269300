"""Where a file of the table belongs in the archive. Pure: no file is looked at.

The tree is that of the seed's archiver and of SupRsync, which the readers downstream walk::

    <5 ctime digits>/<pub_id>/<action_timestamp>_<action>/<plots|outputs>/<name>     all but
    <5 ctime digits>/<stream_id>/<name>                                              timestreams

Names come from the network. Whatever they hold, the result is a relative path of plain components
that stays below the directory it is joined to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any

import msgspec

TIMESTREAMS = "timestreams"  # the action of files that keep the last three parts of their path
SMURF = "smurf"  # the name that readers downstream have for the archive of all others
MARKERS = "suprsync"  # <5 digits>/suprsync/<instance id>: where they look for markers
UNKNOWN = "unknown"  # stands for an action or a publisher that the row does not name
FIRST_TIME, LAST_TIME = 10**9, 10**10 - 1  # ctimes with ten digits: 2001 to 2286
LONGEST_NAME = 255  # bytes of a component, as file systems have it

_TIMECODE = re.compile(r"[0-9]{5}")
_LEADING_TIME = re.compile(r"([0-9]{10})(?:[._]|$)")
_NOT_IN_NAMES = re.compile("[/\0\ud800-\udfff]")  # nor are lone surrogates in UTF-8


class File(msgspec.Struct, frozen=True):
    """What a row of the files table says of a file, as far as archiving it goes.

    ``path`` is where it was written; ``timestamp`` is UTC without a time zone.
    """

    id: int
    path: str
    action: str | None
    timestamp: datetime | None
    action_timestamp: int | None
    plot: bool
    pub_id: str | None
    instance_id: str | None
    md5sum: bytes
    attempts: int = 0


def file_of(row: Mapping[Any, Any]) -> File:
    """The :class:`File` of a row of the files table.

    What is no time counts as none: dates like 0000-00-00, which MariaDB's driver gives as text, and
    text in SQLite's columns of numbers.
    """
    written, started = row["timestamp"], row["action_timestamp"]
    return File(
        id=row["id"],
        path=row["path"],
        action=row["action"],
        timestamp=written if isinstance(written, datetime) else None,
        action_timestamp=started if isinstance(started, int) else None,
        plot=bool(row["plot"]),
        pub_id=row["pub_id"],
        instance_id=row["instance_id"],
        md5sum=bytes(row["md5sum"]),
        attempts=row["failed_copy_attempts"] or 0,
    )


class Place(msgspec.Struct, frozen=True):
    """Where a file belongs: ``<timecode>/<directory>/<name>`` below the archive's directory.

    ``timecode`` is the first five digits of a ctime: a day, roughly.
    """

    timecode: str
    directory: str
    name: str

    @property
    def archive_name(self) -> str:
        """``timestreams`` or ``smurf``."""
        return SMURF if "/" in self.directory else TIMESTREAMS

    def path(self, number: int = 0) -> str:
        """The relative path; with ``number``, that of the nth other file of this name."""
        name = f"{self.name}.{number}" if number else self.name
        return f"{self.timecode}/{self.directory}/{_fit(name)}"


def place_of(file: File) -> Place:
    """Where ``file`` belongs.

    The five digits are those of the file's time. Where the row has no action timestamp, the number
    in front of the file's name is taken, or else the file's time.
    """
    if file.action == TIMESTREAMS:
        parts = PurePosixPath(file.path).parts[-3:]
        if len(parts) == 3 and _TIMECODE.fullmatch(parts[0]):
            return Place(parts[0], _component(parts[1], UNKNOWN), _file_name(parts[2]))
    name = _file_name(PurePosixPath(file.path).name)
    leading = _LEADING_TIME.match(name)
    named = _ctime(int(leading[1])) if leading else None
    written = _ctime(_seconds(file.timestamp))
    started = _ctime(file.action_timestamp)
    group = started or named or written or FIRST_TIME
    action = _component(f"{group}_{file.action or UNKNOWN}", UNKNOWN)
    publisher = _component(file.pub_id or file.instance_id or "", UNKNOWN)
    return Place(
        timecode=str(written or named or started or FIRST_TIME)[:5],
        directory=f"{publisher}/{action}/{'plots' if file.plot else 'outputs'}",
        name=name,
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=timezone.utc).timestamp()


def _ctime(seconds: float | None) -> int | None:
    """A plausible UNIX time in whole seconds, else None."""
    if seconds is None or not FIRST_TIME <= seconds <= LAST_TIME:
        return None
    return int(seconds)


def _component(text: str, otherwise: str) -> str:
    """``text`` as the name of a directory that is not hidden and not one of ours."""
    safe = _NOT_IN_NAMES.sub("_", text)
    if safe.startswith("."):
        safe = f"_{safe[1:]}"
    elif safe == MARKERS:
        safe = f"_{safe}"
    return _fit(safe) or otherwise


def _file_name(text: str) -> str:
    """``text`` as the name of a file; it may hold anything that a name can."""
    safe = _NOT_IN_NAMES.sub("_", text)
    return UNKNOWN if safe in {"", ".", ".."} else _fit(safe)


def _fit(name: str) -> str:
    """``name``, or when it is too long for a file system its beginning and a checksum of it."""
    data = name.encode()
    if len(data) <= LONGEST_NAME:
        return name
    mark = f"~{hashlib.md5(data, usedforsecurity=False).hexdigest()[:8]}"
    kept = data[: LONGEST_NAME - len(mark)].decode("utf-8", "ignore")
    return kept + mark
