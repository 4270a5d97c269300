"""``socs epics cainfo``: what servers themselves say of process variables."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from socs.cli.output import json_line, print_one, utc_of
from socs.epics.cainfo import AddressLists, ChannelInfo, Question
from socs.epics.cainfo.addresses import split_address
from socs.epics.cainfo.asker import MOST_ELEMENTS, TIMEOUT
from socs.epics.cainfo.messages import PROTOCOLS
from socs.errors import ConfigError
from socs.options import seconds, whole


def add_command(actions: Any) -> None:
    """Add ``cainfo`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "cainfo",
        help="ask the servers of process variables",
        description="Ask the servers of process variables for types, access rights, values, alarms "
        "and limits. Status 1 if one is not connected, or did not tell its value.",
    )
    parser.set_defaults(run=_run)
    parser.add_argument("pv", nargs="+", metavar="PV", help="names")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="ca",
        help="Channel Access or PV Access (default: %(default)s)",
    )
    parser.add_argument(
        "--server",
        type=_address,
        metavar="HOST:PORT",
        help="ask this one (TCP), without any search",
    )
    parser.add_argument(
        "--addresses",
        metavar='"HOST[:PORT] ..."',
        help="search here only (UDP), whatever EPICS_CA_ADDR_LIST or EPICS_PVA_ADDR_LIST says",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="for each name (default: %(default)g)",
    )
    parser.add_argument(
        "--elements",
        type=whole(1),
        default=MOST_ELEMENTS,
        metavar="N",
        help="print so many of a long value (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")


def _address(text: str) -> str:
    try:
        split_address(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _run(args: argparse.Namespace) -> int:
    lists = AddressLists.from_environ(os.environ)
    if args.addresses is not None:
        auto = f"{args.protocol}_auto"
        lists = replace(lists, **{args.protocol: args.addresses, auto: False})
    questions = [Question(name, args.protocol, args.server or "") for name in args.pv]
    with ChannelInfo(lists, _report, [args.protocol]) as channels:
        answers = channels.ask(questions, args.timeout, args.elements)
    for number, answer in enumerate(answers):
        if args.json:
            print(json_line(answer))
            continue
        if number:
            print()
        print_one(dict(rows(answer)))
    return int(any(answer["state"] != "connected" or answer["reason"] for answer in answers))


def _report(text: str) -> None:
    print(f"socs: {text}", file=sys.stderr)


def rows(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is printed of a process variable, line by line; what was not told is left out."""
    lines = {
        "name": told["name"],
        "state": told["state"],
        "reason": told["reason"],
        "server": told["server"],
        "other servers": ", ".join(told["others"]),
        "type": told["type"],
        "structure": told["structure"],
        "access": _access(told),
        "elements": _elements(told),
        "value": _value(told),
        "units": told["units"],
        "time": utc_of(told["time_ns"] or 0),
        "severity": told["severity"],
        "status": told["status"],
        "message": told["message"],
        "precision": told["precision"],
        **{
            f"{name} limits": " to ".join("-" if each is None else f"{each}" for each in limits)
            for name, limits in told["limits"].items()
        },
        "choices": ", ".join(f"{n} {choice}" for n, choice in enumerate(told["choices"])),
        "description": told["description"],
    }
    yield from ((name, value) for name, value in lines.items() if value not in (None, ""))


def _access(told: Mapping[str, Any]) -> str:
    if told["read"] is None:
        return ""
    write = {True: "write", False: "no write", None: "write not told"}[told["write"]]
    return f"{'read' if told['read'] else 'no read'}, {write}"


def _elements(told: Mapping[str, Any]) -> str:
    if told["count"] is None:
        return ""
    if told["length"] is None:
        return f"up to {told['count']}"
    more = f" of at most {told['count']}" if told["count"] != told["length"] else ""
    return f"{told['length']}{more}"


def _value(told: Mapping[str, Any]) -> str | None:
    """One value or some; what it means, if that is told, too."""
    value = told["value"]
    if value is None:
        return None
    if not isinstance(value, list):
        return f"{value} {told['text']}" if told["text"] is not None else f"{value}"
    if told["text"] is not None:
        return str(told["text"])
    cut = told["length"] is None or told["length"] > len(value)
    return ", ".join(map(str, value)) + (", ..." if cut else "")
