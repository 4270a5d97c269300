"""Deleting archived files on another machine, by rsync over ssh.

The archived copies, still open from being hashed, get second names (hard links) in a tree that is
laid out like the source. rsync compares by checksum and deletes what is equal
(:mod:`socs.archive.rsync_delete`). Links are not followed at the source: files behind one, below
their data root, are left alone.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from socs.archive.archived import Copy
from socs.archive.policy import ArchivedFile
from socs.archive.pull import checked_roots, source_of
from socs.archive.rsync import Rsync
from socs.archive.rsync_delete import Deleter, try_out
from socs.archive.sources import CHANGED, DELETED, GONE, REFUSED, Fate
from socs.archive.storage import Storage
from socs.errors import PeerError, StorageUnavailable

PRUNE = "prune"  # stands for the archiver in the name of the directory for temporary names
LEFT = 86_400.0  # s after which a tree belongs to no run that goes on

Group = Sequence[tuple[ArchivedFile, Copy]]


class RemoteSources:
    """Files below ``roots`` on the machine that ``rsync`` reaches.

    Raises:
        ConfigError: a root is none, or there is no rsync here.
    """

    batch = 200

    def __init__(self, rsync: Rsync, roots: Sequence[str], data_dir: str) -> None:
        self._deleter = Deleter(rsync)
        self._data_dir = data_dir
        self._roots = checked_roots(roots)
        self._storage = Storage(data_dir, PRUNE)
        self._tried_out = False
        self._directories: dict[str, str] = {}  # what is below the roots: "d", "L", ...
        self._there: set[str] = set()  # roots with something below them

    def close(self) -> None:
        """Nothing is held."""

    def look(self, files: Sequence[ArchivedFile]) -> Mapping[int, Fate]:
        """See :class:`~socs.archive.sources.Sources`."""
        fates: dict[int, Fate] = {}
        places: dict[int, tuple[str, str]] = {}
        for file in files:
            try:
                places[file.id] = source_of(file.source, self._roots)
            except PeerError as error:
                fates[file.id] = Fate(REFUSED, str(error))
        self._look_at_directories(places.values())
        for number, (source, root) in list(places.items()):
            if self._is_behind_link(_way(source, root)):
                fates[number] = Fate(REFUSED, "there is a link on the way to it")
                del places[number]
        if places:
            said = self._deleter.list({source for source, _ in places.values()})
            for number, (source, root) in places.items():
                if source in said.troubles:
                    fates[number] = Fate(REFUSED, f"cannot be looked at: {said.troubles[source]}")
                elif source not in said.kinds:
                    fates[number] = self._missing(root)
                elif said.kinds[source] != "f":
                    fates[number] = Fate(REFUSED, "not a regular file")
        return fates

    def remove(self, files: Group, *, dry_run: bool) -> Mapping[int, Fate]:
        """See :class:`~socs.archive.sources.Sources`."""
        days: dict[str, list[tuple[ArchivedFile, Copy]]] = {}
        for file, copy in files:
            timecode = copy.path[len(self._data_dir) + 1 :].split("/")[0]
            days.setdefault(timecode, []).append((file, copy))
        fates: dict[int, Fate] = {}
        for timecode, group in days.items():  # each may be on a disk of its own
            with self._tree(timecode) as tree:
                fates |= self._remove(tree, group, dry_run)
        return fates

    def _look_at_directories(self, places: Collection[tuple[str, str]]) -> None:
        """Find out what is on the way to ``places``, and whether their roots are there."""
        for root in {root for _, root in places} - self._there:
            if self._deleter.list([f"{root}/"]).kinds.keys() - {root}:
                self._there.add(root)
        ways = [_way(source, root) for source, root in places]
        # Level by level: rsync takes a link for a directory when it is to look behind it as well.
        for level in range(max(map(len, ways), default=0)):
            directories = {way[level] for way in ways if len(way) > level}
            unknown = directories - self._directories.keys()
            if unknown:
                found = self._deleter.list(unknown).kinds
                self._directories.update((path, found.get(path, "")) for path in unknown)
            ways = [way for way in ways if not self._is_behind_link(way[: level + 1])]

    def _is_behind_link(self, way: Sequence[str]) -> bool:
        return any(self._directories.get(directory) == "L" for directory in way)

    def _missing(self, root: str) -> Fate:
        if root in self._there:
            return Fate(GONE, "was not there any more")
        return Fate(REFUSED, f"--data-root {root} is not there, or empty: is it mounted?")

    def _remove(self, tree: str, group: Group, dry_run: bool) -> dict[int, Fate]:
        fates: dict[int, Fate] = {}
        ids: dict[str, int] = {}
        for file, copy in group:
            source = source_of(file.source, self._roots)[0]
            try:
                _link(copy, tree, source)
            except OSError as error:
                fates[file.id] = Fate(REFUSED, self._no_link(copy, error))
            else:
                ids[source] = file.id
        said = self._deleter.compare(ids, tree)
        for source in ids.keys() - said.equal:
            if source in said.troubles:
                fates[ids[source]] = Fate(REFUSED, f"cannot be read: {said.troubles[source]}")
            elif source not in said.kinds:
                fates[ids[source]] = Fate(GONE, "was deleted or moved just now")
            else:
                why = "its contents are not those of the archived copy"
                fates[ids[source]] = Fate(CHANGED, why)
        equal = {source: number for source, number in ids.items() if source in said.equal}
        if dry_run or not equal:
            return fates | {number: Fate(DELETED) for number in equal.values()}
        return fates | self._remove_equal(tree, group, equal)

    def _remove_equal(self, tree: str, group: Group, ids: Mapping[str, int]) -> dict[int, Fate]:
        try:
            refused = self._deleter.remove(ids, tree).refused
        finally:
            self._put_back(tree, group)
        left = self._deleter.list(ids)
        fates = {}
        for source, number in ids.items():
            if source in left.troubles:
                fates[number] = Fate(REFUSED, f"cannot be looked at: {left.troubles[source]}")
            elif source not in left.kinds:
                fates[number] = Fate(DELETED)
            elif source in refused:
                fates[number] = Fate(REFUSED, f"cannot be deleted: {refused[source]}")
            else:
                fates[number] = Fate(CHANGED, "it was written to, or replaced, just now")
        return fates

    def _put_back(self, tree: str, group: Group) -> None:
        """Give copies back their names, should they have lost them.

        Raises:
            StorageUnavailable: they had: what is a source over there is the archive here.
        """
        lost = [(file, copy) for file, copy in group if not os.path.lexists(copy.path)]
        for file, copy in lost:
            os.link(f"{tree}{source_of(file.source, self._roots)[0]}", copy.path)
        if lost:
            file, copy = lost[0]
            raise StorageUnavailable(
                f"{file.source} on {self._deleter.address} was the archived copy itself, "
                f"{copy.path}, which was put back: --data-root must not lead into the archive"
            )

    def _no_link(self, copy: Copy, error: OSError) -> str:
        if error.errno == errno.EEXIST:
            return "another row has the same path in another spelling"
        return (
            f"{copy.path} cannot be given a second name ({error.strerror}), which deleting on "
            f"{self._deleter.address} needs; run `socs files prune` there, without --host"
        )

    @contextmanager
    def _tree(self, timecode: str) -> Iterator[str]:
        """An empty directory beside the copies of ``timecode``; gone after the block.

        Raises:
            StorageUnavailable: it cannot be made.
        """
        try:
            staging = self._storage.staging(timecode)
            with self._storage.translated(staging):
                for entry in os.scandir(staging):  # what killed runs left
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - LEFT:
                        shutil.rmtree(entry.path, ignore_errors=True)
                tree = tempfile.mkdtemp(dir=staging)
        except PeerError as error:
            raise StorageUnavailable(str(error)) from error
        try:
            if not self._tried_out:
                with tempfile.TemporaryDirectory(dir=staging) as place:
                    try_out(place)
                self._tried_out = True
            yield tree
        finally:
            shutil.rmtree(tree, ignore_errors=True)
            self._storage.leave(timecode)


def _way(source: str, root: str) -> list[str]:
    """The directories on the way to ``source``, below ``root``."""
    parts = source[len(root) + 1 :].split("/")[:-1]
    return [f"{root}/{'/'.join(parts[: n + 1])}" for n in range(len(parts))]


def _link(copy: Copy, tree: str, source: str) -> None:
    """Give the very file that was hashed a name in ``tree``."""
    os.makedirs(os.path.dirname(f"{tree}{source}"), exist_ok=True)
    directory = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a descriptor of a directory, Python has the system follow the link in /proc.
        os.link(f"/proc/self/fd/{copy.descriptor}", source[1:], dst_dir_fd=directory)
    finally:
        os.close(directory)
