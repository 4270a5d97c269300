"""``socs epics``: process variables and their servers on the command line."""

from __future__ import annotations

from typing import Any

from socs.cli import (
    epics_cainfo,
    epics_events,
    epics_export,
    epics_replay,
    epics_search,
    epics_watch,
    epics_who,
)

COMMANDS = (
    *(epics_watch, epics_who, epics_search, epics_events, epics_cainfo),
    *(epics_export, epics_replay),
)


def add_parser(commands: Any) -> None:
    """Add ``epics`` and its sub-commands to ``commands`` (of ``add_subparsers``)."""
    parser = commands.add_parser(
        "epics",
        help="look at EPICS",
        description="Process variables and their servers: what a PV monitor knows, what servers "
        "say, and what capture files tell.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for command in COMMANDS:
        command.add_command(actions)
