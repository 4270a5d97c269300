"""``socs epics events``: what happened, and what happens."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from socs.cli.epics_asked import moment_of
from socs.cli.epics_feed import follow
from socs.cli.epics_monitor import PAGE, Monitor, SiteOfMonitor, add_site_options
from socs.cli.epics_tables import EVENTS, event_line, readable
from socs.cli.output import Lines, print_rows
from socs.epics.rows import Row
from socs.epics.store.event_rows import SUBJECTS
from socs.options import whole

MOST = 50
FILTERS = ("since", "until", "subject", "kinds", "host", "port", "name")


def add_command(actions: Any) -> None:
    """Add ``events`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "events",
        help="list what happened to process variables, servers, applications and hosts",
        description="What happened, newest first, as it is in the database of the monitor. With "
        "--follow oldest first, and then what happens, until Ctrl-C.",
    )
    parser.set_defaults(run=_run)
    times = "2h (ago; s, m, h, d), 2026-11-21T04:00:00 (UTC), or UNIX time [s]"
    parser.add_argument("--since", type=moment_of, metavar="TIME", help=f"not before {times}")
    parser.add_argument("--until", type=moment_of, metavar="TIME", help="before this time")
    parser.add_argument("--subject", choices=SUBJECTS, help="of these only")
    parser.add_argument(
        "--kind", nargs="+", dest="kinds", metavar="KIND", help="only these, e.g. LOST RESTARTED"
    )
    parser.add_argument("--host", metavar="ADDRESS", help="of this host only")
    parser.add_argument("--port", type=whole(1), metavar="N", help="of servers with this port only")
    parser.add_argument(
        "--name", metavar="NAME", help="of this process variable, or application by its key, only"
    )
    parser.add_argument(
        "--most",
        type=whole(0),
        default=MOST,
        metavar="N",
        help="so many from the database (default %(default)s)",
    )
    parser.add_argument("--all", action="store_true", help="all of them, whatever --most")
    parser.add_argument(
        *("-f", "--follow"), action="store_true", help="go on with what happens, until Ctrl-C"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    add_site_options(parser)


def _run(args: argparse.Namespace) -> int:
    site = SiteOfMonitor(args)
    monitor = Monitor(site)
    filters = {name: value for name in FILTERS if (value := getattr(args, name)) is not None}
    found = history(monitor, filters, None if args.all else args.most)
    if not args.follow:
        rows = found if args.json else (readable(event_line(row), EVENTS) for row in found)
        print_rows(rows, EVENTS, json_lines=args.json)
        return 0
    lines = Lines(EVENTS, "json" if args.json else None, flush=True)

    def show(row: Row) -> None:
        if _fits(row, args):
            lines.add(row if args.json else readable(event_line(row), EVENTS))

    shown = list(found)[::-1]
    for row in shown:
        show(row)
    sys.stdout.flush()
    last = [_identity(row) for row in shown]
    follow(site, lambda row: None if _identity(row) in last else show(row))
    return 0


def history(monitor: Monitor, filters: dict[str, Any], most: int | None) -> Iterator[Row]:
    """What is in the database, newest first; at most so many."""
    return islice(_history(monitor, filters, most), most)


def _history(monitor: Monitor, filters: dict[str, Any], most: int | None) -> Iterator[Row]:
    after, at_once = None, min(most or PAGE, PAGE)
    while most != 0:
        page = monitor.ask("events", most=at_once, after=after, **filters)
        yield from page["rows"]
        after = page["next"]
        if after is None:
            return


def _fits(row: Row, args: argparse.Namespace) -> bool:
    """The filters, for what comes over the feed."""
    wanted: Iterable[tuple[Any, Any]] = (
        (args.subject, row["subject"]),
        (args.host, row["host"]),
        (args.port, row["port"]),
        (args.name, row["name"]),
    )
    return (
        all(want is None or want == is_ for want, is_ in wanted)
        and (args.kinds is None or row["kind"] in args.kinds)
        and (args.since is None or row["time"] >= args.since)
        and (args.until is None or row["time"] < args.until)
    )


def _identity(row: Row) -> tuple[Any, ...]:
    columns = ("time", "subject", "kind", "protocol", "host", "port", "name")
    return tuple(row.get(name) for name in columns)
