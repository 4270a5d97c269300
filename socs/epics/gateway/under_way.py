"""What becomes of the summaries of a gateway: each is under way until that is known."""

from __future__ import annotations

import threading
import time

from socs.counters import Counters


class UnderWay:
    """Summaries from when they are made until it is known what became of them. For any thread.

    A summary is made and under way from one moment on, and at another one under way no more and
    counted as what became of it. So :data:`socs.counters.EPICS_GATEWAY_CONSERVATION` holds in all
    that `numbers` ever gives, unless one was lost sight of.

    Args:
        counters: must know :data:`socs.counters.EPICS_GATEWAY`.
    """

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self._changed = threading.Condition()
        self._since: dict[int, float] = {}  # monotonic time [s] of each, by its number

    def begin(self, number: int) -> None:
        """The summary with this number was made."""
        with self._changed:
            self.counters.add("summaries_made")
            self._since[number] = time.monotonic()

    def became(self, number: int, name: str) -> None:
        """What became of a summary: the name of its counter. Only the first time counts."""
        with self._changed:
            if self._since.pop(number, None) is not None:
                self.counters.add(name)
                self._changed.notify_all()

    def has_room(self, most: int, timeout: float = 0.0) -> bool:
        """Are no more than ``most`` under way, at the latest after ``timeout`` [s]."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._since) <= most, timeout)

    def give_up(self, age: float) -> None:
        """Count those that have been under way for longer than ``age`` [s] as unacknowledged."""
        with self._changed:
            late = time.monotonic() - age
            for number in [number for number, since in self._since.items() if since < late]:
                self.became(number, "summaries_unacknowledged")

    def finish(self, timeout: float) -> None:
        """Wait up to ``timeout`` [s] until none is under way; then give up all that are."""
        with self._changed:
            self._changed.wait_for(lambda: not self._since, timeout)
            for number in list(self._since):
                self.became(number, "summaries_unacknowledged")

    def numbers(self) -> dict[str, int]:
        """All counters, and how many are under way, at one moment."""
        with self._changed:
            return self.counters.snapshot() | {"summaries_under_way": len(self._since)}
