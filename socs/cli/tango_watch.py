"""``socs tango watch``: what servers publish, who receives it, and who loses it, as it happens."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from socs.cli.output import moment
from socs.cli.section_output import drawn, fitted, print_sections
from socs.cli.tango_following import (
    TIMEOUT,
    Following,
    Polled,
    following,
    head_of,
    poll_settings,
    state_directory,
)
from socs.cli.tango_output import OutputFile
from socs.options import seconds
from socs.sections import Section
from socs.tango.lines import FORMATS, event_line, poll_line, ska_line
from socs.tango.summary import Summary

Show = Callable[[str, Sequence[Section]], None]


@dataclass(frozen=True)
class Watch:
    """What to watch, and where to tell it.

    Attributes:
        names: devices, device servers, and patterns of these.
        period: between two polls [s].
        timeout: of each answer [s].
        performance: switch performance monitoring on.
        output: a file for polls, or None.
        append: go on with it.
        line_format: one of :data:`socs.tango.lines.FORMATS`.
        refresh: one picture of all, instead of what changed in each poll.
    """

    names: Sequence[str]
    period: float = 10.0
    timeout: float = TIMEOUT
    performance: bool = False
    output: Path | None = None
    append: bool = False
    line_format: str = FORMATS[0]
    refresh: bool = False


def add_parser(actions: Any) -> None:
    """Add ``watch`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "watch",
        help="watch events of device servers until Ctrl-C",
        description="What device servers publish, who receives it, and who loses it. In a "
        "terminal one picture that is renewed, in a pipe what changed in each poll. Until Ctrl-C.",
    )
    parser.set_defaults(run=_run)
    add_names(parser)
    parser.add_argument(
        "--period",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="time between two polls [s] (default %(default)g)",
    )
    add_timeout(parser)
    parser.add_argument(
        "--perf",
        action="store_true",
        help="have servers measure times of pushes and callbacks meanwhile",
    )
    parser.add_argument(
        *("-o", "--output"), type=Path, metavar="FILE", help="write polls and events to FILE, too"
    )
    parser.add_argument(
        *("-a", "--append"), action="store_true", help="go on with FILE instead of emptying it"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default=FORMATS[0],
        help="of FILE: socs, polls and events; ska, polls only, as ska-tango-event-monitor "
        "writes them (default %(default)s)",
    )


def add_names(parser: argparse.ArgumentParser) -> None:
    """Add what to poll."""
    parser.add_argument(
        "device",
        nargs="+",
        metavar="DEVICE",
        help="a device or device server (dserver/program/instance), or a pattern of these with *",
    )


def add_timeout(parser: argparse.ArgumentParser) -> None:
    """Add how long to wait for an answer."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="wait no longer for a server, but half a period at most [s] (default %(default)g)",
    )


def _run(args: argparse.Namespace) -> int:
    watch(
        Watch(
            names=args.device,
            period=args.period,
            timeout=args.timeout,
            performance=args.perf,
            output=args.output,
            append=args.append,
            line_format=args.format,
            refresh=sys.stdout.isatty(),
        )
    )
    return 0


def watch(what: Watch) -> None:
    """Watch until SIGINT, SIGTERM or SIGHUP.

    Raises:
        ConfigError: a name is none, pytango is not installed, or the file is something else.
        StorageUnavailable: the file cannot be written.
    """
    if what.append and what.output is None:
        print("there is no file to append to: give it with -o", file=sys.stderr)
    with ExitStack() as stack:
        output = None
        state_dir = stack.enter_context(state_directory())
        settings = poll_settings(
            what.names, state_dir, what.period, what.timeout, performance=what.performance
        )
        if what.output is not None:
            output = stack.enter_context(OutputFile(what.output, append=what.append))
        followed = stack.enter_context(following(settings))
        show = stack.enter_context(_Screen()) if what.refresh else print_sections
        summary = Summary(followed.tracker)
        for polled in followed.polls():
            if output is not None:
                _write(output, polled, followed, what.line_format)
            show(head_of(polled, moment), summary.sections(polled.told, all_rows=what.refresh))
            if not what.refresh:
                followed.tracker.clear_performance()


def _write(output: OutputFile, polled: Polled, followed: Following, line_format: str) -> None:
    if line_format == "ska":
        output.add(ska_line(polled.samples, polled.utc))
        return
    totals = followed.tracker.totals()
    output.add(poll_line(polled.samples, polled.utc, polled.offset, totals))
    for event in polled.told:
        output.add(event_line(event, polled.offset))


class _Screen:
    """One picture in the terminal, renewed in its place; the last events stay in it.

    It fits into the terminal: what is lost stands above what is well, and each table tells how many
    rows it has no room for.
    """

    MOST_EVENTS = 10
    ORDER = ("not answering", "events", "received", "published")

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._events: list[Any] = []

    def __enter__(self) -> Show:
        self._live.__enter__()
        return self._show

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def _show(self, head: str, sections: Sequence[Section]) -> None:
        shown = {section.title: section for section in sections}
        if "events" in shown:  # the newest on top
            new = [*reversed(shown["events"].rows)]
            self._events = [*new, *self._events][: self.MOST_EVENTS]
        if self._events:
            shown["events"] = Section("events", ("severity", "text"), self._events)
        others = [title for title in shown if title not in self.ORDER]
        order = [title for title in (*self.ORDER, *others) if title in shown]
        room = self._console.height - 1  # below the head
        tables = fitted([shown[title] for title in order], room)
        self._live.update(drawn(head, tables), refresh=True)
