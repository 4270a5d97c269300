"""What is wrong for a while: told once when it begins."""

from __future__ import annotations

from collections.abc import Hashable

MOST = 1_000


class Conditions:
    """Conditions that hold at present.

    Args:
        ends_after: a condition is over when not seen for so long [s].
        most: how many are kept; further ones are not told at all.
    """

    def __init__(self, ends_after: float, most: int = MOST) -> None:
        self._ends_after, self._most = ends_after, most
        self._seen: dict[tuple[str, Hashable], float] = {}

    def begins(self, kind: str, subject: Hashable, now: float) -> bool:
        """It is seen; was it not there before?"""
        key = (kind, subject)
        last = self._seen.get(key)
        if last is None and len(self._seen) >= self._most:
            return False
        self._seen[key] = now
        return last is None or now - last > self._ends_after

    def tick(self, now: float) -> None:
        """Forget what is over."""
        self._seen = {k: t for k, t in self._seen.items() if now - t <= self._ends_after}

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing was seen later than that."""
        self._seen = {key: min(time, now) for key, time in self._seen.items()}

    def present(self, kind: str) -> dict[Hashable, float]:
        """Subjects of this kind, and when each was seen last, UNIX time [s]."""
        return {subject: time for (each, subject), time in self._seen.items() if each == kind}
