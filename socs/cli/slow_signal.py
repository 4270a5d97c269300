"""``socs slow-signal``: camera readouts on the command line."""

from __future__ import annotations

from typing import Any

from socs.cli import slow_signal_dump, slow_signal_info, slow_signal_plot, slow_signal_simulate


def add_parser(commands: Any) -> None:
    """Add ``slow-signal`` and its sub-commands to ``commands`` (of ``add_subparsers``)."""
    parser = commands.add_parser(
        "slow-signal",
        help="print and draw camera readouts, look at their files, play a camera",
        description="Readouts of the camera: of files, or of a builder that publishes them.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for module in (slow_signal_dump, slow_signal_info, slow_signal_plot, slow_signal_simulate):
        module.add_command(actions)
