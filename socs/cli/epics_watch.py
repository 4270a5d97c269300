"""``socs epics watch``: what is asked for, what serves, and what happens, as it goes on."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from socs.cli.epics_monitor import Monitor, SiteOfMonitor, add_site_options
from socs.cli.epics_tables import EVENTS, event_line, section
from socs.cli.output import escaped, moment
from socs.cli.section_output import drawn, fitted, print_sections
from socs.epics.rows import Row
from socs.errors import NotAllowed, SocsError
from socs.options import seconds, whole
from socs.sections import Section

Show = Callable[[str, Sequence[Section]], None]
PERIOD, ROWS = 2.0, 10
SERVERS = ("server", "protocol", "state", "heard", "started", "restarts", "lost")
GATEWAYS = ("gateway", "state", "blind_since", "summaries_missed", "clock_offset")
ENDS = (signal.SIGTERM, signal.SIGHUP)


def add_command(actions: Any) -> None:
    """Add ``watch`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "watch",
        help="watch rates, totals, servers and events until Ctrl-C",
        description="How often is asked for names, how many of them are there, which servers are "
        "lost, and what happened last. In a terminal one picture that is renewed, in a pipe each "
        "time some lines; events once each. Until Ctrl-C.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument(
        "--period",
        type=seconds,
        default=PERIOD,
        metavar="SECONDS",
        help="from one look to the next [s] (default %(default)g)",
    )
    parser.add_argument(
        "--rows",
        type=whole(1),
        default=ROWS,
        metavar="N",
        help="of servers and events (default %(default)s)",
    )
    parser.add_argument("--once", action="store_true", help="look once, and end")
    add_site_options(parser)


def _run(args: argparse.Namespace) -> int:
    monitor = Monitor(SiteOfMonitor(args))
    before = [signal.signal(number, _interrupt) for number in ENDS]
    try:
        with _screen(live=sys.stdout.isatty() and not args.once) as (show, is_live):
            look = Look(monitor, args.rows, again=is_live)
            while True:
                now = time.time()
                try:
                    show(*look.now(now))
                except SocsError as error:
                    if args.once:
                        raise
                    show(escaped(f"{moment(now)}  {error}"), [])
                if args.once:
                    break
                time.sleep(args.period)
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        for number, handler in zip(ENDS, before, strict=True):
            signal.signal(number, handler)
    return 0


def _interrupt(*args: Any) -> None:
    raise KeyboardInterrupt


class Look:
    """What is shown at a time.

    Args:
        monitor: is asked.
        rows: of servers and events.
        again: show events that were shown before.
    """

    def __init__(self, monitor: Monitor, rows: int, *, again: bool) -> None:
        self._monitor, self._rows, self._again = monitor, rows, again
        self._last_event = 0  # its number in the database

    def now(self, utc: float) -> tuple[str, list[Section]]:
        """Line above, and tables.

        Raises:
            SocsError: there is no answer.
        """
        status = self._monitor.status()
        if not status.get("ready"):
            return f"{moment(utc)}  {_troubles(status)}", []
        servers = [
            row
            for state in ("LOST", "ALIVE")
            for row in self._monitor.ask("servers", state=state, most=self._rows)["rows"]
        ]
        events, missing = self._events()
        head = f"{moment(utc)}  {_troubles(status, missing)}"
        return head, sections(status, servers[: self._rows], events)

    def _events(self) -> tuple[list[Row], str]:
        """The last ones, the newest first; and why there are none, if the database is away."""
        try:
            found = self._monitor.ask("events", most=self._rows)["rows"]
        except NotAllowed as error:  # the database is away
            return [], str(error)
        fresh = [row for row in found if self._again or row["id"] > self._last_event]
        self._last_event = max((row["id"] for row in found), default=self._last_event)
        return fresh, ""


def _troubles(status: Mapping[str, Any], *more: str) -> str:
    told = [*status.get("troubles", []), *filter(None, more)]
    return escaped("; ".join(told)) or ("all is well" if status.get("ready") else "not ready yet")


def sections(
    status: Mapping[str, Any], servers: Sequence[Row], events: Sequence[Row]
) -> list[Section]:
    """The tables, what matters most at the end; empty ones are left out."""
    measures = status.get("measures", {})
    rates = {name: value for name, value in measures.items() if name.endswith("_rate")}
    totals = {
        name: value
        for name, value in measures.items()
        if name not in rates and not name.startswith(("gateways", "summar"))
    }
    shown = len(servers)
    found = [
        section("rates", [*rates], [{n: f"{v:.1f}/s" for n, v in rates.items()}]),
        section("totals", [*totals], [totals]),
        section("gateways", GATEWAYS, status.get("gateways", [])),
        section(
            "servers, lost ones first",
            SERVERS,
            servers,
            max(_count(measures, "servers_alive") + _count(measures, "servers_lost") - shown, 0),
        ),
        section("events, newest first", EVENTS, map(event_line, events)),
    ]
    return [each for each in found if each.rows and each.columns]


def _count(measures: Mapping[str, Any], name: str) -> int:
    return int(measures.get(name, 0))


@contextmanager
def _screen(*, live: bool, console: Console | None = None) -> Iterator[tuple[Show, bool]]:
    """What shows the tables: one picture in the terminal, renewed in its place, or lines."""
    if not live:
        yield print_sections, False
        return
    console = console or Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as picture:

        def show(head: str, tables: Sequence[Section]) -> None:
            """What is cut off in a small terminal is what matters least."""
            important = fitted(tables[::-1], console.height - 1)
            picture.update(drawn(head, important), refresh=True)

        yield show, True
