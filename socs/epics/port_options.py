"""The options that tell on which UDP ports a site's EPICS programs talk."""

from __future__ import annotations

import argparse

from socs.epics.ports import EpicsPorts
from socs.options import whole

_SAID = {
    "ca": "searches of Channel Access",
    "beacons": "beacons of Channel Access",
    "pva": "searches and beacons of PV Access",
    "heartbeats": "heartbeats of applications as JSON",
    "alive": "heartbeats of alive records",
}


def add_port_options(group: argparse._ActionsContainer) -> None:
    """Add ``--port-ca`` and so on, one for each use."""
    for use, port in EpicsPorts().by_use().items():
        group.add_argument(
            f"--port-{use}",
            type=whole(1),
            default=port,
            metavar="N",
            help=f"UDP port of {_SAID[use]} (default %(default)s)",
        )


def ports_of(args: argparse.Namespace) -> EpicsPorts:
    """The ports in parsed options.

    Raises:
        ConfigError: one is no port, or two are the same.
    """
    return EpicsPorts(**{use: getattr(args, f"port_{use}") for use in _SAID})
