"""The options of a gateway, and the settings that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from socs.epics.applications.asking import AskingSettings
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.gateway.listening import EVERYWHERE, WAYS
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.port_options import add_port_options, ports_of
from socs.epics.search.limiter import MOST_PER_SECOND
from socs.epics.search.searcher import SearchSettings
from socs.errors import naming
from socs.options import MIB, parse_bool, seconds, whole
from socs.wire.options import add_allow_sender, add_receive_buffer

LIVE = "live"
_CAP = f"with a hard cap of {MOST_PER_SECOND} for this process"
MOST_TEXTS = 20_000  # of one application, as they go over the feed in one message


def gateway_settings(args: argparse.Namespace) -> GatewaySettings:
    """The settings in parsed options.

    Raises:
        ConfigError: one is wrong; the message names it.
    """
    live = args.source == LIVE
    with naming(args.instance_id):
        return GatewaySettings(
            name=args.instance_id,
            source=None if live else Path(args.source),
            speed=args.speed,
            listen=args.listen,
            interfaces=tuple(args.interface),
            address=args.udp_address,
            allow=tuple(args.allow_sender),
            receive_buffer=int(args.receive_buffer * MIB),
            ports=ports_of(args),
            networks=tuple(args.networks),
            interval=args.interval,
            gathering=GatheringSettings(
                names=args.max_names,
                new_names=args.max_new_names,
                magic=args.alive_magic,
            ),
            search=SearchSettings(
                enabled=args.search,
                datagrams_per_second=args.search_rate,
                burst=args.search_burst,
                timeout=args.search_timeout,
                attempts=args.search_attempts,
            ),
            search_addresses=tuple(args.search_address),
            ask=AskingSettings(
                enabled=args.ask,
                datagrams_per_second=args.ask_rate,
                most_names=MOST_TEXTS,
                most_lines=MOST_TEXTS,
            ),
        )


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that :func:`gateway_settings` reads."""
    _add_source(group)
    _add_receiving(group)
    _add_ports(group)
    _add_limits(group)
    _add_searches(group)
    _add_asking(group)


def _add_source(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--source",
        default=LIVE,
        metavar="FILE",
        help="live, or a capture file (pcap, pcapng) that is replayed instead "
        "(default %(default)s)",
    )
    group.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="of the replay; 0: as fast as the router takes it (default %(default)g)",
    )
    group.add_argument(
        "--listen",
        choices=WAYS,
        default=WAYS[0],
        help="by capturing packets, which needs CAP_NET_RAW, or by sockets; auto captures if that "
        "is possible, else opens sockets where nobody on this host is harmed (default %(default)s)",
    )
    group.add_argument(
        "--interface",
        nargs="+",
        default=[],
        metavar="NAME",
        help="network interfaces on which packets are captured; while none of them has a carrier, "
        "nothing is told (default: all)",
    )


def _add_receiving(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--udp-address",
        default=EVERYWHERE,
        metavar="ADDRESS",
        help="IPv4 address to which sockets are bound (default %(default)s, which broadcasts need)",
    )
    add_allow_sender(group)
    add_receive_buffer(group, GatewaySettings.receive_buffer / MIB)
    group.add_argument(
        "--networks",
        nargs="+",
        default=[],
        metavar="NETWORK",
        help="what this gateway hears: the subnets of its interfaces, e.g. 10.0.1.0/24. Monitors "
        "take them for unheard while it is away, and only servers there are believed when it "
        "searches (default: any address)",
    )


def _add_ports(group: argparse._ArgumentGroup) -> None:
    add_port_options(group)
    group.add_argument(
        "--alive-magic",
        type=whole(0),
        metavar="N",
        help="magic number of this site's alive records; others are counted and left out "
        "(default: any)",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    told, default = GatheringSettings(), GatewaySettings("")
    group.add_argument(
        "--interval",
        type=seconds,
        default=default.interval,
        metavar="SECONDS",
        help="time from one summary to the next [s] (default %(default)g)",
    )
    group.add_argument(
        "--max-names",
        type=whole(1),
        default=told.names,
        metavar="N",
        help="names that have a number at a time (default %(default)s)",
    )
    group.add_argument(
        "--max-new-names",
        type=whole(1),
        default=told.new_names,
        metavar="N",
        help="new names in a second; more are told by their source only (default %(default)s)",
    )


def _add_searches(group: argparse._ArgumentGroup) -> None:
    search = SearchSettings()
    group.add_argument(
        "--search",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="search for names when a monitor asks for it (default false: nothing is sent)",
    )
    group.add_argument(
        "--search-address",
        nargs="+",
        default=[],
        metavar="ADDRESS",
        help="where searches are sent, mostly broadcast addresses; none unless given",
    )
    group.add_argument(
        "--search-rate",
        type=float,
        default=search.datagrams_per_second,
        metavar="RATE",
        help=f"datagrams with searches per second, {_CAP} (default %(default)g)",
    )
    group.add_argument(
        "--search-burst",
        type=whole(1),
        default=search.burst,
        metavar="N",
        help="most of them at once (default %(default)s)",
    )
    group.add_argument(
        "--search-timeout",
        type=seconds,
        default=search.timeout,
        metavar="SECONDS",
        help="how long answers are awaited [s] (default %(default)g)",
    )
    group.add_argument(
        "--search-attempts",
        type=whole(1),
        default=search.attempts,
        metavar="N",
        help="how often a name is searched for until it counts as not found (default %(default)s)",
    )


def _add_asking(group: argparse._ArgumentGroup) -> None:
    ask = AskingSettings()
    group.add_argument(
        "--ask",
        type=parse_bool,
        default=False,
        metavar="BOOL",
        help="ask applications that send heartbeats for their names and processes when a monitor "
        "asks for it (default false: nothing is sent)",
    )
    group.add_argument(
        "--ask-rate",
        type=float,
        default=ask.datagrams_per_second,
        metavar="RATE",
        help=f"questions per second, {_CAP} (default %(default)g)",
    )
