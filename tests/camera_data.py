"""Readouts for tests: slowly varying amplitudes, as the peer's simulator makes them."""

from __future__ import annotations

import numpy as np

from socs.slow_signal.layout import (
    ALL_PRESENT,
    MODULES,
    MV_PER_COUNT,
    PIXELS,
    READOUT,
    Readouts,
    is_present,
)

STEP = 100_000_000  # ns from readout to readout
BEGIN = 1_700_000_000_000_000_000  # ns, UTC of the first readout
PACKET = 10  # readouts that have arrived together


def random_walk(count: int, *, seed: int = 1, first: int = 1) -> Readouts:
    """``count`` readouts of a whole camera, numbered from ``first``.

    Each pixel starts between 0 and 400 mV and changes by up to 4 mV from readout to readout. Second
    TACKs are each module's own, with the jitter of a host's clock from packet to packet.
    """
    chance = np.random.default_rng(seed)
    readouts = np.zeros(count, READOUT)
    amplitudes = chance.uniform(0, 400, (MODULES, PIXELS))
    for row in readouts:
        amplitudes += chance.uniform(-4, 4, amplitudes.shape)
        np.maximum(amplitudes, 0, out=amplitudes)
        row["counts"] = amplitudes / MV_PER_COUNT
    times = np.arange(count) * STEP
    readouts["number"] = np.arange(first, first + count)
    readouts["tack"] = 5_000_000_000 + times
    readouts["cpu_ns"] = BEGIN + times
    readouts["present"] = ALL_PRESENT
    readouts["tacks"][:, :, 0] = readouts["tack"][:, None]
    jitter = chance.integers(0, 1_000_000, (count // PACKET + 1, MODULES)).repeat(PACKET, axis=0)
    readouts["tacks"][:, :, 1] = (BEGIN + times)[:, None] + jitter[:count]
    return readouts


def without(readouts: Readouts, present: int) -> Readouts:
    """``readouts`` in which only the modules of the mask ``present`` are there."""
    some = readouts.copy()
    some["present"] = present
    absent = ~is_present(some["present"])
    some["counts"][absent] = 0
    some["tacks"][absent] = 0
    return some
