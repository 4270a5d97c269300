"""What people see of each second: rates, losses, amplitudes of each module, and a small picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import (
    MODULES,
    MV_PER_COUNT,
    PIXELS,
    Readouts,
    is_present,
    millivolts,
)
from socs.slow_signal.pixels import ORDERS

MAX_SAMPLE = 500  # readouts of a second whose amplitudes are looked at
SIDE = 8  # a module has 8 x 8 pixels
GROUP = 2  # 2 x 2 pixels are one of the picture
MAX_COUNT = 0xFFFF


@dataclass(frozen=True, eq=False)
class Amplitudes:
    """Of each module, over all its pixels and some readouts [mV]: shape (32,), NaN if absent.

    Attributes:
        readouts: how many were looked at.
        mean, minimum, maximum: as they say.
        rms: root of the mean of the squares.
    """

    readouts: int
    mean: NDArray[np.float64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    rms: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Second:
    """What was there since the summary before.

    Attributes:
        time: of its end, UNIX time [s].
        duration: how long it was [s].
        readouts, complete, incomplete: how many came out.
        amplitudes: of the first `MAX_SAMPLE` of them.
        preview: of the latest readout, see :func:`preview`; None if there was none.
        changes: by how much each counter went up, by name; those that did not are left out.
    """

    time: float
    duration: float
    readouts: int
    complete: int
    amplitudes: Amplitudes
    preview: NDArray[np.float64] | None
    changes: Mapping[str, int]

    @property
    def incomplete(self) -> int:
        return self.readouts - self.complete

    @property
    def rate(self) -> float:
        """Readouts per second [Hz]."""
        return self.readouts / self.duration if self.duration > 0 else 0.0


class Sample:
    """The first readouts of a second, and the latest. For one thread at a time."""

    def __init__(self) -> None:
        self._taken: list[Readouts] = []
        self._room = MAX_SAMPLE
        self._latest: Readouts | None = None

    def add(self, readouts: Readouts) -> None:
        """Look at ``readouts`` (n,), which must not be changed from here on; nothing is copied."""
        if not len(readouts):
            return
        self._latest = readouts
        if self._room:
            self._taken.append(readouts[: self._room])
            self._room -= len(self._taken[-1])

    def amplitudes(self) -> Amplitudes:
        """Of what was looked at."""
        return summarize(self._taken)

    def preview(self) -> NDArray[np.float64] | None:
        """Of the latest readout."""
        return None if self._latest is None else preview(self._latest[-1:])


def summarize(pieces: list[Readouts]) -> Amplitudes:
    """The amplitudes of ``pieces``, readouts (n,) each."""
    number = np.zeros(MODULES)
    total, squares = np.zeros(MODULES), np.zeros(MODULES)
    least, most = np.full(MODULES, np.inf), np.full(MODULES, -np.inf)
    for readouts in pieces:
        counts = readouts["counts"].astype(np.float64)  # 0 where a module is absent
        there = is_present(readouts["present"])
        number += there.sum(axis=0)
        total += counts.sum(axis=(0, 2))
        squares += np.einsum("rmp,rmp->m", counts, counts)
        lowest = np.where(there, counts.min(axis=2), np.inf)
        least = np.minimum(least, lowest.min(axis=0, initial=np.inf))
        most = np.maximum(most, np.where(there, counts.max(axis=2), -np.inf).max(axis=0))
    seen = number > 0
    values = np.where(seen, number, 1) * PIXELS
    mean, rms = total / values, np.sqrt(squares / values)
    found = [np.where(seen, of, np.nan) * MV_PER_COUNT for of in (mean, least, most, rms)]
    return Amplitudes(sum(map(len, pieces)), *found)


def preview(readout: Readouts) -> NDArray[np.float64]:
    """A small picture of ``readout`` (1,): shape (32, 16), mean of 2 x 2 pixels [mV].

    Pixels of each module by column and row, as ``ssl2colrow`` has them; NaN if it is absent.
    """
    ordered = millivolts(readout)[0][:, ORDERS["ssl2colrow"]]
    small = SIDE // GROUP
    coarse: NDArray[np.float64] = (
        ordered.reshape(MODULES, small, GROUP, small, GROUP).mean(axis=(2, 4)).reshape(MODULES, -1)
    )
    return coarse
