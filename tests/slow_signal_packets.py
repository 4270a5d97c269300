"""Packets of camera modules with counts that tell where each part belongs, and their batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.assemble import Assembler
from socs.slow_signal.decode import Packets, decode
from socs.slow_signal.layout import PIXELS, READOUT, SIGN, WIRE, Readouts, is_present
from socs.wire.batch import Batch

T0 = 10**12  # TACK of readout 0 [ns]
STEP = 10**8  # from readout to readout [ns]
NETWORK = 0x7F000100  # 127.0.1.0
FIRST_OCTET = 100  # of module 0
RECEIVED = 1_700_000_000.0  # UNIX time of batches [s]
WIDTH = 64 * 144 + 144

Datagram = tuple[int, bytes]  # last number of the sender's address, contents


def counts_of(module: int, readout: int | NDArray[np.int64]) -> NDArray[np.uint16]:
    """Counts of the 64 pixels of ``module`` in the readout with this index; (n, 64) of n."""
    readouts = np.asarray(readout)[..., None]
    return ((np.arange(PIXELS) * 977 + module * 64 + readouts * 4099) % 65536).astype(np.uint16)


def packet(
    module: int, first: int, count: int = 10, *, shift: int = 0, step: int = STEP, t0: int = T0
) -> Datagram:
    """The packet of ``module`` with readouts ``first`` to ``first + count - 1``.

    ``shift`` is added to its TACKs, the second ones are those plus 7.
    """
    parts = np.zeros(count, WIRE)
    begin = np.uint64((t0 + first * step + shift) % (1 << 64))
    parts["tack"] = begin + np.arange(count, dtype=np.uint64) * np.uint64(step)
    parts["aux"] = begin + np.arange(count, dtype=np.uint64) * np.uint64(step) + np.uint64(7)
    wire = counts_of(module, np.arange(first, first + count)) ^ SIGN
    parts["low"], parts["high"] = wire[:, :32], wire[:, 32:]
    return FIRST_OCTET + module, parts.tobytes()


def sets(numbers: Iterable[int], modules: Iterable[int] = range(4), **how: int) -> list[Datagram]:
    """Set s is the packets with readouts 10 s to 10 s + 9 of all ``modules``."""
    modules = list(modules)
    return [packet(module, 10 * number, **how) for number in numbers for module in modules]


def batch(datagrams: Sequence[Datagram], received: float = RECEIVED, width: int = WIDTH) -> Batch:
    """What the receiver would hand over."""
    data = np.full((len(datagrams), width), 0xAA, np.uint8)
    for row, (_, contents) in zip(data, datagrams, strict=True):
        row[: len(contents)] = np.frombuffer(contents, np.uint8)
    return Batch(
        data,
        np.array([len(contents) for _, contents in datagrams], np.uint32),
        np.array([NETWORK + octet for octet, _ in datagrams], np.uint32),
        np.full(len(datagrams), 30000, np.uint16),
        received,
    )


def packets(*datagrams: Datagram, received: float = RECEIVED) -> Packets:
    """The datagrams decoded, as one batch."""
    return decode(batch(datagrams, received))


def play(
    assembler: Assembler, datagrams: Iterable[Datagram], *, now: float = 0.0, every: float = 0.0
) -> Readouts:
    """Feed each datagram as a batch of its own, ``every`` seconds; all that comes out."""
    out = [np.empty(0, READOUT)]
    for number, datagram in enumerate(datagrams):
        out.append(assembler.feed(packets(datagram), now + number * every))
    return np.concatenate(out)


def indices(readouts: Readouts, *, step: int = STEP, t0: int = T0) -> list[int]:
    """Which readouts these are."""
    tacks = (readouts["tack"] - np.uint64(t0 % (1 << 64))).view(np.int64)
    return np.round(tacks / step).astype(int).tolist()


def modules_of(readouts: Readouts) -> list[list[int]]:
    """Which modules are in each."""
    return [np.flatnonzero(there).tolist() for there in is_present(readouts["present"])]


def check_values(readouts: Readouts, *, step: int = STEP, t0: int = T0) -> None:
    """Are all parts in the right place with the right counts, and is nothing where none is?"""
    there = is_present(readouts["present"])
    places = indices(readouts, step=step, t0=t0)
    for readout, modules, index in zip(readouts, there, places, strict=True):
        for module in np.flatnonzero(modules):
            assert np.array_equal(readout["counts"][module], counts_of(module, index))
            primary, second = (int(tack) for tack in readout["tacks"][module])
            assert (primary + 7) % (1 << 64) == second
            away = (primary - t0 - index * step + (1 << 63)) % (1 << 64) - (1 << 63)
            assert abs(away) < step // 2
        assert readout["tack"] == readout["tacks"][modules.argmax(), 0]
        assert not readout["counts"][~modules].any()
        assert not readout["tacks"][~modules].any()
        assert readout["reserved"] == 0
