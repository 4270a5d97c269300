"""Simulated EPICS servers that send beacons by simulated time."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from socs.epics.decode.ca import CA_BEACON
from socs.epics.track.beacons import Beacons
from socs.epics.track.events import ServerEvent
from socs.epics.track.settings import TrackSettings
from tests.epics_packets import address
from tests.one_gateway import OneGateway

SUBNETS = ("10.0.0.0/8",)
SETTINGS = TrackSettings(SUBNETS)
T0 = 1_700_000_000.0


def schedule(period: float = 15.0):
    """(time since the start, number) of the beacons of an IOC of EPICS 7."""
    yield 0.0, 0
    time, spacing = 0.02, 0.02
    for number in itertools.count():
        yield time, number
        spacing = min(2 * spacing, period)
        time += spacing


def single_schedule(period: float = 15.0):
    """The same of a server that sends the number 0 once, as caproto does."""
    return itertools.islice(schedule(period), 1, None)


@dataclass
class Watch:
    """A tracker, and what it told."""

    settings: TrackSettings = SETTINGS
    since: float = T0 - 1.0
    told: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sight = OneGateway(self.since)
        self.beacons = Beacons(self.settings, self.sight)

    def beacon(
        self, number: int, now: float, host: str = "10.0.0.2", port: int = 5064, named: str = ""
    ) -> list[str]:
        """A beacon arrives; the kinds of events that it gives."""
        row = (0, number, address(named) if named else 0, port, 13)
        events = self.beacons.feed_ca(
            np.array([row], CA_BEACON), np.array([address(host)], np.uint32), now
        )
        self.told += events
        return [event.kind for event in events]

    def tick(self, now: float) -> list[str]:
        events = self.beacons.tick(now)
        self.told += events
        return [event.kind for event in events]

    def run(self, start: float, stop: float, beacons=None, **where: Any) -> None:
        """A server starts, and is gone at ``stop``; ticks each second."""
        queue = [(start, 0, None)]
        for time, number in beacons or schedule():
            if start + time >= stop:
                break
            heapq.heappush(queue, (start + time, 1, number))
        queue += [(t, 2, None) for t in np.arange(math.ceil(start), stop, 1.0).tolist()]
        for now, kind, number in sorted(queue, key=lambda each: each[:2]):
            if kind == 1:
                self.beacon(number, now, **where)
            else:
                self.tick(now)

    def silence(self, start: float, stop: float) -> None:
        for now in np.arange(start, stop, 1.0).tolist():
            self.tick(now)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    def last(self) -> ServerEvent:
        return self.told[-1]
