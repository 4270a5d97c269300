"""HDF5 files in the making, one class per kind of layout (:mod:`.formats`).

They are written in batches and are of no use before they are closed; nobody reads them before. What
must survive is in the journal.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tables
from numpy.typing import NDArray

from socs._version import __version__
from socs.closing import Closing
from socs.errors import StorageUnavailable
from socs.slow_signal.layout import MODULES, MV_PER_COUNT, PIXELS, Readouts
from socs.slow_signal.pixels import ORDERS
from socs.slow_signal.store import formats
from socs.slow_signal.store.blocks import Residues, differences, joined
from socs.slow_signal.store.hdf5 import close, flush, writing
from socs.slow_signal.store.journal import Head
from socs.slow_signal.store.stored import check_stored

# Bits of differences are noise or zeros: LZ4 finds the zeros as well as slower compressors do.
COUNTS_FILTERS = tables.Filters(5, "blosc2:lz4", shuffle=False, bitshuffle=True, fletcher32=True)
TACKS_FILTERS = tables.Filters(1, "blosc2:zstd", shuffle=True, fletcher32=True)
PEER_FILTERS = tables.Filters(9, "bzip2", shuffle=True, fletcher32=True)


class Hdf5File(Closing):
    """A file that is written at ``path``, over what may be there.

    Attributes:
        batch: readouts that are written together.
        readouts: how many have been appended.
        times: UTC of the first and the last of them [ns since 1970].

    Raises:
        StorageUnavailable: by any method; the file is of no use then, see :meth:`abandon`.
    """

    batch: int
    typical_size: int  # bytes of a readout
    titles: tuple[str, str, str]  # of file, group and table
    filters: tables.Filters  # unless told otherwise

    def __init__(self, path: Path, head: Head) -> None:
        self.path = path
        self.readouts = 0
        self.times = (0, 0)
        self._waiting: list[tuple[Readouts, Residues]] = []
        self._written = 0
        self._own = tables.Filters(**head.filters) if head.filters else None
        self._telescope: tables.Table | None = None
        self._telescope_rows = 0
        with writing(path):
            self._file = tables.open_file(
                str(path), "w", title=self.titles[0], filters=self._own or self.filters
            )
        try:
            with writing(path):
                self._group = self._file.create_group("/", formats.GROUP, self.titles[1])
                self._table = self._create()
                self.set_attributes(
                    head.attributes
                    | self._attributes()
                    | {formats.FILE_ID: head.id, formats.VERSION: __version__}
                )
        except StorageUnavailable:
            self.abandon()
            raise

    @abstractmethod
    def _create(self) -> tables.Table:
        """Create what holds readouts; the table with the attributes."""

    @abstractmethod
    def _attributes(self) -> dict[str, Any]:
        """Attributes that the layout has."""

    @abstractmethod
    def _write(self, readouts: Readouts, residues: Residues) -> None:
        """Write ``readouts``: a batch, or what is left at the end."""

    def append(self, readouts: Readouts, residues: Residues = None) -> None:
        """Add ``readouts`` (n,) and their residues (n, 32, 64)."""
        if not len(readouts):
            return
        first = self.times[0] if self.readouts else int(readouts["cpu_ns"][0])
        self.times = first, int(readouts["cpu_ns"][-1])
        self.readouts += len(readouts)
        self._waiting.append((readouts, residues))
        if self.readouts - self._written >= self.batch:
            self._write_waiting(whole=True)

    def _write_waiting(self, *, whole: bool) -> None:
        """Write what waits; only whole batches if ``whole``."""
        readouts, residues = joined(self._waiting)
        end = len(readouts) // self.batch * self.batch if whole else len(readouts)
        with writing(self.path):
            for start in range(0, end, self.batch):
                part = slice(start, min(start + self.batch, end))
                self._write(readouts[part], None if residues is None else residues[part])
            flush(self._table)
        self._written += end
        rest = None if residues is None else residues[end:]
        self._waiting = [(readouts[end:], rest)] if end < len(readouts) else []

    def append_telescope(self, rows: NDArray[np.void]) -> None:
        """Write telescope data: ``rows`` (n,) of :data:`.formats.TELESCOPE`."""
        with writing(self.path):
            if self._telescope is None:
                self._telescope = self._create_telescope()
            self._telescope.append(rows)
        self._telescope_rows += len(rows)

    def _create_telescope(self) -> tables.Table:
        return self._file.create_table(
            self._group, formats.TELESCOPE_TABLE, formats.TELESCOPE, "Telescope data"
        )

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes: text, numbers, or lists of numbers."""
        with writing(self.path):
            for name, value in attributes.items():
                self._table.attrs[name] = np.asarray(value) if isinstance(value, list) else value

    def size(self) -> int:
        """Bytes that the file will have. Readouts that still wait are taken for average ones."""
        with writing(self.path):
            size = int(self._file.get_filesize())
        mean = size // self._written if self._written else self.typical_size
        return size + (self.readouts - self._written) * mean

    def close(self) -> None:
        if self._waiting:
            self._write_waiting(whole=False)
        with writing(self.path):
            flush(self._table)  # closing says nothing of what it cannot write
            close(self._file)

    def check(self) -> None:
        """Look whether all that was written is in the file, which is closed."""
        wanted = {f"/{formats.GROUP}/{name}": rows for name, rows in self._stored().items()}
        check_stored(self.path, wanted)

    def _stored(self) -> dict[str, range]:
        """The rows that must be in each table and array, by its name."""
        stored = {formats.READOUT_TABLE: range(self.readouts)}
        if self._telescope is not None:
            stored[formats.TELESCOPE_TABLE] = range(self._telescope_rows)
        return stored

    def abandon(self) -> None:
        """Close and delete it, whatever state it is in."""
        with suppress(StorageUnavailable), writing(self.path):
            self._file.close()
        with suppress(OSError):
            os.unlink(self.path)


class NativeFile(Hdf5File):
    """Our own layout."""

    batch = 8 * formats.BLOCK
    typical_size = 1_900
    titles = ("Slow signal readouts", "Slow signal readouts", "Readouts")
    filters = COUNTS_FILTERS

    def _create(self) -> tables.Table:
        camera = (MODULES, PIXELS)
        self._tacks = self._array("tacks", "<u8", (MODULES, 2), TACKS_FILTERS)
        self._counts = self._array("counts", "<u2", camera, COUNTS_FILTERS)
        self._residues: tables.EArray | None = None
        self._residues_from = 0
        return self._file.create_table(
            self._group,
            formats.READOUT_TABLE,
            formats.NATIVE_ROW,
            self.titles[2],
            filters=self._own or TACKS_FILTERS,
            chunkshape=(self.batch,),
        )

    def _array(
        self, name: str, kind: str, shape: tuple[int, ...], filters: tables.Filters
    ) -> tables.EArray:
        return self._file.create_earray(
            self._group,
            name,
            atom=tables.Atom.from_dtype(np.dtype(kind)),
            shape=(0, *shape),
            chunkshape=(formats.BLOCK, *shape),
            filters=self._own or filters,
        )

    def _attributes(self) -> dict[str, Any]:
        return {
            "format": formats.FORMAT,
            "format_version": formats.FORMAT_VERSION,
            "mv_per_count": MV_PER_COUNT,
            "block": formats.BLOCK,
            "encoding": formats.ENCODING,
        } | {name: order for name, order in ORDERS.items() if name != "raw"}

    def _write(self, readouts: Readouts, residues: Residues) -> None:
        rows = np.empty(len(readouts), formats.NATIVE_ROW)
        for name in formats.NATIVE_ROW.names or ():
            rows[name] = readouts[name]
        if residues is not None and self._residues is None:
            self._residues = self._array("residues", "<f4", (MODULES, PIXELS), TACKS_FILTERS)
            self._residues_from = self._table.nrows
            self._residues.truncate(self._residues_from)  # lengthens it: zeros that take no space
        if self._residues is not None:
            none = np.zeros((len(readouts), MODULES, PIXELS), np.float32)
            self._residues.append(none if residues is None else residues)
        self._counts.append(differences(np.ascontiguousarray(readouts["counts"]), formats.BLOCK))
        self._tacks.append(differences(np.ascontiguousarray(readouts["tacks"]), formats.BLOCK))
        self._table.append(rows)

    def _stored(self) -> dict[str, range]:
        stored = super()._stored() | {name: range(self.readouts) for name in ("counts", "tacks")}
        if self._residues is not None:
            stored["residues"] = range(self._residues_from, self.readouts)
        return stored


class PeerFile(Hdf5File):
    """A layout that is a table, as its own program writes it.

    Args:
        path: of the file.
        head: from the journal; its layout is the name of one of these tables.
    """

    batch = 20 * formats.PEER_CHUNK
    typical_size = 6_000
    titles = ("CHEC-S Slow signal monitor data", "Slow signal data", "Slow signal readout")
    filters = PEER_FILTERS

    def __init__(self, path: Path, head: Head) -> None:
        self._layout = formats.PEER_TABLES[head.layout]
        super().__init__(path, head)

    def _create(self) -> tables.Table:
        if self._layout.has_telescope:
            self._telescope = self._create_telescope()
        return self._file.create_table(
            self._group,
            formats.READOUT_TABLE,
            self._layout.row,
            self.titles[2],
            chunkshape=(formats.PEER_CHUNK,),
        )

    def _attributes(self) -> dict[str, Any]:
        attributes: dict[str, Any] = dict([self._layout.version])
        if self._layout.has_telescope:
            attributes["ssdaq_version"] = f"socs {__version__}"
            attributes["ssl2asic_ch"] = ORDERS["ssl2asic_ch"].astype(np.uint64)
        return attributes

    def _write(self, readouts: Readouts, residues: Residues) -> None:
        self._table.append(self._layout.rows(readouts, residues))
