"""The memory of a batch as words of eight bytes, and the damage found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

WORD = 8  # bytes; Channel Access messages begin at multiples of it

Words = NDArray[np.uint64]
Positions = NDArray[np.int64]


class Datagrams(Protocol):
    """What is looked at; :class:`socs.wire.batch.Batch` has it."""

    @property
    def data(self) -> NDArray[np.uint8]: ...
    @property
    def sizes(self) -> NDArray[np.uint32]: ...
    @property
    def hosts(self) -> NDArray[np.uint32]: ...
    @property
    def ports(self) -> NDArray[np.uint16]: ...
    @property
    def received(self) -> float: ...


@dataclass(eq=False)
class Memory:
    """All datagrams of a batch in one piece.

    Attributes:
        words: uint64, shape (n * stride,), little endian: the first byte is the lowest.
        stride: words from one datagram to the next.
        sizes: int64, shape (n,), bytes of each datagram that are there.
    """

    words: Words
    stride: int
    sizes: Positions

    @classmethod
    def of(cls, datagrams: Datagrams) -> Memory:
        """Not copied, if rows are whole words in a row."""
        data = datagrams.data
        rows, width = data.shape
        sizes = np.minimum(datagrams.sizes, width).astype(np.int64)
        if width % WORD or not data.flags.c_contiguous or data.ctypes.data % WORD:
            padded = np.zeros((rows, -(-width // WORD) * WORD), np.uint8)
            padded[:, :width] = data
            data = padded
        return cls(data.reshape(-1).view("<u8"), data.shape[1] // WORD, sizes)

    @property
    def octets(self) -> NDArray[np.uint8]:
        """The same memory by bytes."""
        return self.words.view(np.uint8)

    def starts(self) -> Positions:
        """Word at which each datagram begins."""
        return np.arange(len(self.sizes), dtype=np.int64) * self.stride

    def text(self, offset: int, size: int) -> bytes:
        """A copy of ``size`` bytes at ``offset``, up to the first NUL."""
        return self.octets[offset : offset + size].tobytes().partition(b"\0")[0]


@dataclass(eq=False)
class Tally:
    """Amounts by the name of a counter, and the first datagram of the batch with each fault."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, amount: int) -> None:
        """Count ``amount`` of what is no fault."""
        if amount:
            self.counts[name] = self.counts.get(name, 0) + amount

    def fault(self, name: str, datagrams: NDArray[np.int64]) -> None:
        """Count one fault for each of these rows of the batch, in any order."""
        if len(datagrams):
            self.add(name, len(datagrams))
            first = int(datagrams.min())
            self.examples[name] = min(first, self.examples.get(name, first))
