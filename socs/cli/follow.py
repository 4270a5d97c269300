"""Following a table that others write to, without missing or repeating a row.

A database gives out row numbers when a row is inserted, not when it is committed. So a row with a
lower number can appear after one with a higher number, when several monitors write. Numbers that
are missing between those seen are looked at again for :data:`LATE` seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

LATE = 15.0  # s; longer than a statement of ours may take


class Follower:
    """Tells the new rows among those read. Knows no clock; times are seconds on any one clock.

    Args:
        after: the highest ``id`` that is known already.

    Attributes:
        after: read the rows with an ``id`` above this.
    """

    def __init__(self, after: int = 0) -> None:
        self.after = after
        self._seen: dict[int, float] = {}

    def fresh(self, rows: Iterable[Any], now: float) -> list[Any]:
        """Those of ``rows`` (mappings with an ``id``, all above :attr:`after`) that are new."""
        found = [row for row in rows if row["id"] not in self._seen]
        self._seen.update((row["id"], now) for row in found)
        return found

    def advance(self, now: float) -> None:
        """Move :attr:`after` up to where nothing can appear any more. After each complete read."""
        for number in sorted(self._seen):
            if number != self.after + 1 and now - self._seen[number] < LATE:
                break
            del self._seen[number]
            self.after = number
