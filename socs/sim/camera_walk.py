"""What the simulated camera measures: amplitudes that can be worked out again for any readout."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import MODULES, MV_PER_COUNT, PIXELS

START = 400.0  # mV; each pixel begins between 0 and this
STEP = 4.0  # mV; most that a pixel changes from readout to readout
LENGTH = 1000  # readouts of a walk, by default
MAX_LENGTH = 100_000
MAX_COUNT = 65_535


class Walk:
    """A random walk of each pixel, for ever: ``length`` readouts onwards, then the same way back.

    The counts of a readout follow from ``seed``, ``length``, the module and the readout's index,
    which is its TACK divided by the time from readout to readout. Modules are independent: a
    process that plays one of them makes what another makes that plays all.

    Args:
        seed: of all choices.
        length: readouts until it turns back, 2 to `MAX_LENGTH`.
        modules: those that are wanted; the others are 0.

    Attributes:
        cycle: readouts after which everything repeats.
        counts: uint16, shape (cycle, 32, 64).
    """

    def __init__(
        self, seed: int, length: int = LENGTH, modules: Iterable[int] = range(MODULES)
    ) -> None:
        onward = np.zeros((length, MODULES, PIXELS), np.uint16)
        for module in modules:
            chance = np.random.default_rng([seed, module])
            steps = chance.uniform(-STEP, STEP, (length, PIXELS))
            steps[0] = chance.uniform(0, START, PIXELS)
            amplitudes = np.abs(steps.cumsum(axis=0))  # turned back where it would be below 0
            onward[:, module] = np.minimum(amplitudes / MV_PER_COUNT, MAX_COUNT)
        self.counts: NDArray[np.uint16] = np.concatenate([onward, onward[-2:0:-1]])
        self.cycle = len(self.counts)

    def at(self, indices: NDArray[np.integer] | int) -> NDArray[np.uint16]:
        """Counts of the readouts with these ``indices`` (...,): shape (..., 32, 64)."""
        counts: NDArray[np.uint16] = self.counts[np.asarray(indices) % self.cycle]
        return counts
