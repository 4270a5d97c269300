"""Writing one file of readouts from a program."""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tables

from socs.closing import Closing
from socs.errors import ConfigError
from socs.slow_signal.layout import Readouts
from socs.slow_signal.readout import SSReadout
from socs.slow_signal.store import blocks, formats
from socs.slow_signal.store.blocks import Residues
from socs.slow_signal.store.growing import GrowingFile, new_head


class SSDataWriter(Closing):
    """A new file of readouts. It has its name when it is closed; no other file is replaced.

    What has been flushed survives a crash: see :func:`.recovery.recover`. Meanwhile it can be read
    under the name that it will have.

    Args:
        filename: of the file.
        attrs: attributes of the file: text, numbers, and arrays of numbers.
        filters: ``tables.Filters`` instead of those of the layout.
        buffer: readouts after which they are flushed.
        tel_table: False: telescope data are not expected, and are refused.
        layout: ``native``, ``seed`` or ``ssdaq``.

    Attributes:
        filename: of the file.
        readout_counter: readouts that were written.

    Raises:
        ConfigError: the file exists already; or a setting is wrong.
        StorageUnavailable: by any method, when the disk refuses. Readouts are kept in memory then,
            for the next attempt; no more are taken when 4096 are.
    """

    def __init__(
        self,
        filename: str | PathLike[str],
        attrs: Mapping[str, Any] | None = None,
        filters: tables.Filters | None = None,
        buffer: int = formats.BLOCK,
        tel_table: bool = True,
        *,
        layout: str = formats.DEFAULT_LAYOUT,
    ) -> None:
        if not 1 <= buffer <= blocks.MAX_READOUTS:
            raise ConfigError(f"buffer is {buffer}; it must be 1 to {blocks.MAX_READOUTS}")
        path = Path(filename).absolute()
        try:
            self._file = GrowingFile(path, new_head(layout, attrs, filters, time.time()))
        except FileExistsError as error:
            raise ConfigError(
                f"{path} exists or is being written; choose another name, or move it away"
            ) from error
        self.filename = str(filename)
        self.readout_counter = 0
        self._buffer, self._has_telescope = buffer, tel_table
        self._waiting: list[tuple[Readouts, Residues]] = []
        self._closed = False

    @property
    def data_counter(self) -> int:
        """Readouts that were written."""
        return self.readout_counter

    def write_readout(self, ro: SSReadout) -> None:
        """Add a readout."""
        self._add(*ro.to_rows())

    write = write_readout

    def write_readouts(self, readouts: Readouts, residues: Residues = None) -> None:
        """Add ``readouts`` (n,) of :data:`~socs.slow_signal.layout.READOUT`, the fast way.

        Args:
            readouts: many at once.
            residues: what their counts cannot tell of their amplitudes [mV], (n, 32, 64).
        """
        for start in range(0, len(readouts), blocks.MAX_READOUTS):
            some = slice(start, start + blocks.MAX_READOUTS)
            self._add(readouts[some], None if residues is None else residues[some])

    def _add(self, readouts: Readouts, residues: Residues) -> None:
        if sum(len(part) for part, _ in self._waiting) + len(readouts) > blocks.MAX_READOUTS:
            self.flush()
        self._waiting.append((readouts, residues))
        self.readout_counter += len(readouts)
        if sum(len(part) for part, _ in self._waiting) >= self._buffer:
            self.flush()

    def write_tel_data(self, ra: float, dec: float, time: float, seconds: int, ns: int) -> None:
        """Add where the telescope pointed.

        Args:
            ra, dec: right ascension and declination.
            time: UTC since 1970 [s].
            seconds, ns: the same as whole seconds and nanoseconds.

        Raises:
            ConfigError: the file was begun without a table for it.
        """
        if not self._has_telescope:
            raise ConfigError(f"{self.filename} was begun with tel_table=False")
        row = np.zeros(1, formats.TELESCOPE)
        row["db_t"], row["db_t_s"], row["db_t_ns"] = time, seconds, ns
        row["ra"], row["dec"] = ra, dec
        self._file.append_telescope(row)

    def flush(self) -> None:
        """Have what was written survive a crash of this program."""
        if self._waiting:
            self._file.append(*blocks.joined(self._waiting))
            self._waiting = []

    def close(self) -> None:
        """Complete the file and give it its name. Nothing is lost if this fails: try again."""
        if not self._closed:
            self.flush()
            self._file.complete()
            self._file.settle()
            self._closed = True

    close_file = close
