"""Files in the archive that no row has: making sure of it, and making rows for them.

A file has no row for a while when an archiver has just placed it, and for long when it was killed
right then; it will find the file again. Such files are not dark, and a row made for one would be
its second.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence

import msgspec
import sqlalchemy as sa
from msgspec import structs

from socs.archive.examine import Examined, Examiners, Record
from socs.archive.findings import Finding
from socs.archive.paths import file_of, place_of
from socs.archive.register import DarkFile, Register, RowMaker, is_utf8
from socs.archive.tree import Tree
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import COPYING, WAITING
from socs.db.engine import Database
from socs.db.file_filter import NEW, state_of

CHUNK = 300  # paths per query
FETCH = 1000  # rows fetched at once


class Unclaimed(msgspec.Struct):
    """What became of files that the listing of a day has, and its rows have not."""

    findings: list[Finding] = []
    young: int = 0
    unsettled: int = 0
    registered: int = 0


class Dark:
    """Looks at files without a row.

    Args:
        database: has the table.
        tree: the archive.
        aliases: other names of its directory that rows have.
        examiners: hash.
        min_age: a younger file [s] is left alone.
        hashes: compare contents with those of all rows.
        register: make rows.
        dry_run: only say so.
        tick: called now and then; may raise to stop.
    """

    def __init__(
        self,
        database: Database,
        tree: Tree,
        examiners: Examiners,
        *,
        aliases: Sequence[str],
        min_age: float,
        hashes: bool,
        register: Register | None,
        dry_run: bool,
        tick: Callable[[], None],
    ) -> None:
        self._database, self._tree, self._examiners = database, tree, examiners
        self._names = [tree.data_dir, *aliases]
        self._min_age = min_age
        self._hashes = hashes or register is not None
        self._row_maker = None
        if register is not None:
            self._row_maker = RowMaker(database, tree, register, dry_run=dry_run)
        self._tick = tick

    def look(self, paths: Sequence[str], now: float) -> Unclaimed:
        """What there is to tell of ``paths`` (absolute), at ``now`` (UNIX time [s]).

        Raises:
            StorageUnavailable: the database refuses; rows that were made before stay.
        """
        result = Unclaimed()
        on_their_way: set[str] | None = None
        for chunk in _chunks(paths):
            self._tick()
            old = self._old(chunk, now, result)
            if not old:
                continue
            if on_their_way is None:  # before the rows, as what is on its way may arrive
                on_their_way = self._on_their_way()
            known = self._known([item.path for item in old])
            rest = [item for item in old if item.path not in known]
            dark = [d for d in rest if on_their_way.isdisjoint(self._places(d.path))]
            result.unsettled += len(rest) - len(dark)
            if self._hashes:
                dark = self._compared(self._hashed(dark), result)
            if self._row_maker is not None:
                dark = self._row_maker.register(dark, now)
            result.registered += sum(item.file_id is not None for item in dark)
            result.findings += [item.finding() for item in dark]
        return result

    def _old(self, paths: Sequence[str], now: float, result: Unclaimed) -> list[DarkFile]:
        """Those of ``paths`` that are there and have been there for some time."""
        old = []
        for path in paths:
            try:
                status = os.lstat(path)
            except OSError:
                continue  # it has gone
            if now - status.st_ctime < self._min_age:  # placing it sets this time, not the other
                result.young += 1
                continue
            what = "" if stat.S_ISREG(status.st_mode) else "not a regular file"
            if stat.S_ISLNK(status.st_mode):
                what = f"a link to {os.path.realpath(path)}"
            elif path.count("/") == self._tree.data_dir.count("/") + 2:
                what = what or "readers crash on files at this place"
            old.append(DarkFile(path, status.st_size, status.st_mtime, status.st_mode, detail=what))
        return old

    def _known(self, paths: Sequence[str]) -> set[str]:
        """Those of ``paths`` that the table has now, under any name of the archive."""
        own = len(self._tree.data_dir)
        names = {name + path[own:]: path for path in paths if is_utf8(path) for name in self._names}
        if not names:
            return set()
        with self._database.read() as connection:
            return {names[path] for path in files.known_paths(connection, names) if path in names}

    def _on_their_way(self) -> set[str]:
        """Where the files belong that archivers have in hand, or will try again."""
        condition = copies.table.c.state.in_((COPYING, WAITING))
        query = copies.with_state(condition, files.table.c.copied == sa.false())
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=FETCH).execute(query).mappings()
            return {place_of(file_of(row)).path() for row in rows}

    def _places(self, path: str) -> set[str]:
        """The places, relative to the archive, whose file may have got the name ``path``."""
        place = path[len(self._tree.data_dir) + 1 :]
        name, dot, number = place.rpartition(".")
        return {place, name} if dot and number.isdecimal() else {place}

    def _hashed(self, dark: Sequence[DarkFile]) -> list[DarkFile]:
        """``dark`` with the MD5 of those that can be read."""
        regular = [item for item in dark if stat.S_ISREG(item.mode)]
        outcomes: dict[str, Examined] = {}
        for some in self._examiners.run([Record(0, item.path, b"") for item in regular]):
            self._tick()
            outcomes |= {outcome.record.path: outcome for outcome in some}
        return [_with(item, outcomes.get(item.path)) for item in dark]

    def _compared(self, dark: Sequence[DarkFile], result: Unclaimed) -> list[DarkFile]:
        """``dark`` with what rows say of it, without the files that an archiver will adopt."""
        with self._database.read() as connection:
            twins = self._twins(connection, dark)
            owners = self._owners(connection, dark)
        compared = []
        for item in dark:
            owner = owners.get(item.path)
            twin = twins.get(item.md5sum or b"")
            if owner is not None and state_of(owner) in {NEW, COPYING, WAITING}:
                result.unsettled += 1
            elif owner is not None:
                text = (
                    f"file {owner['id']}, {state_of(owner)}; an archiver adopts it after "
                    f"`socs files retry {owner['id']}`"
                )
                compared.append(structs.replace(item, detail=text, twin=True))
            elif twin is not None:
                text = f"the same contents as file {twin['id']}, archived as {twin['path']}"
                compared.append(structs.replace(item, detail=text, twin=True))
            else:
                compared.append(item)
        return compared

    def _twins(
        self, connection: sa.Connection, dark: Sequence[DarkFile]
    ) -> dict[bytes, sa.RowMapping]:
        """``{md5sum: an archived file}`` that has these contents."""
        columns = files.table.c
        first = (
            sa.select(sa.func.min(columns.id))
            .where(columns.md5sum.in_(_md5sums(dark)), columns.copied == sa.true())
            .group_by(columns.md5sum)
        )
        ids = list(connection.execute(first).scalars())
        query = sa.select(columns.id, columns.md5sum, columns.path).where(columns.id.in_(ids))
        return {bytes(row["md5sum"]): row for row in connection.execute(query).mappings()}

    def _owners(
        self, connection: sa.Connection, dark: Sequence[DarkFile]
    ) -> dict[str, sa.RowMapping]:
        """``{path: a file not archived}`` that has these contents, and belongs there."""
        places = {
            (item.md5sum, place): item.path for item in dark for place in self._places(item.path)
        }
        columns = files.table.c
        query = copies.with_state(columns.md5sum.in_(_md5sums(dark)), columns.copied == sa.false())
        owners = {}
        rows = connection.execution_options(yield_per=FETCH).execute(query).mappings()
        for row in rows:
            path = places.get((bytes(row["md5sum"]), place_of(file_of(row)).path()))
            if path is not None:
                owners[path] = row
        return owners


def _md5sums(dark: Sequence[DarkFile]) -> set[bytes]:
    return {item.md5sum for item in dark if item.md5sum is not None}


def _with(dark: DarkFile, outcome: Examined | None) -> DarkFile:
    """``dark`` with what its hashing has shown."""
    if outcome is None:
        return dark
    if outcome.md5sum is None:
        return structs.replace(dark, detail=outcome.detail)
    return structs.replace(dark, md5sum=outcome.md5sum, size=outcome.size or 0)


def _chunks(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), CHUNK):
        yield paths[start : start + CHUNK]
