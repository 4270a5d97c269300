"""Readouts as bytes: time differences, which are small numbers, and then compression.

A block is what the journal stores at a time: some readouts, in the order in which they came.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import blosc2
import numpy as np
from numpy.typing import NDArray

from socs.errors import Malformed
from socs.slow_signal.layout import MODULES, PIXELS, READOUT, Readouts

MAX_READOUTS = 4096  # of a block
_LENGTHS = struct.Struct("<4I")  # readouts; bytes of words, counts, residues
_WORDS = 4 + 2 * MODULES  # number, TACK, UTC, present, TACKs of the modules
_CAMERA = (MODULES, PIXELS)
_WORD, _COUNT, _RESIDUE = np.dtype("<u8"), np.dtype("<u2"), np.dtype("<f4")
# Bits are the better half of bytes where the numbers have a few noisy bits each.
_BITS = {"codec": blosc2.Codec.LZ4, "clevel": 5, "filters": [blosc2.Filter.BITSHUFFLE]}
_BYTES = {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]}


Residues: TypeAlias = NDArray[np.float32] | None


def differences(values: NDArray[Any], block: int) -> NDArray[Any]:
    """``values`` (n, ...) as differences along axis 0, as :mod:`.formats` tells.

    The first of each ``block`` is as it was.
    """
    out = np.empty_like(values)
    np.subtract(values[1:], values[:-1], out=out[1:])
    bits = 8 * values.dtype.itemsize
    signs = out.view(f"i{values.dtype.itemsize}") >> (bits - 1)
    out <<= 1
    out ^= signs.view(values.dtype)
    out[::block] = values[::block]
    return out


def restored(values: NDArray[Any], block: int) -> NDArray[Any]:
    """The inverse of :func:`differences`; ``values`` must begin at the first of a block."""
    one = values.dtype.type(1)
    out: NDArray[Any] = values >> one
    out ^= -(values & one)
    out[::block] = values[::block]
    whole = len(out) // block * block
    blocks = out[:whole].reshape((-1, block, *out.shape[1:]))
    for i in range(1, block):
        blocks[:, i] += blocks[:, i - 1]
    for i in range(whole + 1, len(out)):
        out[i] += out[i - 1]
    return out


def pack(readouts: Readouts, residues: Residues = None) -> bytes:
    """``readouts`` (n,), at least one, and residues (n, 32, 64) as bytes."""
    n = len(readouts)
    words = np.empty((n, _WORDS), np.uint64)
    words[:, 0], words[:, 1] = readouts["number"], readouts["tack"]
    words[:, 2], words[:, 3] = readouts["cpu_ns"].view(np.uint64), readouts["present"]
    words[:, 4:] = readouts["tacks"].reshape(n, -1)
    counts = np.ascontiguousarray(readouts["counts"])
    parts = [
        _compress(differences(words, n), _BYTES),
        _compress(differences(counts, n), _BITS),
        b"" if residues is None else _compress(residues, _BYTES),
    ]
    return b"".join((_LENGTHS.pack(n, *map(len, parts)), *parts))


def count(data: bytes) -> int:
    """How many readouts are in what :func:`pack` returned."""
    return int(_LENGTHS.unpack_from(data)[0]) if len(data) >= _LENGTHS.size else 0


def unpack(data: bytes | memoryview) -> tuple[Readouts, Residues]:
    """The readouts, and their residues if there are any, from what :func:`pack` returned.

    Raises:
        Malformed: it did not.
    """
    view = memoryview(data)
    if len(view) < _LENGTHS.size:
        raise Malformed(f"a block of {len(view)} bytes")
    n, *lengths = _LENGTHS.unpack_from(view)
    if not 0 < n <= MAX_READOUTS or sum(lengths) != len(view) - _LENGTHS.size:
        raise Malformed(f"a block of {n} readouts in {len(view)} bytes")
    first = _LENGTHS.size
    second, third = first + lengths[0], first + lengths[0] + lengths[1]
    words = restored(_decompress(view[first:second], _WORD, (n, _WORDS)), n)
    counts = _decompress(view[second:third], _COUNT, (n, *_CAMERA))
    readouts = np.zeros(n, READOUT)
    readouts["counts"] = restored(counts, n)
    readouts["number"], readouts["tack"] = words[:, 0], words[:, 1]
    readouts["cpu_ns"], readouts["present"] = words[:, 2].view(np.int64), words[:, 3]
    readouts["tacks"] = words[:, 4:].reshape(n, MODULES, 2)
    if third == len(view):
        return readouts, None
    return readouts, _decompress(view[third:], _RESIDUE, (n, *_CAMERA))


def joined(parts: Sequence[tuple[Readouts, Residues]]) -> tuple[Readouts, Residues]:
    """``parts``, at least one, as one; residues that are missing are zeros, unless all are."""
    if len(parts) == 1:
        return parts[0]
    readouts = np.concatenate([part for part, _ in parts])
    if all(residues is None for _, residues in parts):
        return readouts, None
    return readouts, np.concatenate(
        [np.zeros((len(part), *_CAMERA), np.float32) if r is None else r for part, r in parts]
    )


def _compress(values: NDArray[Any], how: dict[str, Any]) -> bytes:
    packed = blosc2.compress2(values, typesize=values.dtype.itemsize, nthreads=1, **how)
    return bytes(packed)


def _decompress(data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    values = np.empty(shape, dtype)
    try:
        size, packed, _ = blosc2.get_cbuffer_sizes(data)
        if (size, packed) != (values.nbytes, len(data)):
            raise ValueError(f"{size} bytes from {packed}")
        blosc2.decompress2(data, dst=values, nthreads=1)
    except (RuntimeError, ValueError) as error:
        raise Malformed(f"a block that cannot be unpacked: {error}") from error
    return values
