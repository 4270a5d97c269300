"""Making rows for files that are in the archive and that no row has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import structs

from socs._version import __version__
from socs.archive.findings import Finding, as_written, in_words
from socs.archive.tree import Tree, described, utc
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import ARCHIVED
from socs.db.engine import Database
from socs.db.transactions import in_transaction


class Register(msgspec.Struct, frozen=True):
    """Columns of the rows that the archive's tree does not tell."""

    instance_id: str
    site: str | None = None


class DarkFile(msgspec.Struct, frozen=True):
    """A file that no row has.

    ``path`` is absolute, as the system gave it; ``size`` [bytes], ``modified`` (UNIX time [s]) and
    ``mode`` are its own. ``twin``: a row has its contents. ``file_id`` is that of its new row.
    """

    path: str
    size: int
    modified: float
    mode: int
    md5sum: bytes | None = None
    twin: bool = False
    file_id: int | None = None
    detail: str = ""
    done: str = ""

    def finding(self) -> Finding:
        """What to tell."""
        return Finding(
            "dark",
            as_written(self.path),
            file_id=self.file_id,
            size=self.size,
            modified=self.modified,
            md5sum=self.md5sum.hex() if self.md5sum else None,
            detail=in_words(self.detail),
            done=self.done,
        )


class RowMaker:
    """Makes rows; for one at a time, as two would make two rows of one file.

    Args:
        database: has the table.
        tree: the archive.
        register: what else to put into the rows.
        dry_run: only say what would be done.
    """

    def __init__(
        self, database: Database, tree: Tree, register: Register, *, dry_run: bool
    ) -> None:
        self._database, self._tree = database, tree
        self._values, self._dry_run = register, dry_run

    def register(self, dark: Sequence[DarkFile], now: float) -> list[DarkFile]:
        """``dark`` with what was done about each; without those that others registered meanwhile.

        Args:
            dark: files that were hashed.
            now: UNIX time [s].

        Raises:
            StorageUnavailable: the database refuses; none of these was registered.
        """
        wanted = []
        told = []
        for item in dark:
            why = _no_row(item)
            if why is None:
                wanted.append(item)
            else:
                told.append(structs.replace(item, done=f"not registered: {why}"))
        if self._dry_run:
            return told + [structs.replace(item, done="would be registered") for item in wanted]
        ids = self._insert(wanted, now) if wanted else {}
        return told + [
            structs.replace(item, file_id=ids[item.path], done="registered")
            for item in wanted
            if item.path in ids
        ]

    def _insert(self, dark: Sequence[DarkFile], now: float) -> dict[str, int]:
        """Make rows; ``{path: id}``."""

        def insert(connection: sa.Connection) -> dict[str, int]:
            known = files.known_paths(connection, [item.path for item in dark])
            new = [item for item in dark if item.path not in known]
            ids: dict[str, int] = {}
            for item in new:
                inserted = connection.execute(files.table.insert(), self._row(item))
                assert inserted.inserted_primary_key is not None
                ids[item.path] = inserted.inserted_primary_key[0]
            common = {"state": ARCHIVED, "archived_at": now, "verified_at": now}
            told = [{"file_id": ids[item.path], "size": item.size, **common} for item in new]
            if told:
                connection.execute(copies.table.insert(), told)
            return ids

        return in_transaction(self._database, insert)

    def _row(self, dark: DarkFile) -> dict[str, Any]:
        relative = dark.path[len(self._tree.data_dir) + 1 :]
        return {
            "path": dark.path,
            "timestamp": utc(dark.modified),
            "format": os.path.splitext(dark.path)[1].lstrip(".")[:32] or None,
            "md5sum": dark.md5sum,
            "copied": True,
            "failed_copy_attempts": 0,
            "site": self._values.site,
            "instance_id": self._values.instance_id,
            "socs_version": __version__,
            **described(relative),
        }


def _no_row(dark: DarkFile) -> str | None:
    """Why there should be no row for ``dark``; None if there should."""
    if dark.twin:
        return "a row has its contents"
    if not is_utf8(dark.path):
        return "its name is not UTF-8"
    if dark.md5sum is None:
        return dark.detail or "it cannot be read"
    if len(dark.path) > files.PATH_LENGTH:
        return f"its path is longer than {files.PATH_LENGTH} characters"
    return None


def is_utf8(path: str) -> bool:
    """Can a database hold this path?"""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
