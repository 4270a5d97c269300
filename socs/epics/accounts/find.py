"""Names by a pattern, a page at a time, of a million in some ten milliseconds.

All names stand in one piece of memory, in their order, one line each. A pattern is looked for in
all of it at once: every place where its rarest character stands, then only those where the next
one fits, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.names import NameTable, Numbers, StillNames
from socs.epics.decode.words import Positions
from socs.errors import Malformed

LONGEST_PATTERN = 200  # characters
MOST_PIECES = 10  # between asterisks


@dataclass(frozen=True)
class Page:
    """Numbers of names in the order of the names, and how many match in all."""

    numbers: Numbers
    total: int


class _Lines(NamedTuple):
    """All names in their order.

    Attributes:
        numbers: int32, shape (n,): the number of each.
        text: uint8: the names in small letters, one line each.
        starts, ends: int64, shape (n,): where each line begins, and where its end is.
        amounts: int64, shape (256,): how often each character is there.
    """

    numbers: Numbers
    text: NDArray[np.uint8]
    starts: Positions
    ends: Positions
    amounts: Positions


class NameFinder:
    """Finds names in a table. It knows those that were there at the last `refresh`.

    A thread may look for names while another one refreshes.

    Args:
        table: the names.
    """

    def __init__(self, table: NameTable) -> None:
        self._table = table
        self._lines = _lines(table.still(), np.zeros(0, np.int32))

    def refresh(self, names: StillNames | None = None) -> None:
        """Look at all names anew; takes some seconds for a million, or one if most were there.

        Args:
            names: of the table, if it may change meanwhile.
        """
        self._lines = _lines(names or self._table.still(), self._lines.numbers)

    def __len__(self) -> int:
        return len(self._lines.numbers)

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
            wanted: bool, by number: only these, and none that is beyond.
            start, most: which part of them.

        Raises:
            Malformed: the pattern is too long, or has too many asterisks.
        """
        lines = self._lines
        fits = _matching(lines, pattern)
        if wanted is not None:  # it may be of before the last refresh, and know fewer names
            fits &= lines.numbers < len(wanted)
            fits[fits] = wanted[lines.numbers[fits]]
        found = np.flatnonzero(fits)
        return Page(lines.numbers[found[start : start + most]], len(found))


def _lines(names: StillNames, before: Numbers) -> _Lines:
    """All names in their order; quick if ``before``, the order of an earlier time, has most."""
    known = names.known.copy()
    kept = before[before < len(known)]
    kept = kept[known[kept]]
    known[kept] = False
    numbers = np.concatenate([kept, np.flatnonzero(known).astype(np.int32)])
    # A line feed ends a line, so within a name it is written as NUL, which no name has.
    texts = [name.replace(b"\n", b"\0") for name in names.names(numbers)]
    order = sorted(range(len(texts)), key=texts.__getitem__)  # finds what is in order already
    ordered = [texts[place] for place in order]
    text = np.frombuffer(b"\n".join(ordered).lower() + b"\n", np.uint8)
    lengths = np.array([len(line) for line in ordered], np.int64)
    ends: Positions = np.cumsum(lengths + 1) - 1
    amounts = np.bincount(text, minlength=256)
    return _Lines(numbers[np.array(order, np.int64)], text, ends - lengths, ends, amounts)


def _matching(lines: _Lines, pattern: str) -> NDArray[np.bool_]:
    """For each line, does it match."""
    try:
        pieces = pattern.encode("utf-8", "surrogateescape").lower().split(b"*")
    except UnicodeEncodeError as error:
        raise Malformed(f"pattern: is no text: {error}") from error
    if len(pattern) > LONGEST_PATTERN or len(pieces) > MOST_PIECES + 1:
        raise Malformed(f"pattern: over {LONGEST_PATTERN} characters, or {MOST_PIECES} of *")
    first, *others = pieces
    fits = lines.starts + len(first) <= lines.ends
    fits[fits] = _stands(lines, first, lines.starts[fits])
    at = lines.starts + len(first)
    if not others:
        fits &= at == lines.ends
        return fits
    *middle, last = others
    for piece in filter(None, middle):
        at = _next(lines, piece, at)  # may be in a later line: then it is beyond what comes last
    final = lines.ends - len(last)
    fits &= at <= final
    fits[fits] = _stands(lines, last, final[fits])
    return fits


def _stands(lines: _Lines, piece: bytes, at: Positions) -> NDArray[np.bool_]:
    """Does ``piece`` stand at each place."""
    same = np.ones(len(at), np.bool_)
    for offset, octet in enumerate(piece):
        if octet != ord("?"):
            same &= lines.text[at + offset] == octet
    return same


def _next(lines: _Lines, piece: bytes, at: Positions) -> Positions:
    """Behind the next ``piece`` from each place on; behind all lines if there is none."""
    certain = [offset for offset, octet in enumerate(piece) if octet != ord("?")]
    if not certain:
        return at + len(piece)
    certain.sort(key=lambda offset: int(lines.amounts[piece[offset]]))
    rarest = certain[0]
    places = np.flatnonzero(lines.text == piece[rarest]) - rarest
    places = places[(places >= 0) & (places + len(piece) <= len(lines.text))]
    for offset in certain[1:]:
        places = places[lines.text[places + offset] == piece[offset]]
    beyond = len(lines.text) + 1
    following = np.append(places + len(piece), beyond)
    return following[np.searchsorted(places, at)]
