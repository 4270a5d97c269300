"""Reading files of readouts: in order, at random, by column, also while they are being written."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from socs.closing import Closing
from socs.errors import ConfigError
from socs.slow_signal import pixels
from socs.slow_signal.layout import MODULES, PIXELS, Readouts
from socs.slow_signal.readout import SECOND, SSReadout
from socs.slow_signal.store.rows import COLUMNS, Rows
from socs.slow_signal.store.sources import BLOCKS_AT_ONCE, Attributes, open_source

Mapping: TypeAlias = str | Sequence[int] | NDArray[Any]

KEPT = 8  # blocks in memory, for access at random
# What peers call our columns.
_ALIASES = {
    **{"iro": "number", "readout_number": "number"},
    **{"time": "tack", "readout_time": "tack", "ro_time": "tack"},
    **{"timestamps": "tacks", "time_stamps": "tacks", "readout_timestamps": "tacks"},
    "data": "amplitudes",
}


class ModuleData(NamedTuple):
    """All readouts of one module.

    Attributes:
        iro: readout numbers (n,).
        amps: amplitudes (n, pixels), calibrated if a calibration was given [mV].
        time: TACKs (n,) [ns].
        cpu_t: UTC (n,) [s since 1970].
        tm: number of the module.
    """

    iro: NDArray[np.uint64]
    amps: NDArray[np.float64]
    time: NDArray[np.uint64]
    cpu_t: NDArray[np.float64]
    tm: int


class SSDataReader(Closing):
    """A file of readouts, of any layout.

    A file that is being written is opened under the name that it will have; readouts come in as
    they are flushed.

    Args:
        filename: of the file.
        mapping: order of pixels in :attr:`data`: ``raw`` (as sent), ``ssl2asic_ch``,
            ``ssl2colrow``, or a list of pixels. The default is that of the program that introduced
            the layout: ``ssl2asic_ch`` for ``ssdaq``, else ``raw``.

    Attributes:
        filename: of the file.
        map: the order of pixels.

    Raises:
        FileNotReady: there is no such file, or it may not be read.
        Malformed: it is damaged, or no file of readouts.
        ConfigError: no such mapping.
    """

    def __init__(self, filename: str | PathLike[str], mapping: Mapping | None = None) -> None:
        self._source = open_source(filename)
        self.filename = str(filename)
        try:
            self.map = self._order(mapping)
        except ConfigError:
            self._source.close()
            raise
        self._kept: OrderedDict[int, Rows] = OrderedDict()  # blocks that were read last
        self._columns: _Columns | None = None
        self._row = 0  # of these, the one at hand

    def _order(self, mapping: Mapping | None) -> NDArray[np.intp]:
        return pixels.pixel_order(self._source.order if mapping is None else mapping)

    @property
    def layout(self) -> str:
        """``native``, ``seed``, ``ssdaq``, or ``oldest``, which came before ``seed``."""
        return self._source.layout

    @property
    def attrs(self) -> Attributes:
        """Attributes of the file: ``attrs["name"]`` or ``attrs.name``."""
        return self._source.attributes

    @property
    def n_readouts(self) -> int:
        """How many readouts there are; more later, if the file is being written."""
        return len(self._source)

    def __len__(self) -> int:
        return len(self._source)

    # -- one after the other --------------------------------------------------------------------

    def read(
        self, start: int | None = None, stop: int | None = None, step: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Go through the readouts of ``[start:stop:step]``, by default all.

        Yields:
            :attr:`data` of each. Until the next one, the attributes of this reader are those of
            that readout.

        Raises:
            Malformed: the file is damaged.
        """
        numbers = range(*slice(start, stop, step).indices(len(self)))
        for some in _together(numbers, BLOCKS_AT_ONCE * self._source.block):
            columns = self._columns_of(some)
            for row, data in enumerate(columns.data):
                self._columns, self._row = columns, row
                yield data

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return self.read()

    def _columns_of(self, numbers: range) -> _Columns:
        first, last = min(numbers[0], numbers[-1]), max(numbers[0], numbers[-1])
        rows = self._source.rows(first, last + 1)
        return _Columns(rows, slice(None, None, numbers.step), self.map)

    def _at_hand(self, name: str) -> Any:
        return None if self._columns is None else getattr(self._columns, name)[self._row]

    data = property(
        lambda self: self._at_hand("data"),
        doc="Amplitudes [mV] of the readout at hand: float32, (32, 64), in the order of `map`.",
    )
    raw_data = raw_readout = property(
        lambda self: self._at_hand("amplitudes"),
        doc="The same in the order in which pixels are sent.",
    )
    iro = readout_number = property(
        lambda self: self._at_hand("number"), doc="Number of the readout at hand."
    )
    time = readout_time = property(
        lambda self: self._at_hand("tack"), doc="TACK of the readout at hand [ns]."
    )
    readout_timestamps = timestamps = property(
        lambda self: self._at_hand("tacks"),
        doc="Primary and second TACK of each module [ns]: shape (32, 2), 0 where there is none.",
    )
    cpu_t = property(lambda self: self._at_hand("cpu_t"), doc="UTC of the readout at hand [s].")
    cpu_t_s = property(lambda self: self._at_hand("cpu_t_s"), doc="Its whole seconds.")
    cpu_t_ns = property(lambda self: self._at_hand("cpu_t_ns"), doc="Its nanoseconds.")

    @property
    def ssreadout(self) -> SSReadout | None:
        """The readout at hand; its pixels are in the order in which they are sent."""
        if self._columns is None:
            return None
        return SSReadout(
            self.time,
            self.iro,
            self.raw_data,
            self.timestamps.copy(),
            cpu_t_s=self.cpu_t_s,
            cpu_t_ns=self.cpu_t_ns,
        )

    # -- at random ------------------------------------------------------------------------------

    def __getitem__(self, item: Any) -> NDArray[np.float32]:
        """Amplitudes [mV] in the order of :attr:`map`: of one readout, a slice, or a list.

        Returns:
            float32, shape (32, 64), or (n, 32, 64) for a slice or a list.

        Raises:
            IndexError: there is no such readout.
            TypeError: neither a number, nor a slice, nor a list of numbers.
        """
        if isinstance(item, slice):
            return self._several(range(*item.indices(len(self))))
        if isinstance(item, (list, tuple, np.ndarray)):
            return self._many(item)
        return np.array(self._one(self._checked(operator.index(item))))

    def _checked(self, number: int) -> int:
        n = len(self)
        if not -n <= number < n:
            raise IndexError(f"readout {number} of {n}")
        return number % n

    def _several(self, numbers: range) -> NDArray[np.float32]:
        out = np.empty((len(numbers), MODULES, len(self.map)), np.float32)
        done = 0
        for some in _together(numbers, BLOCKS_AT_ONCE * self._source.block):
            out[done : done + len(some)] = self._columns_of(some).data
            done += len(some)
        return out

    def _many(self, items: Sequence[int] | NDArray[Any]) -> NDArray[np.float32]:
        numbers = np.asarray(items)
        if numbers.dtype == np.bool_:
            numbers = np.flatnonzero(numbers)
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.ndim != 1):
            raise TypeError("readouts are picked by a list of numbers")
        out = np.empty((numbers.size, MODULES, len(self.map)), np.float32)
        for i in np.argsort(numbers, kind="stable"):  # each block is read once
            out[i] = self._one(self._checked(int(numbers[i])))
        return out

    def _one(self, number: int) -> NDArray[np.float32]:
        block, row = divmod(number, self._source.block)
        rows = self._kept.get(block)
        if rows is None or row >= len(rows):  # a file that is being written grows
            start = number - row
            rows = self._source.rows(start, min(start + self._source.block, len(self)))
            self._kept[block] = rows
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(block)
        self._columns, self._row = _Columns(rows.part(row, row + 1), slice(None), self.map), 0
        data: NDArray[np.float32] = self._columns.data[0]
        return data

    # -- by column ------------------------------------------------------------------------------

    def column(self, name: str, start: int | None = None, stop: int | None = None) -> NDArray[Any]:
        """A column of readouts ``start`` to ``stop``, by default of all.

        Args:
            name: ``number``, ``tack``, ``cpu_ns``, ``present``, ``tacks``, ``counts``,
                ``amplitudes`` (see :mod:`.rows`), a peer's name of one of these, or ``data``:
                amplitudes in the order of :attr:`map`.
            start, stop: as in a slice.

        Raises:
            ConfigError: no such column.
            Malformed: the file is damaged.
        """
        ours = _ALIASES.get(name, name)
        if ours not in COLUMNS:
            raise ConfigError(f"no column {name!r}; there are {', '.join((*COLUMNS, 'data'))}")
        first, last, _ = slice(start, stop).indices(len(self))
        column = self._source.column(ours, first, max(first, last))
        return _ordered(column, self.map) if name == "data" else column

    def readouts(self, start: int | None = None, stop: int | None = None) -> Readouts:
        """Readouts ``start`` to ``stop`` as the other stages have them, with the nearest counts.

        Raises:
            Malformed: the file is damaged.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        return self._source.rows(first, max(first, last)).readouts()[0]

    def telescope(self) -> NDArray[np.void]:
        """Telescope data: columns ``db_t``, ``db_t_s``, ``db_t_ns``, ``ra``, ``dec``."""
        return self._source.telescope()

    def load_all_data(
        self, tm: int, calib: Any = None, mapping: Mapping | None = None
    ) -> ModuleData:
        """All readouts of the module ``tm``.

        Args:
            tm: number of the module.
            calib: amplitudes are multiplied by this: a number, or one for each pixel as sent.
            mapping: order of pixels, or a choice of them; that of this reader by default.

        Raises:
            ConfigError: no such module or mapping.
            Malformed: the file is damaged.
        """
        if not 0 <= tm < MODULES:
            raise ConfigError(f"no module {tm}; there are 0 to {MODULES - 1}")
        order = self.map if mapping is None else self._order(mapping)
        factor = np.broadcast_to(1.0 if calib is None else calib, (PIXELS,))[order]
        n = len(self)
        amplitudes = np.empty((n, len(order)))
        for some in _together(range(n), BLOCKS_AT_ONCE * self._source.block):
            rows = self._source.rows(some.start, some.stop)
            amplitudes[some.start : some.stop] = rows.column("amplitudes")[:, tm, order]
        amplitudes *= factor
        times = self._source.column("cpu_ns", 0, n)
        return ModuleData(
            iro=self._source.column("number", 0, n),
            amps=amplitudes,
            time=self._source.column("tack", 0, n),
            cpu_t=_seconds(times),
            tm=tm,
        )

    def load_as_pd_table(self) -> Any:
        """A pandas table of all pixels of all readouts: index iro, pix; columns time, cpu_t, amp.

        Raises:
            ConfigError: pandas is not installed.
            Malformed: the file is damaged.
        """
        try:
            import pandas as pd  # noqa: PLC0415  only who uses it needs it
        except ImportError as error:
            raise ConfigError("pandas is not installed: pip install pandas") from error
        data = self.column("data")
        count = data[0].size if len(data) else 0
        index = pd.MultiIndex.from_arrays(
            [np.repeat(self.column("number"), count), np.tile(np.arange(count), len(data))],
            names=["iro", "pix"],
        )
        columns = {
            "time": np.repeat(self.column("tack"), count),
            "cpu_t": np.repeat(_seconds(self.column("cpu_ns")), count),
            "amp": data.ravel(),
        }
        return pd.DataFrame(columns, index=index)

    def close(self) -> None:
        self._source.close()

    def close_file(self) -> None:
        """Close the file."""
        self._source.close()

    def __str__(self) -> str:
        return (
            f"SSDataReader:\n    Filename:{self.filename}\n    layout: {self.layout}\n"
            f"    n_readouts: {self.n_readouts}\n"
        )


class _Columns:
    """Columns of some readouts, each made when it is asked for."""

    def __init__(self, rows: Rows, picked: slice, order: NDArray[np.intp]) -> None:
        self._rows, self._picked, self._order = rows, picked, order

    def __getattr__(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._rows.column(name)[self._picked]
        setattr(self, name, column)
        return column

    @cached_property
    def data(self) -> NDArray[np.float32]:
        return _ordered(self.amplitudes, self._order)

    @cached_property
    def cpu_t(self) -> NDArray[np.float64]:
        return _seconds(self.cpu_ns)

    @cached_property
    def cpu_t_s(self) -> NDArray[np.int64]:
        return self.cpu_ns // SECOND

    @cached_property
    def cpu_t_ns(self) -> NDArray[np.int64]:
        return self.cpu_ns % SECOND


def _seconds(cpu_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    whole, rest = np.divmod(cpu_ns, SECOND)
    seconds: NDArray[np.float64] = whole + rest * 1e-9
    return seconds


def _ordered(columns: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    return columns if order is pixels.ORDERS["raw"] else np.take(columns, order, axis=2)


def _together(numbers: range, size: int) -> Iterator[range]:
    """``numbers`` in order, split where a multiple of ``size`` lies between two."""
    while numbers:
        group = numbers[0] // size
        edge = (group + 1) * size if numbers.step > 0 else group * size - 1
        together = len(range(numbers[0], edge, numbers.step))
        yield numbers[:together]
        numbers = numbers[together:]
