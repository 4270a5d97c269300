"""Connections to servers, whose errors say in words what is wrong."""

from __future__ import annotations

import asyncio
import os
import socket

from socs.epics.cainfo.addresses import Destination
from socs.errors import PeerError

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(address: Destination) -> Streams:
    """A connection over TCP and IPv4.

    Raises:
        PeerError: nobody listens there, or there is no way to it.
    """
    try:
        return await asyncio.open_connection(*address, family=socket.AF_INET)
    except (OSError, UnicodeError) as error:
        raise PeerError(f"no connection to {address[0]}:{address[1]}: {words(error)}") from error


def words(error: OSError | UnicodeError) -> str:
    """What the system says, without numbers and addresses."""
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or not error.errno:
        return str(error)
    return os.strerror(error.errno)
