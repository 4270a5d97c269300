"""Many files as one lazily loaded data set, for dask on one machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError
from socs.slow_signal.layout import MODULES
from socs.slow_signal.pixels import pixel_order
from socs.slow_signal.store.reader import Mapping, SSDataReader

if TYPE_CHECKING:
    import xarray

CHUNK = 4096  # readouts; 32 MiB of amplitudes

_CAMERA = ("readout", "module", "pixel")
# Variable: (column, type, dimensions).
_VARIABLES: dict[str, tuple[str, np.dtype[Any], tuple[str, ...]]] = {
    "amplitude": ("data", np.dtype("f4"), _CAMERA),
    "number": ("number", np.dtype("u8"), _CAMERA[:1]),
    "tack": ("tack", np.dtype("u8"), _CAMERA[:1]),
    "present": ("present", np.dtype("u4"), _CAMERA[:1]),
    "module_tacks": ("tacks", np.dtype("u8"), ("readout", "module", "tack_kind")),
}


def open_dataset(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    mapping: Mapping = "raw",
    chunk: int = CHUNK,
) -> xarray.Dataset:
    """All readouts of ``paths`` as one ``xarray.Dataset`` of dask arrays.

    Only the numbers of readouts are read now. The rest is read where it is needed, by whoever
    computes: on a cluster each worker opens the files by the same paths.

    Args:
        paths: of files of any layout, in this order; or a pattern such as ``/data/Camera*.hdf5``,
            whose files are taken in the order of their names.
        mapping: order of pixels, for all files: ``raw`` (as sent), ``ssl2asic_ch``, ``ssl2colrow``,
            or a list of pixels.
        chunk: readouts that are read together, at most.

    Returns:
        Dimensions ``readout``, ``module``, ``pixel``. Variables ``amplitude`` [mV],
        ``number``, ``tack`` [ns], ``present``, ``module_tacks`` [ns] and the coordinate ``time``
        (UTC; 1970 where a layout has no time).

    Raises:
        ConfigError: the extra ``analysis`` is not installed; no files; no such mapping.
        FileNotReady: a file cannot be read.
        Malformed: a file is damaged.
    """
    da, dask, xr = map(_needed, ("dask.array", "dask", "xarray"))
    read = dask.delayed(read_column, pure=True)
    pieces = [
        (path, start, min(start + chunk, count))
        for path, count in _lengths(paths, mapping)
        for start in range(0, count, chunk)
    ]

    def lazy(column: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
        """A dask array of one column of all files."""
        parts = [
            da.from_delayed(read(path, column, a, b, mapping), (b - a, *shape), dtype)
            for path, a, b in pieces
        ]
        return da.concatenate(parts) if parts else da.zeros((0, *shape), dtype)

    sizes = {"module": MODULES, "pixel": len(pixel_order(mapping)), "tack_kind": 2}
    variables = {
        name: (dimensions, lazy(column, dtype, tuple(sizes[d] for d in dimensions[1:])))
        for name, (column, dtype, dimensions) in _VARIABLES.items()
    }
    time = lazy("cpu_ns", np.dtype("i8"), ()).astype("datetime64[ns]")
    dataset: xarray.Dataset = xr.Dataset(variables, coords={"time": (("readout",), time)})
    return dataset


def read_column(
    path: str, column: str, start: int, stop: int, mapping: Mapping = "raw"
) -> NDArray[Any]:
    """A column of readouts ``start`` to ``stop`` of a file; what the workers of a cluster do."""
    with SSDataReader(path, mapping) as reader:
        return reader.column(column, start, stop)


def _needed(name: str) -> Any:
    """A module that only analyses need."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{error}; install socs with its extra `analysis`: pip install 'socs[analysis]'"
        ) from error


def _lengths(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], mapping: Mapping
) -> list[tuple[str, int]]:
    """(absolute path, number of readouts) of each file."""
    if isinstance(paths, (str, os.PathLike)):
        found = sorted(glob(os.fspath(paths)))
        if not found:
            raise ConfigError(f"no file is called {os.fspath(paths)}")
        paths = found
    lengths = []
    for path in paths:
        absolute = os.path.abspath(path)
        with SSDataReader(absolute, mapping) as reader:
            lengths.append((absolute, len(reader)))
    return lengths
