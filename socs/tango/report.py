"""Files of lines followed again: who published, who received, who lost it, and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from socs.errors import PeerError
from socs.tango.events import Event
from socs.tango.lines import Replayed, read_line
from socs.tango.track import EventTracker

MAX_EVENTS_KEPT = 10_000  # the last ones; all are counted
MAX_CURVES = 500  # streams, and subscribers, whose course over time is kept


@dataclass
class Course:
    """How numbers went over time, a value for each poll in which they were there.

    Attributes:
        times: of the polls, UNIX times [s].
        rates: of streams [1/s]: by name, ``(index of the poll, value)``.
        lost: events of subscribers, all their streams together, since the beginning; likewise.
        left_out: names for which there was no room.
    """

    times: list[float] = field(default_factory=list)
    rates: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    lost: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)

    def add(self, time: float, tracker: EventTracker) -> None:
        """Note what ``tracker`` tells after the poll at ``time``."""
        index = len(self.times)
        self.times.append(time)
        for row in tracker.streams(MAX_CURVES):
            self._note(self.rates, row["stream"], index, row["rate"])
        for row in tracker.servers():
            if row["subscriptions"] or row["server"] in self.lost:
                self._note(self.lost, row["server"], index, row["lost"])

    def _note(
        self, curves: dict[str, list[tuple[int, float]]], name: str, index: int, value: float
    ) -> None:
        if name in curves or len(curves) < MAX_CURVES:
            curves.setdefault(name, []).append((index, value))
        elif len(self.left_out) < MAX_CURVES:
            self.left_out.add(name)


class Report:
    """What files of lines tell, one line after the other, the oldest file first.

    Args:
        course: keep how numbers went over time, too.

    Attributes:
        tracker: has followed all polls so far.
        events: the last that it told; their times are UNIX times [s].
        polls, lines, other_lines, mended, unreadable, out_of_order: counts. Other lines are those
            of events, and blank ones; polls out of order are not followed.
        problem: why the first unreadable line is that.
        first, last: times of polls; UNIX times [s].
    """

    def __init__(self, *, course: bool = False) -> None:
        self.tracker = EventTracker()
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS_KEPT)
        self.event_count = 0
        self.course = Course() if course else None
        self.polls = self.lines = self.other_lines = 0
        self.mended = self.unreadable = self.out_of_order = 0
        self.problem = ""
        self.first: float | None = None
        self.last: float | None = None

    def feed(self, line: bytes) -> None:
        """Take a line; what cannot be read is counted."""
        self.lines += 1
        try:
            poll = read_line(line)
        except PeerError as error:
            self.unreadable += 1
            self.problem = self.problem or f"line {self.lines}: {error}"
            return
        if poll is None:
            self.other_lines += 1
            return
        self.mended += poll.mended
        if self.last is not None and poll.time <= self.last:
            self.out_of_order += 1
            return
        self._follow(poll)

    def _follow(self, poll: Replayed) -> None:
        told: list[Event] = []
        now = poll.time
        for sample in sorted(poll.samples, key=lambda sample: sample.ended):
            try:
                told += self.tracker.feed(sample)
            except PeerError as error:  # a name that is none
                self.unreadable += 1
                self.problem = self.problem or f"line {self.lines}: {error}"
            now = max(now, sample.ended)
        told += self.tracker.reconcile(now)
        self.events.extend(told)
        self.event_count += len(told)
        self.first = poll.time if self.first is None else self.first
        self.last = poll.time
        self.polls += 1
        if self.course is not None:
            self.course.add(poll.time, self.tracker)

    def feed_all(self, lines: Iterable[bytes]) -> None:
        """Take many lines."""
        for line in lines:
            self.feed(line)

    def head(self) -> dict[str, Any]:
        """What was read, fit for JSON; times are UNIX times [s]."""
        return {
            "polls": self.polls,
            "lines": self.lines,
            "other_lines": self.other_lines,
            "mended_lines": self.mended,
            "unreadable": self.unreadable,
            "problem": self.problem,
            "out_of_order": self.out_of_order,
            "first": self.first,
            "last": self.last,
            "events_told": self.event_count,
        }


def told_by_count(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Of each kind of event: how many, of which severity; those that matter first."""
    order: Sequence[str] = ("error", "warning", "info")
    counts: dict[tuple[str, str], int] = {}
    for event in events:
        if event.phase != "end":
            key = event.severity, event.kind
            counts[key] = counts.get(key, 0) + 1
    found = sorted(counts.items(), key=lambda each: (order.index(each[0][0]), -each[1]))
    return [{"severity": s, "event": kind, "count": n} for (s, kind), n in found]
