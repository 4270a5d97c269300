"""What is written down each minute, and published: how many of what, and how often.

The names of the numbers are fixed; those of requests depend on the classes of sources alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from socs.epics.accounts.inventory import Inventory
from socs.epics.knowledge.joining import Join
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.life import State
from socs.epics.track.pvs import Pvs

LIVES: tuple[State, ...] = ("ALIVE", "LOST")


class Measured(Protocol):
    """What is measured: the parts of a monitor's knowledge."""

    @property
    def inventory(self) -> Inventory: ...
    @property
    def pvs(self) -> Pvs: ...
    @property
    def beacons(self) -> Beacons: ...
    @property
    def applications(self) -> Applications: ...


def totals(known: Measured) -> dict[str, int]:
    """How many there are now, by state."""
    found = {f"pvs_{state.lower()}": count for state, count in known.pvs.totals().items()}
    found["pvs"] = len(known.inventory)
    for name, states in (
        ("servers", [server.state for server in known.beacons.servers.values()]),
        ("applications", [each.state for each in known.applications.known.values()]),
    ):
        found |= {f"{name}_{life.lower()}": states.count(life) for life in LIVES}
    found["sources"] = len(known.inventory.sources)
    return found


def counts(known: Measured) -> dict[str, int]:
    """How many there were so far: requests by class of source, beacons, heartbeats."""
    sources = known.inventory.sources
    by_class = np.bincount(
        sources.classed[: sources.end],
        weights=sources.requests[: sources.end].astype(np.float64),
        minlength=len(sources.classes.names),
    )
    found = {
        f"requests_{name}": int(count)
        for name, count in zip(sources.classes.names, by_class.tolist(), strict=True)
    }
    found["beacons"] = known.beacons.counts["beacons_taken"]
    found["heartbeats"] = known.applications.counts["heartbeats_taken"]
    return found


def of_gateways(joins: Sequence[Join], configured: int, now: float) -> dict[str, float]:
    """How many report, and how many do not, for how long [s] together.

    Args:
        joins: of those that have reported.
        configured: so many should.
        now: UNIX time [s].
    """
    blind = [max(now - join.ended, 0.0) for join in joins if not join.live]
    return {
        "gateways_live": len(joins) - len(blind),
        "gateways_blind": len(blind) + configured - len(joins),
        "gateways_blind_seconds": sum(blind),
    }


class Rates:
    """How often things happened since it was asked before, per second."""

    def __init__(self) -> None:
        self._counts: Mapping[str, int] = {}
        self._time = 0.0

    def of(self, counts: Mapping[str, int], now: float) -> dict[str, float]:
        """``{name}_rate`` of each; 0 the first time, and for what was set back.

        Args:
            counts: so far.
            now: any clock that goes on [s].
        """
        elapsed = now - self._time
        before, self._counts, self._time = self._counts, dict(counts), now
        return {
            f"{name}_rate": max(count - before.get(name, count), 0) / elapsed
            if elapsed > 0
            else 0.0
            for name, count in counts.items()
        }
