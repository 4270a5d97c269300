"""Readouts made into one: mean and standard deviation of each pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs.cli.slow_signal_source import Shown
from socs.slow_signal.layout import MODULES, PIXELS


class Average:
    """See the module.

    Attributes:
        first, last: of the readouts that were added; None before that.
    """

    def __init__(self) -> None:
        self.first: Shown | None = None
        self.last: Shown | None = None
        self._count = 0
        self._seen = np.zeros((MODULES, PIXELS), np.int64)
        self._mean = np.zeros((MODULES, PIXELS))
        self._squares = np.zeros((MODULES, PIXELS))  # of distances from the mean

    def __len__(self) -> int:
        return self._count

    def add(self, readout: Shown) -> None:
        """Add a readout, whose pixels are as they are sent."""
        self.first, self.last = self.first or readout, readout
        self._count += 1
        there = ~np.isnan(readout.amplitudes)
        self._seen += there
        # Welford's way: no digits are lost, however many there are.
        away = np.where(there, readout.amplitudes - self._mean, 0.0)
        self._mean += away / np.maximum(self._seen, 1)
        self._squares += np.where(there, away * (readout.amplitudes - self._mean), 0.0)

    def mean(self) -> NDArray[np.float64]:
        """Of each pixel over the readouts that have it: (32, 64), else NaN [mV]."""
        return np.where(self._seen > 0, self._mean, np.nan)

    def spread(self) -> NDArray[np.float64]:
        """Standard deviation of each pixel: (32, 64), NaN where no readout has it [mV]."""
        return np.where(self._seen > 0, np.sqrt(self._squares / np.maximum(self._seen, 1)), np.nan)
