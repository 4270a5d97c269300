"""``socs tango query``: the state of servers' event systems at this moment."""

from __future__ import annotations

import argparse
from typing import Any

from socs.cli.output import json_line, moment
from socs.cli.section_output import print_sections
from socs.cli.tango_following import (
    Following,
    Polled,
    following,
    head_of,
    poll_settings,
    state_directory,
)
from socs.cli.tango_watch import add_names, add_timeout
from socs.errors import SocsError
from socs.sections import Section
from socs.tango.counting import last_used
from socs.tango.snapshot import Snapshot
from socs.tango.summary import path_of, short_names

TABLES = ("servers", "streams", "subscriptions", "not_connected")
PERIOD = 3600.0  # s; there is no second poll


def add_parser(actions: Any) -> None:
    """Add ``query`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "query",
        help="ask device servers once",
        description="Ask device servers once what they publish and what they subscribed to. "
        "Numbers are those since they were started. Status 1 if one of them did not answer.",
    )
    parser.set_defaults(run=_run)
    add_names(parser)
    add_timeout(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _run(args: argparse.Namespace) -> int:
    with state_directory() as state_dir:
        settings = poll_settings(args.device, state_dir, PERIOD, args.timeout, performance=False)
        with following(settings) as followed:
            for polled in followed.polls():
                return _tell(followed, polled, as_json=args.json)
    return 0  # interrupted before there was an answer


def _tell(followed: Following, polled: Polled, *, as_json: bool) -> int:
    """Print it; the exit status."""
    if not polled.samples:
        raise SocsError("no device server was found: " + "; ".join(followed.poller.troubles()))
    rows = _rows(polled)
    if as_json:
        print(json_line(rows))
    else:
        sections = [
            Section(name, tuple(rows[name][0]), rows[name]) for name in TABLES if rows[name]
        ]
        print_sections(head_of(polled, moment), sections)
    missing = followed.poller.status()["unresolved"]
    return int(bool(missing) or any(sample.outcome != "ok" for sample in polled.samples))


def _rows(polled: Polled) -> dict[str, Any]:
    """What was told, fit for JSON."""
    rows: dict[str, Any] = {"time": polled.utc, **{name: [] for name in TABLES}}
    servers = short_names((sample.server for sample in polled.samples), path_of)
    for sample in polled.samples:
        server = servers[sample.server]
        rows["servers"].append(
            {
                "server": server,
                "outcome": sample.outcome,
                "reason": sample.reason,
                "identity": sample.identity,
            }
        )
        if sample.snapshot is not None:
            _add(rows, server, sample.snapshot)
    return rows


def _add(rows: dict[str, Any], server: str, snapshot: Snapshot) -> None:
    for name, number in snapshot.published.items():
        row = {"stream": name.path, "publisher": server, "last_number": last_used(number)}
        rows["streams"].append(row)
    for name, entry in snapshot.subscriptions.items():
        rows["subscriptions"].append(
            {
                "subscriber": server,
                "stream": name.path,
                "publisher": entry.publisher.path if entry.publisher else "",
                "last_number": entry.number,
                "received": entry.received,
                "gaps": entry.gaps,
                "discarded": entry.discarded,
                "confirmed": entry.confirmed,
            }
        )
    for each in snapshot.not_connected:
        row = {"subscriber": server, "stream": each.stream.path, "tried": each.tried}
        rows["not_connected"].append(row)
