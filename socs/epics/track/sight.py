"""When we could see what: silence says nothing about the time in which nobody listened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from socs.epics.networks import Networks


@dataclass(frozen=True)
class Blind:
    """Nobody listened to ``networks`` (None: to any) in this time. ``end`` may be infinite."""

    start: float
    end: float
    networks: Networks | None

    def concerns(self, host: int) -> bool:
        """Is this host one that was not heard?"""
        return self.networks is None or host in self.networks


class Sight:
    """What we have seen since when.

    Args:
        since: nobody listened before.
    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._blind: dict[tuple[str, ...] | None, Blind] = {}

    def blind(self, start: float, end: float = math.inf, networks: Sequence[str] = ()) -> None:
        """Nobody listened from ``start`` to ``end``: a gateway was away, the link was cut.

        While it lasts, leave ``end`` out, and tell it later with the same ``start``. Tell it before
        the next `tick`: what was taken for lost is not taken back.

        Args:
            start, end: the time in question.
            networks: what was not heard; nothing at all if none is given.
        """
        key = tuple(sorted(networks)) or None
        last = self._blind.get(key)
        if last is not None and end < last.end and start > last.start:
            start = last.start  # the end of what was told without one
        if last is None or start >= last.start:
            self._blind[key] = Blind(start, end, Networks(networks) if networks else None)

    def since(self, host: int) -> float:
        """From when on all that this host sent was seen; infinite while it is not."""
        ends = (blind.end for blind in self._blind.values() if blind.concerns(host))
        return max(self._since, *ends, -math.inf)

    def saw(self, host: int, start: float, end: float) -> bool:
        """Was all seen that this host sent from ``start`` to ``end``?"""
        if start < self._since:
            return False
        return not any(
            blind.start < end and start < blind.end and blind.concerns(host)
            for blind in self._blind.values()
        )
