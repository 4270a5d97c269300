"""How long pushes and callbacks take, from samples that each reply brings once.

A percentile is the smallest value that so many per cent of the samples do not exceed (nearest
rank). Values are kept in bins of an eighth of an octave, so a percentile is told as the middle of
its bin, at most 4.5 % off; least, greatest, mean and number of values are exact. Memory is bounded,
however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from socs.tango.counting import Room
from socs.tango.snapshot import Callback, Push, Snapshot

BINS_PER_OCTAVE = 8
TIMES = ("push", "process", "latency")
OTHERS = "(others)"  # attributes beyond the limit, together


class Histogram:
    """Distribution of integers of either sign, in bins that widen with their size."""

    __slots__ = ("_bins", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self.count = self.total = self.least = self.greatest = 0

    def add(self, value: int) -> None:
        """Count one value."""
        if not self.count:
            self.least = self.greatest = value
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)
        self.count += 1
        self.total += value
        place = 1 + math.floor(BINS_PER_OCTAVE * math.log2(abs(value))) if value else 0
        place = -place if value < 0 else place
        self._bins[place] = self._bins.get(place, 0) + 1

    def percentile(self, percent: float) -> float | None:
        """The value at the nearest rank; None without values."""
        if not self.count:
            return None
        rank = max(1, math.ceil(percent / 100 * self.count))
        for place in sorted(self._bins):
            rank -= self._bins[place]
            if rank <= 0:
                break
        middle = 2 ** ((abs(place) - 0.5) / BINS_PER_OCTAVE) if place else 0.0
        return min(max(math.copysign(middle, place), self.least), self.greatest)

    def row(self) -> dict[str, float | None]:
        """Number, mean, least, greatest and percentiles, fit for JSON."""
        some = self.count > 0
        return {
            "count": self.count,
            "mean": self.total / self.count if some else None,
            "min": self.least if some else None,
            "p50": self.percentile(50),
            "p90": self.percentile(90),
            "p99": self.percentile(99),
            "max": self.greatest if some else None,
        }


class Coverage:
    """How many of the events were sampled, while sampling was on."""

    __slots__ = ("events", "samples")

    def __init__(self) -> None:
        self.samples = self.events = 0

    def add(self, samples: int, events: int) -> None:
        """Of ``events`` events ``samples`` were sampled."""
        self.samples += samples
        self.events += max(samples, events)

    @property
    def fraction(self) -> float | None:
        """Between 0 and 1; None without events."""
        return self.samples / self.events if self.events else None


class AttributeTimes:
    """Of the attributes of one name [us]: handling of an event, and latency of the first callback.

    Samples do not tell the device: attributes of the same name are together.
    """

    __slots__ = ("latency", "process")

    def __init__(self) -> None:
        self.process, self.latency = Histogram(), Histogram()


class Performance:
    """Statistics of one server since it was first seen, or since `clear` was called [us].

    Args:
        room: for attributes with statistics of their own; servers share it.

    Attributes:
        latest: of the last reply alone, by what was measured: one of :data:`TIMES`.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.attributes: dict[str, AttributeTimes] = {}
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._room.give(len(self.attributes.keys() - {OTHERS}))
        self.attributes.clear()
        self.push, self.process, self.latency = Histogram(), Histogram(), Histogram()
        self.latest = {kind: Histogram() for kind in TIMES}
        self.pushing, self.receiving = Coverage(), Coverage()
        self._process = self._sleep = 0
        self._were_on = (False, False)

    @property
    def utilisation(self) -> float | None:
        """Fraction of its time that the thread that calls back was busy, while it was sampled."""
        time = self._process + self._sleep
        return self._process / time if time else None

    def feed(self, snapshot: Snapshot, pushed: int, received: int) -> None:
        """Take the samples of one reply.

        Args:
            snapshot: the reply.
            pushed, received: events since the reply before, discarded ones among them.
        """
        self.latest = {kind: Histogram() for kind in TIMES}
        were_on = self._were_on
        self._were_on = snapshot.pushes is not None, snapshot.callbacks is not None
        self._take_pushes(snapshot.pushes or ())
        self._take_callbacks(snapshot.callbacks or ())
        if snapshot.pushes is not None and were_on[0]:
            self.pushing.add(len(snapshot.pushes), pushed)
        if snapshot.callbacks is not None and were_on[1]:
            self.receiving.add(len(snapshot.callbacks), received)

    def _take_pushes(self, samples: Sequence[Push]) -> None:
        for sample in samples:
            for histogram in (self.push, self.latest["push"]):
                histogram.add(sample.push)

    def _take_callbacks(self, samples: Sequence[Callback]) -> None:
        for sample in samples:
            self._process += sample.process
            self._sleep += sample.sleep
            if sample.discarded or not sample.attribute:
                continue
            times = self._times(sample.attribute)
            for histogram in (self.process, times.process, self.latest["process"]):
                histogram.add(sample.process)
            if sample.latency is not None:
                for histogram in (self.latency, times.latency, self.latest["latency"]):
                    histogram.add(sample.latency)

    def _times(self, attribute: str) -> AttributeTimes:
        times = self.attributes.get(attribute)
        if times is None:
            name = attribute if self._room.take() else OTHERS
            times = self.attributes.setdefault(name, AttributeTimes())
        return times
