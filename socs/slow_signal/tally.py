"""What the assembler counts, and what it has to say about settings and clocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import MODULES

TROUBLE_LASTS = 60.0  # s that a trouble is told of after it was last seen

# of each module, too
PARTS = (
    "parts_placed",
    "parts_duplicate",
    "parts_late",
    "parts_conflicting",
    "parts_implausible",
    "parts_missing",
)
OTHERS = (
    "parts_decoded",
    "parts_out",
    "readouts_out",
    "readouts_complete",
    "readouts_timed_out",
    "readouts_flushed",
    "readouts_evicted",
    "readouts_cut_off",
    "packets_window_too_wide",
    "tack_restarts",
)


class Tally:
    """Counts by name (:data:`socs.counters.SLOW_SIGNAL`), those of parts for each module, too."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(OTHERS, 0)
        self._parts = {name: np.zeros(MODULES, np.int64) for name in PARTS}
        self._troubles: dict[str, tuple[str, float]] = {}

    def add(self, name: str, amount: int = 1) -> None:
        """Add to one of `OTHERS`."""
        self._counts[name] += amount

    def add_parts(self, name: str, module: int, amount: int) -> None:
        """Add to one of `PARTS`."""
        self._parts[name][module] += amount

    def add_of_modules(self, name: str, amounts: NDArray[np.int64]) -> None:
        """Add to one of `PARTS`, (32,) for all modules."""
        self._parts[name] += amounts

    def totals(self) -> dict[str, int]:
        """All counts, over all modules."""
        return self._counts | {name: int(counts.sum()) for name, counts in self._parts.items()}

    def of_module(self, module: int) -> dict[str, int]:
        """`PARTS` of one module."""
        return {name: int(counts[module]) for name, counts in self._parts.items()}

    def trouble(self, kind: str, text: str, now: float) -> None:
        """There is ``text`` to say at the monotonic time ``now`` [s]."""
        self._troubles[kind] = text, now

    def troubles(self, now: float) -> dict[str, str]:
        """What there was to say in the last `TROUBLE_LASTS`, by kind."""
        return {
            kind: text
            for kind, (text, seen) in self._troubles.items()
            if now - seen <= TROUBLE_LASTS
        }
