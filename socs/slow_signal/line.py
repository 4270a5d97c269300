"""Where the TACKs of the camera are: of all modules, and of each.

The camera's TACKs are one *line* until its clock is set anew or it pauses; then another begins.
TACKs here are signed distances from the base of the line, so that they may pass 2**64 [ns].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import MODULES

NEVER = 1 << 62  # a TACK that no readout has; the others keep below half of it
BASE_MOVES_AT = NEVER // 8  # ns, 18 years


class Line:
    """See the module.

    Args:
        patience: time without packets after which a module is not heard any more [s].

    Attributes:
        begun: is there a line at all?
        newest: the highest TACK that came.
        out: TACK of the last readout that went out; what is not later comes too late.
        heard: when each module last sent what belongs to the line, monotonic [s].
        heard_any: when any of them did.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._base = np.uint64(0)
        self._latest = np.full(MODULES, -NEVER, np.int64)  # of each module
        self.begun = False
        self.newest = self.out = 0
        self.heard = np.full(MODULES, -math.inf)
        self.heard_any = -math.inf

    def begin(self, tack: int, window: int, reach: int) -> None:
        """A new line, with the readout at ``tack`` or one up to ``reach`` before it [ns]."""
        self.begun = True
        self._base = np.uint64(tack)
        self._latest[:] = -NEVER
        self.newest, self.out = -window, -reach

    def on_line(self, tacks: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Distances of ``tacks`` from the base, modulo 2**64, signed."""
        distances: NDArray[np.int64] = (tacks - self._base).view(np.int64)
        return distances

    def move_base(self) -> int:
        """Move the base near the newest TACK if that is far away; how far it was moved [ns]."""
        distance = self.newest if self.newest > BASE_MOVES_AT else 0
        if distance:
            self._base = self._base + np.uint64(distance)
            self._latest = np.maximum(self._latest - distance, -NEVER)
            self.newest -= distance
            self.out -= distance
        return distance

    def heard_of(self, modules: NDArray[np.uint8], newest: NDArray[np.int64], now: float) -> None:
        """Packets of ``modules`` (n,) came that belong to the line, with ``newest`` (n,) TACKs."""
        np.maximum.at(self._latest, modules, newest)
        self.heard[modules] = self.heard_any = now
        self.newest = max(self.newest, int(newest.max()))

    def latest(self, modules: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The newest TACK of each of ``modules``; -`NEVER` if there is none."""
        return self._latest[modules]

    def clock(self, now: float) -> int:
        """The TACK that time has got to: two modules have sent it, unless one alone is heard.

        So one module that is ahead of all others does not hurry them.
        """
        heard = self.heard >= now - self._patience
        tacks = np.sort(np.where(heard, self._latest, -NEVER))
        return int(tacks[-2]) if tacks[-2] > -NEVER else int(tacks[-1])

    def is_silent(self, now: float) -> bool:
        """Has nothing that belongs to the line come lately?"""
        return now - self.heard_any > self._patience

    def modules_heard(self) -> int:
        """How many modules were heard lately, as of the last packet that belongs to the line."""
        return int(np.count_nonzero(self.heard >= self.heard_any - self._patience))
