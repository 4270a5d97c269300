"""Choosing rows of the files table, also by what became of their copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database

NEW = "new"
WINDOW = 50_000  # ids that one statement looks at, so that none takes long


@dataclass(frozen=True)
class FileFilter:
    """Which files; all that is given must hold, and nothing given means all of them.

    Attributes:
        ids, paths: the files themselves: those with one of the ids or one of the paths.
        instance_ids: registered by one of these agents.
        pub_id, action, format: as in the row.
        path: pattern for whole paths, in which only ``*`` is special.
        not_copied: only those without a verified copy.
        states: in one of these states of a copy, see :func:`state_of`.
        causes: whose last attempt failed for one of these causes.
    """

    ids: tuple[int, ...] = ()
    paths: tuple[str, ...] = ()
    instance_ids: tuple[str, ...] = ()
    pub_id: str | None = None
    action: str | None = None
    format: str | None = None
    path: str | None = None
    not_copied: bool = False
    states: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Is anything given?"""
        return any(getattr(self, field.name) for field in fields(self))

    @property
    def names_files(self) -> bool:
        """Are the files named one by one?"""
        return bool(self.ids or self.paths)

    @property
    def needs_copies(self) -> bool:
        """Does it ask for columns of the table of copies?"""
        return bool(self.states or self.causes)

    def conditions(self, connection: sa.Connection) -> list[sa.ColumnElement[bool]]:
        """What must hold for the columns of :func:`socs.db.copies.with_state`."""
        columns = files.table.c
        found: list[sa.ColumnElement[bool]] = [
            columns[name] == value
            for name in ("pub_id", "action", "format")
            if (value := getattr(self, name)) is not None
        ]
        if self.names_files:
            found.append(sa.or_(columns.id.in_(self.ids), columns.path.in_(self.paths)))
        if self.instance_ids:
            found.append(columns.instance_id.in_(self.instance_ids))
        if self.path is not None:
            found.append(files.path_matches(connection, self.path))
        if self.not_copied:
            found.append(sa.func.coalesce(columns.copied, sa.false()) == sa.false())
        if self.states:
            found.append(_in_state(self.states))
        if self.causes:
            found.append(copies.table.c.cause.in_(self.causes))
        return found


ALL_FILES = FileFilter()


def _in_state(states: tuple[str, ...]) -> sa.ColumnElement[bool]:
    """Condition: the copy is in one of ``states``, as :func:`state_of` names them."""
    columns, own = files.table.c, copies.table.c
    found: list[sa.ColumnElement[bool]] = [own.state.in_(states)]
    left_by_others = sa.and_(own.file_id.is_(None), columns.copied == sa.true())
    open_ones = sa.and_(
        own.file_id.is_(None), sa.func.coalesce(columns.copied, sa.false()) == sa.false()
    )
    attempts = sa.func.coalesce(columns.failed_copy_attempts, 0)
    if copies.ARCHIVED in states:
        found.append(left_by_others)
    if copies.FAILED in states:
        found.append(sa.and_(open_ones, attempts >= files.MAX_COPY_ATTEMPTS))
    if NEW in states:
        found.append(sa.and_(open_ones, attempts < files.MAX_COPY_ATTEMPTS))
    return sa.or_(*found)


def state_of(row: Mapping[Any, Any]) -> str:
    """The state of a row of :func:`socs.db.copies.with_state`, also of one without a copy's row.

    Such a file is new, or an archiver of old copied it or gave it up.
    """
    if row["state"] is not None:
        return str(row["state"])
    if row["copied"]:
        return copies.ARCHIVED
    given_up = (row["failed_copy_attempts"] or 0) >= files.MAX_COPY_ATTEMPTS
    return copies.FAILED if given_up else NEW


def newest(
    database: Database, chosen: FileFilter, limit: int, *conditions: sa.ColumnElement[bool]
) -> list[dict[str, Any]]:
    """The newest rows of :func:`socs.db.copies.with_state`, with ``owner`` and :func:`state_of`."""
    with database.read() as connection:
        query = copies.with_state(*chosen.conditions(connection), *conditions)
        query = query.add_columns(copies.table.c.owner)
        query = query.order_by(files.table.c.id.desc()).limit(limit)
        rows = connection.execute(query).mappings()
        return [dict(row) | {"state": state_of(row)} for row in rows]


def has_copies(database: Database) -> bool:
    """Is the table of copies there, for this user?

    Deployments without an archiver of ours have none, and monitors have no business with it.
    """
    with database.read() as connection:
        return copies.table.name in sa.inspect(connection).get_table_names()


def id_windows(database: Database, size: int = WINDOW) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that split the files table, as it is now, into parts of at most ``size`` rows."""
    number = files.table.c.id
    with database.read() as connection:
        query = sa.select(sa.func.min(number), sa.func.max(number))
        first, last = connection.execute(query).one()
    if first is not None:
        for start in range(first, last + 1, size):
            yield number.between(start, min(start + size - 1, last))


def below(directory: str) -> sa.ColumnElement[bool]:
    """Condition: the path begins with ``directory`` and a slash; served by the index."""
    return between(f"{directory}/", f"{directory}0")  # "0" follows "/"


def between(first: str, end: str) -> sa.ColumnElement[bool]:
    """Condition: the path is ``first`` or comes behind it, and before ``end``.

    As the database sorts: by code point, on MariaDB as if each path had blanks behind it.
    """
    return sa.and_(files.table.c.path >= first, files.table.c.path < end)
