"""Finding files that were never announced, or were announced while nobody listened.

A file is *known* when the table has its path, or (because the archiver changes the path) its
contents under the same base name, or when it waits in the spool. Every other regular file below
the directory is put into the spool and takes the usual way from there.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from socs.counters import Counters
from socs.dataroots import DataRoots
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.fingerprint import fingerprint
from socs.db.spool import FileEntry, Spool
from socs.errors import NotAllowed, PeerError
from socs.problems import printable

CHUNK = 500  # files per query
EXAMPLES = 20  # paths named in the result
# Journals of files that the slow signal's writers have open, or that were damaged, and what becomes
# a file, under another name, when it is whole.
_UNFINISHED = re.compile(r"\.(?:journal(?:\.damaged-\d+)?|part)$")
_LEADING_TIME = re.compile(r"(\d{10})(?:_|\.|$)")  # pysmurf names files <UNIX time>_<what>


@dataclass
class Found:
    """What a rescan found, in numbers of files; ``examples`` are paths that were queued.

    ``unfinished`` are journals and parts of files that somebody writes; ``unreadable`` includes
    files whose names are not UTF-8.
    """

    looked_at: int = 0
    known: int = 0
    queued: int = 0
    too_young: int = 0
    unfinished: int = 0
    unreadable: int = 0
    examples: list[str] = field(default_factory=list)

    def summary(self, *, dry_run: bool) -> str:
        """One line for the operator."""
        done = "would be registered" if dry_run else "go to registration"
        text = f"Looked at {self.looked_at} files; {self.queued} {done}"
        return f"{text}; {self.unfinished} are unfinished" if self.unfinished else text

    def as_dict(self) -> dict[str, Any]:
        """Fit for session data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Rescan:
    """A rescan of ``directory``.

    Attributes:
        directory: absolute path below a data root.
        since: leave alone files last changed before this UNIX time [s].
        min_age: leave alone files changed less than this many seconds ago; their announcement
            may be under way.
        action, pub_id: for the rows; nobody announced them.
        dry_run: only count.
    """

    directory: str
    since: float = 0.0
    min_age: float = 60.0
    action: str | None = None
    pub_id: str | None = None
    dry_run: bool = False

    def run(
        self,
        spool: Spool,
        database: Database,
        roots: DataRoots,
        *,
        counters: Counters,
        now: float,
        progress: Callable[[Found], bool] = lambda found: True,
    ) -> Found:
        """Look through the directory; blocks, so call it in a thread.

        Args:
            spool: takes what is missing.
            database: says what is known.
            roots: where files may be read.
            counters: must know :data:`socs.counters.FILES`.
            now: UNIX time [s].
            progress: called after each chunk; False stops the rescan.

        Raises:
            NotAllowed: the directory is outside the roots or not there.
            StorageUnavailable: the database or the spool refuses; what was queued stays queued.
        """
        try:
            real = os.path.realpath(self.directory)
        except ValueError as error:
            raise NotAllowed(f"{printable(self.directory)} is no path: {error}") from error
        if not roots.contain(real):
            raise NotAllowed(f"{self.directory} is outside --data-root")
        if not os.path.isdir(real):
            raise NotAllowed(f"{self.directory} is not a directory")
        found = Found()
        waiting = spool.paths()
        candidates = self._candidates(real, found, now)
        while chunk := list(islice(candidates, CHUNK)):
            missing = self._missing(chunk, waiting, roots, database, found)
            if missing and not self.dry_run:
                spool.append(missing, now=now)
                counters.add("files_rescanned", len(missing))
            found.queued += len(missing)
            room = EXAMPLES - len(found.examples)
            found.examples += [entry.path for entry in missing[:room]]
            if not progress(found):
                break
        return found

    def _candidates(self, directory: str, found: Found, now: float) -> Iterator[str]:
        for parent, directories, names in os.walk(directory):
            directories.sort()
            for name in sorted(names):
                path = os.path.join(parent, name)
                try:
                    path.encode()  # the table holds UTF-8 only
                    status = os.lstat(path)
                except (OSError, UnicodeEncodeError):
                    found.unreadable += 1
                    continue
                if os.path.islink(path) or status.st_mtime < self.since:
                    continue
                found.looked_at += 1
                if _UNFINISHED.search(name):
                    found.unfinished += 1
                elif status.st_mtime > now - self.min_age:
                    found.too_young += 1
                else:
                    yield path

    def _missing(
        self, paths: list[str], known: set[str], roots: DataRoots, database: Database, found: Found
    ) -> list[FileEntry]:
        """Entries for those of ``paths`` that are neither in ``known`` nor in the table."""
        with database.read() as connection:
            known = known | files.known_paths(connection, paths)
        prints = {}
        with roots.opener() as opener:
            for path in paths:
                if path not in known:
                    try:
                        prints[path] = fingerprint(opener, path, now=math.inf, settle=0.0)
                    except PeerError:
                        found.unreadable += 1
        with database.read() as connection:
            contents = files.known_contents(connection, {p.md5sum for p in prints.values()})
        missing = [
            self._entry(path, printed.modified)
            for path, printed in prints.items()
            if os.path.basename(path) not in contents.get(printed.md5sum, set())
        ]
        found.known += len(known & set(paths)) + len(prints) - len(missing)
        return missing

    def _entry(self, path: str, modified: float) -> FileEntry:
        name = os.path.basename(path)
        named = _LEADING_TIME.match(name)
        return FileEntry(
            path=path,
            action=self.action,
            timestamp=float(named[1]) if named else modified,
            format=os.path.splitext(name)[1].lstrip(".")[:32] or None,
            plot=os.path.basename(os.path.dirname(path)) == "plots",
            pub_id=self.pub_id,
        )
