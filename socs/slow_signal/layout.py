"""What a camera of 32 TARGET modules sends, and a readout as all stages of this package hold it.

Wire (one datagram, big endian)::

    n x 144 bytes:  u64 TACK | 32 x u16 pixels 0..31 | u64 TACK | 32 x u16 pixels 32..63

The module is known by the sender's address alone. TACKs are nanoseconds. A count on the wire has
its highest bit inverted; ``counts`` here are right already, 0 to 65535.

Stages pass arrays of readouts on, many at once: shape (n,), dtype :data:`READOUT`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MODULES = 32
PIXELS = 64  # of a module
READOUT_BYTES = 144  # of one module on the wire
USUAL_READOUTS = 10  # in a datagram
MAX_DATAGRAM = 65_507  # bytes
SIGN = 0x8000  # inverted on the wire
MV_PER_COUNT = 0.03815 * 2.0  # millivolts; 0 to 5000.3 mV
ALL_PRESENT = np.uint32(0xFFFFFFFF)

WIRE = np.dtype([("tack", ">u8"), ("low", ">u2", (32,)), ("aux", ">u8"), ("high", ">u2", (32,))])

# number   readout number, from 1
# tack     of the readout: the primary one of the module with the lowest number present [ns]
# cpu_ns   UTC when it was taken, as this machine's clock has it: arrival of the first datagram,
#          less the time from this readout to the last one in it [ns since 1970]
# present  bit m is set if module m is there
# tacks    primary and second TACK of each module [ns]; 0 if it is absent
# counts   of each module and pixel; 0 if it is absent
READOUT = np.dtype(
    [
        ("number", "<u8"),
        ("tack", "<u8"),
        ("cpu_ns", "<i8"),
        ("present", "<u4"),
        ("reserved", "<u4"),
        ("tacks", "<u8", (MODULES, 2)),
        ("counts", "<u2", (MODULES, PIXELS)),
    ]
)

Readouts = NDArray[np.void]


def is_present(present: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which modules are there: bool, shape (..., 32), of ``present`` (...,)."""
    bits = np.arange(MODULES, dtype=np.uint32)
    there: NDArray[np.bool_] = (present[..., None] >> bits & np.uint32(1)).astype(np.bool_)
    return there


def millivolts(readouts: Readouts) -> NDArray[np.float64]:
    """Amplitudes of ``readouts`` (n,) in mV: float64, shape (n, 32, 64), NaN for absent modules."""
    amplitudes = readouts["counts"] * MV_PER_COUNT
    amplitudes[~is_present(readouts["present"])] = np.nan
    return amplitudes
