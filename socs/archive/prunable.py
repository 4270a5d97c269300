"""The rows that pruning is about: archived files that are still where they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from socs.archive.policy import ArchivedFile, Verdict
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.file_filter import FileFilter

PAGE = 500  # rows fetched at a time


def pages(
    database: Database,
    instances: Sequence[str],
    *,
    before: float | None = None,
    only: FileFilter | None = None,
) -> Iterator[list[ArchivedFile]]:
    """Archived files, as far as the table knows still where they were written, in order of id.

    Args:
        database: holds both tables.
        instances: agents that registered them.
        before: archived until then (UNIX time [s]).
        only: further choice.

    Raises:
        StorageUnavailable: the database cannot be reached.
    """
    after = -1
    while True:
        with database.read() as connection:
            query = _chosen(connection, instances, before, only)
            query = query.where(copies.table.c.file_id > after)
            query = query.order_by(copies.table.c.file_id).limit(PAGE)
            page = [_file_of(row) for row in connection.execute(query).mappings()]
        if page:
            yield page
        if len(page) < PAGE:
            return
        after = page[-1].id


def count(
    database: Database, instances: Sequence[str], *, before: float, only: FileFilter | None
) -> int:
    """How many files :func:`pages` gives."""
    with database.read() as connection:
        query = _chosen(connection, instances, before, only)
        query = query.with_only_columns(sa.func.count())
        return int(connection.execute(query).scalar_one())


def needed(
    connection: sa.Connection,
    group: Sequence[ArchivedFile],
    decide: Callable[[ArchivedFile], Verdict],
) -> dict[int, str]:
    """Those of ``group`` that must stay for another row about the same path, and why.

    That row is not archived, or its copy is damaged, or it has the same contents and ``decide``
    does not let them go. One that an operator ignores needs nothing.
    """
    columns, own = files.table.c, copies.table.c
    sources = {file.source for file in group}
    found: dict[str, str] = {}
    unarchived = (
        sa.select(columns.id, columns.path, own.state)
        .outerjoin(copies.table, own.file_id == columns.id)
        .where(columns.path.in_(sources))
        .where(sa.func.coalesce(columns.copied, sa.false()) == sa.false())
        .where(sa.func.coalesce(own.state, "new") != copies.IGNORED)
    )
    for row in connection.execute(unarchived):
        found[row.path] = f"row {row.id} is about it too, and {row.state or 'new'}"
    damaged = sa.select(own.file_id, own.source, own.state).where(
        own.state.in_(copies.DAMAGED), own.source.in_(sources)
    )
    for row in connection.execute(damaged):
        found[row.source] = f"row {row.file_id} is about it too, and its copy {row.state}"
    same = columns.md5sum.in_({file.md5sum for file in group})  # so that an index serves
    alike = _undeleted().where(same, own.source.in_(sources))
    for other in map(_file_of, connection.execute(alike).mappings()):
        verdict = decide(other)
        if not verdict.delete:
            found[other.source] = f"row {other.id} is about it too; {verdict.why}"
    return {file.id: found[file.source] for file in group if file.source in found}


def is_archived(connection: sa.Connection, file: ArchivedFile) -> bool:
    """Is the row of ``file`` still as it was, archived and with the same path?"""
    query = _undeleted().where(files.table.c.id == file.id, files.table.c.path == file.path)
    return connection.execute(query).first() is not None


def _undeleted() -> sa.Select[Any]:
    """A query for the columns of ``ArchivedFile``."""
    columns, own = files.table.c, copies.table.c
    kind = ("action", "action_timestamp", "timestamp", "pub_id", "instance_id", "format", "plot")
    # Nearly all rows are copied and archived. In a function the column's index does not serve, and
    # rows are read in the order of their ids; SQLite would else sort all of them for each page.
    copied = sa.func.coalesce(columns.copied, sa.false())
    state = sa.func.coalesce(own.state, "new")
    return (
        sa.select(columns.id, columns.path, columns.md5sum, *(columns[name] for name in kind))
        .add_columns(own.source, own.archived_at, own.size)
        .join(copies.table, own.file_id == columns.id)
        .where(copied == sa.true(), state == copies.ARCHIVED)
        .where(own.source.is_not(None), own.archived_at.is_not(None), own.deleted_at.is_(None))
    )


def _chosen(
    connection: sa.Connection,
    instances: Sequence[str],
    before: float | None,
    only: FileFilter | None,
) -> sa.Select[Any]:
    query = _undeleted().where(files.table.c.instance_id.in_(instances))
    if before is not None:
        query = query.where(copies.table.c.archived_at <= before)
    return query if only is None else query.where(*only.conditions(connection))


def _file_of(row: Mapping[Any, Any]) -> ArchivedFile:
    return ArchivedFile(**{**row, "md5sum": bytes(row["md5sum"])})
