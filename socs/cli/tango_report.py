"""``socs tango report``: files of polls, followed again."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from socs.cli import pictures
from socs.cli.extras import extra
from socs.cli.output import json_line, moment
from socs.cli.section_output import print_sections
from socs.errors import ConfigError, FileNotReady, PeerError, SocsError
from socs.options import whole
from socs.sections import Section
from socs.tango.limits import MAX_LINE
from socs.tango.lines import read_line
from socs.tango.report import Report, told_by_count
from socs.tango.summary import Summary

LAST_EVENTS = 20
MOST_ROWS = 10_000  # of each table as JSON


def add_parser(actions: Any) -> None:
    """Add ``report`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "report",
        help="tell what files of polls hold",
        description="Follow files of the monitor, of `socs tango watch` or of "
        "ska-tango-event-monitor again: who published, who received, who lost what. Lines that "
        "ska-tango-event-monitor left broken are mended.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument("file", nargs="+", type=Path, metavar="FILE", help="a file, in any order")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--events",
        type=whole(0),
        default=LAST_EVENTS,
        metavar="N",
        help="tell the last N events (default %(default)s)",
    )
    parser.add_argument(
        "--plot",
        type=pictures.picture,
        metavar="FILE",
        help="draw rates of streams and losses of subscribers over time; the ending says the "
        f"format: {', '.join(pictures.FORMATS)}",
    )


def _run(args: argparse.Namespace) -> int:
    report = Report(course=args.plot is not None)
    for path in _in_order(args.file):
        report.feed_all(_lines(path))
    if not report.polls:
        problem = f": {report.problem}" if report.problem else ""
        raise SocsError(
            f"{', '.join(map(str, args.file))}: no polls in {report.lines} lines{problem}"
        )
    if args.json:
        print(json_line(_rows(report)))
    else:
        print_sections(_head(report), _sections(report, args.events))
    if args.plot is not None:
        _draw(report, args.plot)
    return 0


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(MAX_LINE + 1), b"")
    except OSError as error:
        raise FileNotReady(f"cannot read {path}: {error.strerror}") from error


def _in_order(paths: Sequence[Path]) -> list[Path]:
    """``paths`` by the time of their first poll."""

    def first(path: Path) -> float:
        for line in _lines(path):
            try:
                poll = read_line(line)
            except PeerError:
                continue
            if poll is not None:
                return poll.time
        return float("inf")

    return sorted(paths, key=first) if len(paths) > 1 else list(paths)


def _head(report: Report) -> str:
    assert report.first is not None
    assert report.last is not None
    found = [f"{report.polls} polls from {moment(report.first)} to {moment(report.last)}"]
    for count, what in (
        (report.mended, "lines mended"),
        (report.unreadable, "unreadable"),
        (report.out_of_order, "out of order, left out"),
    ):
        if count:
            found.append(f"{count} {what}")
    if report.problem:
        found.append(report.problem)
    return ", ".join(found)


def _sections(report: Report, events: int) -> list[Section]:
    assert report.first is not None
    assert report.last is not None
    last = list(report.events)[-events:] if events else []
    found = Summary(report.tracker).sections((), all_rows=True, over=report.last - report.first)
    counts = told_by_count(report.events)
    if counts:
        found.append(Section("events", ("severity", "event", "count"), counts))
    if last:
        rows = [
            {"time": moment(event.time), "severity": event.severity, "text": event.text}
            for event in last
        ]
        found.append(Section("last events", ("time", "severity", "text"), rows))
    return found


def _rows(report: Report) -> dict[str, Any]:
    tracker = report.tracker
    return {
        **report.head(),
        "counters": tracker.totals(),
        "servers": tracker.servers(),
        "streams": tracker.streams(MOST_ROWS),
        "subscribers": tracker.reconciliation(MOST_ROWS),
        "times": tracker.performance(MOST_ROWS),
        "events": [event.row() for event in report.events],
    }


def _draw(report: Report, path: Path) -> None:
    assert report.course is not None
    if len(report.course.times) < 2:
        raise ConfigError("--plot needs two polls at least")
    with extra("plot"):
        from socs.cli import tango_report_picture  # noqa: PLC0415
    pictures.write(tango_report_picture.draw(report.course), path)
