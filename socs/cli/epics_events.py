"""``socs epics events``: what happened, and what happens."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from socs.cli.epics_asked import moment_of
from socs.cli.epics_feed import follow
from socs.cli.epics_monitor import PAGE, Monitor, SiteOfMonitor, add_site_options
from socs.cli.epics_tables import EVENTS, event_line, readable
from socs.cli.output import Lines, print_rows
from socs.epics.rows import Row
from socs.epics.track.events import SUBJECTS
from socs.options import whole

MOST = 50
MOST_KNOWN = 100_000  # events that are not shown again
MARGIN = 60.0  # s; an event may come into the database later than others of its time
IDENTITY = ("time", "subject", "kind", "protocol", "host", "port", "name")
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
    following = Following(monitor, args, filters)
    follow(site, following.show, following.catch_up)
    return 0


class Following:
    """Prints what happened and what happens, each once.

    Args:
        monitor: is asked for what happened.
        args: what is to be shown.
        filters: the same for the monitor.
    """

    def __init__(self, monitor: Monitor, args: argparse.Namespace, filters: dict[str, Any]) -> None:
        self._monitor, self._args, self._filters = monitor, args, filters
        self._lines = Lines(EVENTS, "json" if args.json else None, flush=True)
        self._shown: dict[tuple[Any, ...], None] = {}
        self._last: float | None = None

    def show(self, row: Row) -> None:
        """Print an event, if it fits and was not printed before."""
        identity = tuple(row.get(name) for name in IDENTITY)
        if identity in self._shown or not _fits(row, self._args):
            return
        self._shown[identity] = None
        if len(self._shown) > MOST_KNOWN:
            del self._shown[next(iter(self._shown))]
        self._last = max(row["time"], self._last or 0.0)
        self._lines.add(row if self._args.json else readable(event_line(row), EVENTS))

    def catch_up(self) -> list[Row]:
        """What happened and may not have been shown, oldest first; asks the monitor."""
        filters, most = self._filters, None if self._args.all else self._args.most
        if self._last is not None:
            since = max(self._last - MARGIN, filters.get("since", 0.0))
            filters, most = {**filters, "since": since}, None
        return [*islice(history(self._monitor, filters, most), MOST_KNOWN)][::-1]


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
