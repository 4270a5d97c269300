"""How many datagrams may be sent: at a rate, with a hard cap besides."""

from __future__ import annotations

from collections import deque

from socs.errors import ConfigError

# Whatever is configured and asked for, no more datagrams are sent within one second. (A client of
# EPICS that starts with a thousand names sends about 40 at a time.)
MOST_PER_SECOND = 100
WINDOW = 1.0  # s


class Limiter:
    """A bucket of tokens, and a window that is never overfull.

    Time that goes backwards stands still here.

    Args:
        rate: datagrams per second, over a long time.
        burst: most datagrams at once, after some time without any.

    Raises:
        ConfigError: one of them is beyond what is allowed.
    """

    def __init__(self, rate: float, burst: int) -> None:
        if not 0 < rate <= MOST_PER_SECOND:
            raise ConfigError(
                f"datagrams_per_second: {rate} is not above 0 and at most {MOST_PER_SECOND}"
            )
        if not 1 <= burst <= MOST_PER_SECOND:
            raise ConfigError(f"burst: {burst} is not from 1 to {MOST_PER_SECOND}")
        self.rate, self.burst = rate, burst
        self._tokens = float(burst)
        self._now = float("-inf")
        self._sent: deque[float] = deque()

    def take(self, datagrams: int, now: float) -> bool:
        """May so many be sent together at ``now`` [s]? If so, they count as sent."""
        if self.wait(datagrams, now) > 0:
            return False
        self._tokens -= datagrams
        self._sent.extend([self._now] * datagrams)
        return True

    def left(self, since: float, until: float) -> None:
        """What was taken from ``since`` on has left by ``until`` [s]: the window has it from then.

        A busy machine may take long for that, and the next must not follow too closely.
        """
        self._sent = deque(each if each < since else max(each, until) for each in self._sent)

    def wait(self, datagrams: int, now: float) -> float:
        """How long it is until so many can be sent [s]; infinite if never."""
        if now > self._now:
            if self._now > float("-inf"):
                fresh = (now - self._now) * self.rate
                self._tokens = min(self._tokens + fresh, float(self.burst))
            self._now = now
        while self._sent and self._sent[0] <= self._now - WINDOW:
            self._sent.popleft()
        if datagrams > self.burst:
            return float("inf")
        waits = [(datagrams - self._tokens) / self.rate]
        overfull = len(self._sent) + datagrams - MOST_PER_SECOND
        if overfull > 0:
            waits.append(self._sent[overfull - 1] + WINDOW - self._now)
        return max(0.0, *waits)
