"""What the number of a Channel Access beacon says about its server.

A server of EPICS 7 numbers its beacons from 0, and sends the first of them twice: at once and
20 ms later. Each further spacing is twice as long, up to the period of usually 15 s. So a number
tells how long the server has been up, and one that went back tells a restart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

FIRST_SPACING = 0.02  # s, from the first beacon to the second; both have the number 0
WRAP = 1 << 32
SLACK = 1.25  # a beacon may be late, and clocks differ
LATE = 2.0  # s
UNKNOWN_PERIOD_ENDS = 14  # spacings up to this number double, if the period is 5 minutes

Verdict = Literal["same", "late", "next", "restart", "uncounted"]


def uptime(number: int, period: float) -> float:
    """How long a server has been up when it sends this beacon, 0 for the first [s]."""
    if number == 0:
        return 0.0
    doublings = 64 if math.isinf(period) else max(math.ceil(math.log2(period / FIRST_SPACING)), 0)
    if number < doublings:
        return FIRST_SPACING * (2.0 ** (number + 1) - 1)
    return FIRST_SPACING * (2.0**doublings - 1) + period * (number - doublings + 1)


def oldest(number: int, period: float) -> float:
    """How long a server may have been up at most, even if its period is a few minutes [s]."""
    return max(uptime(number, period), uptime(min(number, UNKNOWN_PERIOD_ENDS), math.inf))


@dataclass(frozen=True)
class Judged:
    """What a number is, why, and how many beacons before it are missing."""

    verdict: Verdict
    cause: str
    missing: int = 0


@dataclass
class Numbering:
    """The numbers of one server.

    Attributes:
        last: the number of its last beacon.
        at: when that came, UNIX time [s].
        started: when the first beacon of a start came, UNIX time [s]; NaN if it was not seen.
        counted: has it ever sent another number than 0.
    """

    last: int
    at: float
    started: float
    counted: bool

    def judge(
        self,
        number: int,
        now: float,
        *,
        period: float,
        start_window: float,
        reordered_within: float,
        reordered_ids: int,
    ) -> Judged:
        """What ``number`` is that comes ``now``; see `TrackSettings` for the limits."""
        elapsed = now - self.at
        ahead = (number - self.last) % WRAP
        if number == 0 and self.last != WRAP - 1:
            return self._judge_zero(now, start_window)
        if ahead == 0:
            return Judged("same", "the same beacon, another way")
        if ahead < WRAP // 2:
            if ahead > 1 and oldest(number, period) * SLACK + LATE < elapsed:
                return Judged("restart", "beacon number is too low for the time since the last one")
            return Judged("next", "beacon number went on", ahead - 1)
        if WRAP - ahead <= reordered_ids and elapsed <= reordered_within:
            return Judged("late", "an earlier beacon, late")
        return Judged("restart", "beacon number went back")

    def _judge_zero(self, now: float, start_window: float) -> Judged:
        if now - self.started <= start_window:
            return Judged("same", "first beacon, again or late")
        if self.last == 0 and not self.counted:
            return Judged("uncounted", "beacons of this server have no number")
        return Judged("restart", "beacon number began at 0")

    def take(self, number: int, now: float, *, restarted: bool) -> None:
        """This is the last one now."""
        if restarted:
            self.started = now if number == 0 else math.nan
        self.last, self.at = number, now
        self.counted |= number != 0
