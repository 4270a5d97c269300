"""Orders of a module's pixels, and amplitudes that are no whole numbers of counts.

Modules send their 64 pixels in an order of their own, which is how this package holds them. Pixel
``k`` of another order is pixel ``order[k]`` of the module's.

Cameras send counts. Amplitudes from elsewhere, such as a user's script, may lie between two counts
or beyond all; what the counts cannot tell is kept as *residues* [mV], so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError
from socs.slow_signal.layout import MODULES, MV_PER_COUNT, PIXELS, Readouts, is_present

MAX_COUNT = 0xFFFF

_COLUMNS_ROWS = (
    "8 1 5 6 41 43 51 47 11 14 13 7 44 36 42 46 12 2 4 15 38 37 33 45 10 16 9 19 40 39 34 48 26 28"
    " 20 31 56 54 35 63 17 3 18 25 62 53 32 61 27 30 21 22 58 52 59 55 24 0 29 23 49 57 50 60"
)
_ASIC_CHANNELS = (
    "29 23 21 22 30 27 24 0 25 31 20 18 28 26 17 3 2 16 10 12 19 4 15 9 1 8 11 14 6 7 5 13 62 56"
    " 54 53 59 60 55 50 57 58 52 49 61 63 32 35 51 47 42 46 33 34 45 48 44 36 41 43 40 38 39 37"
)

_RAW = np.arange(PIXELS)
ORDERS: dict[str, NDArray[np.intp]] = {
    "raw": _RAW,  # as sent
    "ssl2colrow": np.array(_COLUMNS_ROWS.split(), dtype=np.intp),  # by column and row
    "ssl2asic_ch": np.array(_ASIC_CHANNELS.split(), dtype=np.intp),  # as in the fast data
}


def pixel_order(order: str | Sequence[int] | NDArray[Any]) -> NDArray[np.intp]:
    """The order with this name, or ``order`` itself: numbers of pixels, each from 0 to 63.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(order, str):
        if order not in ORDERS:
            raise ConfigError(f"No mapping found with name {order}; there are {', '.join(ORDERS)}")
        return ORDERS[order]
    numbers = np.asarray(order)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not np.isin(numbers, _RAW).all():
        raise ConfigError(f"a mapping must be a list of pixels, each from 0 to {PIXELS - 1}")
    return numbers.astype(np.intp)


def amplitudes(
    readouts: Readouts, residues: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Amplitudes of ``readouts`` (n,) in mV: float32, shape (n, 32, 64), NaN for absent modules."""
    out = np.empty((len(readouts), MODULES, PIXELS), np.float32)
    if residues is None:
        # Multiplied as float64 and rounded once: what 64-bit amplitudes are when they are stored.
        np.multiply(readouts["counts"], MV_PER_COUNT, out=out, dtype=np.float64, casting="unsafe")
    else:
        out[:] = readouts["counts"] * MV_PER_COUNT + residues
    out[~is_present(readouts["present"])] = np.nan
    return out


def count(
    millivolts: NDArray[Any],
) -> tuple[NDArray[np.uint16], NDArray[np.uint32], NDArray[np.float32] | None]:
    """(counts, present, residues) of amplitudes in mV, shape (n, 32, 64).

    A module is absent where all its amplitudes are NaN. Amplitudes are taken as float32 has them;
    ``residues`` is None where the counts tell that.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # beyond 32 bits; NaN of unusual bits
        single = np.asarray(millivolts).astype(np.float32)
    exact = single.astype(np.float64)
    there = ~np.isnan(exact).all(axis=2)
    with np.errstate(invalid="ignore", over="ignore"):
        counts = np.clip(np.nan_to_num(np.rint(exact / MV_PER_COUNT)), 0, MAX_COUNT)
        rest = exact - counts * MV_PER_COUNT
        rest[~there] = 0.0
        whole = (counts * MV_PER_COUNT).astype(np.float32) == single
        residues = None if whole[there].all() else rest.astype(np.float32)
    bits = np.left_shift(np.uint32(1), np.arange(MODULES, dtype=np.uint32))
    present = (there * bits).sum(axis=1, dtype=np.uint32)
    return counts.astype(np.uint16), present, residues
