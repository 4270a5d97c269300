"""``socs epics search``: process variables by name and filters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from socs.cli.epics_asked import Asked, add_asked_options, asked
from socs.cli.epics_tables import PVS, readable
from socs.cli.output import print_rows
from socs.epics.monitor.asked_values import MOST_ROWS
from socs.epics.rows import Row
from socs.epics.track.events import PROTOCOLS
from socs.epics.track.pvs import INVALID, STATES
from socs.options import seconds, whole

MOST = 25
FILTERS = (*("state", "protocol", "server", "source_class", "asked_within", "requester", "group"),)


def add_command(actions: Any) -> None:
    """Add ``search`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "search",
        help="list process variables by name and state",
        description="Process variables that somebody asked for or that a server answered for, in "
        "the order of their names. Nothing is sent to any server.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help="* stands for any characters, ? for one; letters of any case (default: all)",
    )
    add_filters(parser)
    parser.add_argument(
        "--start", type=whole(0), default=0, metavar="N", help="from the N-th on (default 0)"
    )
    parser.add_argument(
        "--most",
        type=whole(1),
        default=MOST,
        metavar="N",
        help=f"so many, up to {MOST_ROWS} (default %(default)s)",
    )
    parser.add_argument(
        "--all", action="store_true", help="all of them, whatever --start and --most"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    add_asked_options(parser)


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add which process variables."""
    group = parser.add_argument_group("only process variables")
    group.add_argument("--state", choices=(*STATES, INVALID), help="in this state")
    group.add_argument(
        "--protocol", choices=[*PROTOCOLS.values()], help="whose last server speaks this"
    )
    group.add_argument("--server", metavar="HOST[:PORT]", help="of this server, or host")
    group.add_argument(
        "--source-class", metavar="NAME", help="that this class of sources asked for"
    )
    group.add_argument(
        "--asked-within",
        type=seconds,
        metavar="SECONDS",
        help="that somebody asked for in the last so many seconds",
    )
    group.add_argument("--requester", metavar="HOST", help="that this host asked for lately")
    group.add_argument("--group", metavar="NAME", help="whose server is on a host of this group")


def filters_of(args: argparse.Namespace) -> dict[str, Any]:
    """The filters that were given."""
    return {name: value for name in FILTERS if (value := getattr(args, name)) is not None}


def _run(args: argparse.Namespace) -> int:
    source, filters = asked(args), filters_of(args)
    if args.all:
        found = every_row(source, "search", pattern=args.pattern, **filters)
        _print(args, found)
        return 0
    page = source.ask("search", pattern=args.pattern, start=args.start, most=args.most, **filters)
    _print(args, iter(page["rows"]))
    end = args.start + len(page["rows"])
    if end < page["total"]:
        sys.stdout.flush()
        print(f"socs: {len(page['rows'])} of {page['total']}; --start {end}, or --all",
              file=sys.stderr)  # fmt: skip
    return 0


def _print(args: argparse.Namespace, found: Iterator[Row]) -> None:
    made = found if args.json else (readable(row, PVS) for row in found)
    print_rows(made, PVS, json_lines=args.json)


def every_row(source: Asked, task: str, **params: Any) -> Iterator[Row]:
    """All rows of a list, each once, also if some come in while it is read."""
    before: set[str] = set()
    for page in source.pages(task, **params):
        keys = [_key(row) for row in page["rows"]]
        yield from (row for key, row in zip(keys, page["rows"], strict=True) if key not in before)
        before = set(keys)


def _key(row: Row) -> str:
    columns = ("name", "key", "protocol", "server", "source", "host")
    return " ".join(str(row.get(name)) for name in columns)
