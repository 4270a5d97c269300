"""``socs tango``: the event system of a Tango site on the command line."""

from __future__ import annotations

from typing import Any

from socs.cli import tango_multicast, tango_query, tango_report, tango_watch

GROUPS = (tango_watch, tango_query, tango_report, tango_multicast)


def add_parser(commands: Any) -> None:
    """Add ``tango`` and its sub-commands to ``commands`` (of ``add_subparsers``)."""
    parser = commands.add_parser(
        "tango",
        help="look at Tango's events",
        description="The events of a Tango site: who publishes, who receives, who loses some.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for group in GROUPS:
        group.add_parser(actions)
