"""The options of agents that register files, and the settings that these make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypedDict

from socs.db.engine import data_dir
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.options import MIB, mebibytes, parse_bool


class SpoolSettings(TypedDict):
    """Settings by their names in those of a stream, and in :class:`.FileRegister`.

    Attributes:
        spool_dir: directory of the spool.
        spool_quota: bytes on disk that it may use.
        create_table: create the files table if it is missing.
    """

    spool_dir: Path
    spool_quota: int
    create_table: bool


def spool_settings(args: argparse.Namespace) -> SpoolSettings:
    """Where files wait for the database; of parsed options."""
    return SpoolSettings(
        spool_dir=Path(args.data_dir or data_dir() / args.instance_id),
        spool_quota=int(args.spool_quota * MIB),
        create_table=args.create_table,
    )


def row_constants(
    args: argparse.Namespace,
    *,
    settle: float = 0.0,
    file_attempts: int = RowConstants.file_attempts,
) -> RowConstants:
    """What parsed options put into every row.

    Args:
        args: the options.
        settle: seconds for which a file must have been left alone; our own are complete at once.
        file_attempts: attempts at a missing or unreadable file before it is *failed*.
    """
    return RowConstants(
        site=args.site_name or args.address_root,
        instance_id=args.instance_id,
        settle=settle,
        file_attempts=file_attempts,
    )


def add_options(group: argparse._ArgumentGroup, data_dir_holds: str = "the spool") -> None:
    """Add the options that :func:`spool_settings` and :func:`row_constants` read."""
    group.add_argument(
        "--data-dir",
        metavar="DIR",
        help=f"directory of {data_dir_holds} (default: INSTANCE-ID below SOCS_DATA_DIR, which is "
        "~/.local/share/socs unless set)",
    )
    group.add_argument(
        "--spool-quota",
        type=mebibytes,
        default=DEFAULT_QUOTA / MIB,
        metavar="MIB",
        help="disk space for the spool [MiB]; 1 MiB holds about 2500 files (default %(default)g)",
    )
    group.add_argument(
        "--create-table",
        type=parse_bool,
        default=True,
        metavar="BOOL",
        help="create the files table if it is missing (default true)",
    )
    group.add_argument(
        "--site-name",
        metavar="NAME",
        help="site noted in each row (default: the address root)",
    )
