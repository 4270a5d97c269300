"""What the archiver and those that move files for it say to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from socs.archive.paths import File, Place


class Job(msgspec.Struct, frozen=True):
    """Bring ``file`` to ``place``."""

    file: File
    place: Place


class Placed(msgspec.Struct, frozen=True, tag=True):
    """The file has a verified copy at ``path`` (absolute); ``adopted``: it was there before."""

    path: str
    size: int
    adopted: bool = False


class Refused(msgspec.Struct, frozen=True, tag=True):
    """An attempt at this file failed, for a reason of its own.

    ``cause`` is the name of a counter; ``md5sum`` what the file was found to have instead.
    """

    cause: str
    detail: str
    md5sum: bytes | None = None


class NotTried(msgspec.Struct, frozen=True, tag=True):
    """Nothing is known against this file: the archive, or the way to the source, is at fault.

    ``detail`` says so, naming what to change. ``everything``: other files would fare no better now.
    """

    detail: str
    everything: bool = True


Outcome = Placed | Refused | NotTried
Done = Callable[[Job, Outcome], None]


class Mover(Protocol):
    """Moves files in the background. What it calls ``done`` with must not raise.

    Attributes:
        link_errors: transfers that ended early because of the way to the source.
    """

    link_errors: int

    def room(self) -> int:
        """How many more jobs it would take on now."""

    def submit(self, jobs: Sequence[Job], done: Done) -> None:
        """Take on ``jobs``, which it has room for.

        ``done`` is called once for each, in some thread, unless the mover is stopped before.
        """

    def current(self) -> list[dict[str, Any]]:
        """What is being moved: ``{"path": str, "bytes": int}`` each, for people."""

    def troubles(self) -> list[str]:
        """Why files are not moved; empty when all is well."""

    def stop(self) -> None:
        """Stop at once. What is under way is left, to be done again."""
