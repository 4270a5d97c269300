"""Having lost and altered files copied again from where they were written.

An altered copy is set aside, as ``<5 digits>/.suprsync-altered/file-<id>_<8 digits of its
MD5>_<name>.dat``, before the archiver is told to copy the file again. Readers downstream pass such
a name by: what they index begins with a number or ends in ``.g3``, and books of a day leave out
``*.dat``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import sqlalchemy as sa

from socs.archive.examine import Examined
from socs.archive.paths import Place
from socs.archive.storage import Storage
from socs.archive.tree import SET_ASIDE, Tree
from socs.dataroots import DataRoots
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import ALTERED
from socs.db.engine import Database
from socs.db.fingerprint import md5_of
from socs.errors import FileNotReady, PeerError

AGAIN = "will be copied again"
KEPT_OF_NAME = 200  # bytes


class Repair:
    """Repairs the copies of ``tree``.

    Args:
        database: has the table.
        tree: the archive.
        roots: where sources may be read; None: they are out of reach.
        dry_run: only say what would be done.
        tick: called now and then; may raise to stop.
    """

    def __init__(
        self,
        database: Database,
        tree: Tree,
        roots: DataRoots | None,
        *,
        dry_run: bool,
        tick: Callable[[], None],
    ) -> None:
        self._database, self._tree, self._roots = database, tree, roots
        self._dry_run = dry_run
        self._tick = tick

    def repair(self, outcome: Examined) -> tuple[bool, str]:
        """Have the file of ``outcome``, lost or altered, copied again: whether, and what to tell.

        Raises:
            StorageUnavailable: the archive cannot be written, or the database refuses.
        """
        why = self._unavailable(outcome)
        if why is not None:
            return False, f"not repaired: {why}"
        if self._dry_run:
            return True, "would be copied again"
        moved = ""
        if outcome.verdict == ALTERED and not self._is_of_another(outcome):
            try:
                aside = self._set_aside(outcome)
            except PeerError as error:
                return False, f"not repaired: {error}"
            moved = f"set aside as {aside}; " if aside else ""
        with self._database.begin() as connection:
            again = copies.retry(connection, [outcome.record.file_id], restored=True)
        return bool(again), moved + (AGAIN if again else "not repaired: it was retried meanwhile")

    def _unavailable(self, outcome: Examined) -> str | None:
        """Why the file cannot be copied again; None if it is where it was written."""
        own = copies.table.c
        query = sa.select(own.source).where(own.file_id == outcome.record.file_id)
        with self._database.read() as connection:
            source = connection.execute(query).scalar()
        if source is None:
            return "where it was written is unknown"
        if self._roots is None:
            return f"whether {source} is still there is unknown (no --data-root)"
        with self._roots.opener() as opener:
            try:
                descriptor = opener.open(source)
            except PeerError as error:
                return f"{source}: {error}"
            try:
                found = md5_of(descriptor, os.fstat(descriptor).st_size, self._tick)
            except OSError as error:
                return f"{source}: {error.strerror}"
            finally:
                os.close(descriptor)
        return None if found == outcome.record.md5sum else f"{source} is not what was announced"

    def _is_of_another(self, outcome: Examined) -> bool:
        """Does the file that is there belong to another row of this path?"""
        columns = files.table.c
        query = sa.select(columns.id, columns.path).where(
            columns.path == outcome.record.path,
            columns.md5sum == outcome.md5sum,
            columns.copied == sa.true(),
        )
        with self._database.read() as connection:
            return any(row.path == outcome.record.path for row in connection.execute(query))

    def _set_aside(self, outcome: Examined) -> str | None:
        """Move the altered copy; its new path, or None if it has gone.

        Raises:
            StorageUnavailable, FileNotReady: it cannot be moved.
        """
        record = outcome.record
        assert outcome.md5sum is not None
        if os.path.islink(record.path):
            raise FileNotReady(f"{record.path} is a link")
        name = os.path.basename(record.path).encode()[:KEPT_OF_NAME].decode("utf-8", "ignore")
        place = Place(
            timecode=record.path[len(self._tree.data_dir) + 1 :].partition("/")[0],
            directory=SET_ASIDE,
            name=f"file-{record.file_id}_{outcome.md5sum.hex()[:8]}_{name}.dat",
        )
        if not os.path.lexists(record.path):
            return None
        return Storage(self._tree.data_dir, SET_ASIDE).put(record.path, place, outcome.md5sum)
