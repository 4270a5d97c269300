"""An archiver with all that belongs to it, as the agent runs it."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from socs.archive.archiver import Archiver
from socs.archive.settings import ArchiveSettings
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.errors import StorageUnavailable


def make_archiver(
    settings: ArchiveSettings, database: Database, *, report: Callable[[str], None]
) -> Archiver:
    """An archiver as ``settings`` describe it, not started yet.

    Args:
        settings: what the site configures.
        database: holds the files table.
        report: called with lines for the log, in any thread.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """
    storage = settings.storage()
    return Archiver(
        settings,
        database,
        storage,
        settings.mover(storage),
        prepare=lambda: _ensure_tables(database, create=settings.create_table),
        report=report,
    )


def _ensure_tables(database: Database, *, create: bool) -> None:
    """Make sure that the tables are there.

    Raises:
        StorageUnavailable: one is missing and ``create`` is False, or may not be created.
    """
    if create:
        copies.create_table(database)
        return
    with database.read() as connection:
        inspector = sa.inspect(connection)
        missing = [t.name for t in (files.table, copies.table) if not inspector.has_table(t.name)]
    if missing:
        raise StorageUnavailable(
            f"{database.description} lacks {', '.join(missing)}: "
            "run `socs files create`, or set --create-table true"
        )
