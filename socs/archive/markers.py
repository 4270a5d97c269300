"""Files that tell the readers downstream that a day is complete.

They are those of SupRsync. A timecode is the time between two multiples of 100 000 s, whose files
are in one directory. When all its files of an archive have been dealt with, this is written::

    <5 digits of now>/suprsync/<instance id>/<now>_<archive name>_<timecode>_finalized.yaml

Readers open whatever they find in that directory. So a marker is written among the temporary names
of the timecode that it is about, and renamed when it is whole.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec
import sqlalchemy as sa
import yaml

from socs.archive.paths import MARKERS, SMURF, TIMESTREAMS
from socs.archive.selection import of_archive
from socs.archive.storage import STAGING, Storage, flush
from socs.archive.timecodes import TIMECODE, Timecodes
from socs.db import copies
from socs.db.engine import Database
from socs.errors import FileNotReady, SocsError, StorageUnavailable

LATE = 3600.0  # s after the end of a timecode in which its last files may still be registered
LOOK_BACK = 14  # timecodes looked at after a start
AT_ONCE = 20  # timecodes of an archive looked at in one update; others wait for the next

Key = tuple[str, str]  # timecode, archive name
_MARKER = re.compile(rf"([0-9]+)_({SMURF}|{TIMESTREAMS})_([0-9]{{5}})_finalized\.yaml")


class Marker(msgspec.Struct, frozen=True):
    """What a marker says, under these names. Times are UNIX times [s].

    Attributes:
        timecode: whose files are complete.
        num_files: how many of them are archived, of this archive and these targets.
        subdirs: the directories they are in: publisher ids, or stream ids.
        finalized_at: when this was found.
        finalized_until: files written before this have all been dealt with.
        archive_name: ``smurf`` or ``timestreams``.
        instance_id: of the archiver.
        not_archived: files of this timecode that are at rest without a copy. Readers that know
            SupRsync only pass it by.
    """

    timecode: int
    num_files: int
    subdirs: list[str]
    finalized_at: float
    finalized_until: float
    archive_name: str
    instance_id: str
    not_archived: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{int(self.finalized_at)}_{self.archive_name}_{self.timecode:05}_finalized.yaml"


def is_complete(timecode: int, now: float, *, newer: bool) -> bool:
    """Is no further file of ``timecode`` expected at ``now`` (UNIX time [s])?

    That is so when there are files of a ``newer`` one, or when the next one is over as well; and
    not before those had time to be registered that were open when it ended.
    """
    if now < (timecode + 1) * TIMECODE + LATE:
        return False
    return newer or now // TIMECODE - timecode > 1


class Markers:
    """Writes the markers of one archiver, each once. One thread calls :meth:`update`.

    Args:
        storage: the archive.
        database: holds the files table and that of the copies.
        instances: those that registered the files of this archiver.
        max_attempts: of the archiver.
        archive_names: those that it takes.
    """

    def __init__(
        self,
        storage: Storage,
        database: Database,
        instances: Sequence[str],
        max_attempts: int,
        *,
        archive_names: Sequence[str] = (SMURF, TIMESTREAMS),
    ) -> None:
        self._storage, self._database = storage, database
        self._tables = Timecodes(storage.data_dir, instances, max_attempts)
        self._archive_names = tuple(archive_names)
        self._lock = threading.Lock()
        self._touched: dict[Key, None] = {}  # in the order in which they are looked at
        self._written: dict[Key, str] | None = None  # paths of the newest markers; None: not known

    def touched(self, timecode: str, archive_name: str) -> None:
        """A file was archived there, and its row says so. From any thread.

        Of other archives' files, which an archiver of timestreams meets when their path is none of
        a streamer, no marker tells.
        """
        if archive_name in self._archive_names:
            with self._lock:
                self._touched[timecode, archive_name] = None

    def update(self, now: float) -> list[Marker]:
        """Write the markers that are due at ``now`` (UNIX time [s]); these are returned.

        Looks at timecodes in which files were archived since their last marker, and the first time
        at all of late.

        Raises:
            StorageUnavailable: the database or the archive is not there. To be tried again.
        """
        if self._written is None:
            self._written = self._look_around(now)
        keys = self._take(now)
        if not keys:
            return []
        held_up: set[Key] = set()
        try:
            with self._database.read() as connection:
                for timecode in dict.fromkeys(timecode for timecode, _ in keys):
                    for name in self._archive_names:
                        if self._tables.awaits(connection, timecode, name):
                            held_up.add((timecode, name))
                markers = self._due(connection, [key for key in keys if key not in held_up], now)
            for marker in markers:
                self._write(marker)
        except SocsError:
            self._touch_all(keys)
            raise
        self._touch_all(key for key in keys if key in held_up)
        for timecode in {timecode for timecode, _ in keys} - {timecode for timecode, _ in held_up}:
            self._storage.leave(timecode)
        return markers

    def _touch_all(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.touched(*key)

    # -- what to look at ------------------------------------------------------------------------

    def _look_around(self, now: float) -> dict[Key, str]:
        """The markers that are there; and have the timecodes of late looked at."""
        self._storage.check()
        newest: dict[Key, tuple[int, str]] = {}
        for timecode in self._storage.timecodes():
            directory = f"{timecode}/{MARKERS}/{self._storage.instance_id}"
            for name in self._names(directory):
                if match := _MARKER.fullmatch(name):
                    path = f"{self._storage.data_dir}/{directory}/{name}"
                    key = match[3], match[2]
                    newest[key] = max(newest.get(key, (0, "")), (int(match[1]), path))
            if int(timecode) >= now // TIMECODE - LOOK_BACK:
                for archive_name in self._archive_names:
                    self.touched(timecode, archive_name)
        return {key: path for key, (_, path) in newest.items()}

    def _names(self, directory: str) -> list[str]:
        """What is in ``directory`` of the archive; nothing if it is not there."""
        path = f"{self._storage.data_dir}/{directory}"
        absent = suppress(FileNotFoundError, NotADirectoryError)
        with _unavailable(), self._storage.translated(path), absent:
            return os.listdir(path)
        return []

    def _take(self, now: float) -> list[Key]:
        """Some of the touched timecodes that are complete by the clock; they count as untouched."""
        with self._lock:
            touched = list(self._touched)
        over = [key for key in touched if is_complete(int(key[0]), now, newer=True)]
        if not over:
            return []
        latest = self._latest()
        taken = [key for key in over if is_complete(int(key[0]), now, newer=latest > int(key[0]))]
        with self._lock:
            for key in taken[:AT_ONCE]:
                self._touched.pop(key, None)
        return taken[:AT_ONCE]

    def _latest(self) -> int:
        """The latest timecode with files; -1 if there is none."""
        for timecode in reversed(self._storage.timecodes()):
            names = self._names(timecode)
            if any(name != MARKERS and not name.startswith(STAGING) for name in names):
                return int(timecode)
        return -1

    def _until(self, connection: sa.Connection, archive_name: str, now: float) -> float:
        """Files of this archive written before this time have all been dealt with [s]."""
        tables, only = self._tables, of_archive(archive_name)
        _, earliest = copies.on_their_way(
            connection, tables.instances, tables.max_attempts, only=only
        )
        return now if earliest is None else earliest - 1

    def _due(self, connection: sa.Connection, keys: Sequence[Key], now: float) -> list[Marker]:
        """What is to be told of ``keys``, for whose files nobody waits; all that is new."""
        tables = self._tables
        until = {name: self._until(connection, name, now) for name in {name for _, name in keys}}
        contents = {
            timecode: tables.contents(connection, timecode)
            for timecode in {timecode for timecode, _ in keys}
        }
        markers = []
        for timecode, archive_name in keys:
            there = contents[timecode].get(archive_name)
            if there is None or there == self._said((timecode, archive_name)):
                continue
            num_files, subdirs = there
            markers.append(
                Marker(
                    timecode=int(timecode),
                    num_files=num_files,
                    subdirs=subdirs,
                    finalized_at=now,
                    finalized_until=until[archive_name],
                    archive_name=archive_name,
                    instance_id=self._storage.instance_id,
                    not_archived=tables.at_rest(connection, timecode, archive_name),
                )
            )
        return markers

    # -- the files --------------------------------------------------------------------------------

    def _said(self, key: Key) -> tuple[int, list[str]] | None:
        """Number of files and directories in the last marker of ``key``; None without one."""
        assert self._written is not None
        try:
            with open(self._written[key], encoding="utf-8") as file:
                read = yaml.safe_load(file)
            return read["num_files"], sorted(read["subdirs"])
        except (KeyError, TypeError, OSError, ValueError, yaml.YAMLError):
            return None  # there is none, or not one of ours any more

    def _write(self, marker: Marker) -> None:
        storage = self._storage
        timecode = f"{marker.timecode:05}"
        text = yaml.safe_dump(msgspec.to_builtins(marker), sort_keys=False)
        with _unavailable():
            part = f"{storage.staging(timecode)}/marker-{marker.name}"
            day = f"{int(marker.finalized_at // TIMECODE):05}"
            directory = storage.directory(day, MARKERS, storage.instance_id)
            path = f"{directory}/{marker.name}"
            with storage.translated(path):
                with open(part, "w", encoding="ascii") as file:
                    file.write(text)
                    file.flush()
                    os.fchmod(file.fileno(), storage.file_mode)
                    os.fsync(file.fileno())
                os.rename(part, path)
                flush(directory)
        assert self._written is not None
        self._written[timecode, marker.archive_name] = path


@contextmanager
def _unavailable() -> Iterator[None]:
    """What is wrong with a directory of ours is wrong with the archive, not with a file."""
    try:
        yield
    except FileNotReady as error:
        raise StorageUnavailable(f"cannot write markers: {error}") from error
