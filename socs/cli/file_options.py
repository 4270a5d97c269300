"""Options of ``socs files`` that several of its commands have."""

from __future__ import annotations

import argparse
import os

from socs.db.copies import STATES, table
from socs.db.engine import Database
from socs.db.file_filter import FileFilter, has_copies
from socs.errors import ConfigError


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Which rows of the files table."""
    parser.add_argument("--instance-id", metavar="ID", help="registered by this agent")
    parser.add_argument("--pub-id", metavar="ID", help="announced by this publisher")
    parser.add_argument("--action", dest="of_action", metavar="NAME", help="of this action")
    parser.add_argument("--format", metavar="NAME", help="of this format")
    parser.add_argument(
        "--path", metavar="PATTERN", help="whole paths like this; * stands for any characters"
    )


def add_state_filters(parser: argparse.ArgumentParser) -> None:
    """Which, by what became of their copies."""
    parser.add_argument(
        "--state",
        action="append",
        choices=list(STATES),
        help="whose copy is in this state; may be given several times",
    )
    parser.add_argument(
        "--cause",
        action="append",
        metavar="NAME",
        help="whose last attempt failed for this cause, as `socs files failed` names it",
    )


def add_names(parser: argparse.ArgumentParser) -> None:
    """The files themselves."""
    parser.add_argument(
        "files", nargs="*", metavar="PATH-or-ID", help="the path or the id of a file"
    )
    parser.add_argument(
        "--id", action="append", type=count, default=[], metavar="ID", help="the id of a file"
    )


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Where the archive is."""
    parser.add_argument(
        "--data-dir",
        required=True,
        type=directory,
        metavar="DIR",
        help="directory of the archive, as the archiver has it",
    )


def file_filter(args: argparse.Namespace) -> FileFilter:
    """What the options ask for."""
    names: list[str] = getattr(args, "files", [])
    ids = [int(name) for name in names if name.isdecimal()] + getattr(args, "id", [])
    return FileFilter(
        ids=tuple(ids),
        paths=tuple(name for name in names if not name.isdecimal()),
        instance_ids=(args.instance_id,) if args.instance_id is not None else (),
        pub_id=args.pub_id,
        action=args.of_action,
        format=args.format,
        path=args.path,
        not_copied=getattr(args, "not_copied", False),
        states=tuple(getattr(args, "state", None) or ()),
        causes=tuple(getattr(args, "cause", None) or ()),
    )


def count(text: str) -> int:
    """Type of options that are numbers of rows, and the like."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows")
    return int(text)


def seconds(text: str) -> float:
    """Type of options that are positive numbers of seconds."""
    return _positive(text, "seconds")


def days(text: str) -> float:
    """Type of options that are positive numbers of days."""
    return _positive(text, "days")


def _positive(text: str, of_what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of {of_what}")
    return value


def directory(text: str) -> str:
    """The option's text as an absolute path, without a slash at its end."""
    if not os.path.isabs(text) or not text.strip("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute path below /")
    return text.rstrip("/")


def need_copies(database: Database) -> None:
    """Return if the table of copies is there.

    Raises:
        ConfigError: it is not; the message says how to make it.
    """
    if not has_copies(database):
        raise ConfigError(
            f"{database.description} lacks {table.name}, which says what became of each copy: run "
            "`socs files create`"
        )
