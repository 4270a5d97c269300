"""The checksum of chunks in HDF5 files: Fletcher's, of big-endian 16-bit words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHECKSUM = 4  # bytes
ONES = 0xFFFF  # a checksum's halves are modulo this
SWAP = 1 << 8
WIDTH = 512  # words
NOTHING = np.uint8(0)


def is_right(checked: NDArray[np.uint8], checksum: bytes) -> bool:
    """Does the checksum, as it is in the file, belong to these bytes? At most 16 MiB of them.

    It is the sum of the words w[0] to w[n - 1], and that of (n - i) w[i]; here by rows and columns
    of a square, with fewer 64-bit numbers. Modulo 2^16 - 1, sums of words with their bytes swapped
    are 2^8 times the sums of the words.
    """
    words = (np.append(checked, NOTHING) if len(checked) % 2 else checked).view("<u2")
    n = len(words)
    rest = n % WIDTH
    square, tail = words[: n - rest].reshape(-1, WIDTH), words[n - rest :].astype(np.int64)
    by_row = square.sum(1, np.uint32).astype(np.int64)
    by_column = square.sum(0, np.uint32).astype(np.int64)
    first = by_row.sum() + tail.sum()
    second = (
        by_row @ (n - WIDTH * np.arange(len(square)))
        - by_column @ np.arange(WIDTH)
        + tail @ np.arange(rest, 0, -1)
    )
    told = divmod(int.from_bytes(checksum, "little"), ONES + 1)
    return all((int(a) * SWAP - b) % ONES == 0 for a, b in zip((second, first), told, strict=True))
