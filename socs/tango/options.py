"""The options of the Tango event monitor, and the settings that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from socs.db import options as db_options
from socs.errors import ConfigError, naming
from socs.options import MIB, mebibytes, parse_bool, seconds, whole
from socs.tango.installed import database_hosts
from socs.tango.limits import FORGET_AFTER, MAX_NAMES, MAX_SERVERS
from socs.tango.lines import FORMATS
from socs.tango.monitor import MAX_ROWS, MonitorSettings
from socs.tango.polling.patterns import parse_pattern
from socs.tango.polling.settings import PollSettings
from socs.tango.store.series import SeriesSettings

ALL = "dserver/*"  # every server of the database
FEED_NAMES = 500


def monitor_settings(args: argparse.Namespace) -> MonitorSettings:
    """The settings in parsed options.

    Raises:
        ConfigError: one is wrong; the message names it.
    """
    spool = db_options.spool_settings(args)
    files = None
    if args.folder is not None:
        with naming("--file-prefix"):
            files = SeriesSettings(
                Path(args.folder).absolute(),
                args.file_prefix,
                max_bytes=int(args.rotate_size * MIB),
                max_age=args.rotate_every,
            )
    return MonitorSettings(
        poll=_poll_settings(args, spool["spool_dir"]),
        constants=db_options.row_constants(args),
        files=files,
        line_format=args.file_format,
        max_names=args.max_names,
        forget_after=args.forget_after,
        feed_rows=max(MAX_ROWS, args.max_names),  # a field must not stop as others go faster
        **spool,
    )


def _poll_settings(args: argparse.Namespace, state_dir: Path) -> PollSettings:
    with naming("--device"):
        for name in args.device:
            parse_pattern(name)
    if args.tango_host is not None:
        with naming("--tango-host"):
            database_hosts(args.tango_host)
    if args.max_servers > MAX_SERVERS:
        raise ConfigError(f"--max-servers: {args.max_servers} is more than {MAX_SERVERS}")
    with naming("--poll-period"):  # what is left, its time-outs are compared with it
        return PollSettings(
            names=tuple(args.device),
            state_dir=state_dir,
            period=args.poll_period,
            timeout=args.timeout,
            max_servers=args.max_servers,
            performance=args.perf_mon,
            tango_host=args.tango_host,
        )


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that :func:`monitor_settings` reads."""
    _add_what(group)
    _add_limits(group)
    _add_files(group)


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--device",
        nargs="+",
        default=[ALL],
        metavar="NAME",
        help="devices, device servers (dserver/program/instance), or patterns of these with *, "
        "whose servers are monitored (default: dserver/*, every server of the database)",
    )
    group.add_argument(
        "--tango-host",
        metavar="HOST:PORT",
        help="the Tango database, or several with commas between, the first that is there is used "
        "(default: TANGO_HOST, else Tango's own files)",
    )
    group.add_argument(
        "--poll-period",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="time between two polls [s] (default %(default)g)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="a server that has not answered after this time hangs [s] (default %(default)g)",
    )
    group.add_argument(
        "--perf-mon",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="have servers measure times of pushes and callbacks; switched off again at the end, "
        "after a crash by the next start (default false)",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-servers",
        type=whole(1),
        default=MAX_SERVERS,
        metavar="N",
        help="servers that are polled, each with a thread (default %(default)s)",
    )
    group.add_argument(
        "--max-names",
        type=whole(1),
        default=MAX_NAMES,
        metavar="N",
        help="streams, subscriptions and open connections that are followed (default %(default)s)",
    )
    group.add_argument(
        "--feed-names",
        type=whole(0),
        default=FEED_NAMES,
        metavar="N",
        help="streams, subscribers and servers with fields of their own on the recorded feed, "
        "whose names are kept for ever (default %(default)s)",
    )
    group.add_argument(
        "--forget-after",
        type=seconds,
        default=FORGET_AFTER,
        metavar="SECONDS",
        help="names and servers not seen for so long are forgotten [s] (default %(default)g)",
    )


def _add_files(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--folder",
        metavar="DIR",
        help="write polls and events to JSON Lines files in this directory, and register them "
        "(default: no files)",
    )
    group.add_argument(
        "--file-prefix",
        default="tango-",
        metavar="TEXT",
        help="how the names of files begin (default %(default)s)",
    )
    group.add_argument(
        "--file-format",
        choices=FORMATS,
        default=FORMATS[0],
        help="what their lines are: socs, polls and events; ska, polls only, as "
        "ska-tango-event-monitor writes them (default %(default)s)",
    )
    group.add_argument(
        "--rotate-size",
        type=mebibytes,
        default=64.0,
        metavar="MIB",
        help="begin a new file at this size [MiB] (default %(default)g)",
    )
    group.add_argument(
        "--rotate-every",
        type=seconds,
        default=86_400.0,
        metavar="SECONDS",
        help="begin a new file after this time [s] (default %(default)g, a day)",
    )
    db_options.add_options(group, "the spool, and of what is known of servers that measure times")
