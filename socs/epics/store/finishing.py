"""Complete files: they get their final name at once, and who must know of them is told.

While a file may have to be told once more, it has the name ``<name>.part``, too. A crash leaves
that, and the next start goes on from there. Where files cannot have two names, ``.part`` goes
before the file is told; a crash in that very moment leaves a file that nobody was told of.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from socs.db.finished_files import FinishedFile
from socs.errors import StorageUnavailable
from socs.part_files import NO_LINKS, part_of, sync_directory

Tell = Callable[[FinishedFile], object]


def finish(path: Path, began: float, tell: Tell, settled: Tell) -> FinishedFile:
    """The file ``path.part`` is complete and on the disk; again after an error or a crash.

    Args:
        path: its final name.
        began: UTC of what is first in it, UNIX time [s].
        tell: is told; after a crash possibly once more.
        settled: is told that this cannot happen any more.

    Raises:
        StorageUnavailable: the disk refuses, or what ``tell`` raises; call again later.
    """
    part = part_of(path)
    try:
        if part.exists():
            _name(part, path)
        sync_directory(path.parent)
        name = str(path.absolute())
        finished = FinishedFile(name, name, began)
        tell(finished)
        part.unlink(missing_ok=True)
    except OSError as error:
        raise StorageUnavailable(f"cannot complete {path}: {error.strerror}") from error
    settled(finished)
    return finished


def _name(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        if not os.path.samefile(part, path):
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.rename(part, path)
