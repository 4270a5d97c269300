"""Readouts of the camera from the packets of its modules, by their TACKs.

::

    Packets --> readouts in the making --complete, or their time is over--> Readouts
        |
        +--TACKs lead away--> quarantine --enough agree--> all begins anew from there

A part belongs to the readout whose TACK is nearest, less than ``readout_tw`` away; the first part
of a readout names its TACK. All that one batch brings counts as having come at one moment: what is
due goes out at its end. ``docs/reference/slow_signal_assembling.rst`` tells of each case.

Packets that go on where the others are take the way through arrays, many at once; each other one
is looked at by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.buffer import ReadoutBuffer
from socs.slow_signal.decode import PART, Packets
from socs.slow_signal.layout import MODULES, READOUT, Readouts
from socs.slow_signal.line import Line
from socs.slow_signal.quarantine import Packet, Quarantine, distance, nanoseconds, single
from socs.slow_signal.tally import Tally
from socs.slow_signal.windows import AssemblerSettings, Window

PIECE = np.dtype(f"V{READOUT.itemsize}")  # a readout, copied as one piece


class Assembler:
    """Puts readouts together.

    Times ``now`` are monotonic [s]; one that goes back is taken for the latest so far. `feed` what
    has arrived before you call `tick`.
    """

    def __init__(self, settings: AssemblerSettings | None = None) -> None:
        self.settings = settings = settings or AssemblerSettings()
        self._tally = Tally()
        self._window = Window(settings, self._tally)
        self._reach = int(settings.buffer_time)
        self._expected = np.isin(np.arange(MODULES), list(settings.expected_modules))
        self._buffer = ReadoutBuffer(int(settings.buffer_length))
        self._line = Line(settings.patience)
        self._quarantine = Quarantine(self._reach, settings.patience)
        self._now = 0.0
        self._number = 1
        self._released: list[Readouts] = []

    # -- for the caller ---------------------------------------------------------------------------

    def feed(self, packets: Packets, now: float) -> Readouts:
        """Take the packets of one batch; the readouts that are due now, in order, shape (n,)."""
        self._now = max(self._now, now)
        if moved := self._line.move_base():
            self._buffer.shift(moved)
        for run in packets.runs():
            self._tally.add("parts_decoded", run.tacks.size)
            start = 0
            while start < len(run):
                start = self._advance(run, start)
        return self._due()

    def tick(self, now: float) -> Readouts:
        """The readouts whose time is over though nothing came; call it several times a second."""
        self._now = max(self._now, now)
        return self._due()

    def flush(self) -> Readouts:
        """All readouts, as they are, at the end of a run."""
        self._refuse(self._quarantine.empty())
        self._release(len(self._buffer), "readouts_flushed")
        return self._take_released()

    def reset_readout_count(self) -> None:
        """The next readout to go out is number 1."""
        self._number = 1

    def totals(self) -> dict[str, int]:
        """Counts by counter name (:data:`socs.counters.SLOW_SIGNAL`), and those of this moment."""
        return self._tally.totals() | {
            "parts_held": self._quarantine.parts,
            "parts_buffered": self._buffer.parts,
            "readouts_buffered": len(self._buffer),
        }

    def modules(self) -> list[dict[str, Any]]:
        """A row for each module: its counts, and for how long it was ``silent`` [s], or None."""
        silent = self._now - self._line.heard
        return [
            {
                "module": module,
                **self._tally.of_module(module),
                "silent": float(silent[module]) if np.isfinite(silent[module]) else None,
            }
            for module in range(MODULES)
        ]

    def troubles(self) -> dict[str, str]:
        """What has lately been wrong with settings or clocks: one sentence for each kind."""
        return self._tally.troubles(self._now)

    # -- many packets at once ---------------------------------------------------------------------

    def _advance(self, run: Packets, start: int) -> int:
        """Handle packets of ``run``, all of k parts, from row ``start``; the row to go on from."""
        if not self._line.begun:
            self._line.begin(int(run.tacks[start, 0]), self._window.width, self._reach)
        if start == 0:
            self._window.fit(run, self._line, self._now)
        tacks = self._line.on_line(run.tacks[start:])
        before = np.empty(len(tacks) + 1, np.int64)  # the newest TACK before each packet
        before[0], before[1:] = self._line.newest, tacks[:, -1]
        np.maximum.accumulate(before, out=before)
        stop = self._until_leap(run, start, tacks[:, 0], before[:-1])
        if stop == 0:
            self._place_singly(single(run, start, self._now))
            return start + 1
        stop = self._open(tacks[:stop], before[:stop], run.received)
        if stop == 0:
            self._make_room(tacks.shape[1])
            return start
        whole = stop == len(run)
        self._place_all(run if whole else run.slice(start, start + stop), tacks[:stop])
        return start + stop

    def _until_leap(
        self, run: Packets, start: int, first: NDArray[np.int64], before: NDArray[np.int64]
    ) -> int:
        """How many packets come before one whose TACKs may lead ahead too far."""
        leaps = first > before + self._reach
        if run.longest > self._reach:
            leaps |= np.any(run.steps()[start:] > self._reach, axis=1)
        return int(leaps.argmax()) if leaps.any() else len(leaps)

    def _open(self, tacks: NDArray[np.int64], before: NDArray[np.int64], received: float) -> int:
        """Begin the readouts that are newer than all before; for how many packets there is room."""
        window, room = self._window.width, self._buffer.room
        openers = np.flatnonzero(tacks[:, -1] >= before + window)
        stop = len(tacks)
        if not len(openers):
            return stop
        candidates = tacks[openers]
        new = candidates >= before[openers, None] + window
        if np.count_nonzero(new) > room:
            fitting = int(new.sum(axis=1).cumsum().searchsorted(room, "right"))
            stop = int(openers[fitting])
            candidates, new = candidates[:fitting], new[:fitting]
        ages = (candidates[:, -1:] - candidates)[new]
        self._buffer.append(candidates[new], nanoseconds(received) - ages, self._now)
        return stop

    def _place_all(self, packets: Packets, tacks: NDArray[np.int64]) -> None:
        """Put the parts of ``packets``, each of k parts, into their readouts."""
        odd = self._place_regular(packets, tacks)
        while len(odd):
            rest = odd[:0]
            for done, row in enumerate(odd.tolist(), 1):
                if self._place_singly(single(packets, row, self._now)):
                    rest = odd[done:]  # may be regular now that there are more readouts
                    break
            packets = packets.only(rest)
            odd = self._place_regular(packets, self._line.on_line(packets.tacks))

    def _place_regular(self, packets: Packets, tacks: NDArray[np.int64]) -> NDArray[np.intp]:
        """Place the packets whose parts belong into consecutive readouts; count copies of such.

        Returns:
            The rows of the others.
        """
        buffer, width = self._buffer, self._window.width
        rows = np.arange(len(packets))
        if not len(buffer) or not len(packets):
            return rows
        positions = buffer.nearest(tacks[:, 0], buffer.head, buffer.tail)
        positions = positions[:, None] + np.arange(tacks.shape[1])
        cells = buffer.cells(positions, packets.modules[:, None])
        away = np.abs(tacks - buffer.tacks.take(positions))
        in_line = tacks[:, 0] >= self._line.out + width
        if away.max() < width and in_line.all() and buffer.fill(cells, packets.parts):
            self._count_packets("parts_placed", packets.modules, tacks)
            return rows[:0]
        regular = rows[np.all(away < width, axis=1) & in_line]
        new = regular[buffer.are_free(cells[regular])]
        filled = buffer.fill(cells[new], packets.parts.view(PART)[new])
        assert filled
        self._count_packets("parts_placed", packets.modules[new], tacks[new])
        others = np.setdiff1d(regular, new, assume_unique=True)
        copies = others[buffer.are_copies(cells[others], packets.parts.view(PART)[others])]
        self._count_packets("parts_duplicate", packets.modules[copies], tacks[copies])
        return np.setdiff1d(rows, np.append(new, copies), assume_unique=True)

    def _count_packets(
        self, cause: str, modules: NDArray[np.uint8], tacks: NDArray[np.int64]
    ) -> None:
        """Count all parts of packets in line, with ``tacks`` (n, k)."""
        if len(modules):
            self._line.heard_of(modules, tacks[:, -1], self._now)
            packets = np.bincount(modules, minlength=MODULES)
            self._tally.add_of_modules(cause, packets * tacks.shape[1])

    # -- one packet by itself ---------------------------------------------------------------------

    def _place_singly(self, packet: Packet) -> bool:
        """Do with each part of ``packet`` what is to be done; True if readouts were begun."""
        line, buffer, width = self._line, self._buffer, self._window.width
        tacks = line.on_line(packet.tacks)
        before = np.maximum(np.append(line.newest, tacks[:-1]), line.newest)
        if (tacks > before + self._reach).any():
            self._hold(packet, "parts_implausible")
        elif tacks[-1] >= line.out + width:
            return self._place_in_line(packet, tacks)
        elif tacks[-1] < (buffer.tacks[0] if buffer.head else line.out) - width:
            self._hold(packet, "parts_implausible")
        elif line.is_silent(self._now):
            self._hold(packet, "parts_late")
        else:
            self._count_past(packet.module, tacks)
        return False

    def _place_in_line(self, packet: Packet, tacks: NDArray[np.int64]) -> bool:
        """Place what of ``packet`` is not past; True if readouts were begun."""
        past = int(np.count_nonzero(tacks < self._line.out + self._window.width))
        self._count_past(packet.module, tacks[:past])
        began = 0
        for index in self._count_copies(packet, tacks, past):
            began += self._place_part(packet, index, int(tacks[index]), int(tacks[-1]))
        self._line.heard_of(np.array([packet.module], np.uint8), tacks[-1:], self._now)
        return began > 0

    def _count_copies(self, packet: Packet, tacks: NDArray[np.int64], past: int) -> list[int]:
        """Count parts from index ``past`` on that are there already; the indices of the others."""
        buffer = self._buffer
        if not len(buffer):
            return list(range(past, len(tacks)))
        positions = buffer.nearest(tacks, buffer.head, buffer.tail)
        cells = buffer.cells(positions, np.array([packet.module], np.uint8))
        there = np.abs(tacks - buffer.tacks[positions]) < self._window.width
        there &= ~buffer.is_free(cells)
        there[:past] = False
        same = there & (buffer.tacks_in(cells) == packet.tacks)
        duplicates = int(np.count_nonzero(same))
        self._tally.add_parts("parts_duplicate", packet.module, duplicates)
        conflicting = int(np.count_nonzero(there)) - duplicates
        self._tally.add_parts("parts_conflicting", packet.module, conflicting)
        there[:past] = True
        return [int(index) for index in np.flatnonzero(~there)]

    def _place_part(self, packet: Packet, index: int, tack: int, last: int) -> bool:
        """Place the part at ``index``; True if a readout was begun for it."""
        buffer, module, part = self._buffer, packet.module, packet.parts[index : index + 1]
        if len(buffer):
            at = int(buffer.nearest(np.array([tack]), buffer.head, buffer.tail)[0])
            if abs(tack - int(buffer.tacks[at])) < self._window.width:
                cause = "parts_placed"
                if not buffer.fill(buffer.cell(at, module), part):
                    cause = "parts_conflicting"  # with another part of the same packet
                self._tally.add_parts(cause, module, 1)
                return False
        if not buffer.room:
            self._make_room(1)
            if tack < self._line.out + self._window.width:
                self._tally.add_parts("parts_late", module, 1)
                return False
        at = buffer.insert(tack, packet.cpu_ns - (last - tack), packet.arrived)
        buffer.fill(buffer.cell(at, module), part)
        self._tally.add_parts("parts_placed", module, 1)
        return True

    def _count_past(self, module: int, tacks: NDArray[np.int64]) -> None:
        """Count parts whose readout, or a later one, is out: as copies if they were there."""
        buffer, known = self._buffer, 0
        if buffer.head and len(tacks):
            positions = buffer.nearest(tacks, 0, buffer.head)
            near = np.abs(tacks - buffer.tacks[positions]) < self._window.width
            present = buffer.present[positions] >> np.uint32(module) & np.uint32(1)
            known = int(np.count_nonzero(near & (present == 1)))
        self._tally.add_parts("parts_duplicate", module, known)
        self._tally.add_parts("parts_late", module, len(tacks) - known)

    # -- packets that lead away -------------------------------------------------------------------

    def _hold(self, packet: Packet, cause: str) -> None:
        """Keep ``packet`` until others agree with it, and begin anew with them if they do.

        While the others are silent, one packet is enough, unless its readouts may have gone out.
        """
        packets, modules = 2, self._line.modules_heard() // 2 + 1
        if self._line.is_silent(self._now) and cause != "parts_late":
            packets, modules = 1, 1
        agreeing = self._quarantine.add(packet.held(cause), packets, modules)
        if agreeing:
            self._begin_anew(agreeing)

    def _begin_anew(self, packets: list[Packet]) -> None:
        """All readouts go out as they are; the line goes on from ``packets``."""
        self._release(len(self._buffer), "readouts_cut_off")
        self._buffer.forget()
        self._tally.add("tack_restarts")
        one = int(packets[0].tacks[0])
        base = one + min(distance(int(packet.tacks[0]), one) for packet in packets)
        self._line.begin(base % (1 << 64), self._window.width, self._reach)
        for packet in packets:
            self._place_in_line(packet, self._line.on_line(packet.tacks))

    def _refuse(self, packets: list[Packet]) -> None:
        """Count the parts of packets that nothing else agreed with."""
        for packet in packets:
            if packet.cause == "parts_late":
                self._count_past(packet.module, self._line.on_line(packet.tacks))
                continue
            self._tally.add_parts(packet.cause, packet.module, len(packet.tacks))
            if self._line.heard[packet.module] < self._now - self.settings.patience:
                text = f"TACKs of module {packet.module} lead away from those of the others"
                self._tally.trouble(f"module {packet.module}", text, self._now)

    # -- readouts that go out ---------------------------------------------------------------------

    def _due(self) -> Readouts:
        self._refuse(self._quarantine.refuse(self._now))
        self._release_due()
        return self._take_released()

    def _release_due(self) -> None:
        """Release the first readouts, as long as they are complete or their time is over."""
        buffer, line = self._buffer, self._line
        if not len(buffer):
            return
        filled = buffer.filled()
        if filled.all():
            self._release(len(buffer), "readouts_timed_out")
            return
        due: NDArray[np.bool_] = np.all(filled | ~self._expected, axis=1)
        timed_out = 0
        if not due.all():
            timed_out = int(buffer.refs.searchsorted(line.clock(self._now) - self._reach))
            due[:timed_out] = True
            due |= buffer.opened() <= self._now - self.settings.patience
        count = len(due) if due.all() else int(due.argmin())
        timed_out = min(timed_out, count)
        self._release(timed_out, "readouts_timed_out")
        self._release(count - timed_out, "readouts_flushed")

    def _make_room(self, needed: int) -> None:
        """Make room for ``needed`` readouts, if need be by releasing the first ones as they are."""
        self._release_due()
        lacking = needed - self._buffer.room
        if lacking > 0:
            self._release(lacking, "readouts_evicted")
            length, time = self.settings.buffer_length, self.settings.buffer_time
            text = f"buffer_length {length} is too short for a buffer_time of {time:g} ns"
            self._tally.trouble("buffer_length", text, self._now)

    def _release(self, count: int, cause: str) -> None:
        """Release the first ``count`` readouts, the incomplete ones for ``cause``."""
        if not count:
            return
        readouts, filled = self._buffer.take(count)
        self._line.out = int(self._buffer.tacks[self._buffer.head - 1])
        readouts["number"] = np.arange(self._number, self._number + len(readouts))
        self._number += len(readouts)
        parts, complete = int(np.count_nonzero(filled)), len(readouts)
        if parts < filled.size:
            missing = ~filled & self._expected
            complete -= int(np.count_nonzero(missing.any(axis=1)))
            self._tally.add_of_modules("parts_missing", missing.sum(axis=0))
        self._tally.add("parts_out", parts)
        self._tally.add("readouts_out", len(readouts))
        self._tally.add("readouts_complete", complete)
        self._tally.add(cause, len(readouts) - complete)
        self._released.append(readouts)

    def _take_released(self) -> Readouts:
        released, self._released = self._released, []
        if len(released) == 1:
            return released[0]
        pieces = [readouts.view(PIECE) for readouts in released]
        return np.concatenate([np.empty(0, PIECE), *pieces]).view(READOUT)
