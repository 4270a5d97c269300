"""How amplitudes change from readout to readout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.cli.slow_signal_source import SECOND, Shown
from socs.slow_signal.layout import MODULES

GAP = 2.5  # times the usual step: nothing was read out between


class Binned(NamedTuple):
    """Means of successive readouts.

    Attributes:
        borders: between them, (k + 1,) [s since 1970, or since the first readout].
        moments: mean times of the readouts, (k,) [s].
        values: (k, rows) [mV]; NaN where nothing was measured, and in an entry of its own for each
            time without readouts.
    """

    borders: NDArray[np.float64]
    moments: NDArray[np.float64]
    values: NDArray[np.float64]


class History:
    """The mean of each of some modules, or each of some pixels of one, in every readout.

    Args:
        modules: which; all by default.
        pixels: of the one module, each for itself.
        rms: the root of the mean square instead of the mean.
    """

    def __init__(
        self,
        modules: Sequence[int] | None = None,
        pixels: Sequence[int] | None = None,
        *,
        rms: bool = False,
    ) -> None:
        self.modules = list(range(MODULES)) if modules is None else list(modules)
        self.pixels = None if pixels is None else list(pixels)
        self.rms = rms
        self._values: list[NDArray[np.float32]] = []
        self._times: list[tuple[int, int]] = []  # UTC, TACK [ns]

    def __len__(self) -> int:
        return len(self._values)

    def add(self, readout: Shown) -> None:
        """Add a readout."""
        self._times.append((readout.cpu_ns, readout.tack))
        some = readout.amplitudes[self.modules]
        if self.pixels is not None:
            self._values.append(some[0, self.pixels].astype(np.float32))
            return
        there = ~np.isnan(some)
        known = np.where(there, some, 0.0).astype(np.float64)
        number = there.sum(axis=1)
        means = (known**2 if self.rms else known).sum(axis=1) / np.maximum(number, 1)
        values = np.sqrt(means) if self.rms else means
        self._values.append(np.where(number > 0, values, np.nan).astype(np.float32))

    @property
    def is_utc(self) -> bool:
        """Do all readouts have a time? Else their TACKs are taken."""
        return all(cpu_ns > 0 for cpu_ns, _ in self._times)

    def times(self) -> NDArray[np.int64]:
        """When the readouts were, in order: UTC, or else since the first of them [ns]."""
        column = 0 if self.is_utc else 1
        times = np.array([each[column] for each in self._times], np.uint64)
        if column:
            times -= times.min()
        return np.sort(times.view(np.int64))

    def values(self) -> NDArray[np.float32]:
        """What was measured, by readout in the order of :meth:`times`: (n, rows), else NaN [mV]."""
        column = 0 if self.is_utc else 1
        order = np.argsort([each[column] for each in self._times], kind="stable")
        return np.array(self._values)[order]

    def binned(self, most: int) -> Binned:
        """Means over equally many successive readouts, so that there are about ``most``."""
        times, values = self.times() / SECOND, self.values().astype(np.float64)
        step = usual_step(times)
        size = -(-len(times) // most)
        gaps = np.flatnonzero(np.diff(times) > GAP * step) + 1
        borders, moments, means = [float(times[0])], [], []
        for first, last in pairwise([0, *gaps.tolist(), len(times)]):
            if first:
                borders.append(float(times[first]))
                moments.append((borders[-2] + borders[-1]) / 2)
                means.append(np.full(values.shape[1], np.nan))
            for start in range(first, last, size):
                stop = min(start + size, last)
                end = times[stop] if stop < last else times[stop - 1] + step
                borders.append(max(float(end), borders[-1]))
                moments.append(float(times[start:stop].mean()))
                means.append(mean_of(values[start:stop]))
        return Binned(np.array(borders), np.array(moments), np.array(means))


def usual_step(times: NDArray[np.float64]) -> float:
    """The median distance of ``times`` (n,), in order; 1 if there is none."""
    between = np.diff(times)
    between = between[between > 0]
    return float(np.median(between)) if between.size else 1.0


def mean_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(axis=0)
    means: NDArray[np.float64] = np.where(
        there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan
    )
    return means
