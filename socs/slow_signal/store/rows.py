"""Readouts as a file has them, with the same columns for all layouts.

=========== ================= ====================================================================
number      u8 (n,)           readout number
tack        u8 (n,)           TACK of the readout [ns]
cpu_ns      i8 (n,)           UTC [ns since 1970]; 0 where the layout has no time
present     u4 (n,)           bit m: module m is there
tacks       u8 (n, 32, 2)     TACKs of the modules [ns]; 0 where the layout has none
counts      u2 (n, 32, 64)    nearest whole counts; 0 where a module is absent
amplitudes  f4 (n, 32, 64)    [mV]; NaN where a module is absent
=========== ================= ====================================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal import pixels
from socs.slow_signal.layout import READOUT, Readouts
from socs.slow_signal.store.formats import PeerTable

COLUMNS = ("number", "tack", "cpu_ns", "present", "tacks", "counts", "amplitudes")


class Rows(ABC):
    """Some readouts, one after the other."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def column(self, name: str) -> NDArray[Any]:
        """One of :data:`COLUMNS`."""

    @abstractmethod
    def part(self, start: int, stop: int) -> Rows:
        """Readouts ``start`` to ``stop``."""

    @abstractmethod
    def readouts(self) -> tuple[Readouts, NDArray[np.float32] | None]:
        """As arrays that the other stages use, and what these cannot tell of the amplitudes."""


class CountRows(Rows):
    """Readouts as they came, from a native file or a journal."""

    def __init__(self, readouts: Readouts, residues: NDArray[np.float32] | None) -> None:
        self._readouts, self._residues = readouts, residues

    def __len__(self) -> int:
        return len(self._readouts)

    def column(self, name: str) -> NDArray[Any]:
        if name == "amplitudes":
            return pixels.amplitudes(self._readouts, self._residues)
        column: NDArray[Any] = self._readouts[name]
        return column

    def part(self, start: int, stop: int) -> CountRows:
        some = slice(start, stop)
        residues = None if self._residues is None else self._residues[some]
        return CountRows(self._readouts[some], residues)

    def readouts(self) -> tuple[Readouts, NDArray[np.float32] | None]:
        return self._readouts, self._residues


class TableRows(Rows):
    """Rows of a peer's table."""

    def __init__(self, rows: NDArray[np.void], layout: PeerTable) -> None:
        self._rows, self._layout = rows, layout

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, name: str) -> NDArray[Any]:
        if name == "amplitudes":
            amplitudes: NDArray[np.float32] = self._rows["data"]
            return amplitudes
        if name in ("present", "counts"):
            counts, present, _ = pixels.count(self._rows["data"])
            return counts if name == "counts" else present
        return self._layout.column(self._rows, name)

    def part(self, start: int, stop: int) -> TableRows:
        return TableRows(self._rows[start:stop], self._layout)

    def readouts(self) -> tuple[Readouts, NDArray[np.float32] | None]:
        readouts = np.zeros(len(self), READOUT)
        for name in ("number", "tack", "cpu_ns", "tacks"):
            readouts[name] = self.column(name)
        readouts["counts"], readouts["present"], residues = pixels.count(self._rows["data"])
        return readouts, residues
