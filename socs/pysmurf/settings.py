"""What a site configures for the pysmurf monitor, and the options it does it with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from socs.db.engine import data_dir
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.options import parse_bool

MIB = 1 << 20


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
        spool_dir=Path(args.data_dir or data_dir() / args.instance_id),
        spool_quota=int(args.spool_quota * MIB),
        receive_buffer=int(args.receive_buffer * MIB),
        create_table=args.create_table,
    )


def row_constants(args: argparse.Namespace) -> RowConstants:
    """What parsed options put into every row, and how files are read."""
    return RowConstants(
        site=args.site_name or args.address_root,
        instance_id=args.instance_id,
        settle=args.settle_time,
        file_attempts=args.file_attempts,
    )


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
    group.add_argument(
        "--allow-sender",
        nargs="+",
        default=[],
        metavar="NETWORK",
        help="networks whose datagrams are taken, e.g. 10.0.1.0/24 (default: all)",
    )
    group.add_argument(
        "--create-table",
        type=parse_bool,
        default=True,
        metavar="BOOL",
        help="create the files table if it is missing (default true)",
    )
    group.add_argument(
        "--data-root",
        nargs="+",
        default=["/data"],
        metavar="DIR",
        help="directories below which announced files may be read (default /data); give each file "
        "server one, for one that hangs holds up the files of its directory only",
    )
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help="directory of the spool (default: INSTANCE-ID below SOCS_DATA_DIR, which is "
        "~/.local/share/socs unless set)",
    )
    group.add_argument(
        "--spool-quota",
        type=float,
        default=1024,
        metavar="MIB",
        help="disk space for the spool [MiB]; 1 MiB holds about 2500 files (default %(default)s)",
    )
    group.add_argument(
        "--receive-buffer",
        type=float,
        default=32,
        metavar="MIB",
        help="receive buffer asked of the kernel [MiB] (default %(default)s); granted up to "
        "net.core.rmem_max",
    )
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
    group.add_argument(
        "--site-name",
        metavar="NAME",
        help="site noted in each row (default: the address root)",
    )
