"""``socs tango multicast``: which events go by multicast, what is wrong with that, and changes."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from socs.cli import findings as printed
from socs.cli.multicast_sources import DatabaseSource, FileSource, Source, save
from socs.cli.output import escaped, print_rows
from socs.options import seconds, whole
from socs.tango.multicast import (
    EVENT,
    KINDS,
    Configuration,
    Finding,
    add_event,
    explain,
    lint,
    remove_event,
)
from socs.tango.multicast.configuration import HOPS, IVL, RATE, buffer_bytes
from socs.tango.multicast.cpptango import refused_at
from socs.tango.multicast.lint import BUFFER_LIMIT
from socs.tango.properties import TIMEOUT

MIB = 2**20
COLUMNS = ("element", "event", "address", "port", "rate", "ivl", "hops", "memory")
RESTART = (
    "Servers read it when they start: restart those whose events it names, or call their command "
    "RestartServer."
)


def add_parser(actions: Any) -> None:
    """Add ``multicast`` and its commands to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "multicast",
        help="events that travel by multicast",
        description="Events that travel by multicast, by the property CtrlSystem/MulticastEvent of "
        "the Tango database that TANGO_HOST names.",
    )
    commands = parser.add_subparsers(dest="command_of_multicast", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        _add_source(made)
        return made

    show = add("show", _show, "show which events travel how, with the defaults filled in")
    show.add_argument("--words", action="store_true", help="a sentence for each")
    show.add_argument("--json", action="store_true", help="print JSON, for programs")
    check = add("check", _check, "tell errors in it, and defects of Tango that it runs into")
    check.add_argument("--json", action="store_true", help="print JSON, for programs")
    adding = add("add", _add, "let an event travel by multicast")
    adding.add_argument("event", metavar="EVENT", help="domain/family/member/attribute.type")
    adding.add_argument("--address", required=True, help="of the group, as 226.20.21.22")
    adding.add_argument("--port", required=True, type=whole(1), help="of the group")
    adding.add_argument("--rate", type=whole(1), help="most that is sent [Mbit/s]")
    adding.add_argument("--ivl", type=whole(1), help="how long a receiver may be absent [s]")
    removing = add("remove", _remove, "let an event travel by unicast again")
    removing.add_argument("event", metavar="EVENT", help="domain/family/member/attribute.type")
    for judging in (check, adding, removing):
        judging.add_argument(
            "--buffer-limit",
            type=whole(1),
            default=BUFFER_LIMIT // MIB,
            metavar="MIB",
            help="memory that one event may take of a subscriber without a warning [MiB] "
            "(default %(default)s)",
        )
    for changing in (adding, removing):
        changing.add_argument("--apply", action="store_true", help="write it; else only show it")
        changing.add_argument("--force", action="store_true", help="write it in spite of errors")
        changing.add_argument(
            "--backup",
            type=Path,
            metavar="FILE",
            help="where the old properties are kept (default multicast-DATE.json here)",
        )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tango-host", metavar="HOST:PORT", help="another database than that of TANGO_HOST"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long the database may take to answer [s] (default %(default)g)",
    )
    parser.add_argument(
        "--file",
        type=Path,
        help="no database but a file: an element a line, a list in JSON, or what --backup wrote",
    )


def _source(args: argparse.Namespace) -> Source:
    if args.file is not None:
        return FileSource(args.file)
    return DatabaseSource(args.tango_host, args.timeout)


# -- looking --------------------------------------------------------------------------------------


def _show(args: argparse.Namespace) -> int:
    configuration = _source(args).read()
    if args.words:
        for sentence in explain(configuration):
            print(escaped(sentence))
        return 0
    print_rows(rows(configuration), COLUMNS, json_lines=args.json)
    if refused_at(configuration.events) is not None:
        print("socs: it has errors: see `socs tango multicast check`", file=sys.stderr)
    return 0


def rows(configuration: Configuration) -> list[dict[str, Any]]:
    """What travels by multicast; rate [Mbit/s], ivl [s] and hops as they are in force.

    ``element`` counts from 1; ``memory`` is what a subscriber may need [bytes].
    """
    made = []
    for route in configuration.routes:
        rate = route.rate or configuration.number(RATE)
        ivl = route.ivl or configuration.number(IVL)
        row = {
            "element": route.index + 1,
            "event": configuration.events[route.index],
            "address": route.address,
            "port": route.port,
            "rate": rate,
            "ivl": ivl,
            "hops": configuration.number(HOPS),
            "memory": buffer_bytes(rate, ivl),
        }
        made.append(row)
    return made


def _check(args: argparse.Namespace) -> int:
    found = lint(_source(args).read(), buffer_limit=args.buffer_limit * MIB)
    if args.json:
        told = [
            {
                **asdict(f),
                "severity": f.severity,
                "meaning": KINDS[f.code].meaning,
                "remedy": f.remedy,
            }
            for f in found
        ]
        print(json.dumps({"failed": _has_errors(found), "findings": told}))
    else:
        print_findings(found)
    return 1 if _has_errors(found) else 0


def _has_errors(found: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in found)


def print_findings(found: Sequence[Finding]) -> None:
    """Errors and warnings with what to do, and then what is to be known; each is explained once."""
    if not found:
        print("Nothing to tell: no event travels by multicast")
        return
    levels: dict[str, printed.Level] = {"error": "FAIL", "warning": "WARN"}
    first = {finding.code: finding for finding in reversed(found)}
    judged = [
        printed.Finding(
            levels[f.severity],
            _subject(f),
            _explained(f) if first[f.code] is f else f.text,
            f.remedy,
        )
        for f in found
        if f.severity in levels
    ]
    printed.print_findings(judged, as_json=False)
    for finding in found:
        if finding.severity not in levels:
            print(f"{_subject(finding)}: {_explained(finding)}\n      -> {finding.remedy}")


def _explained(finding: Finding) -> str:
    """What was found, and what it means; of what is not about an element, only the latter."""
    meaning = KINDS[finding.code].meaning
    return f"{finding.text}. {meaning}" if finding.element else meaning


def _subject(finding: Finding) -> str:
    if finding.index is None:
        return finding.element or finding.code
    return f"element {finding.index + 1} {finding.element}"


# -- changing -------------------------------------------------------------------------------------


def _add(args: argparse.Namespace) -> int:
    source = _source(args)
    old = source.read()
    new = add_event(old.events, args.event, args.address, args.port, rate=args.rate, ivl=args.ivl)
    return _change(args, source, old, new)


def _remove(args: argparse.Namespace) -> int:
    source = _source(args)
    old = source.read()
    return _change(args, source, old, remove_event(old.events, args.event))


def _change(
    args: argparse.Namespace, source: Source, old: Configuration, new: Sequence[str]
) -> int:
    """Show a change and what is to be said about it, and make it if that was asked for."""
    for line in difflib.unified_diff(old.events, new, f"{EVENT} now", f"{EVENT} then", lineterm=""):
        print(escaped(line))
    found = lint(
        Configuration(tuple(new), old.numbers, old.others), buffer_limit=args.buffer_limit * MIB
    )
    print_findings(found)
    errors = sum(finding.severity == "error" for finding in found)
    if errors and not args.force:
        print(f"Nothing was written: {errors} errors; --force would write it", file=sys.stderr)
        return 1
    if not args.apply:
        print("Nothing was written; --apply writes it")
        return 0
    backup = args.backup or Path(time.strftime("multicast-%Y%m%dT%H%M%SZ.json", time.gmtime()))
    save(old, backup)
    print(f"The old properties are kept in {backup}")
    source.write(old.events, new)
    print(f"Wrote {source.description}. {RESTART}")
    return 0
