"""Datagrams of the camera's modules as arrays, a whole batch at once.

A datagram is n readouts of one module, 144 bytes each (:mod:`socs.slow_signal.layout`); the module
is known by the last number of the sender's address. Nothing here runs once per datagram, and
nothing is copied but the TACKs, unless some of the batch are refused.

The readout of one module is a *part* here, to tell it from the readout of the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import MODULES, READOUT_BYTES, WIRE

MAX_READOUTS = 64  # in a datagram, usually 10; an Ethernet frame of 9000 bytes holds 62
MAX_STEP = 1 << 50  # ns, 13 days; from one readout in a datagram to the next
PART = np.dtype(f"V{READOUT_BYTES}")  # a part of the wire, copied as one piece
OUT_OF_RANGE = 255  # stands for a module where an address names none

_OCTETS = np.arange(256) % 100
MODULE_OF_OCTET = np.where(_OCTETS < MODULES, _OCTETS, OUT_OF_RANGE).astype(np.uint8)
MODULE_OF_OCTET_RELAXED = (_OCTETS % MODULES).astype(np.uint8)


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
    than the batch. In rows with fewer than k parts, the rest of ``tacks``, ``steps`` and ``parts``
    is left over from earlier ones; :meth:`runs` does without it.

    Attributes:
        modules: uint8, shape (n,), 0 to 31.
        counts: uint32, shape (n,), how many parts each holds; k is the most.
        tacks: uint64, shape (n, k), primary TACK of each part [ns].
        steps: int64, shape (n, k - 1), from each TACK to the next [ns]; 1 to :data:`MAX_STEP`.
        parts: :data:`~socs.slow_signal.layout.WIRE`, shape (n, k).
        received: when the batch was taken from the kernel, UNIX time [s].
        refused: datagrams of the batch that are not here, by counter name.
        examples: for each cause in ``refused``, the row of the batch's first such datagram.
    """

    modules: NDArray[np.uint8]
    counts: NDArray[np.uint32]
    tacks: NDArray[np.uint64]
    steps: NDArray[np.int64]
    parts: NDArray[np.void]
    received: float
    refused: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.modules)

    def only(self, rows: NDArray[np.intp]) -> Packets:
        """Copies of the packets in ``rows``."""
        return Packets(
            self.modules[rows],
            self.counts[rows],
            self.tacks[rows],
            self.steps[rows],
            self.parts.view(PART)[rows].view(WIRE),
            self.received,
            self.refused,
            self.examples,
        )

    def slice(self, start: int, stop: int) -> Packets:
        """The packets from ``start`` to ``stop``, not copied."""
        return self._part(start, stop, self.parts.shape[1])

    def runs(self) -> list[Packets]:
        """Slices of consecutive packets with equally many parts, in order."""
        borders = np.flatnonzero(self.counts[1:] != self.counts[:-1]) + 1
        return [
            self._part(start, stop, int(self.counts[start]))
            for start, stop in pairwise([0, *borders.tolist(), len(self)])
            if start < stop
        ]

    def _part(self, start: int, stop: int, count: int) -> Packets:
        return Packets(
            self.modules[start:stop],
            self.counts[start:stop],
            self.tacks[start:stop, :count],
            self.steps[start:stop, : max(count - 1, 0)],
            self.parts[start:stop, :count],
            self.received,
        )

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
    modules = (MODULE_OF_OCTET_RELAXED if relaxed else MODULE_OF_OCTET)[datagrams.hosts & 0xFF]
    counts, rest = np.divmod(datagrams.sizes, np.uint32(READOUT_BYTES))
    data, rows = datagrams.data, np.empty(0, np.intp)
    refused: dict[str, int] = {}
    examples: dict[str, int] = {}
    fine = (rest == 0) & (counts > 0) & (counts <= MAX_READOUTS) & (modules != OUT_OF_RANGE)
    if not fine.all():
        causes = {
            "packet_empty": datagrams.sizes == 0,
            "packet_bad_size": rest != 0,
            "packet_too_long": counts > MAX_READOUTS,
            "module_out_of_range": modules == OUT_OF_RANGE,
        }
        _count_each_once(causes, refused, examples)
        rows = np.flatnonzero(fine)
        data, modules, counts = data[rows], modules[rows], counts[rows]
    most = int(counts.max(initial=0))
    parts = data[:, : most * READOUT_BYTES].view(WIRE)
    tacks = parts["tack"].astype(np.uint64)
    steps = tacks[:, 1:] - tacks[:, :-1]
    packets = Packets(
        modules, counts, tacks, steps.view(np.int64), parts, datagrams.received, refused, examples
    )
    beyond = steps - np.uint64(1)  # a step of 0 becomes a large one
    if beyond.size and beyond.max() >= MAX_STEP:
        wrong = np.any((beyond >= MAX_STEP) & (np.arange(1, most) < counts[:, None]), axis=1)
        if wrong.any():
            first = int(wrong.argmax())
            examples["tacks_inconsistent"] = int(rows[first]) if refused else first
            refused["tacks_inconsistent"] = int(np.count_nonzero(wrong))
            return packets.only(np.flatnonzero(~wrong))
    return packets


def _count_each_once(
    causes: dict[str, NDArray[np.bool_]], refused: dict[str, int], examples: dict[str, int]
) -> None:
    """Count each datagram under the first of its causes."""
    left = np.ones_like(causes["packet_empty"])
    for cause, holds in causes.items():
        counted = holds & left
        if counted.any():
            refused[cause] = int(np.count_nonzero(counted))
            examples[cause] = int(counted.argmax())
            left &= ~holds
