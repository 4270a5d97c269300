"""Files of any layout, complete or being written, as numbered readouts."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tables
from numpy.typing import NDArray

from socs.closing import Closing
from socs.errors import FileNotReady, Malformed
from socs.part_files import PART
from socs.problems import printable
from socs.slow_signal.layout import MV_PER_COUNT, READOUT
from socs.slow_signal.store import blocks, formats, journal
from socs.slow_signal.store.bzip2_chunks import Bzip2Chunks, can_unpack
from socs.slow_signal.store.formats import PeerTable
from socs.slow_signal.store.hdf5 import reading
from socs.slow_signal.store.journal import JournalScan
from socs.slow_signal.store.naming import journal_of
from socs.slow_signal.store.rows import CountRows, Rows, TableRows

BLOCKS_AT_ONCE = 8  # when much is read
_GROUP = f"/{formats.GROUP}"
_TABLE, _TELESCOPE = f"{_GROUP}/{formats.READOUT_TABLE}", f"{_GROUP}/{formats.TELESCOPE_TABLE}"


class Attributes(dict[str, Any]):
    """Attributes of a file, as items and as attributes of this object."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the file has no attribute {name}") from None


class Source(Closing):
    """A file that readouts are read from.

    Attributes:
        path: where it is.
        layout: one of :data:`.formats.LAYOUTS`, or ``oldest``.
        order: of pixels, in which the layout's own reader shows them.
        attributes: of the file.
        block: readouts that are stored together; the least that is worth reading.
    """

    path: Path
    layout: str
    order: str
    attributes: Attributes
    block: int

    @abstractmethod
    def __len__(self) -> int:
        """How many readouts there are; more later, if the file is being written."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Rows:
        """Readouts ``start`` to ``stop``, all of which are there.

        Raises:
            Malformed: the file is damaged.
        """

    def column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """The column ``name`` (:data:`.rows.COLUMNS`) of readouts ``start`` to ``stop``.

        Raises:
            Malformed: the file is damaged.
        """
        nothing = self.rows(start, start).column(name)
        whole = np.empty((max(stop - start, 0), *nothing.shape[1:]), nothing.dtype)
        step = BLOCKS_AT_ONCE * self.block
        for first in range(start, stop, step):
            last = min(first + step, stop)
            whole[first - start : last - start] = self.rows(first, last).column(name)
        return whole

    @abstractmethod
    def telescope(self) -> NDArray[np.void]:
        """Telescope data, rows (n,) of :data:`.formats.TELESCOPE`."""


def open_source(path: str | PathLike[str]) -> Source:
    """Open a file by the name that it has or will have, or by that of its journal.

    Raises:
        FileNotReady: there is no such file, or it may not be read.
        Malformed: it is damaged, or no file of readouts.
    """
    path = Path(path)
    if path.name.endswith(journal.SUFFIX):
        return JournalSource(path)
    final = path.with_name(path.name.removesuffix(PART))
    being_written = journal_of(final)
    if not final.exists() and being_written.exists():
        with suppress(FileNotReady):  # completed at this moment
            return JournalSource(being_written)
    return _open_hdf5(final if final.exists() else path)


class JournalSource(Source):
    """A file that is being written, or was left by a writer that was killed."""

    order = "raw"
    block = formats.BLOCK

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scan = JournalScan(path)
        self.layout = self._scan.head.layout
        self.attributes = Attributes(self._scan.head.attributes)
        if self.layout in formats.PEER_TABLES:
            self.order = formats.PEER_TABLES[self.layout].order
        self._known = 0  # blocks
        self._filled: list[journal.Block] = []
        self._ends: list[int] = []  # number of the readout after each of these

    def __len__(self) -> int:
        self._scan.refresh()
        for block in self._scan.blocks[self._known :]:
            if block.readouts:
                self._filled.append(block)
                self._ends.append(block.readouts + (self._ends[-1] if self._ends else 0))
        self._known = len(self._scan.blocks)
        return self._ends[-1] if self._ends else 0

    def rows(self, start: int, stop: int) -> Rows:
        if start >= stop:
            return CountRows(np.zeros(0, READOUT), None)
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, stop - 1)
        parts = [blocks.unpack(self._scan.data(b)) for b in self._filled[first : last + 1]]
        before = self._ends[first] - self._filled[first].readouts
        return CountRows(*blocks.joined(parts)).part(start - before, stop - before)

    def telescope(self) -> NDArray[np.void]:
        self._scan.refresh()
        parts = [
            np.frombuffer(self._scan.data(block), formats.TELESCOPE)
            for block in self._scan.blocks
            if block.kind == journal.TELESCOPE
        ]
        return np.concatenate([np.zeros(0, formats.TELESCOPE), *parts])

    def close(self) -> None:
        self._scan.close()


class Hdf5Source(Source):
    """A complete file. See :func:`open_source`."""

    def __init__(self, path: Path, file: tables.File, attributes: Attributes) -> None:
        self.path, self.attributes = path, attributes
        self._file = file
        self._table = file.get_node(_TABLE)
        self._rows = int(self._table.nrows)

    def __len__(self) -> int:
        return self._rows

    def telescope(self) -> NDArray[np.void]:
        with reading(self.path):
            if _TELESCOPE not in self._file:
                return np.zeros(0, formats.TELESCOPE)
            rows: NDArray[np.void] = self._file.get_node(_TELESCOPE).read()
        return rows.astype(formats.TELESCOPE)

    def close(self) -> None:
        with reading(self.path):
            self._file.close()


class NativeSource(Hdf5Source):
    """A complete file of our own layout."""

    layout = formats.NATIVE
    order = "raw"
    block = formats.BLOCK

    def __init__(self, path: Path, file: tables.File, attributes: Attributes) -> None:
        super().__init__(path, file, attributes)
        _check_version(path, "format_version", attributes.get("format_version"), (1,))
        if attributes.get("block") != self.block or attributes.get("mv_per_count") != MV_PER_COUNT:
            raise Malformed(
                f"{path}: readouts are not in blocks of {self.block}, or of other counts"
            )
        group = file.get_node(_GROUP)
        self._arrays = {"counts": group.counts, "tacks": group.tacks}
        self._residues = group.residues if "residues" in group else None
        sizes = {a.nrows for a in (*self._arrays.values(), self._residues) if a is not None}
        if sizes != {self._rows}:
            raise Malformed(f"{path}: {self._rows} readouts, but arrays of {sizes}")

    def rows(self, start: int, stop: int) -> Rows:
        readouts = np.zeros(max(stop - start, 0), READOUT)
        with reading(self.path):
            small = self._table.read(start, stop)
            residues = None if self._residues is None else self._residues.read(start, stop)
        for name in formats.NATIVE_ROW.names or ():
            readouts[name] = small[name]
        for name in self._arrays:
            readouts[name] = self._restored(name, start, stop)
        return CountRows(readouts, residues)

    def _restored(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """An array of which differences are stored."""
        aligned = start // self.block * self.block
        with reading(self.path):
            stored = self._arrays[name].read(aligned, max(start, stop))
        return blocks.restored(stored, self.block)[start - aligned :]

    def column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        if name in (formats.NATIVE_ROW.names or ()):
            with reading(self.path):
                column: NDArray[Any] = self._table.read(start, stop, field=name)
            return column
        if name in self._arrays:
            return self._restored(name, start, stop)
        return super().column(name, start, stop)


class TableSource(Hdf5Source):
    """A complete file of a peer."""

    block = formats.PEER_CHUNK

    def __init__(self, path: Path, file: tables.File, attributes: Attributes) -> None:
        super().__init__(path, file, attributes)
        self.layout, self._peer = _peer_layout(path, attributes, self._table.colnames)
        self.order = self._peer.order
        for name in self._peer.row.names or ():
            found = self._table.description._v_dtype.fields.get(name)
            if found is None or found[0].shape != self._peer.row[name].shape:
                raise Malformed(f"{path}: no column {name} as the layout {self.layout} has it")
        self._chunks = Bzip2Chunks(path, self._table) if can_unpack(self._table) else None

    def rows(self, start: int, stop: int) -> Rows:
        rows = None if self._chunks is None else self._chunks.read(start, stop)
        if rows is None:
            with reading(self.path):
                rows = self._table.read(start, max(start, stop))
        return TableRows(rows, self._peer)

    def close(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
        super().close()


def _open_hdf5(path: Path) -> Source:
    with reading(path):
        path.stat()  # says better than the library what is wrong
        file = tables.open_file(str(path))
        try:
            attributes = _attributes(file)
            native = "format" in attributes
            if native and attributes["format"] != formats.FORMAT:
                raise Malformed(f"{path}: of the format {printable(str(attributes['format']))}")
            return (NativeSource if native else TableSource)(path, file, attributes)
        except BaseException:
            file.close()
            raise


def _attributes(file: tables.File) -> Attributes:
    """Attributes of the readouts, but for pickled objects, which end with a full stop."""
    stored = file.get_node(_TABLE).attrs
    attributes = Attributes({name: stored[name] for name in stored._f_list("user")})
    for name, value in list(attributes.items()):
        if isinstance(value, np.bytes_) and value.endswith(b"."):
            del attributes[name]
    return attributes


def _check_version(path: Path, name: str, version: Any, known: tuple[int, ...]) -> None:
    if version not in known:
        raise Malformed(f"{path}: {name} is {version}; this program knows {known}")


def _peer_layout(path: Path, attributes: Attributes, columns: list[str]) -> tuple[str, PeerTable]:
    for name, layout in formats.PEER_TABLES.items():
        attribute, version = layout.version
        if attribute in attributes:
            _check_version(path, attribute, attributes[attribute], (version,))
            return name, layout
    if "event_number" in columns:
        return "oldest", formats.OLDEST
    raise Malformed(f"{path} is no file of readouts")
