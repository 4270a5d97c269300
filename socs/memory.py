"""Memory of this process."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library can.

    It does so by itself only for large pieces; after work with a million small ones, half a
    gigabyte may be kept for nothing.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
