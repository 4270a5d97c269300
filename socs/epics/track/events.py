"""What the trackers tell: something happened, why we say so, and what we saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from socs.epics.networks import host_text

CA, PVA = 1, 2  # protocols, as columns of the inventory have them
PROTOCOLS = {CA: "CA", PVA: "PVA"}

Evidence = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Event:
    """Root of all events.

    Attributes:
        time: when it was noticed, UNIX time [s].
        kind: what happened, in capitals.
        cause: the rule by which we say so, in words that do not change.
        evidence: the numbers behind it.
    """

    time: float
    kind: str
    cause: str
    evidence: Evidence = field(default_factory=dict)


@dataclass(frozen=True)
class ServerEvent(Event):
    """Of a server, known by its beacons."""

    protocol: int = CA
    host: int = 0
    port: int = 0

    def __str__(self) -> str:
        where = f"{PROTOCOLS[self.protocol]} server {host_text(self.host)}:{self.port}"
        return f"{self.kind} {where}: {self.cause}"


@dataclass(frozen=True)
class PvEvent(Event):
    """Of a process variable: its number and name, and the server that it is about, if any."""

    number: int = -1
    name: bytes = b""
    protocol: int = 0
    host: int = 0
    port: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.name.decode(errors='backslashreplace')}: {self.cause}"


@dataclass(frozen=True)
class PvsEvent(Event):
    """Of all process variables of a server that were judged together."""

    count: int = 0
    examples: tuple[bytes, ...] = ()
    protocol: int = 0
    host: int = 0
    port: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.count} of {host_text(self.host)}:{self.port}: {self.cause}"


@dataclass(frozen=True)
class ApplicationEvent(Event):
    """Of an application that sends heartbeats."""

    key: str = ""
    host: int = 0
    port: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.key}: {self.cause}"


@dataclass(frozen=True)
class HostEvent(Event):
    """Of a host with applications."""

    host: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {host_text(self.host)}: {self.cause}"


SUBJECTS: dict[str, type[Event]] = {
    "server": ServerEvent,
    "pv": PvEvent,
    "pvs": PvsEvent,
    "application": ApplicationEvent,
    "host": HostEvent,
    "other": Event,
}
_SUBJECT_OF = {kind: subject for subject, kind in SUBJECTS.items()}


def subject_of(kind: type[Event]) -> str:
    """What events of this class are about, as tables and people call it."""
    return _SUBJECT_OF.get(kind, "other")
