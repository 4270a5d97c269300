"""What the log is told of events: a limited number of lines for each poll."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from socs.tango.events import Event
from socs.tango.limits import MAX_LOGGED


class PollLog:
    """Warnings and errors as lines of the log.

    Args:
        warn: gets each line.
        most: lines for each poll; one more tells how many were left out.
    """

    def __init__(self, warn: Callable[[str], object], most: int = MAX_LOGGED) -> None:
        self._warn, self._most = warn, most
        self._told = 0

    def take(self, events: Iterable[Event]) -> None:
        """Tell those of the events that are more than information, as far as there is room."""
        for event in events:
            if event.severity == "info":
                continue
            if self._told < self._most:
                self._warn(event.text)
            self._told += 1

    def poll_over(self) -> None:
        """Tell how many there were beyond the limit; the next poll has all of it again."""
        if self._told > self._most:
            more = self._told - self._most
            self._warn(f"and {more} more in this poll: the tables of the session data tell of all")
        self._told = 0
