"""Packets whose TACKs lead away from all others, until enough of them agree.

One such packet may be a fault. When the clock of the camera was set anew, or the camera paused,
soon more modules say the same.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.decode import Packets

MAX_HELD = 128  # packets; four of each module. Of 1.4 kB usually, at most 9.2 kB


class Packet(NamedTuple):
    """One packet: its module, the TACKs (k,) and the parts (k,) as on the wire."""

    module: int
    tacks: NDArray[np.uint64]
    parts: NDArray[np.void]
    cpu_ns: int  # UTC at which it arrived [ns since 1970]
    arrived: float  # monotonic [s]
    cause: str = ""  # the counter of its parts if it is refused

    def held(self, cause: str) -> Packet:
        """A copy that outlives the batch."""
        return self._replace(tacks=self.tacks.copy(), parts=self.parts.copy(), cause=cause)


def single(packets: Packets, row: int, now: float) -> Packet:
    """One of ``packets``, all of k parts, not copied; they are fed at ``now``."""
    return Packet(
        int(packets.modules[row]),
        packets.tacks[row],
        packets.parts[row],
        nanoseconds(packets.received),
        now,
    )


def nanoseconds(seconds: float) -> int:
    """A time in whole ns."""
    return round(seconds * 1_000_000_000)


def distance(tack: int, other: int) -> int:
    """From ``other`` to ``tack`` modulo 2**64: from -2**63 to 2**63 - 1 [ns]."""
    return (tack - other + (1 << 63)) % (1 << 64) - (1 << 63)


class Quarantine:
    """Holds packets, at most `MAX_HELD`.

    Args:
        reach: TACKs so far apart still belong together [ns].
        patience: how long a packet is held [s].
    """

    def __init__(self, reach: int, patience: float) -> None:
        self._reach, self._patience = reach, patience
        self._held: deque[Packet] = deque()

    @property
    def parts(self) -> int:
        """Parts in all packets held."""
        return sum(len(packet.tacks) for packet in self._held)

    def add(self, packet: Packet, packets: int, modules: int) -> list[Packet]:
        """Hold ``packet``, or release it with those that agree, in the order of arrival.

        They are released if they are at least so many packets, of at least so many modules.
        """
        self._held.append(packet)
        if len({held.module for held in self._held}) < modules or len(self._held) < packets:
            return []
        agreeing = [held for held in self._held if self._agree(held, packet)]
        if len({held.module for held in agreeing}) < modules or len(agreeing) < packets:
            return []
        gone = set(map(id, agreeing))
        self._held = deque(held for held in self._held if id(held) not in gone)
        return agreeing

    def refuse(self, now: float) -> list[Packet]:
        """Those that were held for too long, or are too many."""
        refused = []
        while self._held and (
            len(self._held) > MAX_HELD or now - self._held[0].arrived > self._patience
        ):
            refused.append(self._held.popleft())
        return refused

    def empty(self) -> list[Packet]:
        """All that are held; none is any more."""
        refused = list(self._held)
        self._held.clear()
        return refused

    def _agree(self, one: Packet, other: Packet) -> bool:
        ahead = distance(int(one.tacks[0]), int(other.tacks[-1]))
        behind = distance(int(other.tacks[0]), int(one.tacks[-1]))
        return max(ahead, behind) <= self._reach
