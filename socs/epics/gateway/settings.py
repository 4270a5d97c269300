"""What a gateway is to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from socs.epics.applications.asking import AskingSettings
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.gateway.listening import EVERYWHERE, Wanted
from socs.epics.networks import Networks
from socs.epics.ports import EpicsPorts
from socs.epics.search.searcher import SearchSettings
from socs.epics.summary import MOST_NETWORKS
from socs.errors import ConfigError

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.05, 10.0  # s
LONGEST_GATHER = 1.0  # s


@dataclass(frozen=True)
class GatewaySettings:
    """What a gateway does.

    Attributes:
        name: of the gateway, unique at its site.
        source: a capture file in place of the network.
        speed: of the file; see :class:`~socs.epics.gateway.replay.Replay`.
        listen, interfaces, address, allow, receive_buffer: see
            :class:`~socs.epics.gateway.listening.Listening`.
        ports: of the site.
        networks: what is heard, as text; empty for any address. Only answers from there to our own
            searches are believed, and only applications there are asked.
        interval: of summaries [s].
        gather: how long datagrams become more until they are taken [s].
        gathering: how much is told; its ports are those of the site.
        search: how to search.
        search_addresses: where own searches are sent, mostly broadcast addresses.
        ask: how to ask applications.

    Raises:
        ConfigError: a value is not possible.
    """

    name: str
    source: Path | None = None
    speed: float = 1.0
    listen: Wanted = "auto"
    interfaces: Sequence[str] = ()
    address: str = EVERYWHERE
    allow: Sequence[str] = ()
    receive_buffer: int = 32 << 20
    ports: EpicsPorts = field(default_factory=EpicsPorts)
    networks: Sequence[str] = ()
    interval: float = 0.5
    gather: float = 0.02
    gathering: GatheringSettings = field(default_factory=GatheringSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    search_addresses: Sequence[str] = ()
    ask: AskingSettings = field(default_factory=AskingSettings)

    def __post_init__(self) -> None:
        if not SHORTEST_INTERVAL <= self.interval <= LONGEST_INTERVAL:
            limits = f"from {SHORTEST_INTERVAL:g} to {LONGEST_INTERVAL:g} s"
            raise ConfigError(f"interval: {self.interval:g} s is not {limits}")
        if not 0 <= self.gather <= LONGEST_GATHER:
            raise ConfigError(f"gather: {self.gather:g} s is not from 0 to {LONGEST_GATHER:g} s")
        if self.search.enabled and not self.search_addresses:
            raise ConfigError("search_addresses: give those to which searches are to be sent")
        if self.source is not None and (self.search.enabled or self.ask.enabled):
            raise ConfigError("source: with a file there is nobody to search for or to ask")
        Networks(self.networks, "networks")
        if len(self.networks) > MOST_NETWORKS:
            raise ConfigError(f"networks: {len(self.networks)} are more than {MOST_NETWORKS}")
