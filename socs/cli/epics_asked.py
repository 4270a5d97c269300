"""Whom the commands of ``socs epics`` ask: a PV monitor, or a snapshot of one."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from socs.cli.epics_monitor import Monitor, SiteOfMonitor, add_site_options
from socs.cli.epics_snapshot import SnapshotAsked
from socs.epics.rows import Row

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Asked(Protocol):
    """A monitor, or a snapshot."""

    def ask(self, task: str, **params: Any) -> Row:
        """What the Task of this name tells."""

    def pages(self, task: str, **params: Any) -> Iterator[Row]:
        """Page after page of a list."""


def add_asked_options(parser: argparse.ArgumentParser) -> None:
    """Add where the monitor is, or which snapshot is looked at instead."""
    add_site_options(parser)
    parser.add_argument(
        "--snapshot",
        type=Path,
        metavar="FILE",
        help="look at this snapshot of a monitor, or the newest one in a folder, instead of asking "
        "the monitor",
    )


def asked(args: argparse.Namespace) -> Asked:
    """Who is asked.

    Raises:
        ConfigError: the site config or the snapshot is not as it should be.
        StorageUnavailable: the monitor does not answer.
    """
    if args.snapshot is not None:
        return SnapshotAsked(args.snapshot)
    return Monitor(SiteOfMonitor(args))


def moment_of(text: str) -> float:
    """A time in an option: ``2h`` (ago; s, m, h, d), ``2026-11-21T04:00:00`` (UTC), UNIX time [s].

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    if match := _AGO.fullmatch(text):
        return time.time() - float(match[1]) * _UNITS[match[2]]
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time such as 2h, 2026-11-21T04:00:00 or 1700000000"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
