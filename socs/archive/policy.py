"""Which files may be deleted where they were written, once they are archived. Pure.

A policy says yes or no to a file, and why. Whether the file and its copy are what they should be
is none of its business. How a site writes it down is in :mod:`socs.archive.policy_yaml`.
"""

from __future__ import annotations

import fnmatch
import re
from bisect import bisect_left, insort
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache

import msgspec

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}  # in seconds
NEVER = float("inf")  # s
Rank = tuple[float, str, int]  # the larger, the newer


class ArchivedFile(msgspec.Struct, frozen=True):
    """What is known of an archived file.

    ``source`` is where it was written; ``timestamp`` is UTC without a time zone; ``archived_at``
    a UNIX time [s]; ``path`` that of the archived copy.
    """

    id: int
    source: str
    path: str
    md5sum: bytes
    archived_at: float
    size: int | None = None
    action: str | None = None
    action_timestamp: int | None = None
    timestamp: datetime | None = None
    pub_id: str | None = None
    instance_id: str | None = None
    format: str | None = None
    plot: bool | None = None

    @property
    def name(self) -> str:
        """Its base name where it was written."""
        return self.source.rpartition("/")[2]


class Verdict(msgspec.Struct, frozen=True):
    """May the file be deleted, and why or why not."""

    delete: bool
    why: str


@dataclass(frozen=True)
class Rule:
    """Decides for the files that match all of ``patterns``, and ``plot`` if it is not None.

    Attributes:
        patterns: ``(criterion, glob patterns)``; one of them must match the whole value.
        plot: only plots, or no plots.
        keep: always.
        newest: keep so many of each publisher.
        by_action: all files of one action count as one of the newest.
        after: what is not kept is deleted at this age of its copy [s]; infinity for never.
    """

    patterns: tuple[tuple[str, tuple[str, ...]], ...]
    plot: bool | None
    keep: bool
    newest: int | None
    by_action: bool
    after: float

    def matches(self, file: ArchivedFile) -> bool:
        """Does this rule decide for ``file``, unless an earlier one does?"""
        if self.plot is not None and bool(file.plot) != self.plot:
            return False
        for criterion, patterns in self.patterns:
            value = getattr(file, criterion)
            if value is None or not _expression(patterns).match(value):
                return False
        return True

    def rank(self, file: ArchivedFile) -> Rank:
        """Orders files, or groups of files, by age; the same for all files of a group."""
        if self.by_action and file.action_timestamp is not None:
            return float(file.action_timestamp), file.action or "", 0
        moment = file.timestamp
        written = 0.0 if moment is None else moment.replace(tzinfo=timezone.utc).timestamp()
        return written, "", file.id


@lru_cache(maxsize=1024)
def _expression(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{fnmatch.translate(pattern)})" for pattern in patterns))


class Ranking:
    """Which files are among the newest that a rule keeps, after all were shown to :meth:`add`.

    Its size is that of what is kept, not of what is shown.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._newest: dict[tuple[int, str | None], list[Rank]] = {}

    def add(self, file: ArchivedFile) -> None:
        """Take ``file`` into account; more than once makes no difference."""
        number, rule = self._policy.rule_for(file)
        if rule is None or rule.newest is None:
            return
        best = self._newest.setdefault((number, file.pub_id), [])
        rank = rule.rank(file)
        if len(best) == rule.newest and rank < best[0]:
            return
        where = bisect_left(best, rank)
        if where == len(best) or best[where] != rank:
            insort(best, rank)
            del best[: -rule.newest]

    def keeps(self, number: int, rule: Rule, file: ArchivedFile) -> bool:
        """Is ``file`` among the newest of rule ``number``?"""
        best = self._newest.get((number, file.pub_id), [])
        return len(best) < (rule.newest or 0) or rule.rank(file) >= best[0]


@dataclass(frozen=True)
class Policy:
    """Which files may be deleted, and when.

    Attributes:
        after: files that no rule matches are deleted at this age of their copy [s]; infinity for
            never.
        rules: the first that matches a file decides.
    """

    after: float
    rules: tuple[Rule, ...] = ()

    @property
    def shortest(self) -> float:
        """No file is deleted before its copy has this age [s]; infinity when none ever is."""
        ages = [rule.after for rule in self.rules if not rule.keep]
        return min([self.after, *ages])

    @property
    def ranks(self) -> bool:
        """Does a decision depend on the other files, by a :class:`Ranking`?"""
        return any(rule.newest is not None for rule in self.rules)

    def rule_for(self, file: ArchivedFile) -> tuple[int, Rule | None]:
        """The rule that decides for ``file`` and its number, from 1; ``(0, None)`` if none does."""
        for number, rule in enumerate(self.rules, 1):
            if rule.matches(file):
                return number, rule
        return 0, None

    def decide(self, file: ArchivedFile, ranking: Ranking, now: float) -> Verdict:
        """May ``file`` be deleted at ``now`` (UNIX time [s])?"""
        number, rule = self.rule_for(file)
        after, who = self.after, "no rule matches"
        if rule is not None:
            after, who = rule.after, f"rule {number}"
            if rule.keep:
                return Verdict(False, f"{who} keeps it")
            if rule.newest is not None and ranking.keeps(number, rule, file):
                what = "actions" if rule.by_action else "files"
                return Verdict(False, f"{who} keeps the newest {rule.newest} {what}")
        if after == NEVER:
            return Verdict(False, f"{who}: never deleted")
        age = now - file.archived_at
        text = f"{who}: copied {_age(age)} ago, deleted after {_age(after)}"
        return Verdict(age >= after, text)


def _age(seconds: float) -> str:
    """``seconds`` in the largest unit of which there is at least one, but weeks."""
    for unit in ("d", "h", "m"):
        if abs(seconds) >= UNITS[unit]:
            return f"{seconds / UNITS[unit]:.1f}".removesuffix(".0") + unit
    return f"{seconds:.0f}s"
