"""``socs epics export``: all that is known of one kind of thing, as CSV or JSON Lines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from socs.cli.epics_asked import add_asked_options, asked
from socs.cli.epics_search import add_filters, every_row, filters_of
from socs.cli.epics_tables import PVS, readable
from socs.cli.output import Lines
from socs.errors import ConfigError, StorageUnavailable
from socs.part_files import part_of

# What can be exported: the Task that tells it, and the columns of CSV.
KINDS: dict[str, tuple[str, Sequence[str]]] = {
    "pvs": ("search", PVS),
    "servers": (
        "servers",
        (
            *("protocol", "host", "port", "state", "first", "heard", "started", "period"),
            *("beacons", "restarts", "lost", "guid"),
        ),
    ),
    "applications": (
        "applications",
        (
            *("key", "title", "host", "port", "state", "first", "heard", "uptime", "restarts"),
            *("missing", "lost"),
        ),
    ),
    "hosts": (
        "hosts",
        ("host", "status", "maintenance", "servers", "applications", "missing", "unexpected"),
    ),
    "clients": (
        "clients",
        ("source", "class", "first", "last", "datagrams", "requests", "invalid"),
    ),
}
FORMATS = ("csv", "json")


def add_command(actions: Any) -> None:
    """Add ``export`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "export",
        help="write all that is known as CSV or JSON Lines",
        description="All process variables, servers, applications, hosts or clients that are "
        "known. CSV has times in UTC; JSON Lines have all columns, and UNIX times [s].",
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "what", nargs="?", choices=KINDS, default="pvs", help="of which (default %(default)s)"
    )
    parser.add_argument("--format", choices=FORMATS, default="csv", help="(default %(default)s)")
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        metavar="FILE",
        help="write to FILE, which is replaced when all is written (default: standard output)",
    )
    parser.add_argument(
        "--pattern", default="*", metavar="PATTERN", help="of process variables (default: all)"
    )
    add_filters(parser)
    add_asked_options(parser)


def _run(args: argparse.Namespace) -> int:
    task, columns = KINDS[args.what]
    params = filters_of(args)
    if task == "search":
        params["pattern"] = args.pattern
    elif params or args.pattern != "*":
        raise ConfigError(f"{args.what}: --pattern and filters are for process variables only")
    rows = every_row(asked(args), task, **params)
    count = 0
    with _output(args.output) as out:
        lines = Lines(columns, args.format, out=out)
        for row in rows:
            lines.add(row if args.format == "json" else readable(row, columns))
            count += 1
        if not count and args.format == "csv":
            print(",".join(columns), file=out)
    if args.output is not None:
        print(f"socs: {count} {args.what} are in {args.output}", file=sys.stderr)
    return 0


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Where to write; a file gets its name when it is whole."""
    if path is None:
        yield sys.stdout
        return
    part = part_of(path)
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise StorageUnavailable(f"--output: cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink()
