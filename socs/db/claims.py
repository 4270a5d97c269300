"""How archivers share the work: claims on files, and what comes of them.

A row in state ``copying`` belongs to its ``owner`` until ``due``. The primary key of the table of
copies decides who is first, on MariaDB as on SQLite, and nothing is locked while a file is being
copied. What a claim leads to is written down together with the new path of the file, in one
transaction, and only by its owner.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest

import msgspec
import sqlalchemy as sa

from socs.db import pysmurf_files_manager as files
from socs.db.copies import ARCHIVED, COPYING, DETAIL_LENGTH, WAITING, among, table


class Archived(msgspec.Struct, frozen=True):
    """A claimed file has a verified copy at ``path`` (absolute), of ``size`` bytes."""

    file_id: int
    path: str
    size: int


class Failure(msgspec.Struct, frozen=True):
    """An attempt at a claimed file failed; the file goes into ``state``.

    ``attempts`` is their number with this one. ``due`` is a UNIX time [s] for a file that waits.
    ``md5sum`` is what the file was found to have instead.
    """

    file_id: int
    state: str
    attempts: int
    cause: str
    detail: str
    due: float | None = None
    md5sum: bytes | None = None


def prepare(connection: sa.Connection, owner: str) -> int:
    """To be called when an archiver starts, before it claims anything.

    Gives back what ``owner`` had claimed before it was stopped.

    Returns:
        The number of files given back.
    """
    query = sa.select(table.c.file_id).where(table.c.state == COPYING, table.c.owner == owner)
    ids = list(connection.execute(query.where(table.c.due > 0)).scalars())
    if ids:
        connection.execute(_claimed(owner, ids).values(due=0.0))
    return len(ids)


def claim(
    connection: sa.Connection,
    owner: str,
    instances: Sequence[str],
    *,
    limit: int,
    now: float,
    until: float,
    max_attempts: int,
    only: sa.ColumnElement[bool] | None = None,
) -> list[sa.RowMapping]:
    """Claim files to copy: those whose time has come again, and new ones.

    Each kind gets half of ``limit``, and what the other has no use for. Among new files those of
    each instance take turns; the ones that failed least come first, then the oldest.

    Args:
        connection: open transaction.
        owner: instance id of the archiver.
        instances: those that registered the files.
        limit: at most this many.
        now: UNIX time [s].
        until: end of the claim, a UNIX time [s] that no other claim of this owner has.
        max_attempts: files with so many failed attempts are left alone.
        only: further condition on the columns of the files table.

    Returns:
        Rows of the files table; the new files last.

    Raises:
        AlreadyStored: another archiver was faster; to be tried again.
    """
    instances = list(dict.fromkeys(instances))
    _fill_in(connection, instances, limit)
    wanted = [files.table.c.copied == sa.false(), *([] if only is None else [only])]
    new = _new(connection, instances, wanted, limit, max_attempts)
    share = max((limit + 1) // 2, limit - len(new))
    ids = _due(connection, instances, wanted, share, now)
    old = _take_over(connection, owner, ids, now, until) if ids else []
    new = new[: limit - len(old)]
    if new:
        claims = [
            {"file_id": number, "state": COPYING, "owner": owner, "due": until}
            for number in sorted(row["id"] for row in new)  # all archivers in the same order
        ]
        connection.execute(table.insert(), claims)
    return [*old, *new]


def _fill_in(connection: sa.Connection, instances: Sequence[str], limit: int) -> None:
    """Rows of other programs may leave open whether they are copied, and how often that failed."""
    columns = files.table.c
    uncertain = columns.copied.is_(None)
    uncounted = sa.and_(columns.copied == sa.false(), columns.failed_copy_attempts.is_(None))
    for left_open, value in (
        (uncertain, {"copied": False}),
        (uncounted, {"failed_copy_attempts": 0}),
    ):
        query = sa.select(columns.id).where(left_open, columns.instance_id.in_(instances))
        ids = list(connection.execute(query.limit(limit)).scalars())
        if ids:
            update = files.table.update().where(columns.id.in_(ids), left_open)
            connection.execute(update.values(value))


def _new(
    connection: sa.Connection,
    instances: Sequence[str],
    wanted: Iterable[sa.ColumnElement[bool]],
    limit: int,
    max_attempts: int,
) -> list[sa.RowMapping]:
    """Rows that nobody has claimed yet, of each instance in turn."""
    columns = files.table.c
    query = (
        sa.select(files.table)
        .outerjoin(table, table.c.file_id == columns.id)
        .where(*wanted, columns.failed_copy_attempts < max_attempts, table.c.file_id.is_(None))
        .order_by(columns.failed_copy_attempts, columns.id)
        .limit(limit)
    )
    found = [  # apart, so that rows come in the order of the index
        connection.execute(query.where(columns.instance_id == instance)).mappings().all()
        for instance in instances
    ]
    return [row for turn in zip_longest(*found) for row in turn if row is not None][:limit]


def _due(
    connection: sa.Connection,
    instances: Sequence[str],
    wanted: Iterable[sa.ColumnElement[bool]],
    limit: int,
    now: float,
) -> list[int]:
    """Ids of files whose claim has run out, then of those that have waited long enough."""
    found: list[int] = []
    for state in (COPYING, WAITING):
        query = (
            sa.select(table.c.file_id)
            .join(files.table, files.table.c.id == table.c.file_id)
            .where(table.c.state == state, table.c.due <= now)
            .where(files.table.c.instance_id.in_(instances), *wanted)
            .order_by(table.c.due, table.c.file_id)
            .limit(limit - len(found))
        )
        found += connection.execute(query).scalars()
    return found


def _take_over(
    connection: sa.Connection, owner: str, ids: Sequence[int], now: float, until: float
) -> list[sa.RowMapping]:
    """Claim those of ``ids`` that are still due; their rows, in this order."""
    connection.execute(
        table.update()
        .where(among(ids, COPYING, WAITING), table.c.due <= now)
        .values(state=COPYING, owner=owner, due=until)
    )
    # Others may have had them since this transaction began: the rows as they are now.
    query = (
        sa.select(files.table)
        .join(table, table.c.file_id == files.table.c.id)
        .where(among(ids, COPYING), table.c.owner == owner, table.c.due == until)
        .with_for_update()
    )
    rows = {row["id"]: row for row in connection.execute(query).mappings()}
    return [rows[number] for number in ids if number in rows]


def give_back(connection: sa.Connection, owner: str, untils: Collection[float]) -> None:
    """Undo the claims of ``owner`` that end at ``untils``; some may never have been committed."""
    connection.execute(
        table.update()
        .where(table.c.state == COPYING, table.c.owner == owner, table.c.due.in_(untils))
        .values(due=0.0)
    )


def renew(connection: sa.Connection, owner: str, ids: Collection[int], until: float) -> None:
    """Keep the claims on ``ids`` until ``until`` (UNIX time [s])."""
    connection.execute(_claimed(owner, ids).values(due=until))


def release(
    connection: sa.Connection,
    owner: str,
    ids: Collection[int],
    *,
    due: float,
    cause: str,
    detail: str,
) -> None:
    """Give claims back without an attempt: the fault is not the files'. They wait until ``due``."""
    connection.execute(
        _claimed(owner, ids).values(
            state=WAITING, due=due, cause=cause, detail=detail[:DETAIL_LENGTH]
        )
    )


def settle(
    connection: sa.Connection,
    owner: str,
    archived: Sequence[Archived],
    failed: Sequence[Failure],
    now: float,
) -> set[int]:
    """Write down what became of claimed files, each once however often this is repeated.

    Files that are not claimed by ``owner`` any more are left as they are.

    Args:
        connection: open transaction.
        owner: instance id of the archiver.
        archived: files that have a copy.
        failed: files with a failed attempt.
        now: UNIX time [s]; the same when it is not known whether an earlier call was committed.

    Returns:
        The ids of those that were, or that an earlier call with the same arguments has settled.
    """
    mine = _held(connection, owner, [a.file_id for a in archived] + [f.file_id for f in failed])
    columns = files.table.c
    stored = [item for item in archived if item.file_id in mine]
    if stored:
        connection.execute(
            table.update().where(table.c.file_id == sa.bindparam("f")),
            [
                {
                    **{"f": item.file_id, "state": ARCHIVED, "due": None, "cause": None},
                    **{"detail": None, "md5sum": None, "source": mine[item.file_id]},
                    **{"size": item.size, "archived_at": now, "verified_at": now},
                    "deleted_at": None,
                }
                for item in stored
            ],
        )
        connection.execute(
            files.table.update().where(columns.id == sa.bindparam("f")),
            [{"f": item.file_id, "path": item.path, "copied": True} for item in stored],
        )
    refused = [item for item in failed if item.file_id in mine]
    if refused:
        connection.execute(
            table.update().where(table.c.file_id == sa.bindparam("f")),
            [
                {
                    **{"f": item.file_id, "state": item.state, "due": item.due},
                    **{"cause": item.cause, "detail": item.detail[:DETAIL_LENGTH]},
                    "md5sum": item.md5sum,
                }
                for item in refused
            ],
        )
        connection.execute(
            files.table.update().where(columns.id == sa.bindparam("f")),
            [{"f": item.file_id, "failed_copy_attempts": item.attempts} for item in refused],
        )
    left = [item for item in archived if item.file_id not in mine]
    return set(mine) | _settled_before(
        connection, owner, left, [item for item in failed if item.file_id not in mine], now
    )


def _settled_before(
    connection: sa.Connection,
    owner: str,
    archived: Sequence[Archived],
    failed: Sequence[Failure],
    now: float,
) -> set[int]:
    """Ids of those that :func:`settle` has written down, though no answer to that COMMIT came."""
    expected: dict[int, tuple[object, ...]] = {}
    expected |= {item.file_id: (ARCHIVED, None, now) for item in archived}
    expected |= {item.file_id: (item.state, item.due, item.attempts) for item in failed}
    if not expected:
        return set()
    query = (
        sa.select(table, files.table.c.failed_copy_attempts)
        .join(files.table, files.table.c.id == table.c.file_id)
        .where(table.c.file_id.in_(list(expected)), table.c.owner == owner)
    )
    found: dict[int, tuple[object, ...]] = {}
    for row in connection.execute(query):
        last = row.archived_at if row.state == ARCHIVED else row.failed_copy_attempts
        found[row.file_id] = (row.state, row.due, last)
    return {number for number, seen in found.items() if seen == expected[number]}


def _claimed(owner: str, ids: Collection[int]) -> sa.Update:
    return table.update().where(among(ids, COPYING), table.c.owner == owner)


def _held(connection: sa.Connection, owner: str, ids: Sequence[int]) -> dict[int, str]:
    """``{file id: path}`` of those of ``ids`` that ``owner`` has claimed."""
    query = (
        sa.select(table.c.file_id, files.table.c.path)
        .join(files.table, files.table.c.id == table.c.file_id)
        .where(among(ids, COPYING), table.c.owner == owner)
        .with_for_update()  # another archiver may think that we are dead
    )
    return {row.file_id: row.path for row in connection.execute(query)}
