"""Files that are being written, and how they get their names when they are complete."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

PART = ".part"  # the ending of unfinished downloads and copies: nobody takes it for a whole file
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}  # of file systems without


def part_of(path: Path) -> Path:
    """Where the file ``path`` is before it is complete."""
    return path.with_name(path.name + PART)


def take_name(part: Path, path: Path) -> None:
    """Give ``part`` the name ``path``; it keeps its old one, where files can have two.

    Raises:
        FileExistsError: the name is taken.
        OSError: the disk refuses.
    """
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # A file system without links: the name is taken first, then filled at once.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
        os.rename(part, path)


def sync_directory(folder: Path) -> None:
    """Have the names in ``folder`` written to the disk, where its file system can."""
    with suppress(OSError):
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
