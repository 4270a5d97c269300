"""One readout of the camera for people's programs, and readouts as messages to subscribers.

Messages are little endian and hold 64-bit amplitudes in mV, NaN where a module is absent::

    seed    16 912 bytes   number u64 | TACK u64 | 32 x 64 f8 | TACKs of the modules 32 x 2 u64
    ssdaq   16 416 bytes   number u64 | TACK u64 | UTC s u64 | ns u64 | 32 x 64 f8

The layouts have the names of the programs that introduced them: ``seed`` is SSDAQ up to 0.6,
``ssdaq`` its newest version. Only their lengths tell them apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError, Malformed
from socs.slow_signal import pixels
from socs.slow_signal.layout import (
    ALL_PRESENT,
    MODULES,
    MV_PER_COUNT,
    PIXELS,
    READOUT,
    Readouts,
    is_present,
    millivolts,
)

SECOND = 1_000_000_000  # ns
DEFAULT_MESSAGE = "seed"

_CAMERA = (MODULES, PIXELS)
MESSAGES = {
    "seed": np.dtype(
        [
            ("number", "<u8"),
            ("tack", "<u8"),
            ("data", "<f8", _CAMERA),
            ("tacks", "<u8", (MODULES, 2)),
        ]
    ),
    "ssdaq": np.dtype(
        [
            ("number", "<u8"),
            ("tack", "<u8"),
            ("cpu_s", "<u8"),
            ("cpu_ns", "<u8"),
            ("data", "<f8", _CAMERA),
        ]
    ),
}
_BY_LENGTH = {message.itemsize: message for message in MESSAGES.values()}


def message_dtype(layout: str) -> np.dtype[np.void]:
    """The message called ``layout``.

    Raises:
        ConfigError: there is none of this name.
    """
    if layout not in MESSAGES:
        raise ConfigError(f"no message layout {layout!r}; there are {', '.join(MESSAGES)}")
    return MESSAGES[layout]


def pack_many(readouts: Readouts, layout: str = DEFAULT_MESSAGE) -> NDArray[np.uint8]:
    """Messages of ``readouts`` (n,), one per row: shape (n, bytes of a message).

    Raises:
        ConfigError: no such layout.
    """
    message = message_dtype(layout)
    packed = np.empty(len(readouts), message)
    packed["number"] = readouts["number"]
    packed["tack"] = readouts["tack"]
    np.multiply(readouts["counts"], MV_PER_COUNT, out=packed["data"])
    if (readouts["present"] != ALL_PRESENT).any():
        packed["data"][~is_present(readouts["present"])] = np.nan
    if _has_tacks(message):
        packed["tacks"] = readouts["tacks"]
    else:
        packed["cpu_s"], packed["cpu_ns"] = seconds_and_rest(readouts["cpu_ns"])
    return packed.view(np.uint8).reshape(len(readouts), message.itemsize)


def _has_tacks(message: np.dtype[np.void]) -> bool:
    return "tacks" in (message.names or ())


def seconds_and_rest(cpu_ns: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Times since 1970 as (seconds, nanoseconds); times before are not known in these layouts."""
    return np.divmod(np.maximum(cpu_ns, 0), SECOND)


class SSReadout:
    """A readout of the whole camera.

    Args:
        timestamp: TACK of the readout [ns].
        readout_number: from 1.
        data: amplitudes [mV], shape (32, 64); NaN where nothing was measured, and by default.
        timestamps: primary and second TACK of each module [ns], shape (32, 2); 0 if it is absent.
        cpu_t_s: UTC since 1970, whole seconds.
        cpu_t_ns: the nanoseconds to be added to these.

    Raises:
        Malformed: an array is of another shape, or not of numbers.
    """

    def __init__(
        self,
        timestamp: int = 0,
        readout_number: int = 0,
        data: Any = None,
        timestamps: Any = None,
        *,
        cpu_t_s: int = 0,
        cpu_t_ns: int = 0,
    ) -> None:
        self.readout_timestamp = int(timestamp)
        self.readout_number = int(readout_number)
        self.cpu_t_s = int(cpu_t_s)
        self.cpu_t_ns = int(cpu_t_ns)
        self.data: NDArray[np.float64]
        self.timestamps: NDArray[np.uint64]
        if data is None:
            self.data = np.full(_CAMERA, np.nan)
        else:
            self.data = _array("data", data, np.dtype("<f8"), _CAMERA)
        if timestamps is None:
            self.timestamps = np.zeros((MODULES, 2), np.uint64)
        else:
            self.timestamps = _array("timestamps", timestamps, np.dtype("<u8"), (MODULES, 2))

    @classmethod
    def from_bytes(cls, message: bytes | bytearray | memoryview) -> SSReadout:
        """The readout in ``message``, of either layout.

        Raises:
            Malformed: it is as long as neither.
        """
        readout = cls()
        readout.unpack(message)
        return readout

    @classmethod
    def from_row(cls, row: np.void) -> SSReadout:
        """The readout ``row``, one of an array of :data:`~socs.slow_signal.layout.READOUT`."""
        rows = np.asarray(row).reshape(1)
        seconds, rest = divmod(int(row["cpu_ns"]), SECOND)
        return cls(
            row["tack"],
            row["number"],
            millivolts(rows)[0],
            row["tacks"].copy(),
            cpu_t_s=seconds,
            cpu_t_ns=rest,
        )

    def to_rows(self) -> tuple[Readouts, NDArray[np.float32] | None]:
        """This readout as an array of one, and what the counts cannot tell of its amplitudes."""
        rows = np.zeros(1, READOUT)
        rows["number"], rows["tack"] = self.readout_number, self.readout_timestamp
        rows["cpu_ns"] = self.cpu_t_s * SECOND + self.cpu_t_ns
        rows["tacks"] = self.timestamps
        rows["counts"], rows["present"], residues = pixels.count(self.data[None])
        return rows, residues

    def pack(self, layout: str = DEFAULT_MESSAGE) -> bytes:
        """The message of this readout.

        Raises:
            ConfigError: no such layout.
        """
        packed = np.zeros(1, message_dtype(layout))
        packed["number"], packed["tack"] = self.readout_number, self.readout_timestamp
        packed["data"] = self.data
        if _has_tacks(packed.dtype):
            packed["tacks"] = self.timestamps
        else:
            packed["cpu_s"], packed["cpu_ns"] = self.cpu_t_s, self.cpu_t_ns
        return packed.tobytes()

    def unpack(self, message: bytes | bytearray | memoryview) -> None:
        """Take everything from ``message``, whose length tells the layout.

        Raises:
            Malformed: no layout has this length.
        """
        layout = _BY_LENGTH.get(len(message))
        if layout is None:
            lengths = " or ".join(map(str, _BY_LENGTH))
            raise Malformed(f"a readout of {len(message)} bytes; it has {lengths}")
        (packed,) = np.frombuffer(bytes(message), layout)
        self.readout_number, self.readout_timestamp = int(packed["number"]), int(packed["tack"])
        self.data = packed["data"].copy()
        if _has_tacks(layout):
            self.timestamps = packed["tacks"].copy()
            self.cpu_t_s = self.cpu_t_ns = 0
        else:
            self.timestamps = np.zeros((MODULES, 2), np.uint64)
            self.cpu_t_s, self.cpu_t_ns = int(packed["cpu_s"]), int(packed["cpu_ns"])

    @property
    def iro(self) -> int:
        """The readout number."""
        return self.readout_number

    @property
    def time(self) -> int:
        """TACK of the readout [ns]."""
        return self.readout_timestamp

    @property
    def cpu_t(self) -> float:
        """UTC since 1970 [s]."""
        return float(self.cpu_t_s) + self.cpu_t_ns * 1e-9

    @property
    def asic_mapped_data(self) -> NDArray[np.float64]:
        """Amplitudes [mV], shape (32, 64), pixels ordered as in the fast data."""
        return self.data[:, pixels.ORDERS["ssl2asic_ch"]]

    @property
    def colrow_mapped_data(self) -> NDArray[np.float64]:
        """Amplitudes [mV], shape (32, 64), pixels ordered by column and row of the module."""
        return self.data[:, pixels.ORDERS["ssl2colrow"]]

    def __repr__(self) -> str:
        there = int((~np.isnan(self.data).all(axis=1)).sum())
        return (
            f"SSReadout(number {self.readout_number}, TACK {self.readout_timestamp} ns, "
            f"{there} of {MODULES} modules)"
        )


def _array(name: str, values: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    try:
        array = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"{name} of a readout: {error}") from error
    if array.shape != shape:
        raise Malformed(f"{name} of a readout has the shape {array.shape} instead of {shape}")
    return array
