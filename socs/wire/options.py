"""The options that every agent has which receives datagrams."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from socs.options import mebibytes


def add_allow_sender(group: argparse._ActionsContainer, default: Sequence[str] | None = ()) -> None:
    """Add ``--allow-sender``. ``default``: None if the networks may come from elsewhere."""
    group.add_argument(
        "--allow-sender",
        nargs="+",
        default=default,
        metavar="NETWORK",
        help="networks whose datagrams are taken, e.g. 10.0.1.0/24 (default: all)",
    )


def add_receive_buffer(
    group: argparse._ActionsContainer, default: float | None, said: str = "%(default)g"
) -> None:
    """Add ``--receive-buffer``.

    Args:
        group: of options.
        default: [MiB]; None if it may come from elsewhere.
        said: how the help shows the default.
    """
    group.add_argument(
        "--receive-buffer",
        type=mebibytes,
        default=default,
        metavar="MIB",
        help=f"receive buffer asked of the kernel [MiB] (default: {said}); granted up to "
        "net.core.rmem_max",
    )
