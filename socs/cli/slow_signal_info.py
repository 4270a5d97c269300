"""``socs slow-signal info``: what files of readouts hold, and how they stand."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from socs.cli import slow_signal_summary as summary
from socs.cli.output import print_one
from socs.cli.slow_signal_registered import Registered
from socs.errors import SocsError

DESCRIPTION = """
What files of readouts hold: layout, numbers, times, TACKs, which modules are there; how they
stand, also those that are being written or were left by a crash; and, if there is a database,
what it knows of them.
"""
HOW = "needs the database's settings, see `socs files --help`; without them it is left out"


def add_command(actions: Any) -> None:
    """Add ``info`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "info", help="tell what files of readouts hold", description=DESCRIPTION
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "file", nargs="+", metavar="FILE", help="a file, or a journal that was left of one"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help=f"read each file again and compare it with the MD5 sum in the table ({HOW})",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a file")


def run(args: argparse.Namespace) -> int:
    """Tell of each file; status 1 if one cannot be read or differs from what the table says.

    Raises:
        ConfigError: settings of the database are missing or wrong.
    """
    status = 0
    with Registered(os.environ, required=args.verify) as registered:
        for number, name in enumerate(args.file):
            try:
                told = {"file": name, **summary.of_file(Path(name))}
                told |= registered.of_file(Path(name), verify=args.verify)
            except SocsError as error:
                print(f"socs: {error}", file=sys.stderr, flush=True)
                status = 1
                continue
            if told.get("matches") is False:
                status = 1
            if number and not args.json:
                print()
            print_one(told if args.json else summary.for_people(told), as_object=args.json)
    return status
