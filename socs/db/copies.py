"""What became of each file on its way to storage: what the files table has no room for.

``socs_copies_v1`` has at most one row per file. A file without one is new, or was left by an
archiver of old: copied, or given up when its ``failed_copy_attempts`` say so. The path of the life
of a copy is :data:`STATES`; the table in the documentation is drawn from it.

What archivers do with it is in :mod:`socs.db.claims`; here are the decisions of operators, and what
there is to see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database

COPYING, WAITING, ARCHIVED, IGNORED = "copying", "waiting", "archived", "ignored"
MISSING, CHANGED, FAILED = "missing", "changed", "failed"
LOST, ALTERED = "lost", "altered"
AT_REST = (MISSING, CHANGED, FAILED)  # not archived, and not tried again unless told to
DAMAGED = (LOST, ALTERED)  # archived once, and not whole any more

# state: (meaning, who moves it on, into which states)
STATES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "new": ("registered, not looked at yet", "archiver, operator", (COPYING, IGNORED)),
    COPYING: (
        "claimed by an archiver until `due`",
        "archiver",
        (ARCHIVED, WAITING, MISSING, CHANGED, FAILED),
    ),
    WAITING: (
        "to be tried again at `due`; `cause` says why",
        "archiver, operator",
        (COPYING, IGNORED),
    ),
    ARCHIVED: ("a verified copy is at `path`", "verify, audit", (LOST, ALTERED)),
    MISSING: ("the file was gone, at every attempt", "operator", (WAITING, IGNORED)),
    CHANGED: (
        "the file is not what was announced: its MD5 is now `md5sum`",
        "operator",
        (WAITING, IGNORED),
    ),
    FAILED: ("given up after all attempts; `cause` says why", "operator", (WAITING, IGNORED)),
    IGNORED: ("an operator does not want it archived", "operator", (WAITING,)),
    LOST: (
        "the archived copy has gone",
        "operator, verify, audit",
        (WAITING, ARCHIVED, ALTERED),
    ),
    ALTERED: (
        "the archived copy is not what it was",
        "operator, verify, audit",
        (WAITING, ARCHIVED, LOST),
    ),
}

DETAIL_LENGTH = 1024
_WHY = ("state", "cause", "detail")

_Seconds: sa.Double[float] = sa.Double()  # UNIX time [s]
_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # which is the rowid there

table = sa.Table(
    "socs_copies_v1",
    sa.MetaData(),
    sa.Column("file_id", _Id, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(16), nullable=False, comment="See the states of a copy"),
    sa.Column("owner", sa.String(255), comment="Instance id of the archiver that has or had it"),
    sa.Column("due", _Seconds, comment="End of a claim, or time of the next attempt (UNIX time)"),
    sa.Column("cause", sa.String(64), comment="Why the last attempt failed: a counter name"),
    sa.Column("detail", sa.String(DETAIL_LENGTH), comment="The same in words"),
    sa.Column(
        "md5sum",
        sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb"),
        comment="MD5 of the file as found, if not that of the files table",
    ),
    sa.Column("source", sa.String(files.PATH_LENGTH), comment="Where the file was written"),
    sa.Column("size", sa.BigInteger, comment="Bytes of the archived copy"),
    sa.Column("archived_at", _Seconds, comment="When it was archived (UNIX time)"),
    sa.Column("verified_at", _Seconds, comment="When its MD5 was last found right (UNIX time)"),
    sa.Column("deleted_at", _Seconds, comment="When the file at `source` was deleted (UNIX time)"),
    sa.Index("ix_socs_copies_v1_due", "state", "due"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
    mysql_row_format="DYNAMIC",
)


def among(ids: Collection[int], *states: str) -> sa.ColumnElement[bool]:
    """Condition: one of ``ids``, in one of ``states``.

    As no index serves for the state in a function, rows are looked up, and locked, by their ids:
    not all that are in these states, which may be many, and which other archivers may be at.
    """
    state = sa.func.coalesce(table.c.state, "")
    return sa.and_(table.c.file_id.in_(ids), state.in_(states))


# -- an operator's decisions ----------------------------------------------------------------------


def retry(
    connection: sa.Connection,
    ids: Collection[int],
    *,
    accept_changed: bool = False,
    restored: bool = False,
) -> int:
    """Have the files ``ids`` archived after all; how many of them there is hope for.

    Files at rest, ignored, lost or altered ones start anew, with no failed attempts; those that
    wait are due at once. A lost or altered file is taken from where it was written, if that is
    known and it was not deleted there. At most 10 000 at a time.

    Args:
        accept_changed: the contents that a changed file was found to have are right: they become
            the row's ``md5sum``.
        restored: files that were deleted where they were written are there again.
    """
    columns = files.table.c
    query = (
        sa.select(table, columns.path, columns.copied, columns.md5sum.label("announced"))
        .join(files.table, columns.id == table.c.file_id)
        .where(table.c.file_id.in_(ids))
        .with_for_update()  # an archiver may be about to claim them
    )
    found = []
    for row in connection.execute(query).mappings():
        if row["state"] in DAMAGED:
            hope = row["source"] and (restored or row["deleted_at"] is None)
        else:  # unless an archiver of old has copied it meanwhile
            hope = row["state"] not in (COPYING, ARCHIVED) and not row["copied"]
        if hope:
            found.append(row)
    old = _given_up(connection, ids)
    if found:
        updates = []
        for row in found:
            accepted = accept_changed and row["state"] == CHANGED and row["md5sum"]
            updates.append(
                {
                    "f": row["file_id"],
                    "copied": False,
                    "failed_copy_attempts": 0,
                    "md5sum": row["md5sum"] if accepted else row["announced"],
                    "path": row["source"] if row["state"] in DAMAGED else row["path"],
                }
            )
        connection.execute(files.table.update().where(columns.id == sa.bindparam("f")), updates)
        connection.execute(
            table.update()
            .where(table.c.file_id.in_([row["file_id"] for row in found]))
            .values(state=WAITING, due=0.0, md5sum=None)
        )
    if old:
        connection.execute(
            files.table.update().where(columns.id.in_(old)).values(failed_copy_attempts=0)
        )
    return len(found) + len(old)


def _given_up(connection: sa.Connection, ids: Collection[int]) -> list[int]:
    """Those of ``ids`` that an archiver without this table has given up."""
    columns = files.table.c
    query = (
        sa.select(columns.id)
        .outerjoin(table, table.c.file_id == columns.id)
        .where(columns.id.in_(ids), table.c.file_id.is_(None), columns.copied == sa.false())
        .where(columns.failed_copy_attempts > 0)
    )
    return list(connection.execute(query).scalars())


def ignore(connection: sa.Connection, ids: Collection[int], reason: str) -> int:
    """Do not archive the files ``ids``; how many of them are not archived, nor being copied now.

    ``reason`` is kept as the detail. At most 10 000 at a time.

    Raises:
        AlreadyStored: an archiver has just claimed one; to be tried again.
    """
    columns = files.table.c
    query = (
        sa.select(columns.id, columns.copied, table.c.state)
        .outerjoin(table, table.c.file_id == columns.id)
        .where(columns.id.in_(ids))
        .with_for_update()  # an archiver may be about to claim them
    )
    states = {row.id: row.state for row in connection.execute(query) if not row.copied}
    values = {"state": IGNORED, "due": None, "detail": reason[:DETAIL_LENGTH]}
    new = [number for number, state in states.items() if state is None]
    known = [n for n, state in states.items() if state not in (None, COPYING, ARCHIVED, IGNORED)]
    if new:
        connection.execute(table.insert(), [{"file_id": number, **values} for number in new])
    if known:
        connection.execute(table.update().where(table.c.file_id.in_(known)).values(**values))
    return len(new) + len(known)


def verified(connection: sa.Connection, ids: Collection[int], now: float) -> None:
    """The archived copies of ``ids`` were found right at ``now`` (UNIX time [s]).

    Those without a row here, which an archiver of old copied, are left without. At most 10 000 at
    a time.
    """
    connection.execute(
        table.update()
        .where(among(ids, ARCHIVED, *DAMAGED))
        .values(state=ARCHIVED, verified_at=now, cause=None, detail=None, md5sum=None)
    )


def damaged(
    connection: sa.Connection, file_id: int, state: str, detail: str, md5sum: bytes | None = None
) -> None:
    """The archived copy of ``file_id`` is :data:`LOST` or :data:`ALTERED`; noted, nothing else.

    Files that an archiver of old copied have no row here yet, and get one. Those that are not
    archived any more, for they were retried, are left as they are.
    """
    columns = files.table.c
    query = (
        sa.select(table.c.state)
        .select_from(files.table.outerjoin(table, table.c.file_id == columns.id))
        .where(columns.id == file_id, columns.copied == sa.true())
        .with_for_update()
    )
    values = {"state": state, "detail": detail[:DETAIL_LENGTH], "md5sum": md5sum}
    for known in connection.execute(query).scalars():
        if known is None:
            connection.execute(table.insert(), {"file_id": file_id, **values})
        elif known in (ARCHIVED, *DAMAGED):
            connection.execute(table.update().where(table.c.file_id == file_id).values(**values))


def deleted(
    connection: sa.Connection, ids: Collection[int], now: float, note: str | None = None
) -> None:
    """The files of ``ids`` are not where they were written any more, as of ``now`` (UNIX time [s]).

    ``note`` is kept as the detail. What was noted before is left.
    """
    values: dict[str, Any] = {"deleted_at": now}
    if note is not None:
        values["detail"] = note[:DETAIL_LENGTH]
    connection.execute(
        table.update()
        .where(table.c.file_id.in_(ids), table.c.deleted_at.is_(None))
        .values(**values)
    )


# -- looking --------------------------------------------------------------------------------------


def with_state(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """A query for rows of the files table with what is known here of their copies.

    The columns of both tables, with ``state``, ``cause``, ``detail``, ``due``, ``source``,
    ``size``, ``archived_at``, ``verified_at``, ``deleted_at`` from here, and ``found_md5sum``.
    """
    own = ("state", "cause", "detail", "due", "source", "size")
    times = ("archived_at", "verified_at", "deleted_at")
    return (
        sa.select(
            files.table,
            *(table.c[name] for name in (*own, *times)),
            table.c.md5sum.label("found_md5sum"),
        )
        .outerjoin(table, table.c.file_id == files.table.c.id)
        .where(*conditions)
    )


def is_failed(max_attempts: int = files.MAX_COPY_ATTEMPTS) -> sa.ColumnElement[bool]:
    """Condition for :func:`with_state`: at rest without a copy, or the copy is damaged."""
    columns = files.table.c
    given_up = sa.and_(
        table.c.file_id.is_(None),
        columns.copied == sa.false(),
        columns.failed_copy_attempts >= max_attempts,
    )
    return sa.or_(table.c.state.in_((*AT_REST, *DAMAGED)), given_up)


def is_on_its_way(max_attempts: int) -> sa.ColumnElement[bool]:
    """Condition for :func:`with_state`, for rows not copied: to be archived, or being archived."""
    new = sa.and_(table.c.file_id.is_(None), files.table.c.failed_copy_attempts < max_attempts)
    return sa.or_(new, table.c.state.in_((COPYING, WAITING)))


def counts(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> Mapping[str, int]:
    """Number of copies by state, for all states but ``archived``: cheap however long the table.

    ``conditions`` are on the columns of the files table.
    """
    query = (
        sa.select(table.c.state, sa.func.count().label("number"))
        .where(table.c.state.in_([state for state in STATES if state != ARCHIVED]), *conditions)
        .group_by(table.c.state)
    )
    if conditions:
        query = query.join(files.table, files.table.c.id == table.c.file_id)
    return {row.state: row.number for row in connection.execute(query)}


def newest_at_rest(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int
) -> list[sa.RowMapping]:
    """The newest files at rest, and damaged copies; cheap however long the table.

    ``conditions`` are on the columns of the files table.
    """
    found: list[sa.RowMapping] = []
    for state in (*AT_REST, *DAMAGED):
        query = (
            sa.select(files.table.c.id, files.table.c.path, *(table.c[n] for n in _WHY))
            .join(table, table.c.file_id == files.table.c.id)
            .where(table.c.state == state, table.c.due.is_(None), *conditions)
            .order_by(table.c.file_id.desc())
            .limit(limit)
        )
        found += connection.execute(query).mappings()
    return sorted(found, key=lambda row: -row["id"])[:limit]


def on_their_way(
    connection: sa.Connection,
    instances: Sequence[str],
    max_attempts: int,
    *,
    only: sa.ColumnElement[bool] | None = None,
) -> tuple[int, float | None]:
    """How many files of ``instances`` are still to be copied, and the earliest time of one [s].

    ``only`` is a further condition on the columns of the files table. Costs time with their
    number, not with the length of the table.
    """
    columns = files.table.c
    query = (
        sa.select(sa.func.count(), sa.func.min(columns.timestamp))
        .outerjoin(table, table.c.file_id == columns.id)
        .where(columns.copied == sa.false(), columns.instance_id.in_(instances))
        .where(is_on_its_way(max_attempts), sa.true() if only is None else only)
    )
    number, earliest = connection.execute(query).one()
    if isinstance(earliest, datetime):
        return number, earliest.replace(tzinfo=timezone.utc).timestamp()
    return number, None


def create_table(database: Database) -> bool:
    """Create the table of the copies, and the files table, where they are missing."""
    made = files.create_table(database)
    with database.begin() as connection:
        if sa.inspect(connection).has_table(table.name):
            return made
        table.create(connection)
    return True


def ensure_table(database: Database, *, create: bool) -> None:
    """Make sure that the table of the copies, and the files table, are there.

    Raises:
        ConfigError: as :func:`create_table` of the files table.
        StorageUnavailable: one is missing and ``create`` is False, or may not be created.
    """
    if create:
        create_table(database)
    else:
        files.need_tables(database, [files.table, table])
