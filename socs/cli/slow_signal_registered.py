"""What the database knows of files of readouts."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from socs.closing import Closing
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database, data_dir, mariadb_settings
from socs.db.file_filter import has_copies
from socs.errors import FileNotReady, StorageError

CHUNK = 1 << 20  # bytes


class Registered(Closing):
    """Looks files up in the files table, if there is one.

    Args:
        environ: with the settings of the database.
        required: it must be there.

    Raises:
        ConfigError: a setting is wrong, or there is no database though one is required.
    """

    def __init__(self, environ: Mapping[str, str], *, required: bool = False) -> None:
        self._required = required
        self._database: Database | None = None
        sqlite = data_dir(environ) / "files.sqlite"
        if required or mariadb_settings(environ) is not None or sqlite.exists():
            self._database = Database(environ, must_exist=True)

    def of_file(self, path: Path, *, verify: bool = False) -> dict[str, Any]:
        """Its row, also after it was archived; nothing without a database.

        Args:
            path: of the file.
            verify: compare its contents with the MD5 sum in the table.

        Raises:
            StorageUnavailable: the database cannot be asked, though it is required.
            FileNotReady: the file cannot be read.
        """
        if self._database is None:
            return {}
        names = {os.path.abspath(path), os.path.realpath(path)}
        try:
            found = self._rows(self._database, names)
        except StorageError as error:
            if self._required:
                raise
            print(f"socs: {error}", file=sys.stderr, flush=True)
            return {}
        if not found:
            return {"registered": False}
        row = found[0]
        told = {
            "registered": True,
            "id": row["id"],
            "instance_id": row["instance_id"],
            "copied": row["copied"],
            "md5sum": row["md5sum"],
        }
        if row["path"] not in names:
            told["archived_as"] = row["path"]
        if verify:
            told["matches"] = md5_of(path) == row["md5sum"]
        return told

    @staticmethod
    def _rows(database: Database, names: set[str]) -> Sequence[sa.RowMapping]:
        """Rows with one of these paths, or else of files that were written there."""
        with database.read() as connection:
            found = files.select_files(connection, files.table.c.path.in_(names), limit=1)
        if found or not has_copies(database):
            return found
        copied = sa.select(copies.table.c.file_id).where(copies.table.c.source.in_(names))
        with database.read() as connection:
            return files.select_files(connection, files.table.c.id.in_(copied), limit=1)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()


def md5_of(path: Path) -> bytes:
    """MD5 of the contents.

    Raises:
        FileNotReady: it cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise FileNotReady(f"cannot read {path}: {error.strerror}") from error
    return digest.digest()
