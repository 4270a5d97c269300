"""What looking through the archive brings up, and how it is counted and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from socs.problems import fitting, printable

# kind: (what it means, what to do about it)
KINDS: dict[str, tuple[str, str]] = {
    "dark": (
        "files in the archive that no row of the table has",
        "`socs files audit --register-dark INSTANCE` makes rows for them; what nobody needs is "
        "yours to delete",
    ),
    "lost": (
        "rows whose archived copy is gone",
        "`socs files audit --repair --data-root DIR` has those copied again that are still where "
        "they were written, `socs files retry --state lost` all of them",
    ),
    "altered": (
        "rows whose archived copy is not what was announced",
        "`socs files audit --repair --data-root DIR` sets the altered copy aside and has those "
        "copied again that are still where they were written",
    ),
    "leftover": (
        "files under temporary names, a day old or more",
        "an archiver removes its own when it starts; those of archivers that are no more are "
        "yours to delete",
    ),
    "stranger": (
        "entries of the archive's directory that are not five digits",
        "move them elsewhere: readers that walk the archive crash on them",
    ),
    "unreadable": (
        "files or directories that cannot be read; nothing is known against their contents",
        "look at permissions, mounts and disks, then look again",
    ),
}
EXAMPLES = 50  # findings of each kind that are kept
ROOM = 24_000  # bytes of JSON for all of them


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it should be.

    ``kind`` is one of :data:`KINDS`; ``size`` [bytes] and ``modified`` (UNIX time [s]) are those of
    the file that is there; ``done`` says what was done about it. Texts are fit for JSON.
    """

    kind: str
    path: str
    file_id: int | None = None
    size: int | None = None
    modified: float | None = None
    md5sum: str | None = None
    detail: str = ""
    done: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All that is known, as JSON knows it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


OnFinding = Callable[[Finding], None]


class Findings:
    """Counts findings, keeps the first of each kind, and hands on every one.

    Args:
        on_finding: called with each.
    """

    def __init__(self, on_finding: OnFinding = lambda finding: None) -> None:
        self._on_finding = on_finding
        self.counts = dict.fromkeys(KINDS, 0)
        self._dealt_with = dict.fromkeys(KINDS, 0)
        self.examples: dict[str, list[Finding]] = {kind: [] for kind in KINDS}

    def add(self, finding: Finding) -> None:
        """One more."""
        self.counts[finding.kind] += 1
        self._dealt_with[finding.kind] += bool(finding.done)
        if len(self.examples[finding.kind]) < EXAMPLES:
            self.examples[finding.kind].append(finding)
        self._on_finding(finding)

    def __len__(self) -> int:
        return sum(self.counts.values())

    def shown(self) -> dict[str, list[dict[str, Any]]]:
        """The first of each kind, at most :data:`ROOM` bytes of JSON."""
        kinds = [kind for kind in KINDS if self.examples[kind]]
        return {
            kind: [found.as_dict() for found in fitting(self.examples[kind], ROOM // len(kinds))]
            for kind in kinds
        }

    def advice(self) -> list[str]:
        """A line for each kind that was found: what it means, and what to do about it."""
        lines = []
        for kind, number in self.counts.items():
            if number:
                meaning, remedy = KINDS[kind]
                if number == self._dealt_with[kind]:
                    remedy = "`done` tells of each what was done"
                lines.append(f"{kind}: {meaning} -> {remedy}")
        return lines

    def summary(self) -> str:
        """``3 dark, 1 lost``, or that nothing was found."""
        named = [f"{number} {kind}" for kind, number in self.counts.items() if number]
        return ", ".join(named) or "nothing amiss"


def as_written(path: str) -> str:
    r"""``path`` as valid text: bytes that are not UTF-8 as ``\udcff``."""
    return path.encode("utf-8", "backslashreplace").decode()


def in_words(text: str) -> str:
    """An error or a name from outside, short and on one line."""
    return printable(text)
