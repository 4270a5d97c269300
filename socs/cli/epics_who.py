"""``socs epics who``: who asks for a process variable, who serves it, since when."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from socs.cli.epics_asked import Asked, add_asked_options, asked
from socs.cli.epics_search import every_row
from socs.cli.epics_tables import EVENTS, event_line, section
from socs.cli.output import escaped, json_line, moment
from socs.cli.section_output import print_sections
from socs.epics.rows import Row
from socs.errors import NotAllowed
from socs.sections import Section

FACTS = ("valid", "requests", "first_asked", "last_asked", "first_seen", "last_seen", "changed",
         "searched", "answers", "misses")  # fmt: skip
SERVERS = ("server", "protocol", "first", "last", "state", "started", "restarts", "application",
           "command", "directory")  # fmt: skip
REQUESTERS = ("source", "class", "requests", "last")


def add_command(actions: Any) -> None:
    """Add ``who`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "who",
        help="tell who asks for process variables, and who serves them since when",
        description="Who asks for a process variable, who serves it, since when, and what happened "
        "to it lately. Nothing is sent to any server. Status 1 if a name is not known.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument("pv", nargs="+", metavar="PV", help="names")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    add_asked_options(parser)


def _run(args: argparse.Namespace) -> int:
    source, unknown = asked(args), 0
    for name in args.pv:
        try:
            known = who(source, name)
        except NotAllowed as error:
            unknown += 1
            print(f"socs: {escaped(str(error))}", file=sys.stderr)
            continue
        if args.json:
            print(json_line(known), flush=True)
        else:
            print_sections(head(known), sections(known))
    return int(unknown > 0)


def who(source: Asked, name: str) -> Row:
    """All that is known of a process variable; of its servers and requesters, too.

    Raises:
        NotAllowed: it is not known.
    """
    known = source.ask("pv_info", name=name)
    known.pop("timestamp", None)
    servers = [_server(source, row) for row in known["servers"]]
    hosts = {row["source"].rpartition(":")[0] for row in known["requesters"]}
    classes = {
        row["source"]: row["class"]
        for host in sorted(hosts)
        for row in every_row(source, "clients", host=host)
    }
    requesters = [{**row, "class": classes.get(row["source"])} for row in known["requesters"]]
    return {**known, "servers": servers, "requesters": requesters}


def _server(source: Asked, row: Row) -> Row:
    """A server, with what its beacons and a heartbeat tell of it."""
    host, _, port = row["server"].rpartition(":")
    beacons = [
        each
        for each in every_row(source, "servers", host=host)
        if (each["protocol"], each["server"]) == (row["protocol"], row["server"])
    ]
    applications = [
        each["title"]
        for each in every_row(source, "applications", host=host)
        if str(each["port"]) == port and row["protocol"] == "CA"
    ]
    of_beacons = beacons[0] if beacons else {}
    return {
        **row,
        **{name: of_beacons.get(name) for name in ("state", "started", "restarts")},
        "application": ", ".join(applications) or row.get("application"),
    }


def head(known: Row) -> str:
    """One line: what it is, and who has it."""
    now = f"{known['name']} is {known['state']}"
    since = f" since {moment(known['changed'])}" if known["changed"] else ""
    last = "last " if known["state"] == "LOST" else ""
    served = f", {last}served by {known['protocol']} {known['server']}" if known["server"] else ""
    return escaped(f"{now}{since}{served}")


def sections(known: Row) -> list[Section]:
    """What is printed of a process variable; empty tables are left out."""
    by_class = known["requests_by_class"].items()
    facts = [{"what": name, "value": known[name]} for name in FACTS if known[name] is not None]
    facts += [{"what": f"requests of {name}", "value": count} for name, count in by_class if count]
    events = known.get("events") or []
    missing = [{"why": known["events_missing"]}] if known.get("events_missing") else []
    found = [
        section("served by", SERVERS, known["servers"]),
        section("asked for by", REQUESTERS, known["requesters"], known["requesters_left_out"]),
        section("facts", ("what", "value"), map(_fact, facts)),
        section("events", EVENTS, map(event_line, events)),
        section("events are missing", ("why",), missing),
    ]
    return [each for each in found if each.rows]


def _fact(row: Row) -> Row:
    is_time = isinstance(row["value"], float)
    return {"what": row["what"], "value": moment(row["value"]) if is_time else row["value"]}
