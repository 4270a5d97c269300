"""What an operator decides about many files at a time: to retry or to ignore them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.file_filter import FileFilter, newest
from socs.db.transactions import in_transaction

PAGE = 500  # rows per transaction

Act = Callable[[sa.Connection, Sequence[int]], int]


def retriable(chosen: FileFilter) -> sa.ColumnElement[bool]:
    """Condition: a retry of ``chosen`` concerns the file.

    Ignored ones only if they are named, or if it asks for that state.
    """
    own, columns = copies.table.c, files.table.c
    settled = [copies.COPYING, copies.ARCHIVED]
    if not chosen.names_files and copies.IGNORED not in chosen.states:
        settled.append(copies.IGNORED)
    left_by_others = sa.and_(
        own.file_id.is_(None), columns.copied == sa.false(), columns.failed_copy_attempts > 0
    )
    return sa.or_(own.state.not_in(settled), left_by_others)


def ignorable() -> sa.ColumnElement[bool]:
    """Condition: the file may be ignored: it is not archived, and not being copied now."""
    own = copies.table.c
    settled = (copies.COPYING, copies.ARCHIVED, copies.IGNORED)
    return sa.and_(
        files.table.c.copied == sa.false(),
        sa.or_(own.file_id.is_(None), own.state.not_in(settled)),
    )


def retry(
    database: Database, chosen: FileFilter, *, accept_changed: bool = False, dry_run: bool = False
) -> tuple[int, int]:
    """Have the files ``chosen`` archived after all; how many it concerns, and how many it helps.

    The others are damaged copies of which nobody knows where they were written.

    Args:
        accept_changed: the contents that changed files were found to have are right.
        dry_run: count, and change nothing.
    """

    def act(connection: sa.Connection, ids: Sequence[int]) -> int:
        return copies.retry(connection, ids, accept_changed=accept_changed)

    return _act(database, chosen, retriable(chosen), None if dry_run else act)


def ignore(
    database: Database, chosen: FileFilter, reason: str, *, dry_run: bool = False
) -> tuple[int, int]:
    """Do not archive the files ``chosen``; how many it concerns, and how many are ignored now."""

    def act(connection: sa.Connection, ids: Sequence[int]) -> int:
        return copies.ignore(connection, ids, reason)

    return _act(database, chosen, ignorable(), None if dry_run else act)


def failed(database: Database, chosen: FileFilter, limit: int) -> list[dict[str, Any]]:
    """The newest files that are not archived and not tried again, or whose copy is damaged."""
    return newest(database, chosen, limit, copies.is_failed())


def _act(
    database: Database, chosen: FileFilter, concerned: sa.ColumnElement[bool], act: Act | None
) -> tuple[int, int]:
    """Do ``act`` to all files ``chosen`` that are ``concerned``: their number, and of how many."""
    matched = done = 0
    for ids in _ids(database, chosen, concerned):
        matched += len(ids)
        if act is not None:
            done += _act_on(database, ids, act)
    return matched, done


def _act_on(database: Database, ids: Sequence[int], act: Act) -> int:
    return in_transaction(database, lambda connection: act(connection, ids))


def _ids(
    database: Database, chosen: FileFilter, *conditions: sa.ColumnElement[bool]
) -> Iterator[list[int]]:
    after = 0
    number = files.table.c.id
    while True:
        with database.read() as connection:
            query = copies.with_state(*chosen.conditions(connection), *conditions)
            query = query.with_only_columns(number).where(number > after)
            ids = list(connection.execute(query.order_by(number).limit(PAGE)).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]
