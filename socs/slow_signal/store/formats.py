"""The three layouts of a file of readouts, as HDF5 has them.

==========  ====================================================================================
``native``  ours, the default: counts, both TACKs of each module, time, exactly as they arrived
``seed``    SSDAQ up to 0.6: a table with amplitudes in mV and both TACKs, without time
``ssdaq``   SSDAQ's newest version: a table with amplitudes in mV and time, without modules' TACKs
==========  ====================================================================================

A native file holds in its group ``/SlowSignal``::

    readout    table (n,)            number u8, tack u8 [ns], cpu_ns i8 [ns since 1970], present u4
    counts     u2 (n, 32, 64)        differences, see below; 0 where a module is absent
    tacks      u8 (n, 32, 2) [ns]    differences; primary and second TACK of each module, 0: absent
    residues   f4 (n, 32, 64) [mV]   only in files with amplitudes that are no whole counts
    tel_table  table                 only in files with telescope data

Counts are compressed by Blosc2, which PyTables reads (from 3.10 on) and h5py with ``hdf5plugin``.
With ``filters=tables.Filters(4, "zlib")`` any HDF5 library reads them; writing takes much longer.

``amplitude = counts * mv_per_count + residues``, and NaN where bit m of ``present`` is not set.

``counts`` and ``tacks`` are in blocks of 64 readouts. The first of a block is stored as it is. Of
the others, the difference to the one before, modulo 2^16 or 2^64 and taken as a signed number
``d``, is stored as ``2 d`` for ``d >= 0`` and ``-2 d - 1`` else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError
from socs.slow_signal.layout import MODULES, PIXELS, Readouts
from socs.slow_signal.pixels import amplitudes
from socs.slow_signal.readout import SECOND, seconds_and_rest

NATIVE = "native"
DEFAULT_LAYOUT = NATIVE
FORMAT, FORMAT_VERSION = "socs slow signal", 1  # attributes format and format_version
BLOCK = 64  # readouts of a native file that are stored together
PEER_CHUNK = 15  # the same of the peers' layouts
GROUP, READOUT_TABLE, TELESCOPE_TABLE = "SlowSignal", "readout", "tel_table"
ENCODING = (
    "counts and tacks are stored in blocks of 64 readouts: the first as it is, of the others"
    " 2 d if d >= 0, else -2 d - 1, where d is the signed difference to the readout before"
)

# Attributes that we add to files of all layouts.
FILE_ID, VERSION, RECOVERED = "socs_file_id", "socs_version", "socs_recovered"

NATIVE_ROW = np.dtype([("number", "<u8"), ("tack", "<u8"), ("cpu_ns", "<i8"), ("present", "<u4")])
TELESCOPE = np.dtype(
    [("db_t", "<f8"), ("db_t_ns", "<u8"), ("db_t_s", "<u8"), ("dec", "<f8"), ("ra", "<f8")]
)
_AMPLITUDES = ("data", "<f4", (MODULES, PIXELS))
_TACKS = ("time_stamps", "<u8", (MODULES, 2))


@dataclass(frozen=True)
class PeerTable:
    """A layout that is one table of readouts.

    Attributes:
        row: a row of the table; columns in the order of the file.
        names: what our columns are called in it.
        order: in which its reader shows pixels unless told otherwise.
        version: (attribute, value) that its reader looks for.
        has_telescope: its files have a second table, if an empty one.
    """

    row: np.dtype[np.void]
    names: Mapping[str, str]
    order: str
    version: tuple[str, int]
    has_telescope: bool = False

    @property
    def has_time(self) -> bool:
        """Does it have the UTC of readouts?"""
        return "cpu_t" in (self.row.names or ())

    def rows(
        self, readouts: Readouts, residues: NDArray[np.float32] | None = None
    ) -> NDArray[np.void]:
        """``readouts`` (n,) as rows of the table."""
        rows = np.zeros(len(readouts), self.row)
        for ours, name in self.names.items():
            rows[name] = readouts[ours]
        rows["data"] = amplitudes(readouts, residues)
        if self.has_time:
            seconds, rest = seconds_and_rest(readouts["cpu_ns"])
            rows["cpu_t_s"], rows["cpu_t_ns"] = seconds, rest
            rows["cpu_t"] = seconds + rest * 1e-9
        return rows

    def column(self, rows: NDArray[np.void], name: str) -> NDArray[Any]:
        """Our column ``name`` (``number``, ``tack``, ``cpu_ns``, ``tacks``) of ``rows``.

        Zeros where the layout does not have it.
        """
        if name in self.names:
            column: NDArray[Any] = rows[self.names[name]]
            return column
        if name != "cpu_ns":
            return np.zeros((len(rows), MODULES, 2), np.uint64)
        times = np.zeros(len(rows), np.int64)
        if self.has_time:
            times += rows["cpu_t_s"].astype(np.int64) * SECOND + rows["cpu_t_ns"].astype(np.int64)
        return times


PEER_TABLES = {
    "seed": PeerTable(
        row=np.dtype([_AMPLITUDES, ("readout_number", "<u8"), ("ro_time", "<u8"), _TACKS]),
        names={"number": "readout_number", "tack": "ro_time", "tacks": "time_stamps"},
        order="raw",
        version=("ssdata_version", 1),
    ),
    "ssdaq": PeerTable(
        row=np.dtype(
            [
                *(("cpu_t", "<f8"), ("cpu_t_ns", "<u8"), ("cpu_t_s", "<u8")),
                *(_AMPLITUDES, ("iro", "<u8"), ("time", "<u8")),
            ]
        ),
        names={"number": "iro", "tack": "time"},
        order="ssl2asic_ch",
        version=("ss_data_version", 0),
        has_telescope=True,
    ),
}
# What the seed's program wrote before; read, never written.
OLDEST = PeerTable(
    row=np.dtype([_AMPLITUDES, ("ev_time", "<u8"), ("event_number", "<u8"), _TACKS]),
    names={"number": "event_number", "tack": "ev_time", "tacks": "time_stamps"},
    order="raw",
    version=("", 0),
)
LAYOUTS = (NATIVE, *PEER_TABLES)


def check_layout(layout: str) -> str:
    """``layout`` itself.

    Raises:
        ConfigError: there is no such layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"no file layout {layout!r}; there are {', '.join(LAYOUTS)}")
    return layout
