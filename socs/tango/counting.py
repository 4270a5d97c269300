"""Numbers that only go up: 32-bit ones, and how fast they go."""

from __future__ import annotations

from socs.tango.limits import COUNTER, WRAP_WITHIN


def advance(before: int, after: int) -> int | None:
    """By how much a 32-bit number went on, also past its end; None if it went back.

    It passes its end in either direction only by less than :data:`WRAP_WITHIN`.
    """
    if after >= before:
        return after - before if after - before <= COUNTER - WRAP_WITHIN else None
    wrapped = after - before + COUNTER
    return wrapped if wrapped < WRAP_WITHIN else None


def last_used(following: int) -> int:
    """The last 32-bit number used, of the next one."""
    return (following - 1) % COUNTER


class Rate:
    """How fast a total goes up [1/s], between the last two times it was measured; 0 before."""

    __slots__ = ("_time", "_total", "value")

    def __init__(self, total: int, time: float) -> None:
        self._total, self._time = total, time
        self.value = 0.0

    def measure(self, total: int, time: float) -> None:
        """The ``total`` was read at ``time`` [s]; a time that does not go on is no measurement."""
        if time > self._time:
            self.value = max(0, total - self._total) / (time - self._time)
            self._total, self._time = total, time


class Room:
    """Room for so many things, whoever they belong to."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self) -> bool:
        """Take the room for one thing, if there is any."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def give(self, number: int) -> None:
        """Give back the room of ``number`` things."""
        self.used -= number
