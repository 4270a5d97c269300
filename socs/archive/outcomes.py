"""What the tables say of archived files, and writing down what was found at their paths.

A row that changed since it was read is left alone: its file was tried again meanwhile, and what
was found concerns a copy that nobody asks for any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from socs.archive.examine import RIGHT, Examined, Record
from socs.archive.findings import Finding, in_words
from socs.archive.tree import Tree
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import ARCHIVED, DAMAGED, LOST
from socs.db.engine import Database
from socs.db.transactions import in_transaction

BATCH = 300  # rows per transaction


def records(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """A query for what :func:`record_of` needs of archived files."""
    columns, own = files.table.c, copies.table.c
    return (
        sa.select(columns.id, columns.path, columns.md5sum, own.state, own.size)
        .outerjoin(copies.table, own.file_id == columns.id)
        .where(columns.copied == sa.true(), *conditions)
    )


def record_of(row: sa.Row[Any], *, rehash: bool = True) -> Record:
    """A row of :func:`records`. One that was found damaged before is hashed in any case."""
    return Record(
        file_id=row.id,
        path=row.path,
        md5sum=bytes(row.md5sum),
        state=row.state,
        size=row.size,
        rehash=rehash or row.state in DAMAGED,
    )


def settle(
    database: Database, tree: Tree, outcomes: Sequence[Examined], *, now: float, dry_run: bool
) -> list[Examined]:
    """Write ``outcomes`` down; those that still concern their rows.

    Args:
        database: has the rows.
        tree: the archive.
        outcomes: at most a few hundred. Only those right by their MD5 count as verified.
        now: UNIX time [s].
        dry_run: write nothing.

    Raises:
        StorageUnavailable: nothing was written. The database refuses; or files are gone, and so is
            the archive as a whole.
    """
    if any(outcome.verdict == LOST for outcome in outcomes):
        tree.check(files_expected=True)
    bad = [outcome for outcome in outcomes if outcome.verdict in DAMAGED]
    right = [o for o in outcomes if o.verdict == RIGHT and o.md5sum is not None]
    if dry_run:
        if not bad:
            return list(outcomes)
        with database.read() as connection:
            return _still_so(connection, outcomes)
    if not bad and not right:
        return list(outcomes)

    def write(connection: sa.Connection) -> list[Examined]:
        valid = _still_so(connection, outcomes, lock=True)
        _write(connection, valid, now)
        return valid

    return in_transaction(database, write)


def _still_so(
    connection: sa.Connection, outcomes: Sequence[Examined], *, lock: bool = False
) -> list[Examined]:
    """Those of ``outcomes`` whose rows are as they were when the file was looked at."""
    columns = files.table.c
    ids = [outcome.record.file_id for outcome in outcomes]
    query = sa.select(columns.id, columns.path, columns.md5sum).where(
        columns.id.in_(ids), columns.copied == sa.true()
    )
    if lock and connection.dialect.name != "sqlite":
        query = query.with_for_update()
    rows = {row.id: (row.path, bytes(row.md5sum)) for row in connection.execute(query)}
    return [o for o in outcomes if rows.get(o.record.file_id) == (o.record.path, o.record.md5sum)]


def _write(connection: sa.Connection, outcomes: Sequence[Examined], now: float) -> None:
    columns = copies.table.c
    ids = [outcome.record.file_id for outcome in outcomes]
    query = sa.select(columns.file_id, columns.state, columns.detail, columns.md5sum)
    known = {
        row.file_id: (row.state, row.detail, row.md5sum)
        for row in connection.execute(query.where(columns.file_id.in_(ids)))
    }
    right = [o for o in outcomes if o.verdict == RIGHT and o.md5sum is not None]
    verified = [o.record.file_id for o in right if o.record.file_id in known]
    if verified:
        copies.verified(connection, verified, now)
    new = [  # an archiver of old copied them, and told nobody
        {"file_id": o.record.file_id, "state": ARCHIVED, "size": o.size, "verified_at": now}
        for o in right
        if o.record.file_id not in known
    ]
    if new:
        connection.execute(copies.table.insert(), new)
    for outcome in outcomes:
        if outcome.verdict in DAMAGED:
            told = (outcome.verdict, outcome.detail, outcome.md5sum)
            if known.get(outcome.record.file_id) != told:
                copies.damaged(connection, outcome.record.file_id, *told)


def finding_of(outcome: Examined, done: str = "") -> Finding:
    """What to tell of an outcome that is not right."""
    return Finding(
        outcome.verdict,
        outcome.record.path,
        file_id=outcome.record.file_id,
        size=outcome.size,
        md5sum=outcome.md5sum.hex() if outcome.md5sum else None,
        detail=in_words(outcome.detail),
        done=done,
    )
