"""``socs epics replay``: what capture files tell of EPICS."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from socs.cli.epics_capture import ANY, TABLES, Capture, CaptureSettings
from socs.cli.epics_capture import Progress as Reading
from socs.cli.epics_capture_report import report_of
from socs.cli.epics_tables import APPLICATIONS, CLIENTS, EVENTS, SERVERS, event_line, section
from socs.cli.output import DIGITS, escaped, json_line, moment
from socs.cli.section_output import print_sections
from socs.counters import EPICS_ACCOUNTS, EPICS_KNOWLEDGE, EPICS_TRACKS
from socs.epics.port_options import add_port_options, ports_of
from socs.epics.rows import Row
from socs.options import seconds, whole
from socs.sections import Section

TOP, EVENTS_SHOWN = 20, 50
LINE_PERIOD, BAR_PERIOD = 10.0, 0.1  # s between two lines or changes of the bar
ALL_TABLES = (*TABLES, EPICS_ACCOUNTS, EPICS_TRACKS, EPICS_KNOWLEDGE)
NEVER = ("name", "valid", "clients", "requests", "per_s", "last_asked", "sources")


def add_command(actions: Any) -> None:
    """Add ``replay`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "replay",
        help="tell what capture files have of EPICS",
        description="Who asked for what, which servers there were, which names nobody answered "
        "for, and what happened, in capture files (pcap, pcapng). Needs neither router nor agents. "
        "Status 1 if a file is damaged.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument("file", nargs="+", type=Path, metavar="FILE", help="of one capture")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--top",
        type=whole(1),
        default=TOP,
        metavar="N",
        help="rows of names without an answer, and of clients (default %(default)s)",
    )
    parser.add_argument(
        "--events",
        type=whole(0),
        default=EVENTS_SHOWN,
        metavar="N",
        help="print the first N events; with --json up to 100000 (default %(default)s)",
    )
    parser.add_argument(
        "--subnet",
        nargs="+",
        default=[ANY],
        metavar="NETWORK",
        help="networks in which servers are; others are counted only (default: any)",
    )
    parser.add_argument(
        "--interval",
        type=seconds,
        default=CaptureSettings.interval,
        metavar="SECONDS",
        help="how exactly it is told when something became silent [s of the capture] "
        "(default %(default)g)",
    )
    add_port_options(parser)
    parser.add_argument(*("-q", "--quiet"), action="store_true", help="show no progress")


def _run(args: argparse.Namespace) -> int:
    settings = CaptureSettings(
        ports_of(args),
        tuple(args.subnet),
        args.interval,
    )
    capture = Capture(args.file, settings)
    for _ in _shown(capture.read(), capture, quiet=args.quiet):
        pass
    report = report_of(capture, args.top)
    if args.json:
        print(json_line(report))
    else:
        head = f"{moment(capture.began)} to {moment(capture.ended)}"
        print_sections(head, sections(report, args.events))
    return int(bool(capture.damaged))


def _shown(reading: Iterable[Reading], capture: Capture, *, quiet: bool) -> Iterator[Reading]:
    """Show on standard error how far it is: a bar in a terminal, else a line from time to time."""
    if quiet:
        yield from reading
    elif sys.stderr.isatty():
        yield from _with_bar(reading)
    else:
        due = time.monotonic() + LINE_PERIOD
        for at in reading:
            if time.monotonic() >= due:
                due = time.monotonic() + LINE_PERIOD
                count = capture.counters["pcap_datagrams"]
                line = f"{at.part:.0%}, at {moment(at.time)}: {count} datagrams"
                print(f"socs: {line}", file=sys.stderr, flush=True)
            yield at


def _with_bar(reading: Iterable[Reading]) -> Iterator[Reading]:
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task, due = bar.add_task("begins", total=1.0), 0.0
        for at in reading:
            if time.monotonic() >= due:
                due = time.monotonic() + BAR_PERIOD
                description = escape(escaped(f"{at.path.name} {moment(at.time)}"))
                bar.update(task, completed=at.part, description=description)
            yield at


def sections(report: Mapping[str, Any], most_events: int) -> list[Section]:
    """What is printed of a report; empty tables are left out."""
    answered = "asked for and never answered"
    if not report["answers_heard"]:
        answered = "asked for; answers are not in these files, so nobody knows who has them"
    told = [event for event in report["events"] if event["kind"] != "FOUND"]
    shown = told[:most_events]
    found = [
        section("totals", ("what", "amount"), _pairs(report["totals"])),
        section("servers", SERVERS, report["servers"]),
        section("applications", APPLICATIONS, report["applications"]),
        section(
            answered,
            NEVER,
            map(_never, report["never_answered"]),
            _unshown(report, "never_answered"),
        ),
        section(
            "several servers answered",
            ("name", "state", "servers", "requests", "changed"),
            ({**row, "servers": _servers(row["servers"])} for row in report["duplicates"]),
        ),
        section("clients", CLIENTS, report["clients"], _unshown(report, "clients")),
        section("what happened", ("subject", "kind", "count"), report["kinds"]),
        section(
            "events, but for those of names that were found",
            EVENTS,
            map(event_line, shown),
            len(told) - len(shown) + report["events_left_out"],
        ),
        section("not taken, or noteworthy", ("counter", "amount", "meaning", "last"), _odd(report)),
        section("not read", ("what",), ({"what": text} for text in _not_read(report))),
    ]
    return [each for each in found if each.rows]


def _never(row: Mapping[str, Any]) -> Row:
    return {**row, "clients": f"{row['clients']}{'+' if row['more_clients'] else ''}"}


def _pairs(totals: Mapping[str, Any]) -> Iterator[Row]:
    for name, value in totals.items():
        yield {"what": name, "amount": f"{value:.{DIGITS}f}" if isinstance(value, float) else value}


def _unshown(report: Mapping[str, Any], name: str) -> int:
    return int(report["totals"][name]) - len(report[name])


def _servers(rows: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{row['protocol']} {row['server']}" for row in rows)


def _odd(report: Mapping[str, Any]) -> Iterator[Row]:
    """Counters that should not move, and did."""
    for counter in (each for table in ALL_TABLES for each in table if each.action):
        if amount := report["counters"].get(counter.name):
            yield {
                "counter": counter.name,
                "amount": amount,
                "meaning": f"{counter.unit} {counter.meaning}",
                "last": report["faults"].get(counter.name, ""),
            }


def _not_read(report: Mapping[str, Any]) -> Iterator[str]:
    yield from report["damaged"]
    yield from report["cut_off"]
    for name, amount in report["unaccounted"].items():
        yield f"{name}: {amount} are not accounted for: a defect of this program"
