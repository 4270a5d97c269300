"""Joining the feed of a gateway: what was missed, how its clock goes, what its numbers stand for.

One `Join` for each gateway. It refuses messages that came before, and notices those that did not
come: by their numbers, and by totals how many requests were in them. A name whose number was told
in a message that we do not have is unknown, until the gateway gives new numbers to all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.inventory import UNKNOWN
from socs.epics.summary import Summary

MOST_NUMBERS = 1 << 22  # of names in an epoch; requests for further ones are unknown
OLD_BOOTS = 64  # that are remembered, to refuse what comes late
BELIEVED = 3  # messages in a row that came before, while no others come
STEP = 1.0  # s; a clock that goes back by more was set
WINDOW = 60.0  # s in which the offset of a clock is looked for
LONGEST_GAP = 5.0  # s of that window that pass at most from one message to the next

Numbers = NDArray[np.int32]


class GatewayClock:
    """How far a gateway's clock is behind ours, by when its messages arrive.

    The fastest of many messages tells it. It is corrected only if it is wrong by a second or more:
    small steps would do more harm.

    Args:
        tolerance: differences below are let be [s].

    Attributes:
        behind: what is added to its times [s].
    """

    def __init__(self, tolerance: float) -> None:
        self.behind = 0.0
        self._tolerance = tolerance
        self._lowest: deque[tuple[float, float]] = deque()  # age, difference; both ascending
        self._age = 0.0
        self._arrived = -math.inf

    @property
    def measured(self) -> float:
        """As measured, whether it is corrected or not [s]; NaN if it is not known."""
        return self._lowest[0][1] if self._lowest else math.nan

    def arrived(self, ended: float, now: float) -> None:
        """A message that tells of the time until ``ended`` arrived ``now``."""
        # While nothing arrives the window stands still, so that a backlog that comes late after a
        # break is compared with what was before it.
        self._age += min(max(now - self._arrived, 0.0), LONGEST_GAP)
        self._arrived = now
        difference = now - ended
        while self._lowest and self._lowest[-1][1] >= difference:
            self._lowest.pop()
        self._lowest.append((self._age, difference))
        while self._lowest[0][0] < self._age - WINDOW:
            self._lowest.popleft()
        off = abs(self.measured - self.behind) > self._tolerance
        if off or abs(self.measured) < self._tolerance / 2:
            self.behind = self.measured if abs(self.measured) > self._tolerance else 0.0

    def was_set(self) -> None:
        """It was set: what was measured does not hold any more."""
        self._lowest.clear()


@dataclass(frozen=True)
class Joined:
    """What is to be made of a message.

    Attributes:
        refused: the counter under which it is refused; empty if it is taken.
        missed: messages before it that did not come.
        requests_missed, datagrams_missed: in those, by the totals.
        apart: it does not follow on what was before: nobody listened between.
        clock_set: the gateway's clock was set.
        undated: our clock was set before it.
    """

    refused: str = ""
    missed: int = 0
    requests_missed: int = 0
    datagrams_missed: int = 0
    apart: bool = False
    clock_set: bool = False
    undated: bool = False


class Join:
    """The feed of one gateway.

    Args:
        tolerance: see `GatewayClock`.
        most_numbers: of names in an epoch.

    Attributes:
        clock: the gateway's.
        boot, number, epoch, networks, left_out, counters: as in its last message; before, ``boot``
            is empty.
        began, ended: what its last message told of, by our clock, UNIX time [s].
        arrived: when it came.
        refused: when a message was refused last, by our clock, UNIX time [s].
        listening: since when it has listened without a break, by our clock, UNIX time [s].
        live: does it report; set to False when it does not.
        finished: it said that it ends.
        unknown: has a number been used that we do not know; new numbers are needed.
        missed: messages that did not come, since we listen.
    """

    def __init__(self, tolerance: float = 1.0, most_numbers: int = MOST_NUMBERS) -> None:
        self.clock = GatewayClock(tolerance)
        self.boot, self.number, self.epoch = "", -1, -1
        self.networks: tuple[str, ...] = ()
        self.left_out: tuple[str, ...] = ()
        self.counters: Mapping[str, int] = {}
        self.began = self.ended = self.arrived = self.listening = -math.inf
        self.refused, self._refused_last, self._in_row = -math.inf, ("", 0), 0
        self.live = self.finished = self.unknown = False
        self.missed = 0
        self._their_end = -math.inf
        self._undated = False  # our clock was set since its last message
        self._totals: Mapping[str, int] = {"requests": 0, "datagrams": 0}
        self._old: deque[str] = deque(maxlen=OLD_BOOTS)
        self._most = most_numbers
        self._map: Numbers = np.full(1 << 10, UNKNOWN, np.int32)
        self._end = 0

    def take(self, summary: Summary, now: float) -> Joined:
        """Take note of a message that came ``now``; what is to be made of it.

        What would be refused is believed if the gateway does not report but this, in a row: after
        a message that was none of its own, of another boot or far ahead, it is heard again.
        """
        same = summary.boot == self.boot
        refused = ""
        if summary.boot in self._old:
            refused = "summaries_of_old_boot"
        elif same and summary.number <= self.number:
            refused = "summaries_repeated"
        if refused and not self._believed(summary, now):
            return Joined(refused)
        first = not self.boot or bool(refused)
        if refused:
            self._begin_anew(summary.boot)
            same = False
        missed = summary.number - (self.number + 1 if same else 0)
        before = self._totals if same else {"requests": 0, "datagrams": 0}
        clock_set = summary.began < self._their_end - STEP
        broken = summary.began > self._their_end or (missed > 0 and clock_set)
        joined = Joined(
            missed=0 if first else missed,
            requests_missed=0 if first else _missed(summary, before, "requests"),
            datagrams_missed=0 if first else _missed(summary, before, "datagrams"),
            apart=not same or broken or self._undated,
            clock_set=clock_set,
            undated=self._undated,
        )
        self.missed += joined.missed
        if not same and summary.boot != self.boot:
            self._old.append(self.boot)
        if joined.clock_set:
            self.clock.was_set()
        self._follow(summary, now, joined.apart)
        return joined

    def our_clock_set(self, now: float) -> None:
        """Our clock was set, and shows ``now``.

        When that was which its next message tells is not known; nobody listened before its end.
        """
        self.clock.was_set()
        self.ended = min(self.ended, now)
        self.began, self.listening = min(self.began, now), min(self.listening, now)
        self.refused = min(self.refused, now)
        self.arrived = now
        self._undated = bool(self.boot)

    def _believed(self, summary: Summary, now: float) -> bool:
        """Is this message, which came before, of the gateway as it is now."""
        follows = (summary.boot, summary.number - 1) == self._refused_last
        self._in_row = self._in_row + 1 if follows else 1
        self.refused, self._refused_last = now, (summary.boot, summary.number)
        return self._in_row >= BELIEVED and not self.live

    def _begin_anew(self, boot: str) -> None:
        """Take this boot from now on, and none of the numbers that we were told."""
        self.epoch = -1
        if boot in self._old:
            self._old.remove(boot)

    def _follow(self, summary: Summary, now: float, apart: bool) -> None:
        self.clock.arrived(summary.ended, now)
        if summary.boot != self.boot or summary.epoch != self.epoch:
            self._map[: self._end] = UNKNOWN
            self._end, self.unknown = 0, False
        self.boot, self.number, self.epoch = summary.boot, summary.number, summary.epoch
        self.networks, self.left_out = summary.networks, summary.left_out
        self.counters = summary.counters or self.counters
        self._totals, self._their_end = summary.totals, summary.ended
        self.began = max(summary.began + self.clock.behind, self.ended)
        self.ended = max(summary.ended + self.clock.behind, self.began)
        if self._undated:
            self.began, self._undated = self.ended, False
        if apart:
            self.listening = self.began
        self.arrived, self.live, self.finished = now, not summary.last, summary.last

    def ours(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Times in the last message, by our clock."""
        inside: NDArray[np.float64] = np.clip(times + self.clock.behind, self.began, self.ended)
        return inside

    def our(self, time: float) -> float:
        """A time in the last message, or long before, by our clock."""
        return min(time + self.clock.behind, self.ended)

    # -- names ------------------------------------------------------------------------------------

    def define(self, first: int, numbers: Numbers) -> int:
        """From ``first`` on its numbers are these ``numbers`` of ours; for how many is room."""
        numbers = numbers[: max(self._most - first, 0)]
        end = first + len(numbers)
        if not len(numbers):
            return 0
        if end > len(self._map):
            grown = np.full(min(max(end, 2 * len(self._map)), self._most), UNKNOWN, np.int32)
            grown[: self._end] = self._map[: self._end]
            self._map = grown
        self._map[first:end] = numbers
        self._end = max(self._end, end)
        return len(numbers)

    def numbers(self, theirs: NDArray[np.integer]) -> Numbers:
        """Our numbers for the gateway's; `UNKNOWN` for those that we were not told."""
        if not len(theirs):
            return np.zeros(0, np.int32)
        known = theirs < self._end
        if known.all():
            found: Numbers = self._map[theirs]
        else:
            found = np.full(len(theirs), UNKNOWN, np.int32)
            found[known] = self._map[theirs[known]]
        self.unknown |= bool((found == UNKNOWN).any())
        return found

    def forget(self, numbers: NDArray[np.integer]) -> None:
        """These numbers of ours stand for other names from now on, and there is room for others."""
        used = self._map[: self._end]
        used[np.isin(used, numbers) | (used < 0)] = UNKNOWN


def _missed(summary: Summary, before: Mapping[str, int], what: str) -> int:
    """How many were told of between the totals ``before`` and ``summary``."""
    return max(summary.totals[what] - int(summary.sources[what].sum()) - before[what], 0)
