"""What pruning says of a file, and to those that delete it where it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from socs.archive.archived import Copy
from socs.archive.policy import ArchivedFile
from socs.db.copies import ALTERED, LOST

KEPT = "kept"
DELETED = "deleted"
GONE = "gone"
CHANGED = "changed"
REFUSED = "refused"
UNVERIFIED = "unverified"

# outcome: meaning
OUTCOMES = {
    DELETED: "it is what was archived, and the archived copy is right",
    GONE: "was not there any more, and nobody had noted it; noted now",
    KEPT: "the policy keeps it, or keeps it for now",
    CHANGED: "is not what was archived: it was written to since, or replaced",
    REFUSED: "left alone, for the reason given",
    LOST: "the archived copy is not there; nothing is deleted",
    ALTERED: "the archived copy is not what it was; nothing is deleted",
    UNVERIFIED: "the archived copy cannot be read; nothing is deleted",
}
ALARMING = (LOST, ALTERED, UNVERIFIED)


class Fate(msgspec.Struct, frozen=True):
    """What became of a file, one of :data:`OUTCOMES`, and why."""

    outcome: str
    why: str = ""


class Sources(Protocol):
    """Where files were written: the disks of one machine.

    Attributes:
        batch: files are removed in groups of at most so many, between whose verification and
            removal little time passes.
    """

    batch: int

    def look(self, files: Sequence[ArchivedFile]) -> Mapping[int, Fate]:
        """What is known at first sight against removing files, by their id; reads no contents.

        Raises:
            OurError: the machine cannot be reached, or its disks are not there.
        """

    def remove(
        self, files: Sequence[tuple[ArchivedFile, Copy]], *, dry_run: bool
    ) -> Mapping[int, Fate]:
        """Remove those of ``files`` whose contents are those of their copies, all of other paths.

        A dry run finds the same, and removes nothing.

        Returns:
            What became of each, by its id.

        Raises:
            OurError: as :meth:`look`.
        """

    def close(self) -> None:
        """Give back what is held."""
