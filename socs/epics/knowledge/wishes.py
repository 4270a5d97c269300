"""What a monitor wants of its gateways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from socs.epics.search.searcher import Priority


@dataclass(frozen=True)
class Resync:
    """Begin a new epoch: numbers were used that the monitor does not know."""

    gateway: str


@dataclass(frozen=True)
class Search:
    """Search for these names."""

    gateway: str
    names: tuple[bytes, ...]
    priority: Priority


@dataclass(frozen=True)
class Ask:
    """Ask an application that sends heartbeats.

    Attributes:
        what: for its ``names``, or for its host's ``lines`` of sockets and processes.
        host, port: where its heartbeats come from.
        sequence: number of its last heartbeat.
        server: TCP port of its server; 0 if that is not known.
    """

    gateway: str
    what: Literal["names", "lines"]
    host: int
    port: int
    sequence: int
    server: int = 0


Wish = Resync | Search | Ask
