"""Readouts of the camera while their parts come in, and a memory of those that went out.

Readouts stand in the order of their TACKs, at *positions*. Those before ``head`` are out: of them
only TACK and modules are remembered. Those from ``head`` to ``tail`` are being put together; the
parts of each are in a *slot*, as they came from the wire, and are turned into counts when it is
taken out. Slots are used again last in, first out, so that few of them are ever touched.

TACKs here are those of :mod:`socs.slow_signal.line`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.decode import MAX_READOUTS, PART
from socs.slow_signal.layout import (
    ALL_PRESENT,
    MODULES,
    PIXELS,
    READOUT,
    READOUT_BYTES,
    SIGN,
    WIRE,
    Readouts,
)
from socs.slow_signal.line import NEVER

SPAN = 4  # positions are kept for so many times the readouts that can be put together at once
AT_ONCE = 64  # readouts turned into counts at once: 300 kB, which the processor's cache holds
COUNTS_AT = (READOUT.itemsize - MODULES * PIXELS * 2) // 2  # the last field, in 16-bit words


class ReadoutBuffer:
    """See the module.

    Args:
        capacity: readouts that can be put together at once; 4.7 kB each, once used.

    Attributes:
        head, tail: positions, see the module.
        tacks: int64, by position; `NEVER` from ``tail`` on, for at least `MAX_READOUTS`.
        present: uint32, by position before ``head``: bit m is set if module m was there.
    """

    def __init__(self, capacity: int) -> None:
        size = SPAN * capacity + MAX_READOUTS
        self.head = self.tail = 0
        self.tacks = np.full(size, NEVER, np.int64)
        self.present = np.zeros(size, np.uint32)
        self._opened = np.zeros(size, np.float64)
        self._cpu_ns = np.zeros(size, np.int64)
        self._slots = np.zeros(size, np.intp)
        self._capacity = capacity
        self._free: NDArray[np.intp] = np.arange(capacity)[::-1].copy()  # the first `room` are
        self.room = capacity
        self._touched = 0  # slots from here on hold nothing
        self._filled = np.zeros((capacity, MODULES), np.bool_)
        self._parts = np.zeros(capacity * MODULES, PART)
        self._wholes = self._parts.view(f"V{MODULES * READOUT_BYTES}")  # the same, by slot

    def __len__(self) -> int:
        return self.tail - self.head

    @property
    def parts(self) -> int:
        """Parts in all readouts that are being put together."""
        return int(np.count_nonzero(self._filled[: self._touched]))

    # -- readouts ---------------------------------------------------------------------------------

    def append(self, tacks: NDArray[np.int64], cpu_ns: NDArray[np.int64], now: float) -> None:
        """Begin readouts with ``tacks``, increasing and beyond all others; there must be room.

        Args:
            tacks, cpu_ns: shape (n,), see `READOUT`.
            now: monotonic time [s].
        """
        self._make_positions(len(tacks))
        start, stop = self.tail, self.tail + len(tacks)
        self.tacks[start:stop] = tacks
        self._cpu_ns[start:stop] = cpu_ns
        self._opened[start:stop] = now
        self._slots[start:stop] = self._take_slots(len(tacks))
        self.tail = stop

    def insert(self, tack: int, cpu_ns: int, now: float) -> int:
        """Begin one readout among the others, behind those with the same TACK; its position."""
        self._make_positions(1)
        at = self.head + int(self.refs.searchsorted(tack, "right"))
        for array in (self.tacks, self._cpu_ns, self._opened, self._slots):
            array[at + 1 : self.tail + 1] = array[at : self.tail].copy()
        self.tacks[at], self._cpu_ns[at], self._opened[at] = tack, cpu_ns, now
        self._slots[at] = self._take_slots(1)[0]
        self.tail += 1
        return at

    def take(self, count: int) -> tuple[Readouts, NDArray[np.bool_]]:
        """Take the first ``count`` readouts out; those without any part are forgotten.

        Returns:
            the readouts (n,), ``number`` still 0; which modules are there, bool (n, 32).
        """
        span = slice(self.head, self.head + count)
        slots = self._slots[span].copy()
        filled = self._filled[slots]
        readouts = np.empty(count, READOUT)
        readouts["number"] = readouts["reserved"] = 0
        readouts["cpu_ns"] = self._cpu_ns[span]
        for start in range(0, count, AT_ONCE):
            piece = slice(start, start + AT_ONCE)
            _convert(self._wholes[slots[piece]], readouts[piece])
        self._filled[slots] = False
        self._free[self.room : self.room + count] = slots
        self.room += count
        self.head += count
        if self.room == self._capacity:
            self._touched = 0
        if filled.all():
            readouts["tack"] = readouts["tacks"][:, 0, 0]
            readouts["present"] = self.present[span] = ALL_PRESENT
            return readouts, filled
        _leave_out(readouts, filled)
        self.present[span] = readouts["present"]
        some = readouts["present"] != 0
        return (readouts, filled) if some.all() else (readouts[some], filled[some])

    def forget(self) -> None:
        """Forget the readouts that are out. None may be left in the making."""
        self.head = self.tail = 0
        self.tacks[:] = NEVER

    def shift(self, distance: int) -> None:
        """Take ``distance`` off all TACKs, as the base has moved by that."""
        self.tacks[: self.tail] -= distance

    @property
    def refs(self) -> NDArray[np.int64]:
        """TACKs of the readouts that are being put together."""
        return self.tacks[self.head : self.tail]

    def opened(self) -> NDArray[np.float64]:
        """When each readout that is being put together was begun [s]."""
        return self._opened[self.head : self.tail]

    def filled(self) -> NDArray[np.bool_]:
        """Which parts are there of those that are being put together: (n, 32)."""
        return self._filled[self._slots[self.head : self.tail]]

    def nearest(self, tacks: NDArray[np.int64], start: int, stop: int) -> NDArray[np.intp]:
        """Position from ``start`` to ``stop`` of the readout nearest to each of ``tacks``.

        There must be one; of two at the same distance it is the first.
        """
        refs = self.tacks[start:stop]
        middles = (refs[1:] + refs[:-1]) >> 1
        positions: NDArray[np.intp] = middles.searchsorted(tacks) + start
        return positions

    # -- parts ------------------------------------------------------------------------------------

    def cells(self, positions: NDArray[np.intp], modules: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Where the parts of ``modules``, broadcast to the shape of ``positions``, belong."""
        cells: NDArray[np.intp] = self._slots.take(positions) * MODULES + modules
        return cells

    def cell(self, position: int, module: int) -> NDArray[np.intp]:
        """The cell of one part, shape (1,)."""
        return self._slots[position : position + 1] * MODULES + module

    def is_free(self, cells: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of ``cells`` hold no part yet."""
        free: NDArray[np.bool_] = ~self._filled.reshape(-1)[cells]
        return free

    def are_free(self, cells: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which rows of ``cells`` (n, k) hold no part, and are in no such row before: (n,)."""
        free: NDArray[np.bool_] = np.all(self.is_free(cells), axis=1)
        rows = np.flatnonzero(free)
        chosen = cells[rows]
        first = np.full(int(chosen.max(initial=0)) + 1, len(cells))  # row that has the cell
        np.minimum.at(first, chosen, rows[:, None])
        free[rows] = np.all(first[chosen] == rows[:, None], axis=1)
        return free

    def are_copies(self, cells: NDArray[np.intp], parts: NDArray[np.void]) -> NDArray[np.bool_]:
        """For which rows of ``cells`` (n, k) are parts with the same TACKs there: (n,)."""
        same = self._parts[cells].view(WIRE)["tack"] == parts.view(WIRE)["tack"]
        copies: NDArray[np.bool_] = np.all(same & ~self.is_free(cells), axis=1)
        return copies

    def fill(self, cells: NDArray[np.intp], parts: NDArray[np.void]) -> bool:
        """Put ``parts`` of the wire into ``cells`` of the same shape.

        Returns:
            False, and nothing is done, if one of them is filled or two are the same.
        """
        filled = self._filled[: self._touched].reshape(-1)
        before = filled.copy()
        filled[cells] = True
        if np.count_nonzero(filled) - np.count_nonzero(before) != cells.size:
            filled[:] = before
            return False
        self._parts[cells] = parts.view(PART)
        return True

    def tacks_in(self, cells: NDArray[np.intp]) -> NDArray[np.uint64]:
        """The primary TACKs of the parts in ``cells``, as they were on the wire."""
        return self._parts[cells].view(WIRE)["tack"].astype(np.uint64)

    # -- within -----------------------------------------------------------------------------------

    def _take_slots(self, count: int) -> NDArray[np.intp]:
        self.room -= count
        slots: NDArray[np.intp] = self._free[self.room : self.room + count]
        self._touched = max(self._touched, int(slots.max(initial=-1)) + 1)
        return slots

    def _make_positions(self, count: int) -> None:
        """Make sure that ``count`` positions follow the last; forget what was out long ago."""
        if self.tail + count + MAX_READOUTS <= len(self.tacks):
            return
        kept = max(self.head - self._capacity, 0)
        for array in (self.tacks, self.present, self._cpu_ns, self._opened, self._slots):
            array[: self.tail - kept] = array[kept : self.tail].copy()
        self.head -= kept
        self.tail -= kept
        self.tacks[self.tail :] = NEVER


def _convert(wire: NDArray[np.void], readouts: Readouts) -> None:
    """Write TACKs and counts of all modules into ``readouts`` (n,), from as many whole slots."""
    words = wire.view(">u2").reshape(-1, MODULES, 2, READOUT_BYTES // 4)
    readouts["counts"].reshape(-1, MODULES, 2, PIXELS // 2)[...] = words[..., 4:]
    counts = readouts.view(np.uint16).reshape(len(readouts), -1)[:, COUNTS_AT:]
    np.bitwise_xor(counts, SIGN, out=counts)  # in one piece for each readout
    readouts["tacks"] = wire.view(">u8").reshape(-1, MODULES, READOUT_BYTES // 8)[..., ::9]


def _leave_out(readouts: Readouts, filled: NDArray[np.bool_]) -> None:
    """Set to 0 what modules hold that are not there, and say so."""
    readouts["counts"][~filled] = 0
    readouts["tacks"][~filled] = 0
    readouts["present"] = np.packbits(filled, axis=1, bitorder="little").view("<u4")[:, 0]
    readouts["tack"] = readouts["tacks"][np.arange(len(readouts)), filled.argmax(axis=1), 0]
