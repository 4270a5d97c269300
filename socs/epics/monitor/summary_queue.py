"""Messages of gateways between the feed and who takes them: so many bytes, and no more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from socs.counters import EPICS_MONITOR, Counters

MIB = 1 << 20
DEFAULT_BYTES = 256 * MIB  # a minute of the traffic of a busy site
LATE = 10.0  # s; a message that waits for longer is a trouble
DEEPEST = 6  # levels of a message that are looked at; a summary has five
_OF_OBJECT = 64  # bytes of memory for each value, beside its contents


class Arrived(NamedTuple):
    """A message: on whose feed it came, when (UNIX time [s]), and how many bytes it takes."""

    gateway: str
    message: object
    time: float
    size: int


class ClockSet(NamedTuple):
    """Instead of a message: our clock was set, and shows so much more [s]."""

    by: float


class SummaryQueue:
    """Any thread may put and get. Nobody waits to put.

    Every message counts as queued until `done` tells what became of it, so that none is without a
    place.

    Args:
        most_bytes: of messages that wait. What comes beyond is dropped.
        counters: must know :data:`socs.counters.EPICS_MONITOR`.
    """

    def __init__(self, most_bytes: int = DEFAULT_BYTES, counters: Counters | None = None) -> None:
        self.counters = counters or Counters(EPICS_MONITOR)
        self._most = most_bytes
        self._waiting: deque[Arrived] = deque()
        self._changed = threading.Condition()
        self._queued = self._bytes = 0

    def put(self, gateway: str, message: object, now: float) -> bool:
        """Have ``message`` taken; False if there is no room for it."""
        size = size_of(message)
        with self._changed:
            self.counters.add("summaries_received")
            if self._bytes + size > self._most:
                self.counters.add("summaries_dropped_full")
                return False
            self._waiting.append(Arrived(gateway, message, now, size))
            self._queued += 1
            self._bytes += size
            self._changed.notify()
        return True

    def clock_set(self, by: float, now: float) -> bool:
        """Our clock was set, and shows ``now``, ``by`` more than before; to be taken in its turn.

        Returns:
            True.
        """
        with self._changed:
            self._waiting.append(Arrived("", ClockSet(by), now, 0))
            self._changed.notify()
        return True

    def get(self, timeout: float) -> Arrived | None:
        """The message that waits longest; None if none comes in time. Tell `done` afterwards."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout)
            return self._waiting.popleft() if self._waiting else None

    def done(self, arrived: Arrived, became: str) -> None:
        """What became of a message: the name of its counter."""
        if isinstance(arrived.message, ClockSet):
            return
        with self._changed:
            self.counters.add(became)
            self._queued -= 1
            self._bytes -= arrived.size

    def waits_since(self, now: float) -> float:
        """When the message came that waits longest; ``now`` if none does. UNIX time [s]."""
        with self._changed:
            return self._waiting[0].time if self._waiting else now

    def troubles(self, now: float) -> list[str]:
        """That messages wait for too long, if they do."""
        late = now - self.waits_since(now)
        return [f"messages of gateways wait for {late:.0f} s to be taken"] if late > LATE else []

    def wake(self) -> None:
        """Have `get` return."""
        with self._changed:
            self._changed.notify_all()

    def numbers(self) -> dict[str, int]:
        """All counters, and how much waits, at one moment."""
        with self._changed:
            found = self.counters.snapshot()
            return found | {"summaries_queued": self._queued, "summary_bytes_queued": self._bytes}


def size_of(message: object, depth: int = DEEPEST) -> int:
    """About how many bytes of memory a message takes, without looking at each value of tables."""
    if isinstance(message, bytes | str):
        return len(message) + _OF_OBJECT
    if depth and isinstance(message, Mapping):
        sizes = (size_of(value, depth - 1) for value in message.values())
        return sum(sizes) + _OF_OBJECT * (1 + len(message))
    if depth and isinstance(message, list | tuple):
        return sum(size_of(value, depth - 1) for value in message) + _OF_OBJECT
    return _OF_OBJECT
