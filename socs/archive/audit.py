"""Comparing table and archive, both ways: files without a row, and rows without their file.

One day's directory after the other: it is listed, then its rows are read, then the file of each
row is looked at. In this order archivers may go on meanwhile: a file gets its name before its row
says so, and a file that got it after the listing is not looked for in the table. What is left over
of the listing is compared with the table once more (:mod:`socs.archive.dark`).
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from socs.archive.audited import Audited
from socs.archive.dark import Dark
from socs.archive.examine import RIGHT, THREADS, Examined, Examiners, Record
from socs.archive.findings import Finding, Findings, OnFinding, as_written, in_words
from socs.archive.outcomes import BATCH, finding_of, record_of, records, settle
from socs.archive.register import Register
from socs.archive.repair import Repair
from socs.archive.tree import Listing, Tree
from socs.dataroots import DataRoots
from socs.db import pysmurf_files_manager as files
from socs.db.copies import DAMAGED
from socs.db.engine import Database
from socs.db.file_filter import below, between, id_windows

MIN_AGE = 60.0  # s; younger files may have a row that is not committed yet
LEFT_OVER = 86400.0  # s; a copy under way is not as old
FETCH = 1000  # rows fetched at once
DIRECTORIES = 20  # named in the result
NAMED = 6  # characters of a timecode and its slash

_DAY = re.compile(r"(.*?)/[0-9]{5}/", re.DOTALL)


class _Stop(Exception):
    """Somebody said so."""


@dataclass(frozen=True)
class Audit:
    """A comparison of the archive at ``data_dir`` with the table.

    Attributes:
        data_dir: directory of the archive, absolute.
        hash: compare contents, not sizes.
        repair: have lost and altered files copied again, where that is possible.
        roots: where the files were written, for `repair`.
        register: make rows for dark files, with these values.
        min_age: files without a row that are younger [s] are not called dark.
        threads: that look at files.
        dry_run: look, and change nothing.
    """

    data_dir: str
    hash: bool = False
    repair: bool = False
    roots: DataRoots | None = None
    register: Register | None = None
    min_age: float = MIN_AGE
    threads: int = THREADS
    dry_run: bool = False

    def run(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        progress: Callable[[Audited], bool] = lambda found: True,
        on_finding: OnFinding = lambda finding: None,
    ) -> Audited:
        """Compare; blocks, so call it in a thread. Nothing is deleted.

        Args:
            database: has the table, and is told what was found.
            clock: gives the UNIX time [s].
            progress: called at least every second; False stops the audit.
            on_finding: called with each finding, when its day is done.

        Raises:
            ConfigError: the table knows this directory under another name.
            StorageUnavailable: the database or the archive is not there. What was written down
                before stays; nothing counts as lost because the archive is not there.
        """
        found = Audited(findings=Findings(on_finding))
        tree = Tree(self.data_dir)
        tree.check()
        with Examiners(tree.data_dir, self.threads) as examiners:
            run = _Run(self, database, tree, examiners, found=found, clock=clock, progress=progress)
            try:
                run.compare_all()
            except _Stop:
                found.stopped = True
        found.timecode = ""
        progress(found)
        return found


class _Run:
    """One audit while it runs."""

    def __init__(
        self,
        audit: Audit,
        database: Database,
        tree: Tree,
        examiners: Examiners,
        *,
        found: Audited,
        clock: Callable[[], float],
        progress: Callable[[Audited], bool],
    ) -> None:
        self._audit, self._database, self._tree = audit, database, tree
        self._examiners, self._found = examiners, found
        self._clock, self._progress = clock, progress
        self._repair = Repair(database, tree, audit.roots, dry_run=audit.dry_run, tick=self._tick)

    def _tick(self) -> None:
        if not self._progress(self._found):
            raise _Stop

    def compare_all(self) -> None:
        """The whole archive."""
        found, top = self._found, self._tree.data_dir
        aliases = self._count_outside()
        timecodes, others = self._tree.entries()
        parts = list(self._parts(timecodes))
        self._tree.check(files_expected=bool(parts))
        for name in others:
            text = "readers take each name here for a number"
            found.findings.add(Finding("stranger", as_written(f"{top}/{name}"), detail=text))
        found.timecodes = len(parts)
        dark = Dark(
            self._database,
            self._tree,
            self._examiners,
            aliases=aliases,
            min_age=self._audit.min_age,
            hashes=self._audit.hash,
            register=self._audit.register,
            dry_run=self._audit.dry_run,
            tick=self._tick,
        )
        for timecode, condition, is_there in parts:
            found.timecode = timecode
            listing = self._tree.list(timecode, self._tick) if is_there else Listing()
            self._compare(listing, condition, dark)
            found.timecodes_done += 1
            self._tick()

    def _count_outside(self) -> list[str]:
        """Count rows of files elsewhere; the directories among them that are this archive."""
        top = self._tree.data_dir
        counts: Counter[str] = Counter()
        columns = files.table.c
        for window in id_windows(self._database):
            query = sa.select(columns.path).where(
                window, columns.copied == sa.true(), sa.not_(below(top))
            )
            with self._database.read() as connection:
                for path in connection.execute(query).scalars():
                    directory = _archive_of(path)
                    new = directory not in counts
                    counts["elsewhere" if new and len(counts) >= DIRECTORIES else directory] += 1
            self._tick()
        self._found.outside = {in_words(name): number for name, number in counts.items()}
        real = os.path.realpath(top)
        return [name for name in counts if name[:1] == "/" and os.path.realpath(name) == real]

    def _parts(
        self, timecodes: Iterable[str]
    ) -> Iterator[tuple[str, sa.ColumnElement[bool], bool]]:
        """The days: their five digits, their rows, and whether they have a directory.

        Between the days that have one, the table is asked for rows of others.
        """
        top = self._tree.data_dir
        start = f"{top}/"
        for timecode in [*timecodes, None]:
            end = f"{top}0" if timecode is None else f"{top}/{timecode}"
            yield from self._without_directory(between(start, end))
            if timecode is not None:
                start = f"{end}0"  # behind all that begins with these digits and a slash
                yield timecode, between(end, start), True

    def _without_directory(
        self, gap: sa.ColumnElement[bool]
    ) -> Iterator[tuple[str, sa.ColumnElement[bool], bool]]:
        columns = files.table.c
        beginning = sa.func.substr(columns.path, len(self._tree.data_dir) + 2, NAMED)
        query = sa.select(beginning).where(gap, columns.copied == sa.true()).distinct()
        with self._database.read() as connection:
            found = list(connection.execute(query).scalars())
        for text in found:
            yield text.rstrip("/"), sa.and_(gap, beginning == text), False

    def _compare(self, listing: Listing, condition: sa.ColumnElement[bool], dark: Dark) -> None:
        """Compare one day's files and rows."""
        found = self._found
        found.files += len(listing.files)
        found.set_aside += listing.set_aside
        rows, unclaimed = self._rows(condition, listing.files)
        pending: list[Examined] = []
        for outcomes in self._examiners.run(rows):
            pending += outcomes
            if len(pending) >= BATCH:
                self._settle(pending)
            self._tick()
        self._settle(pending)
        for path, why in listing.unreadable:
            found.findings.add(Finding("unreadable", as_written(path), detail=why))
        self._leftovers(listing.temporary)
        result = dark.look(sorted(unclaimed), self._clock())
        found.young += result.young
        found.unsettled += result.unsettled
        found.registered += result.registered
        for finding in result.findings:
            found.findings.add(finding)

    def _rows(
        self, condition: sa.ColumnElement[bool], listed: set[str]
    ) -> tuple[list[Record], set[str]]:
        """What is archived as the table says, and those of ``listed`` that it does not know."""
        top = f"{self._tree.data_dir}/"
        rows = []
        unclaimed = set(listed)
        with self._database.read() as connection:
            streaming = connection.execution_options(yield_per=FETCH)
            for number, row in enumerate(streaming.execute(records(condition))):
                if number % FETCH == 0:
                    self._tick()
                unclaimed.discard(row.path)
                if row.path.startswith(top):
                    rows.append(record_of(row, rehash=self._audit.hash))
        return rows, unclaimed

    def _settle(self, pending: list[Examined]) -> None:
        """Write down what was looked at, and have repaired what can be."""
        if not pending:
            return
        found = self._found
        valid = settle(
            self._database, self._tree, pending, now=self._clock(), dry_run=self._audit.dry_run
        )
        found.rows += len(pending)
        found.superseded += len(pending) - len(valid)
        pending.clear()
        for outcome in valid:
            if outcome.md5sum is not None:
                found.bytes += outcome.size or 0
            if outcome.verdict == RIGHT:
                found.right += 1
                found.recovered += outcome.record.state in DAMAGED
                continue
            done = ""
            if self._audit.repair and outcome.verdict in DAMAGED:
                repaired, done = self._repair.repair(outcome)
                found.repaired += repaired
            found.findings.add(finding_of(outcome, done))

    def _leftovers(self, paths: Iterable[str]) -> None:
        for path in paths:
            try:
                status = os.lstat(path)
            except OSError:
                continue  # it was in use, and is done
            if self._clock() - status.st_ctime >= LEFT_OVER:
                self._found.findings.add(
                    Finding(
                        "leftover",
                        as_written(path),
                        size=status.st_size,
                        modified=status.st_mtime,
                    )
                )


def _archive_of(path: str) -> str:
    """The directory of the archive that ``path`` is in, or else its own directory."""
    day = _DAY.match(path)
    return day[1] if day else os.path.dirname(path)
