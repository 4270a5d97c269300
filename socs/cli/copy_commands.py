"""``socs files failed``, ``retry`` and ``ignore``: what archivers gave up, and what follows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from socs.archive import decisions
from socs.cli.file_options import (
    add_filters,
    add_names,
    add_state_filters,
    count,
    file_filter,
    need_copies,
)
from socs.cli.output import escaped, json_line, print_rows
from socs.db.engine import Database
from socs.db.file_filter import FileFilter, newest
from socs.errors import ConfigError

FAILED_COLUMNS = ("id", "instance_id", "state", "failed_copy_attempts", "cause", "detail", "path")
TABLE_COLUMNS = ("id", "state", "cause", "detail", "path")

RETRY = (
    "Have files archived after all that are missing, changed, failed, lost or altered; those that "
    "wait are due at once. Ignored files are retried when they are named, or with --state ignored."
)
IGNORE = "Do not archive these files, though they are registered. `retry` takes it back."
FAILED = (
    "List the files that are not archived and not tried again, and those whose archived copy is "
    "damaged, the newest first."
)


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands with ``add(name, run, text)``."""
    retry = add("retry", _retry, "have files archived after all")
    retry.description = RETRY
    _add_choice(retry)
    retry.add_argument(
        "--accept-changed",
        action="store_true",
        help="the contents that changed files were found to have are right",
    )
    ignore = add("ignore", _ignore, "do not archive files")
    ignore.description = IGNORE
    _add_choice(ignore)
    ignore.add_argument(
        "--reason", metavar="TEXT", default="told by an operator", help="to be kept with each file"
    )
    failed = add("failed", _failed, "list files that are not archived, and damaged copies")
    failed.description = FAILED
    add_filters(failed)
    add_state_filters(failed)
    failed.add_argument(
        "--limit", type=count, default=50, metavar="N", help="at most N (default %(default)s)"
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    add_names(parser)
    add_filters(parser)
    add_state_filters(parser)
    parser.add_argument("--all", action="store_true", help="all files that this can concern")
    parser.add_argument("--dry-run", action="store_true", help="count them, and change nothing")


def _retry(database: Database, args: argparse.Namespace) -> int:
    chosen = _chosen(database, args)
    others = _others(database, chosen, decisions.retriable(chosen))
    matched, done = decisions.retry(
        database, chosen, accept_changed=args.accept_changed, dry_run=args.dry_run
    )
    notes = []
    if not args.dry_run and done < matched:
        notes.append(
            f"{matched - done} lost or altered files cannot be copied again: where they were "
            "written is unknown, or they were deleted there"
        )
    return _tell(args, "retried", (matched, done), others, notes)


def _ignore(database: Database, args: argparse.Namespace) -> int:
    chosen = _chosen(database, args)
    others = _others(database, chosen, decisions.ignorable())
    numbers = decisions.ignore(database, chosen, args.reason, dry_run=args.dry_run)
    return _tell(args, "ignored", numbers, others, [])


def _chosen(database: Database, args: argparse.Namespace) -> FileFilter:
    """What the options ask for.

    Raises:
        ConfigError: nothing, though not `--all` either; or the table of copies is missing.
    """
    need_copies(database)
    chosen = file_filter(args)
    if not chosen and not args.all:
        raise ConfigError("which files? Name them, or give a filter such as --state, or --all")
    return chosen


def _others(
    database: Database, chosen: FileFilter, concerned: sa.ColumnElement[bool]
) -> dict[str, str]:
    """Why the files named that are not ``concerned`` are not, by path or id; of others nothing."""
    if not chosen.names_files:
        return {}
    told: dict[str, str] = {str(number): "not in the table" for number in chosen.ids}
    told |= dict.fromkeys(chosen.paths, "not in the table")
    at_most = 10 * len(told)  # a path may have several rows
    for row in reversed(newest(database, chosen, at_most)):
        told.pop(row["path"], None)
        told.pop(str(row["id"]), None)
    no = sa.func.coalesce(concerned, sa.false()) == sa.false()
    rows = newest(database, chosen, at_most, no)
    return told | {f"{row['id']} {row['path']}": row["state"] for row in rows}


def _tell(
    args: argparse.Namespace,
    verb: str,
    numbers: tuple[int, int],
    others: dict[str, str],
    notes: Sequence[str],
) -> int:
    """Say what was done; 1 if files were named that it does not concern."""
    matched, done = numbers
    if args.json:
        told = {"matched": matched, verb: done, "dry_run": args.dry_run, "others": others}
        print(json_line(told))
    else:
        number = matched if args.dry_run else done
        noun = "file" if number == 1 else "files"
        print(f"{number} {noun} would be {verb}" if args.dry_run else f"{number} {noun} {verb}")
    others_told = [f"{name}: not {verb}; it is {state}" for name, state in others.items()]
    for note in (*notes, *others_told):
        print(f"socs: {escaped(note)}", file=sys.stderr)
    return 1 if others else 0


def _failed(database: Database, args: argparse.Namespace) -> int:
    need_copies(database)
    rows = decisions.failed(database, file_filter(args), args.limit)
    print_rows(rows, FAILED_COLUMNS, json_lines=args.json, table_columns=TABLE_COLUMNS)
    return 0
