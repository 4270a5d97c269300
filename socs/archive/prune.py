"""Deleting files where they were written, once their archived copies are verified.

The policy says which may go (:mod:`socs.archive.policy`). Each of these is then deleted only if

- its copy, hashed at this moment, has the MD5 of the row and is a regular file in the archive;
- the file itself still has that MD5, and is not the copy;
- no other row that is not archived, or that the policy keeps, is about the same file.

What was deleted is noted in the table afterwards. If that fails, or the program is killed in
between, the next run finds the files gone and notes it then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from socs.archive.archived import Copy, Damage, check_archive, open_copy
from socs.archive.policy import NEVER, ArchivedFile, Policy, Ranking, Verdict
from socs.archive.prunable import count, is_archived, needed, pages
from socs.archive.sources import (
    ALARMING,
    DELETED,
    GONE,
    KEPT,
    REFUSED,
    UNVERIFIED,
    Fate,
    Sources,
)
from socs.db import copies
from socs.db.engine import Database
from socs.db.file_filter import FileFilter
from socs.db.transactions import in_transaction
from socs.errors import ConfigError


class Decision(msgspec.Struct, frozen=True):
    """What became of a file, or in a dry run would; ``outcome`` is one of ``OUTCOMES``."""

    id: int
    source: str
    path: str
    size: int | None
    outcome: str
    why: str


@dataclass
class Pruned:
    """What became of how many files; in a dry run, what would.

    Attributes:
        total: how many there are to look at.
        files, bytes: by outcome.
    """

    dry_run: bool
    total: int = 0
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    @property
    def looked_at(self) -> int:
        """Number of files that were decided."""
        return self.files.total()

    @property
    def alarming(self) -> int:
        """Number of archived copies that did not verify."""
        return sum(self.files[outcome] for outcome in ALARMING)

    def summary(self) -> str:
        """One line for the operator."""
        done = "would be deleted" if self.dry_run else "deleted"
        others = {name: count for name, count in self.files.items() if name != DELETED and count}
        rest = "".join(f", {count} {name}" for name, count in sorted(others.items()))
        size = self.bytes[DELETED]
        return f"{self.files[DELETED]} files ({size} bytes) {done}{rest}"

    def as_dict(self) -> dict[str, Any]:
        """Fit for session data."""
        numbers = {"files": dict(self.files), "bytes": dict(self.bytes)}
        return {"dry_run": self.dry_run, "total": self.total, "looked_at": self.looked_at} | numbers


@dataclass(frozen=True)
class Prune:
    """A look through the table for files that may be deleted where they were written.

    Attributes:
        policy: which files may go.
        data_dir: directory of the archive, absolute.
        instances: agents that registered the files on the machine of ``sources``. Files of others
            are left alone: on this machine, another file may have the same path.
        sources: deletes them there; closed by the caller.
        only: further choice. The policy counts its newest files among all.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """

    policy: Policy
    data_dir: str
    instances: Sequence[str]
    sources: Sources
    only: FileFilter | None = None

    def __post_init__(self) -> None:
        if not self.instances:
            raise ConfigError("--instance-id names no agent whose files may be deleted")
        if not self.data_dir.startswith("/") or self.data_dir.endswith("/"):
            raise ConfigError(f"--data-dir {self.data_dir}: give an absolute path below /")

    def run(
        self,
        database: Database,
        *,
        now: float,
        dry_run: bool = True,
        progress: Callable[[Pruned], bool] = lambda pruned: True,
        on_decision: Callable[[Decision], object] = lambda decision: None,
    ) -> Pruned:
        """Decide on all files whose copies are old enough; blocks, so call it in a thread.

        Args:
            now: UNIX time [s].
            dry_run: look at everything, hash everything, and change nothing: not on disks, not in
                the table.
            progress: called after each group of files; False stops.
            on_decision: called with each file.

        Raises:
            StorageUnavailable: archive or database cannot be reached. What was deleted by then is
                noted, or the next run finds it gone.
            OurError: the sources' machine cannot be reached.
        """
        check_archive(self.data_dir)
        pruned = Pruned(dry_run)
        if self.policy.shortest == NEVER:
            return pruned
        ranking = Ranking(self.policy)
        if self.policy.ranks:
            for page in pages(database, self.instances):
                for file in page:
                    ranking.add(file)
        before = now - self.policy.shortest
        pruned.total = count(database, self.instances, before=before, only=self.only)
        for page in pages(database, self.instances, before=before, only=self.only):
            work = _Page(self, database, ranking, now, pruned, on_decision)
            try:
                for _ in work.steps(page):
                    if not progress(pruned):
                        return pruned
            finally:
                work.note()
        return pruned


@dataclass
class _Page:
    """Some files on their way through all the questions."""

    prune: Prune
    database: Database
    ranking: Ranking
    now: float
    pruned: Pruned
    on_decision: Callable[[Decision], object]
    why: dict[int, str] = field(default_factory=dict)  # what the policy says of those that may go
    deleted: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)

    def decide(self, file: ArchivedFile) -> Verdict:
        """What the policy says."""
        return self.prune.policy.decide(file, self.ranking, self.now)

    def steps(self, page: Sequence[ArchivedFile]) -> Iterator[None]:
        """Decide on ``page`` step by step."""
        for file in page:
            verdict = self.decide(file)
            if verdict.delete:
                self.why[file.id] = verdict.why
            else:
                self._settle(file, Fate(KEPT, verdict.why))
        rest = [file for file in page if file.id in self.why]
        for look in (self._needed, self.prune.sources.look):
            fates = look(rest) if rest else {}
            for file in rest:
                if file.id in fates:
                    self._settle(file, fates[file.id])
            rest = [file for file in rest if file.id not in fates]
        yield
        for group in _groups(rest, self.prune.sources.batch):
            self._remove(group)
            yield

    def note(self) -> None:
        """Write down in the table which files are not there any more."""

        def note(connection: sa.Connection) -> None:
            copies.deleted(connection, self.deleted, self.now)
            copies.deleted(connection, self.gone, self.now, "the file had gone already")

        if self.deleted or self.gone:
            in_transaction(self.database, note)  # another run may lock the same rows

    def _settle(self, file: ArchivedFile, fate: Fate, size: int | None = None) -> None:
        """Count and tell what became of ``file``, and remember it for :meth:`note`."""
        size = file.size if size is None else size
        self.pruned.files[fate.outcome] += 1
        self.pruned.bytes[fate.outcome] += size or 0
        if not self.pruned.dry_run:
            if fate.outcome == DELETED:
                self.deleted.append(file.id)
            elif fate.outcome == GONE:
                self.gone.append(file.id)
        why = fate.why or self.why[file.id]
        decision = Decision(file.id, file.source, file.path, size, fate.outcome, why)
        self.on_decision(decision)

    def _remove(self, group: Sequence[ArchivedFile]) -> None:
        with ExitStack() as held:
            verified: list[tuple[ArchivedFile, Copy]] = []
            for file in group:
                copy = open_copy(self.prune.data_dir, file.path, file.md5sum)
                if isinstance(copy, Damage):
                    self._settle(file, Fate(copy.state or UNVERIFIED, copy.detail))
                    self._damaged(file, copy)
                else:
                    held.enter_context(copy)
                    verified.append((file, copy))
            if not verified:
                return
            fates = self.prune.sources.remove(verified, dry_run=self.pruned.dry_run)
            for file, copy in verified:
                self._settle(file, fates[file.id], copy.status.st_size)

    def _damaged(self, file: ArchivedFile, damage: Damage) -> None:
        """Note it, unless others have done something about the copy meanwhile."""
        if self.pruned.dry_run or damage.state is None:
            return
        with self.database.begin() as connection:
            if is_archived(connection, file):
                copies.damaged(connection, file.id, damage.state, damage.detail, damage.md5sum)

    def _needed(self, rest: Sequence[ArchivedFile]) -> Mapping[int, Fate]:
        with self.database.read() as connection:
            found = needed(connection, rest, self.decide)
        return {number: Fate(REFUSED, why) for number, why in found.items()}


def _groups(rest: Sequence[ArchivedFile], size: int) -> Iterator[list[ArchivedFile]]:
    """``rest`` in groups of at most ``size``, in each of which every path is there once."""
    group: dict[str, ArchivedFile] = {}
    for file in rest:
        if file.source in group or len(group) == size:
            yield list(group.values())
            group = {}
        group[file.source] = file
    if group:
        yield list(group.values())
