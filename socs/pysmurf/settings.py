"""What a site configures for the pysmurf monitor, and the options it does it with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from socs.db import options as db_options
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.options import MIB
from socs.wire.options import add_allow_sender, add_receive_buffer


@dataclass(frozen=True)
class StreamSettings:
    """What a site configures.

    Attributes:
        bind: address to listen on.
        port: UDP port to listen on; 0 takes a free one.
        allow: networks whose senders are heard; empty for all.
        roots: directories below which announced files may be read.
        spool_dir: directory of the spool.
        spool_quota: bytes on disk that the spool may use.
        receive_buffer: bytes asked of the kernel for the socket.
        create_table: create the files table if it is missing.
    """

    bind: str
    port: int
    allow: Sequence[str]
    roots: Sequence[str]
    spool_dir: Path
    spool_quota: int = DEFAULT_QUOTA
    receive_buffer: int = 32 << 20
    create_table: bool = True


def stream_settings(args: argparse.Namespace) -> StreamSettings:
    """The settings in parsed options."""
    return StreamSettings(
        bind=args.udp_address,
        port=args.udp_port,
        allow=args.allow_sender,
        roots=args.data_root,
        receive_buffer=int(args.receive_buffer * MIB),
        **db_options.spool_settings(args),
    )


def row_constants(args: argparse.Namespace) -> RowConstants:
    """What parsed options put into every row, and how files are read."""
    return db_options.row_constants(args, settle=args.settle_time, file_attempts=args.file_attempts)


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that :func:`stream_settings` and :func:`row_constants` read."""
    group.add_argument(
        "--udp-port",
        type=int,
        default=8200,
        metavar="PORT",
        help="UDP port to listen on (default %(default)s)",
    )
    group.add_argument(
        "--udp-address",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="IPv4 address to listen on; 0.0.0.0 for all interfaces (default %(default)s)",
    )
    add_allow_sender(group)
    group.add_argument(
        "--data-root",
        nargs="+",
        default=["/data"],
        metavar="DIR",
        help="directories below which announced files may be read (default /data); give each file "
        "server one, for one that hangs holds up the files of its directory only",
    )
    add_receive_buffer(group, StreamSettings.receive_buffer / MIB)
    group.add_argument(
        "--settle-time",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="a file changed more recently is still being written [s] (default %(default)s)",
    )
    group.add_argument(
        "--file-attempts",
        type=int,
        default=15,
        metavar="N",
        help="attempts at a file that is missing or unreadable, over about 10 minutes, before it "
        "comes to rest as failed (default %(default)s)",
    )
    db_options.add_options(group)
