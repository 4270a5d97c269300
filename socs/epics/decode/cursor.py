"""Reading many byte strings at the same time, each from where it stands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from socs.epics.decode.words import Positions

_MAPPED = np.array([0] * 10 + [0xFF] * 2, np.uint8)  # before an IPv4 address in an IPv6 one
_LONG, _NONE = 254, 255  # first byte of a size: four more bytes follow; there is nothing


class Cursor:
    """A place in each of n byte strings, all in one piece of memory.

    Who would read beyond his end is not `fine` from then on, reads 0 and stays where he is.

    Args:
        octets: uint8, the memory.
        rows: shape (n,), whose each is; only kept.
        at: int64, shape (n,), where to begin.
        end: int64, shape (n,), where to stop.
        big: bool, shape (n,): are its numbers big endian.

    Attributes:
        fine: bool, shape (n,): was there enough to read up to now.
    """

    def __init__(
        self,
        octets: NDArray[np.uint8],
        rows: Positions,
        at: Positions,
        end: Positions,
        big: NDArray[np.bool_],
    ) -> None:
        self.rows, self.at = rows, at.copy()
        self._octets, self._end, self._big = octets, end, big
        self.fine = np.ones(len(at), np.bool_)

    def take(self, kind: str) -> NDArray[np.void]:
        """The next bytes as they are, of a dtype such as ``V12``."""
        dtype = np.dtype(kind)
        return np.ascontiguousarray(self._bytes(dtype.itemsize)).view(dtype).reshape(-1)

    def u8(self) -> Positions:
        """One byte, int64 like all numbers here."""
        return self._bytes(1)[:, 0].astype(np.int64)

    def u16(self) -> Positions:
        """Two bytes."""
        return self._number(2)

    def u32(self) -> Positions:
        """Four bytes."""
        return self._number(4)

    def size(self) -> Positions:
        """A size as PV Access writes it: one byte, or five; "none" is 0."""
        size = self.u8()
        none, long = size == _NONE, np.flatnonzero(size == _LONG)
        size[none] = 0
        if len(long):
            part = self._only(long)
            size[long] = part.u32()
            self._follow(part, long)
        return size

    def address(self) -> Positions:
        """The IPv4 address in 16 bytes; 0 if there is none, or one of IPv6."""
        octets = self._bytes(16)
        head = octets[:, : len(_MAPPED)]
        mapped = (head == _MAPPED).all(axis=1) | ~head.any(axis=1)
        host = np.ascontiguousarray(octets[:, 12:]).view(">u4").reshape(-1).astype(np.int64)
        return np.where(mapped, host, 0)

    def skip(self, count: int | Positions) -> None:
        """Go on by so many bytes."""
        counts = np.broadcast_to(np.asarray(count, np.int64), self.at.shape)
        self._go(counts)

    def skip_text(self) -> None:
        """Go on behind a text."""
        self.skip(self.size())

    def refuse(self, wrong: NDArray[np.bool_]) -> None:
        """These are not fine any more."""
        self.fine &= ~wrong

    def repeat(self, times: Positions) -> Iterator[tuple[Positions, Cursor]]:
        """For each of ``times``: who has any left, and a cursor of only those, which reads on."""
        which = np.flatnonzero(self.fine & (times > 0))
        part, left = self._only(which), times[which]
        while len(which):
            yield which, part
            self._follow(part, which)
            left = left - 1
            going = np.flatnonzero(part.fine & (left > 0))
            if len(going) < len(which):
                which, part, left = which[going], part._only(going), left[going]

    def _only(self, which: Positions) -> Cursor:
        part = Cursor(
            self._octets, self.rows[which], self.at[which], self._end[which], self._big[which]
        )
        part.fine = self.fine[which]
        return part

    def _follow(self, part: Cursor, which: Positions) -> None:
        """``part``, made of ``which``, has gone on."""
        self.at[which], self.fine[which] = part.at, part.fine

    def _go(self, counts: Positions) -> Positions:
        """Move on; whose bytes are there."""
        enough = counts <= self._end - self.at
        self.fine &= enough
        self.at = self.at + np.where(self.fine, counts, 0)
        return np.flatnonzero(self.fine)

    def _bytes(self, count: int) -> NDArray[np.uint8]:
        """The next bytes, shape (n, count); 0 where there are none."""
        at = self.at
        moved = self._go(np.full(len(at), count, np.int64))
        found = np.zeros((len(at), count), np.uint8)
        places = at[moved][:, None] + np.arange(count)
        found[moved] = self._octets[places]
        return found

    def _number(self, count: int) -> Positions:
        octets = self._bytes(count).astype(np.int64)
        shifts = 8 * np.arange(count)
        little = (octets << shifts).sum(axis=1)
        big = (octets << shifts[::-1]).sum(axis=1)
        number: Positions = np.where(self._big, big, little)
        return number
