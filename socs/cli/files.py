"""``socs files``: the files table on the command line."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from socs.archive.tree import utc
from socs.cli import archive_commands, copy_commands, prune_command
from socs.cli.file_options import (
    add_filters,
    add_state_filters,
    count,
    file_filter,
    need_copies,
    seconds,
)
from socs.cli.follow import Follower
from socs.cli.output import json_line, print_one, print_rows, tab_separated
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database, mariadb_settings
from socs.db.file_filter import FileFilter, has_copies, newest
from socs.errors import ConfigError, SocsError, StorageUnavailable

LIST_COLUMNS = ("id", "timestamp", "instance_id", "pub_id", "action", "format", "copied", "path")
TABLE_COLUMNS = ("id", "timestamp", "instance_id", "action", "path")
STATS_COLUMNS = ("instance_id", "files", "copied", "given_up", "first", "last")
PAGE = 1000  # rows per query when following

SETTINGS = (
    "The database is the one that MYSQL_HOST, MYSQL_PORT, MYSQL_DATABASE, MYSQL_USER and "
    "MYSQL_PASSWORD name, or else the SQLite file in SOCS_DATA_DIR."
)


def add_parser(commands: Any) -> None:
    """Add ``files`` and its sub-commands to ``commands`` (of ``add_subparsers``)."""
    parser = commands.add_parser(
        "files", help="look at the files table, create it, drop it", description=SETTINGS
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
        made.set_defaults(run=lambda args: _with_database(run, args))
        made.add_argument("--json", action="store_true", help="print JSON, for programs")
        return made

    add("create", _create, "create the table if it is missing")
    drop = add("drop", _drop, "drop the table, with all that it knows")
    drop.add_argument("--yes", action="store_true", help="do not ask")
    listing = add("list", _list, "list files, the newest first")
    listing.add_argument(
        "--limit", type=count, default=50, metavar="N", help="at most N (default %(default)s)"
    )
    tail = add("tail", _tail, "print files as they are registered, until Ctrl-C")
    tail.add_argument(
        "--lines", "-n", type=count, default=10, metavar="N", help="begin with the last N (10)"
    )
    tail.add_argument(
        "--interval",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="time between two looks at the table [s] (default %(default)s)",
    )
    for filtered in (listing, tail):
        add_filters(filtered)
        filtered.add_argument("--not-copied", action="store_true", help="without a verified copy")
    add_state_filters(listing)
    add("stats", _stats, "numbers of files per instance")
    show = add("show", _show, "show all that is known of one file")
    show.add_argument("file", metavar="PATH-or-ID", help="path or id of the file")
    for commands_of_archive in (archive_commands, copy_commands, prune_command):
        commands_of_archive.add_commands(add)


def _with_database(run: Callable[..., int], args: argparse.Namespace) -> int:
    environ = dict(os.environ)
    settings = mariadb_settings(environ)
    if settings is not None and not settings.password and sys.stdin.isatty():
        environ["MYSQL_PASSWORD"] = getpass.getpass(f"Password of {settings.user}: ")
    database = Database(environ, must_exist=run is not _create)
    try:
        return run(database, args)
    finally:
        database.close()


# -- the table itself -----------------------------------------------------------------------------


def _create(database: Database, args: argparse.Namespace) -> int:
    made = copies.create_table(database)
    if args.json:
        _print_result(database, created=made)
    else:
        print(f"{'Created' if made else 'Found'} {files.table.name} in {database.description}")
    return 0


def _drop(database: Database, args: argparse.Namespace) -> int:
    agreed = args.yes or _agrees(f"Drop {files.table.name} in {database.description}")
    if agreed:
        with database.begin() as connection:
            copies.table.drop(connection, checkfirst=True)
        files.drop_table(database)
    if args.json:
        _print_result(database, dropped=agreed)
    else:
        print(f"Dropped {files.table.name}" if agreed else "Nothing was dropped")
    return 0


def _agrees(what: str) -> bool:
    """Ask on stderr, so that standard output stays clean.

    Raises:
        ConfigError: nobody is there to answer.
    """
    while True:
        print(f"{what}, with all that it knows? [y/n]: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise ConfigError("nobody answered; give --yes to drop the table without being asked")
        if answer.strip().lower() in {"y", "n"}:
            return answer.strip().lower() == "y"


def _print_result(database: Database, **result: bool) -> None:
    print(json_line({"table": files.table.name, "database": database.description, **result}))


# -- its rows -------------------------------------------------------------------------------------


def _list(database: Database, args: argparse.Namespace) -> int:
    chosen = file_filter(args)
    if not chosen.needs_copies and not has_copies(database):
        with database.read() as connection:
            rows = _rows(connection, args, args.limit)
        print_rows(rows, LIST_COLUMNS, json_lines=args.json, table_columns=TABLE_COLUMNS)
        return 0
    need_copies(database)
    print_rows(
        newest(database, chosen, args.limit),
        (*LIST_COLUMNS[:-1], "state", "path"),
        json_lines=args.json,
        table_columns=(*TABLE_COLUMNS[:-1], "state", "path"),
    )
    return 0


def _rows(
    connection: sa.Connection, args: argparse.Namespace, limit: int, after_id: int | None = None
) -> list[sa.RowMapping]:
    """The newest rows that the options ask for, or those above ``after_id``, oldest first."""
    conditions = file_filter(args).conditions(connection)
    return files.select_files(connection, *conditions, limit=limit, after_id=after_id)


def _tail(database: Database, args: argparse.Namespace) -> int:
    if not args.json:
        print("\t".join(LIST_COLUMNS), flush=True)
    try:
        for row in follow(database, args):
            print(json_line(row) if args.json else tab_separated(row, LIST_COLUMNS), flush=True)
    except KeyboardInterrupt:
        return 0
    raise AssertionError("following has no end")


def follow(
    database: Database,
    args: argparse.Namespace,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[sa.RowMapping]:
    """The last ``args.lines`` rows, oldest first, and then all new ones, without an end.

    A database that goes away meanwhile is waited for; this is told on stderr.

    Raises:
        StorageUnavailable: the database could not be read at the start.
    """
    with database.read() as connection:
        newest = connection.execute(sa.select(sa.func.max(files.table.c.id))).scalar()
        rows = _rows(connection, args, args.lines)
    yield from reversed(rows)
    follower = Follower(newest or 0)
    away = False
    while True:
        pause(args.interval)
        try:
            for page in _pages(database, args, follower.after):
                yield from follower.fresh(page, clock())
        except StorageUnavailable as error:
            if not away:
                print(f"socs: {error}; trying again", file=sys.stderr, flush=True)
            away = True
            continue
        away = False
        follower.advance(clock())


def _pages(
    database: Database, args: argparse.Namespace, after: int
) -> Iterator[list[sa.RowMapping]]:
    """All rows above ``after``, in order, a page at a time."""
    while True:
        with database.read() as connection:
            page = _rows(connection, args, PAGE, after_id=after)
        yield page
        if len(page) < PAGE:
            return
        after = page[-1]["id"]


def _stats(database: Database, args: argparse.Namespace) -> int:
    with database.read() as connection:
        rows = files.statistics(connection)
    print_rows(rows, STATS_COLUMNS, json_lines=args.json)
    return 0


def _show(database: Database, args: argparse.Namespace) -> int:
    by_id = args.file.isdecimal()
    chosen = FileFilter(ids=(int(args.file),)) if by_id else FileFilter(paths=(args.file,))
    rows: Sequence[Mapping[Any, Any]]
    if has_copies(database):
        rows = newest(database, chosen, 2)
    else:
        with database.read() as connection:
            rows = files.select_files(connection, *chosen.conditions(connection), limit=2)
    if not rows:
        name = "id" if by_id else "path"
        raise SocsError(f"{database.description}: no file with {name} {args.file!r}")
    print_one(rows[0] if args.json else _with_dates(rows[0]), as_object=args.json)
    if len(rows) > 1:
        print("socs: older rows have this path too; see `socs files list --path`", file=sys.stderr)
    return 0


def _with_dates(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """``row`` with the UNIX times of the table of copies as dates, for people."""
    times = ("due", "archived_at", "verified_at", "deleted_at")
    dates = {name: utc(row[name]) for name in times if row.get(name) is not None}
    return {**row, **dates}
