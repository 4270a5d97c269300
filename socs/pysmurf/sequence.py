"""The sequence numbers of one publisher object: which were accepted and which are missing.

Every number below the next expected one is either accepted or in a gap. This is what a number that
arrives can be (:data:`PLACES`):

- *next*: in order.
- *ahead*: the numbers between are a new gap; they count as lost.
- *missing*: it lies in a gap and is not newer than the newest message. It is late, and taken off.
- *known*: the same number with the same publisher time was accepted. It is a copy.
- *reused*: an accepted number with another time, or a number below the newest with a newer time.
  Another object has begun to send from this address.
- *forgotten*: it is too old for its time to be remembered, and not newer than the newest message.

So a message is taken for a copy only if its number and its time are those of an accepted one: no
message is ever dropped for a guess.
"""

from __future__ import annotations

import math
from array import array
from typing import Literal

import msgspec

from socs.pysmurf.limits import CONTINUES_WITHIN, MAX_ORIGINS, REMEMBERED, REORDERED, SAVED

Place = Literal["next", "ahead", "missing", "known", "reused", "forgotten"]

# place of a number: (what its arrival counts as, is the message handled?)
PLACES: dict[Place, tuple[str, bool]] = {
    "next": ("in order", True),
    "ahead": ("sequence_lost for the numbers between", True),
    "missing": ("sequence_late, and one less in sequence_lost or joined_late", True),
    "known": ("message_duplicate", False),
    "reused": ("publisher_restarts", True),
    "forgotten": ("nothing", True),
}


class SavedPublisher(msgspec.Struct, array_like=True):
    """A :class:`Publisher` as it is kept over a restart of this program."""

    sender: str
    joined: int
    expected: int
    first: int
    first_time: float
    last_time: float
    heard: float
    gaps: list[list[int]]
    recent: list[tuple[int, float]]


class Publisher:
    """The numbers of one publisher object."""

    __slots__ = (
        "claimed_at",
        "expected",
        "first",
        "first_time",
        "gaps",
        "heard",
        "joined",
        "last_time",
        "origin",
        "previous",
        "sender",
        "times",
    )

    def __init__(
        self,
        sender: str,
        number: int,
        time: float,
        now: float,
        origin: Publisher | None = None,
    ) -> None:
        self.sender = sender
        self.joined = number  # lower numbers that are missing count as joined_late
        self.expected = number  # the number after the highest accepted
        self.first, self.first_time = number, time  # the lowest number accepted
        self.last_time = time  # publisher's time of number expected - 1
        self.gaps: list[list[int]] = [[0, number, number]] if number else []  # from, to, missing
        self.times = array("d")  # publisher's time of number n at n % REMEMBERED
        self.heard = now
        self.previous: Publisher | None = None  # the object that sent from this address before
        self.origin = origin  # the object that this one seems to be, at another address
        self.claimed_at = (number, time)  # the message by which it came to seem so
        if origin is not None:
            self.joined, self.expected, self.gaps = origin.joined, origin.expected, []
            origin.forget_origins(MAX_ORIGINS - 1)
        self.accept(number, time)

    def place(self, number: int, time: float) -> Place:
        """What ``number`` is, if it comes from this object."""
        if number >= self.expected:
            return "next" if number == self.expected else "ahead"
        if self.origin is not None and number < self.origin.expected:
            return self.origin.place(number, time)
        known = self.first_time if number == self.first else math.nan
        if number >= self.expected - REMEMBERED and number % REMEMBERED < len(self.times):
            known = self.times[number % REMEMBERED]
        for start, stop, missing in reversed(self.gaps):
            if start <= number < stop:
                if missing < stop - start and known == time:
                    return "known"
                return "missing" if time <= self.last_time else "reused"
        if known == time:
            return "known"
        return "forgotten" if math.isnan(known) and time <= self.last_time else "reused"

    def accept(self, number: int, time: float) -> tuple[int, int]:
        """Take ``number`` as accepted; the changes of (lost, joined_late)."""
        lost = joined_late = 0
        if number >= self.expected:
            lost = number - self.expected
            if lost:
                self.gaps.append([self.expected, number, lost])
            self.expected, self.last_time = number + 1, time
        elif self.origin is not None and number < self.origin.expected:
            return self.origin.accept(number, time)
        elif not self._fill(number):
            pass  # forgotten
        elif number < self.joined:
            joined_late = -1
        else:
            lost = -1
        if number < self.first:
            self.first, self.first_time = number, time
        if number >= self.expected - REMEMBERED:
            self.remember(number, time)
        return lost, joined_late

    def remember(self, number: int, time: float) -> None:
        """Note the publisher's time of ``number``, one of the last :data:`REMEMBERED`."""
        slot = number % REMEMBERED
        if slot >= len(self.times):
            self.times.extend([math.nan] * (slot + 1 - len(self.times)))
        self.times[slot] = time

    def saved(self) -> SavedPublisher:
        """What is kept over a restart of this program."""
        last = range(max(self.expected - SAVED, self.first), self.expected)
        absent = {
            number
            for start, stop, _ in self.gaps[-SAVED:]
            for number in range(max(start, last.start), stop)
        }
        times = self.times
        recent = [(n, times[n % REMEMBERED]) for n in last if n not in absent]
        return SavedPublisher(
            self.sender,
            self.joined,
            self.expected,
            self.first,
            self.first_time,
            self.last_time,
            self.heard,
            self.gaps,
            recent,
        )

    @classmethod
    def restored(cls, state: SavedPublisher) -> Publisher:
        """The object that :meth:`saved` gave."""
        publisher = cls(state.sender, state.first, state.first_time, state.heard)
        publisher.joined, publisher.expected = state.joined, state.expected
        publisher.last_time, publisher.gaps = state.last_time, state.gaps
        publisher.times = array("d")
        for number, time in state.recent:
            publisher.remember(number, time)
        return publisher

    def _fill(self, number: int) -> bool:
        for index in range(len(self.gaps) - 1, -1, -1):
            start, stop, missing = self.gaps[index]
            if start <= number < stop:
                break
        else:
            return False
        if missing < stop - start:  # several gaps in one: which numbers are missing is not known
            rest = [[start, stop, missing - 1]] if missing > 1 else []
        else:
            rest = [[a, b, b - a] for a, b in ((start, number), (number + 1, stop)) if a < b]
        self.gaps[index : index + 1] = rest
        return True

    def limit_gaps(self, limit: int) -> None:
        """Join the oldest gaps to one that spans them all and knows only how many are missing.

        A late arrival there is taken off as long as any are missing: losses are never overstated.
        """
        surplus = len(self.gaps) - limit
        if surplus > 0:
            oldest = self.gaps[: surplus + 1]
            missing = sum(gap[2] for gap in oldest)
            self.gaps[: surplus + 1] = [[oldest[0][0], oldest[-1][1], missing]]
            self.origin = None

    def is_of_previous(self, number: int, time: float) -> bool:
        """Was this sent by the object that had this address before?"""
        if self.previous is None or time >= self.first_time:
            return False
        if self.expected - self.first > REORDERED:
            return False
        return number >= self.first or time <= self.previous.last_time

    def may_continue(self, number: int, time: float) -> bool:
        """Could ``number``, from another address, be one of the next that this object sends?"""
        return 0 <= number - self.expected <= CONTINUES_WITHIN and time >= self.last_time

    def heir_of(self, sender: str) -> Publisher | None:
        """The object, this one or one that it seems to be, whose origin sent from ``sender``."""
        heir = self
        while heir.origin is not None:
            if heir.origin.sender == sender:
                return heir
            heir = heir.origin
        return None

    def forget_origins(self, keep: int) -> None:
        """Forget all but the last ``keep`` addresses that this object seems to have had."""
        last = self
        for _ in range(keep):
            if last.origin is None:
                return
            last = last.origin
        last.origin = None

    def stand_alone(self) -> tuple[int, int]:
        """It is not ``origin`` after all: the changes of (lost, joined_late)."""
        assert self.origin is not None
        known_to_origin, self.joined = self.origin.expected, self.claimed_at[0]
        missing = sum(count for _, stop, count in self.gaps if stop <= self.joined)
        if known_to_origin:
            self.gaps.insert(0, [0, known_to_origin, known_to_origin])
        self.origin = None
        return -missing, missing + known_to_origin
