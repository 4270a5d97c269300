"""Names by a pattern, a page at a time, of a million in some ten milliseconds.

All names stand in one piece of memory, in their order, one line each. A pattern is looked for in
all of it at once: every place where its rarest character stands, then only those where the next
one fits, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics.decode.words import Positions
from socs.epics.names import NameTable, Numbers
from socs.errors import Malformed

LONGEST_PATTERN = 200  # characters
MOST_PIECES = 10  # between asterisks
_END = ord("\n")  # of a line; one in a name is taken for the end, so such a name is cut in two


@dataclass(frozen=True)
class Page:
    """Numbers of names in the order of the names, and how many match in all."""

    numbers: Numbers
    total: int


class NameFinder:
    """Finds names in a table. It knows those that were there at the last `refresh`.

    Args:
        table: the names.
    """

    def __init__(self, table: NameTable) -> None:
        self._table = table
        self.refresh()

    def refresh(self) -> None:
        """Look at all names anew; takes some seconds for a million."""
        known = np.flatnonzero(self._table.known[: self._table.end]).astype(np.int32)
        names = [name.replace(b"\n", b"\0") for name in self._table.names(known)]
        order = sorted(range(len(names)), key=names.__getitem__)
        lines = [names[place] for place in order]
        self._numbers: Numbers = known[np.array(order, np.int64)]
        self._text = np.frombuffer(b"\n".join(lines).lower() + b"\n", np.uint8)
        lengths = np.array([len(line) for line in lines], np.int64)
        self._ends: Positions = np.cumsum(lengths + 1) - 1
        self._starts: Positions = self._ends - lengths
        self._amounts = np.bincount(self._text, minlength=256)

    def __len__(self) -> int:
        return len(self._numbers)

    def page(
        self,
        pattern: str = "*",
        wanted: NDArray[np.bool_] | None = None,
        *,
        start: int = 0,
        most: int = 25,
    ) -> Page:
        """``most`` of the names that match, from the ``start``-th on.

        Args:
            pattern: ``*`` stands for any characters, ``?`` for one; small and large letters are
                the same.
            wanted: bool, by number: only these.
            start, most: which part of them.

        Raises:
            Malformed: the pattern is too long, or has too many asterisks.
        """
        fits = self._matching(pattern)
        if wanted is not None:
            fits &= wanted[self._numbers]
        found = np.flatnonzero(fits)
        return Page(self._numbers[found[start : start + most]], len(found))

    def _matching(self, pattern: str) -> NDArray[np.bool_]:
        """For each line, does it match."""
        pieces = pattern.encode().lower().split(b"*")
        if len(pattern) > LONGEST_PATTERN or len(pieces) > MOST_PIECES + 1:
            raise Malformed(f"pattern: over {LONGEST_PATTERN} characters, or {MOST_PIECES} of *")
        first, *others = pieces
        fits = self._starts + len(first) <= self._ends
        fits[fits] = self._stands(first, self._starts[fits])
        at = self._starts + len(first)
        if not others:
            fits &= at == self._ends
            return fits
        *middle, last = others
        for piece in filter(None, middle):
            at = self._next(piece, at)  # may be in a later line: then it is beyond what comes last
        final = self._ends - len(last)
        fits &= at <= final
        fits[fits] = self._stands(last, final[fits])
        return fits

    def _stands(self, piece: bytes, at: Positions) -> NDArray[np.bool_]:
        """Does ``piece`` stand at each place."""
        same = np.ones(len(at), np.bool_)
        for offset, octet in enumerate(piece):
            if octet != ord("?"):
                same &= self._text[at + offset] == octet
        return same

    def _next(self, piece: bytes, at: Positions) -> Positions:
        """Behind the next ``piece`` from each place on; behind all lines if there is none."""
        certain = [offset for offset, octet in enumerate(piece) if octet != ord("?")]
        if not certain:
            return at + len(piece)
        certain.sort(key=lambda offset: int(self._amounts[piece[offset]]))
        rarest = certain[0]
        places = np.flatnonzero(self._text == piece[rarest]) - rarest
        places = places[(places >= 0) & (places + len(piece) <= len(self._text))]
        for offset in certain[1:]:
            places = places[self._text[places + offset] == piece[offset]]
        beyond = len(self._text) + 1
        following = np.append(places + len(piece), beyond)
        return following[np.searchsorted(places, at)]
