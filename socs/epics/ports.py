"""On which UDP ports a site's EPICS programs talk."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from socs.errors import ConfigError

HIGHEST_PORT = 0xFFFF


@dataclass(frozen=True)
class EpicsPorts:
    """UDP ports, by what is said there.

    Attributes:
        ca: searches of Channel Access (``EPICS_CA_SERVER_PORT``).
        beacons: beacons of Channel Access (``EPICS_CA_REPEATER_PORT``).
        pva: searches and beacons of PV Access (``EPICS_PVA_BROADCAST_PORT``).
        heartbeats: heartbeats of applications as JSON.
        alive: heartbeats of the ``alive`` record.

    Raises:
        ConfigError: one is no port, or two are the same.
    """

    ca: int = 5064
    beacons: int = 5065
    pva: int = 5076
    heartbeats: int = 5066
    alive: int = 5678

    def __post_init__(self) -> None:
        ports = self.by_use()
        for use, port in ports.items():
            if not 1 <= port <= HIGHEST_PORT:
                raise ConfigError(f"port of {use}: {port} is not between 1 and {HIGHEST_PORT}")
        if len(set(ports.values())) < len(ports):
            raise ConfigError(f"ports: two of them are the same: {ports}")

    def by_use(self) -> dict[str, int]:
        """``{"ca": 5064, ...}``."""
        return asdict(self)


USES = frozenset(EpicsPorts().by_use())
