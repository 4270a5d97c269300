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
        self._seen: dict[tuple[str, Hashable], tuple[float, float]] = {}  # when last, for how long

    def begins(self, kind: str, subject: Hashable, now: float, patience: float = 0.0) -> bool:
        """It is seen; was it not there before?

        Args:
            kind, subject: what it is, and of whom.
            now: UNIX time [s].
            patience: it may not be seen for so long, if that is longer than ``ends_after`` [s].
        """
        key = (kind, subject)
        last, lasts = self._seen.get(key, (None, 0.0))
        if last is None and len(self._seen) >= self._most:
            return False
        self._seen[key] = now, max(self._ends_after, patience)
        return last is None or now - last > lasts

    def tick(self, now: float) -> None:
        """Forget what is over."""
        seen = self._seen.items()
        self._seen = {key: (time, lasts) for key, (time, lasts) in seen if now - time <= lasts}

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing was seen later than that."""
        seen = self._seen.items()
        self._seen = {key: (min(time, now), lasts) for key, (time, lasts) in seen}
