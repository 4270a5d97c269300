"""Datagrams of the camera's modules as arrays, a whole batch at once.

A datagram is n readouts of one module, 144 bytes each (:mod:`socs.slow_signal.layout`); the module
is known by the last number of the sender's address. Nothing here runs once per datagram, and
nothing is copied but the TACKs, unless some of the batch are refused.

The readout of one module is a *part* here, to tell it from the readout of the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import MAX_DATAGRAM, MODULES, READOUT_BYTES, WIRE

MAX_READOUTS = 64  # in a datagram, usually 10; an Ethernet frame of 9000 bytes holds 62
MAX_STEP = 1 << 50  # ns, 13 days; from one readout in a datagram to the next
PART = np.dtype(f"V{READOUT_BYTES}")  # a part of the wire, copied as one piece
OUT_OF_RANGE = 255  # stands for a module where an address names none

_OCTETS = np.arange(256) % 100
MODULE_OF_OCTET = np.where(_OCTETS < MODULES, _OCTETS, OUT_OF_RANGE).astype(np.uint8)
MODULE_OF_OCTET_RELAXED = (_OCTETS % MODULES).astype(np.uint8)
# Readouts in a datagram of each size up to the largest; 0 in one that is refused.
COUNT_OF_SIZE = np.zeros(MAX_DATAGRAM + 1, np.uint8)
COUNT_OF_SIZE[READOUT_BYTES : (MAX_READOUTS + 1) * READOUT_BYTES : READOUT_BYTES] = np.arange(
    1, MAX_READOUTS + 1
)


class Datagrams(Protocol):
    """What is looked at; :class:`socs.wire.batch.Batch` has it."""

    @property
    def data(self) -> NDArray[np.uint8]: ...
    @property
    def sizes(self) -> NDArray[np.uint32]: ...
    @property
    def hosts(self) -> NDArray[np.uint32]: ...
    @property
    def received(self) -> float: ...


@dataclass(eq=False)
class Packets:
    """The good datagrams of a batch, in the order of arrival.

    ``parts`` looks into the receiver's memory unless some were refused: copy what must live longer
    than the batch. In rows with fewer than k parts, the rest of ``tacks`` and ``parts`` is left
    over from earlier ones; :meth:`runs` does without it.

    Attributes:
        modules: uint8, shape (n,), 0 to 31.
        counts: uint8, shape (n,), how many parts each holds; k is the most.
        tacks: uint64, shape (n, k), primary TACK of each part [ns].
        parts: :data:`~socs.slow_signal.layout.WIRE`, shape (n, k).
        received: when the batch was taken from the kernel, UNIX time [s].
        refused: datagrams of the batch that are not here, by counter name.
        examples: for each cause in ``refused``, the row of the batch's first such datagram.
        shortest, longest: no step from one TACK of a packet to the next is outside of these [ns].
    """

    modules: NDArray[np.uint8]
    counts: NDArray[np.uint8]
    tacks: NDArray[np.uint64]
    parts: NDArray[np.void]
    received: float
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)
    shortest: int = 1
    longest: int = MAX_STEP

    def __len__(self) -> int:
        return len(self.modules)

    def steps(self) -> NDArray[np.int64]:
        """From each TACK to the next in a packet, 1 to :data:`MAX_STEP`: shape (n, k - 1) [ns]."""
        steps: NDArray[np.int64] = (self.tacks[:, 1:] - self.tacks[:, :-1]).view(np.int64)
        return steps

    def measure(self) -> NDArray[np.int64]:
        """Find ``shortest`` and ``longest``; the :meth:`steps`."""
        steps = self.steps()
        self.shortest = int(steps.min(initial=MAX_STEP))
        self.longest = int(steps.max(initial=1))
        return steps

    def only(self, rows: NDArray[np.intp]) -> Packets:
        """Copies of the packets in ``rows``."""
        parts = self.parts.view(PART)[rows].view(WIRE)
        return replace(
            self,
            modules=self.modules[rows],
            counts=self.counts[rows],
            tacks=self.tacks[rows],
            parts=parts,
        )

    def slice(self, start: int, stop: int) -> Packets:
        """The packets from ``start`` to ``stop``, not copied."""
        return replace(
            self,
            modules=self.modules[start:stop],
            counts=self.counts[start:stop],
            tacks=self.tacks[start:stop],
            parts=self.parts[start:stop],
        )

    def runs(self) -> list[Packets]:
        """Slices of consecutive packets with equally many parts, in order."""
        if not len(self) or int(self.counts.sum()) == self.tacks.size:
            return [self][: len(self)]
        borders = np.flatnonzero(self.counts[1:] != self.counts[:-1]) + 1
        runs = []
        for start, stop in pairwise([0, *borders.tolist(), len(self)]):
            run, count = self.slice(start, stop), int(self.counts[start])
            run.tacks, run.parts = run.tacks[:, :count], run.parts[:, :count]
            run.measure()
            runs.append(run)
        return runs

    def totals(self) -> dict[str, int]:
        """What to count, by counter name (:data:`socs.counters.SLOW_SIGNAL`)."""
        return self.refused | {"packets_decoded": len(self)}


def decode(datagrams: Datagrams, *, relaxed: bool = False) -> Packets:
    """The packets in ``datagrams``.

    A datagram is refused, under the first cause that holds, if it is empty, its size is no multiple
    of 144 bytes, it holds more than :data:`MAX_READOUTS`, its sender is no module, or if its TACKs
    do not increase from each readout to the next, or by more than :data:`MAX_STEP`. They may pass
    2**64: what counts is the difference modulo 2**64.

    Args:
        datagrams: the batch, as the receiver hands it over.
        relaxed: take module numbers beyond 31 modulo 32 instead of refusing them
            (``relaxed_ip_range``). Several addresses then are the same module.
    """
    table = MODULE_OF_OCTET_RELAXED if relaxed else MODULE_OF_OCTET
    modules = table.take(datagrams.hosts & 0xFF)
    counts = COUNT_OF_SIZE.take(datagrams.sizes, mode="clip")
    refused: dict[str, int] = {}
    examples: dict[str, int] = {}
    rows = None
    if not counts.all() or int(modules.max(initial=0)) == OUT_OF_RANGE:
        sizes = datagrams.sizes
        causes = {
            "packet_empty": sizes == 0,
            "packet_bad_size": sizes % READOUT_BYTES != 0,
            "packet_too_long": sizes > MAX_READOUTS * READOUT_BYTES,
            "module_out_of_range": modules == OUT_OF_RANGE,
        }
        rows = _count_each_once(causes, refused, examples)
        modules, counts = modules[rows], counts[rows]
    most = int(counts.max(initial=0))
    whole = datagrams.data[:, : most * READOUT_BYTES].view(PART)
    parts = (whole if rows is None else whole[rows]).view(WIRE)
    tacks = parts["tack"].astype(np.uint64)
    packets = Packets(modules, counts, tacks, parts, datagrams.received, refused, examples)
    steps = packets.measure()
    if packets.shortest > 0 and packets.longest <= MAX_STEP:
        return packets
    wrong = ((steps < 1) | (steps > MAX_STEP)) & (np.arange(1, most) < counts[:, None])
    if not wrong.any():
        return packets
    fine = ~wrong.any(axis=1)
    first = int(fine.argmin())
    examples["tacks_inconsistent"] = first if rows is None else int(rows[first])
    refused["tacks_inconsistent"] = int(np.count_nonzero(~fine))
    packets = packets.only(np.flatnonzero(fine))
    packets.measure()
    return packets


def _count_each_once(
    causes: dict[str, NDArray[np.bool_]], refused: dict[str, int], examples: dict[str, int]
) -> NDArray[np.intp]:
    """Count each datagram under the first of its causes; the rows of those that have none."""
    fine = np.ones_like(causes["packet_empty"])
    for cause, holds in causes.items():
        counted = holds & fine
        if counted.any():
            refused[cause] = int(np.count_nonzero(counted))
            examples[cause] = int(counted.argmax())
            fine &= ~holds
    return np.flatnonzero(fine)
