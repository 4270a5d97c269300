"""Everything that is known, in one file: NumPy's ``.npz``, with a checksum over each column.

Why this format: a column is written and read as it is in memory, with no object for each process
variable; it is a zip file, whose CRC-32 tells damage and whose end tells that it is whole; it needs
no further library, and anybody can read it with ``numpy.load``. It is compressed lightly, as most
of it is zeros. JSON would need an object for each value, Parquet one more large library.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.snapshot import Columns
from socs.errors import FileNotReady, Malformed, StorageUnavailable

COMPRESSION = 1  # zlib's least
LARGEST_COLUMN = 4 << 30  # bytes; no inventory that fits into memory has more
DAMAGED = "snapshot_damaged"
_NPY = ".npy"


def write(path: Path, columns: Mapping[str, NDArray[np.generic]]) -> None:
    """Write ``columns`` to a file that is on the disk when this returns.

    Raises:
        StorageUnavailable: the disk refuses; what is there is not whole.
    """
    try:
        with open(path, "wb") as file:
            _write(file, columns)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror or error}") from error


def _write(file: BinaryIO, columns: Mapping[str, NDArray[np.generic]]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
        for name, column in columns.items():
            with archive.open(name + _NPY, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, column, allow_pickle=False)


def read(path: Path) -> Columns:
    """What `write` wrote.

    Raises:
        Malformed: the file is cut or changed.
        FileNotReady: it is not there, or cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                entry.filename.removesuffix(_NPY): _column(archive, entry)
                for entry in archive.infolist()
            }
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        ValueError,
        IndexError,
        NotImplementedError,  # a method of compression that is none
        RuntimeError,  # "encrypted"
        OverflowError,
        MemoryError,
        TypeError,
        SyntaxError,
    ) as error:
        raise Malformed(f"{path}: {type(error).__name__}: {error}", DAMAGED) from error
    except OSError as error:
        if error.errno is None or error.filename is None:  # a place in the file that is none
            raise Malformed(f"{path}: {error}", DAMAGED) from error
        raise FileNotReady(f"{path}: {error.strerror}") from error


def _column(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One column; to its last byte, or the checksum would not be looked at."""
    if entry.file_size > LARGEST_COLUMN:
        raise zipfile.BadZipFile(f"{entry.filename}: {entry.file_size} bytes")
    with archive.open(entry) as member:
        whole = io.BytesIO(member.read())
    column: NDArray[np.generic] = np.lib.format.read_array(whole, allow_pickle=False)
    return column
