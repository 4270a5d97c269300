"""The options of the PV monitor, and the settings that they make."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from socs.db import options as db_options
from socs.db.options import row_constants, spool_settings
from socs.epics.accounts.inventory import InventoryLimits
from socs.epics.accounts.names import MOST_NAMES
from socs.epics.accounts.sources import SourceClasses
from socs.epics.applications.interviews import InterviewSettings
from socs.epics.knowledge.knowledge import KnowledgeSettings
from socs.epics.knowledge.own_searches import OwnSearchSettings
from socs.epics.knowledge.polling import PollSettings
from socs.epics.monitor.monitor import PvMonitorSettings
from socs.epics.monitor.store import StoreSettings
from socs.epics.monitor.summary_queue import DEFAULT_BYTES
from socs.epics.networks import Networks
from socs.epics.store import event_spool
from socs.epics.store.purge import DAY, PurgeAges
from socs.epics.store.snapshots import SnapshotSettings
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError, naming
from socs.options import MIB, mebibytes, parse_bool, seconds, whole

GATEWAY = "pv-gateway"
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")
_CLASS = re.compile(r"([a-z][a-z0-9_]{0,31})=(.+)")
THRESHOLDS = {field.name: field for field in fields(TrackSettings) if field.name != "subnets"}


def monitor_settings(args: argparse.Namespace) -> PvMonitorSettings:
    """The settings in parsed options.

    Raises:
        ConfigError: one is wrong; the message names it.
    """
    gateways = tuple(dict.fromkeys(args.gateway))
    if args.max_names > MOST_NAMES:
        raise ConfigError(f"--max-names: {args.max_names} is more than {MOST_NAMES}")
    Networks(args.subnet, "--subnet")
    spool = spool_settings(args)
    with naming("--threshold"):
        track = TrackSettings(tuple(args.subnet), **_thresholds(args.threshold))
    with naming("--source-class"):
        classes = _classes(args.source_class)
        SourceClasses(classes)
    knowledge = KnowledgeSettings(
        track=track,
        limits=InventoryLimits(names=args.max_names, sources=args.max_sources),
        classes=classes,
        gateways=gateways,
        gateway_patience=args.gateway_patience,
        ask=InterviewSettings(
            enabled=args.ask, names_every=args.ask_period, lines_every=args.ask_period
        ),
        search=OwnSearchSettings(
            enabled=args.search, poll=PollSettings(enabled=args.poll, period=args.poll_period)
        ),
    )
    folder = Path(args.folder) if args.folder else spool["spool_dir"] / "snapshots"
    return PvMonitorSettings(
        gateways=gateways,
        knowledge=knowledge,
        store=StoreSettings(
            data_dir=spool["spool_dir"],
            folder=folder.absolute(),
            constants=row_constants(args),
            spool_quota=spool["spool_quota"],
            events_quota=int(args.events_quota * MIB),
            create_table=spool["create_table"],
            snapshot_period=args.snapshot_period,
            keep_snapshots=args.keep_snapshots,
            ages=_ages(args),
        ),
        queue_bytes=int(args.queue * MIB),
    )


def _ages(args: argparse.Namespace) -> PurgeAges:
    return PurgeAges(
        events=args.keep_events * DAY,
        logs=args.keep_logs * DAY,
        names=args.keep_names * DAY,
        sources=args.keep_sources * DAY,
    )


def _thresholds(texts: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in THRESHOLDS:
            raise ConfigError(f"{text!r} is no NAME=VALUE of {', '.join(THRESHOLDS)}")
        is_whole = isinstance(THRESHOLDS[name].default, int)
        try:
            found[name] = int(value) if is_whole else float(value)
        except ValueError as error:
            raise ConfigError(f"{text!r}: {value!r} is no number") from error
        if not math.isfinite(found[name]):
            raise ConfigError(f"{text!r}: {value!r} is no number")
    return found


def _classes(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        match = _CLASS.fullmatch(text)
        if match is None:
            raise ConfigError(f"{text!r} is no name=NETWORK,NETWORK; names are small letters")
        found.setdefault(match[1], []).extend(match[2].split(","))
    return found


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that :func:`monitor_settings` reads."""
    _add_what(group)
    _add_searches(group)
    _add_limits(group)
    _add_kept(group)


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--gateway",
        nargs="+",
        default=[GATEWAY],
        metavar="INSTANCE-ID",
        help="gateways that are listened to (default: pv-gateway)",
    )
    group.add_argument(
        "--subnet",
        nargs="+",
        default=[*PRIVATE],
        metavar="NETWORK",
        help="networks in which servers are, such as 10.1.0.0/16; what others say changes nothing "
        "(default: all private networks and loopback)",
    )
    group.add_argument(
        "--source-class",
        nargs="+",
        default=[],
        metavar="NAME=NETWORK,...",
        help="classes of those who ask, such as archiver=10.1.2.3,10.1.2.4; all others are client "
        "(default: none)",
    )
    group.add_argument(
        "--threshold",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="thresholds of what is lost, new, wrong, by their names in the reference of states, "
        "such as ca_lost_after=60 (default: as there)",
    )
    group.add_argument(
        "--gateway-patience",
        type=seconds,
        default=KnowledgeSettings.gateway_patience,
        metavar="SECONDS",
        help="a gateway that is silent for so long is blind [s] (default %(default)g)",
    )


def _add_searches(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--search",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="have gateways search for names of servers that have started or are gone; only those "
        "gateways do that are allowed to (default false)",
    )
    group.add_argument(
        "--poll",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="have gateways search for names of each server from time to time (default false)",
    )
    group.add_argument(
        "--poll-period",
        type=seconds,
        default=PollSettings.period,
        metavar="SECONDS",
        help="from the begin of a round of that to the next [s] (default %(default)g)",
    )
    group.add_argument(
        "--ask",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="have gateways ask applications that send heartbeats for their names and the "
        "processes of their hosts (default false)",
    )
    group.add_argument(
        "--ask-period",
        type=seconds,
        default=InterviewSettings.names_every,
        metavar="SECONDS",
        help="how often, if none of them starts anew meanwhile [s] (default %(default)g)",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-names",
        type=whole(1),
        default=InventoryLimits.names,
        metavar="N",
        help="process variables that are known, each with some 500 bytes of memory "
        "(default %(default)s)",
    )
    group.add_argument(
        "--max-sources",
        type=whole(1),
        default=InventoryLimits.sources,
        metavar="N",
        help="hosts and ports that ask and are told apart (default %(default)s)",
    )
    group.add_argument(
        "--queue",
        type=mebibytes,
        default=DEFAULT_BYTES / MIB,
        metavar="MIB",
        help="memory for messages of gateways that wait [MiB] (default %(default)g)",
    )


def _add_kept(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--folder",
        metavar="DIR",
        help="of snapshots and statistics, which are registered (default: snapshots in the "
        "directory of --data-dir)",
    )
    group.add_argument(
        "--snapshot-period",
        type=seconds,
        default=SnapshotSettings.period,
        metavar="SECONDS",
        help="from one snapshot of all that is known to the next [s] (default %(default)g)",
    )
    group.add_argument(
        "--keep-snapshots",
        type=whole(1),
        default=SnapshotSettings.keep,
        metavar="N",
        help="snapshots that stay (default %(default)s)",
    )
    for name, what in (
        ("events", "events"),
        ("logs", "entries of logs, but for those that nobody acknowledged,"),
        ("names", "process variables that nobody asks for and no server answers for"),
        ("sources", "hosts and ports that ask for nothing"),
    ):
        group.add_argument(
            f"--keep-{name}",
            type=_days,
            default=getattr(PurgeAges, name) / DAY,
            metavar="DAYS",
            help=f"{what} stay for so long [days] (default %(default)g)",
        )
    group.add_argument(
        "--events-quota",
        type=mebibytes,
        default=event_spool.DEFAULT_QUOTA / MIB,
        metavar="MIB",
        help="disk space for events while the database is away [MiB] (default %(default)g)",
    )
    db_options.add_options(group, "the spools, and of what is needed at the next start")


def _days(text: str) -> float:
    """A time above 0 [days].

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of days")
    return value
