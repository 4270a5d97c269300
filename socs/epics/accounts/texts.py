"""Many short texts in one piece of memory: their hashes, whether they are equal, and record names.

A text is some words of eight bytes, the last of them filled up with NUL. Everything goes word by
word over all texts at the same time. Texts are held by descending length, so that those that have a
j-th word are always the first ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from socs.epics.decode.words import WORD, Positions, Words

_FIRST_SHIFT, _SECOND_SHIFT = np.uint64(31), np.uint64(32)
_LOW_BITS, _HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)

_MASKS = np.array([(1 << 8 * bytes_kept) - 1 for bytes_kept in range(WORD + 1)], np.uint64)
_WITHOUT_LAST_BYTE = np.uint64(0x00FFFFFFFFFFFFFF)


@dataclass(eq=False)
class Texts:
    """Texts in ``words``, the longest first.

    Attributes:
        words: uint64, the memory, little endian.
        at: int64, shape (n,), the first word of each.
        counts: int64, shape (n,), words of each, at least 1; descending.
    """

    words: Words
    at: Positions
    counts: Positions

    def __len__(self) -> int:
        return len(self.at)

    @classmethod
    def sorted(cls, words: Words, at: Positions, counts: Positions) -> tuple[Texts, Positions]:
        """The texts, and which of ``at`` each of them is."""
        order = np.argsort(-counts.astype(np.int16), kind="stable")
        return cls(words, at[order], counts[order]), order

    def only(self, which: Positions) -> Texts:
        """Those of ``which``, ascending."""
        return Texts(self.words, self.at[which], self.counts[which])

    @cached_property
    def tops(self) -> list[int]:
        """How many have a j-th word, for each j."""
        longest = int(self.counts[0]) if len(self) else 0
        ends = np.searchsorted(-self.counts, -np.arange(1, longest + 1), side="right")
        tops: list[int] = ends.tolist()
        return tops

    @cached_property
    def columns(self) -> list[Words]:
        """The j-th words of the first ``tops[j]`` texts."""
        return [self.words[self.at[:top] + j] for j, top in enumerate(self.tops)]

    def hashes(self, seed: Seed) -> Words:
        """A number for each text, never 0. Who does not know ``seed`` cannot foresee it."""
        mixed: Words = self.counts.astype(np.uint64) * seed.factor ^ seed.start
        for column in self.columns:
            part = mixed[: len(column)]
            part ^= column
            part ^= part >> _FIRST_SHIFT
            part *= seed.factor
            part ^= part >> _SECOND_SHIFT
        mixed *= seed.factor
        mixed ^= mixed >> _SECOND_SHIFT
        mixed[mixed == 0] = 1
        return mixed

    def equal(self, which: Positions, words: Words, at: Positions) -> NDArray[np.bool_]:
        """Is each text of ``which``, ascending, what stands in ``words`` at ``at``?

        Texts there must be of the same lengths.
        """
        same = np.ones(len(which), np.bool_)
        everything = len(which) == len(self)
        for j, column in enumerate(self.columns):
            top = len(column) if everything else int(np.searchsorted(which, len(column)))
            here = column if everything else column[which[:top]]
            same[:top] &= here == words[at[:top] + j]
        return same

    def copied(self, which: Positions) -> tuple[Words, Positions]:
        """The words of the texts of ``which`` one after the other, and where each begins there."""
        counts = self.counts[which]
        starts = np.cumsum(counts) - counts
        words: Words = self.words[spread(self.at[which], counts)]
        return words, starts

    def names(self, separator: int) -> tuple[Texts, NDArray[np.uint16]]:
        """Each text up to its first NUL or ``separator``, and how many bytes that is.

        The last byte is taken for NUL, as EPICS servers do. The results are in the order of the
        texts, but not by length.
        """
        room = self.counts + 1
        starts = np.cumsum(room) - room
        words = np.zeros(int(room.sum()), np.uint64)
        lengths = np.zeros(len(self), np.uint16)
        going = np.ones(len(self), np.bool_)
        for j, column in enumerate(self.columns):
            top = len(column)
            last = self.counts[:top] == j + 1
            text = np.where(last, column & _WITHOUT_LAST_BYTE, column)
            stop = _zero_bytes(text) | _zero_bytes(text ^ _LOW_BITS * np.uint64(separator))
            stop[~going[:top]] = 1  # ended before: the mask is 0
            below = ((stop & -stop) >> np.uint64(7)) - (stop != 1).astype(np.uint64)
            words[starts[:top] + j] = text & below
            ending = np.flatnonzero(stop > 1)
            lengths[ending] = j * WORD + np.searchsorted(_MASKS, below[ending])
            going[ending] = False
        return Texts(words, starts, lengths.astype(np.int64) // WORD + 1), lengths


class Seed:
    """What hashes depend on, besides the text.

    Args:
        secret: any number; who knows it can invent texts with the same hash.
    """

    def __init__(self, secret: int) -> None:
        generator = np.random.default_rng(secret)
        self.start, self.factor = generator.integers(0, 1 << 64, 2, np.uint64)
        self.factor |= np.uint64(1)


def spread(starts: Positions, counts: Positions) -> Positions:
    """``counts[i]`` numbers from ``starts[i]`` on, for each i."""
    before = np.cumsum(counts) - counts
    numbers: Positions = np.arange(int(counts.sum()), dtype=np.int64)
    numbers += np.repeat(starts - before, counts)
    return numbers


def packed(octets: NDArray[np.uint8], offsets: Positions, sizes: Positions) -> Texts:
    """Texts of ``sizes`` bytes at any ``offsets``, copied; filled up with one NUL or more.

    They are not in the order of their lengths.
    """
    counts = sizes // WORD + 1
    starts = np.cumsum(counts) - counts
    words = np.zeros(int(counts.sum()), np.uint64)
    words.view(np.uint8)[spread(starts * WORD, sizes)] = octets[spread(offsets, sizes)]
    return Texts(words, starts, counts)


def _zero_bytes(words: Words) -> Words:
    """The lowest bit set is the highest of the first byte that is 0."""
    found: Words = (words - _LOW_BITS) & ~words & _HIGH_BITS
    return found
