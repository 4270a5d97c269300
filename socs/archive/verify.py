"""Re-hashing archived files: does the archive still hold what was put there?

Those that were not verified for the longest time come first, so that a run that is cut short, by
its limit or by its end, goes on where it is most needed when it is started again.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa

from socs.archive.examine import RIGHT, THREADS, Examined, Examiners, Record
from socs.archive.findings import Findings, OnFinding
from socs.archive.outcomes import BATCH, finding_of, record_of, records, settle
from socs.archive.tree import Tree
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import DAMAGED
from socs.db.engine import Database
from socs.db.file_filter import ALL_FILES, FileFilter, below, id_windows

PAGE = 500  # rows per query
AT_LEAST_EVERY = 5.0  # s between two transactions that write outcomes down
DAY = 86400.0  # s


@dataclass
class Verified:
    """What a verification found, in numbers of files; ``bytes`` were read.

    Attributes:
        to_do: archived files that were chosen.
        looked_at: of these, so far.
        right: with the MD5 that was announced.
        recovered: of the right ones, those that were lost or altered before.
        superseded: tried again or archived anew while they were looked at.
        stopped: was it stopped before the end?
        findings: the others: lost, altered, unreadable.
    """

    to_do: int = 0
    looked_at: int = 0
    bytes: int = 0
    right: int = 0
    recovered: int = 0
    superseded: int = 0
    stopped: bool = False
    findings: Findings = field(default_factory=Findings)

    def summary(self) -> str:
        """One line for the operator."""
        text = f"Verified {self.looked_at} of {self.to_do} archived files: {self.right} right"
        if self.recovered:
            text += f" ({self.recovered} of them again)"
        found = f", {self.findings.summary()}" if len(self.findings) else ""
        return f"{text}{found}{'; stopped before the end' if self.stopped else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Fit for session data: less than 30 kB of JSON."""
        numbers = {name: value for name, value in vars(self).items() if name != "findings"}
        return numbers | {"counts": self.findings.counts, "findings": self.findings.shown()}


@dataclass(frozen=True)
class Verify:
    """A verification of archived files below ``data_dir``.

    Attributes:
        data_dir: directory of the archive, absolute.
        only: which files.
        older_than: leave alone what was verified at this UNIX time [s] or later.
        limit: look at no more files than these.
        threads: that hash.
        dry_run: look, and write nothing down.
    """

    data_dir: str
    only: FileFilter = ALL_FILES
    older_than: float | None = None
    limit: int | None = None
    threads: int = THREADS
    dry_run: bool = False

    def run(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        progress: Callable[[Verified], bool] = lambda found: True,
        on_finding: OnFinding = lambda finding: None,
    ) -> Verified:
        """Look at the files; blocks, so call it in a thread.

        Args:
            database: says what is archived, and is told what was found.
            clock: gives the UNIX time [s].
            progress: called at least every second; False stops the verification.
            on_finding: called with each finding, when it is written down.

        Raises:
            StorageUnavailable: the database or the archive is not there. What was written down
                before stays; nothing counts as lost because the archive is not there.
        """
        found = Verified(findings=Findings(on_finding))
        tree = Tree(self.data_dir)
        tree.check()
        work = self._work(database)
        found.to_do = len(work)
        tree.check(files_expected=bool(found.to_do))
        pending: list[Examined] = []
        written = time.monotonic()
        with Examiners(tree.data_dir, self.threads) as examiners:
            for outcomes in examiners.run(self._records(database, work, found)):
                pending += outcomes
                waited = time.monotonic() - written
                if len(pending) >= BATCH or (pending and waited > AT_LEAST_EVERY):
                    self._settle(database, tree, pending, found, clock())
                    written = time.monotonic()
                if not progress(found):
                    found.stopped = True
                    break
        self._settle(database, tree, pending, found, clock())
        progress(found)
        return found

    def _settle(
        self, database: Database, tree: Tree, pending: list[Examined], found: Verified, now: float
    ) -> None:
        if not pending:
            return
        valid = settle(database, tree, pending, now=now, dry_run=self.dry_run)
        found.looked_at += len(pending)
        found.superseded += len(pending) - len(valid)
        pending.clear()
        for outcome in valid:
            found.bytes += outcome.size or 0
            if outcome.verdict == RIGHT:
                found.right += 1
                found.recovered += outcome.record.state in DAMAGED
            else:
                found.findings.add(finding_of(outcome))

    def _work(self, database: Database) -> array[int]:
        """The ids of the files to look at, those longest unverified first."""
        ids, times = array("q"), array("d")
        with database.read() as connection:
            wanted = self._wanted(connection)
        windows = [sa.true()] if self.only.names_files else id_windows(database)
        own = copies.table.c
        for window in windows:
            query = (
                sa.select(files.table.c.id, own.verified_at)
                .outerjoin(copies.table, own.file_id == files.table.c.id)
                .where(window, *wanted)
            )
            with database.read() as connection:
                for number, verified_at in connection.execute(query):
                    ids.append(number)
                    times.append(verified_at or 0.0)
        if not ids:
            return ids
        order = np.argsort(np.frombuffer(times), kind="stable")[: self.limit]
        return array("q", np.frombuffer(ids, dtype=np.int64)[order].tobytes())

    def _wanted(self, connection: sa.Connection) -> list[sa.ColumnElement[bool]]:
        wanted = [files.table.c.copied == sa.true(), below(Tree(self.data_dir).data_dir)]
        if self.older_than is not None:
            verified_at = copies.table.c.verified_at
            wanted.append(sa.or_(verified_at.is_(None), verified_at < self.older_than))
        return wanted + self.only.conditions(connection)

    def _records(self, database: Database, work: array[int], found: Verified) -> Iterator[Record]:
        """What the tables say of the files ``work``, now that it is their turn."""
        for start in range(0, len(work), PAGE):
            ids = list(work[start : start + PAGE])
            with database.read() as connection:
                rows = {
                    row.id: row for row in connection.execute(records(files.table.c.id.in_(ids)))
                }
            for number in ids:
                row = rows.get(number)
                if row is None:
                    found.looked_at += 1
                    found.superseded += 1
                else:
                    yield record_of(row)
