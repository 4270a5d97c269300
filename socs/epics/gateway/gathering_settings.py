"""How much a gateway tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from socs.epics.accounts.name_rule import NameRule
from socs.epics.accounts.names import MOST_NAMES as MOST_NUMBERS
from socs.epics.decode.ca import SERVER_PORT
from socs.epics.ports import EpicsPorts
from socs.epics.summary import MOST_ROWS, MOST_SOURCES
from socs.errors import ConfigError


@dataclass(frozen=True)
class GatheringSettings:
    """How much is told.

    Attributes:
        names: of one epoch.
        new_names: most new names in a second; a request beyond that counts for its source only.
        sources: told apart in one summary; the requests of others are those of source 0.0.0.0:0.
        pairs: different ones of name and source in one summary; further requests, until it is
            taken, count for their source only.
        rows: of beacons, answers and heartbeats each, in one summary; more are left out.
        findings: results of our own searches and questions that wait for their summary.
        heartbeat_bytes: of heartbeats in one summary.
        rule: where a name ends.
        server_port: what a Channel Access server means that does not say its port.
        beacon_port: to which beacons are sent. What is captured from there, to another port, is a
            repeater's; it has been seen before.
        magic: of ``alive`` records that are taken; None takes any.

    Raises:
        ConfigError: a value is not possible.
    """

    names: int = 1_000_000
    new_names: int = 200_000
    sources: int = 16_384
    pairs: int = 1 << 20
    rows: int = MOST_ROWS
    findings: int = 65_536
    heartbeat_bytes: int = 1 << 20
    rule: NameRule = field(default_factory=NameRule)
    server_port: int = SERVER_PORT
    beacon_port: int = EpicsPorts.beacons
    magic: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "names": MOST_NUMBERS,
            "new_names": MOST_NUMBERS,
            "sources": MOST_SOURCES - 1,
            "pairs": 1 << 24,
            "rows": MOST_ROWS,
            "findings": 1 << 20,
            "heartbeat_bytes": 1 << 24,
        }
        for name, most in limits.items():
            if not 0 < getattr(self, name) <= most:
                raise ConfigError(f"{name}: {getattr(self, name)} is not from 1 to {most}")
