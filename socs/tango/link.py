"""One subscriber of one stream: what it was owed, what it got, and what became of the rest.

Events are numbered by the publisher, and a subscriber tells the last number it received and how
many it received. So between two of its replies it lost what its number went on by, less what it
received: exactly, and whenever it is asked. Only what is missing at the end, after the last number
it received, needs the publisher, and time to tell what is on its way from what will never come.
``docs/reference/tango_reconciliation.rst`` tells of each case.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import msgspec

from socs.tango import torn
from socs.tango.counting import Rate, advance, last_used
from socs.tango.limits import MOST_PATIENCE, PATIENCE
from socs.tango.moves import Move, classify
from socs.tango.names import EventName
from socs.tango.snapshot import Subscription

Progress = Literal["", "drains", "passed"]
Status = Literal["new", "level", "in_flight", "backlog", "stalled", "unserved", "unwatched", "gone"]


class PublisherReply(NamedTuple):
    """What the publisher told: its next number, None if it does not know the stream; and when."""

    number: int | None
    begun: float
    ended: float


class Judged(NamedTuple):
    """What was known when a link was judged.

    ``top``: last number pushed, None for no stream; ``received``: events received; when the
    subscriber was asked, and the publisher's answer.
    """

    top: int | None
    received: int
    begun: float
    told: PublisherReply


class Link:
    """What is known of one subscriber of one stream.

    Args:
        stream: what it subscribed to.
        entry: its first reply.
        begun, ended: when it was asked and when it had answered [s].
        is_new: whether it was made since the subscriber's reply before.

    Attributes:
        entry: its last reply.
        received: events received since it was first seen.
        missing: of the events before its last number, those that it did not receive.
        tail: of those after its last number, those that will not come any more.
        behind: events after its last number when it was judged last, ``tail`` among them.
        gaps, copies: gaps and discarded copies since it was first seen.
        patience: polls that must agree before a judgement.
    """

    def __init__(
        self, stream: EventName, entry: Subscription, begun: float, ended: float, *, is_new: bool
    ) -> None:
        self.stream = stream
        self.entry = torn.begun(entry)
        self.begun, self.seen = begun, ended
        self.received = self.entry.received if is_new else 0
        self.missing = self.tail = self.behind = 0
        self.gaps = self.copies = 0
        self.status: Status = "new"
        self.patience = PATIENCE
        self.accounted = (0, 0, 0, 0)  # received, lost, gaps, copies: as counted for all links
        self.evidence: dict[str, Any] = {}
        self.rate = Rate(0, ended)
        self.heard: float | None = None  # when something was received last
        self.awaited = False  # gone with its process, and may come back
        self._renewed = False
        self._begin_entry(ended)

    def _begin_entry(self, ended: float) -> None:
        self._since = ended
        self._maybe_torn = True
        self._passed_over = 0  # replies in a row
        self._not_judged = False  # since a reply was passed over
        self._mark: int | None = None  # while nothing was received: later numbers are owed
        self._first_is_known = True  # that what it receives first is of the count of the mark
        self._renumbering: Literal["", "awaited", "seen"] = ""
        self._interrupted = (-math.inf, -math.inf)  # begin of the last answers before that
        self._hidden = True  # it may have received what nobody was told of, since it was judged
        self._moves = 0  # of those while it is awaited
        self._received_then = self.received  # when the publisher was asked last
        self._renumbered_at = 0.0
        self._strikes = 0
        self._published: PublisherReply | None = None
        self._judged: Judged | None = None
        self.behind = 0

    @property
    def lost(self) -> int:
        """Events lost since it was first seen; goes back when some arrive after all."""
        return self.missing + self.tail

    # -- what the subscriber tells ----------------------------------------------------------------

    def feed(self, entry: Subscription, begun: float, ended: float) -> Move:
        """Take over what the subscriber tells now."""
        self.seen = ended
        if self._passes_over(entry):
            self._not_judged = True
            return "still"
        goes_on = not self._renewed and self.status != "gone"
        entry = entry if goes_on else torn.begun(entry)
        before, self.entry, self.begun = self.entry, entry, begun
        if self._maybe_torn:
            before = torn.mended(before, entry)
        move: Move = "new_entry"
        if goes_on:
            move = classify(before, entry)
            if self._renumbering == "awaited" and move in ("advanced", "new_entry"):
                move = self._moved_while_awaiting(move, before)
        received = entry.received
        goes_on = move != "new_entry" and entry.received >= before.received
        if goes_on:
            received -= before.received
        self.gaps += max(0, entry.gaps - goes_on * before.gaps)
        self.copies += max(0, (entry.discarded or 0) - goes_on * (before.discarded or 0))
        if move in ("new_entry", "moved"):
            self._settle_tail()
            self._begin_entry(ended)
            self.status = "new"
            self._renewed = self.awaited = False
        else:
            self._maybe_torn = move == "first" and self._mark is None
            self._count_missing(move, before, received)
        if entry.number == 0 and move == "still":
            self.entry = msgspec.structs.replace(entry, number=before.number)
        self.received += received
        if received:
            self.heard = ended
            if self.status == "stalled":
                self.status = "in_flight"
        return move

    def _passes_over(self, told: Subscription) -> bool:
        """Whether an event is just being taken in, and the next reply tells more."""
        may = not self._renewed and self.status != "gone" and self._renumbering != "awaited"
        mark = self._mark if self._first_is_known else None
        is_torn = may and self._passed_over < torn.MOST and torn.is_torn(self.entry, told, mark)
        self._passed_over = self._passed_over + 1 if is_torn else 0
        return is_torn

    def _count_missing(self, move: Move, before: Subscription, received: int) -> None:
        number = self.entry.number
        if move == "advanced" and self._renumbering == "awaited":
            self._miss(max(0, self.tail - received), "restart", before, received)
        elif move == "advanced":
            missing = (advance(before.number, number) or 0) - received
            self._miss(missing, "gap", before, received)
        elif move == "first" and not self._first_is_known:
            self._miss(max(0, self.tail - received), "restart", before, received)
        elif move == "first" and self._mark is not None:
            missing = (advance(self._mark, number) or 0) - received
            self._miss(max(0, missing), "before_first", before, received)
        elif move == "renumbered":
            if self._renumbering == "awaited":
                self._renumbering = ""
            else:
                self._renumbering = "seen"
                self._settle_tail()
            self._renumbered_at = self.seen
            self._judged = None
            # What it received may be of before the restart, too.
            self._miss(max(0, number - received), "restart", before, received)
        if move != "still":
            self.tail = 0

    def _settle_tail(self) -> None:
        """Of the numbers so far nothing more will be known."""
        self.missing += self.tail
        self.tail = 0

    def _miss(self, count: int, cause: str, before: Subscription, received: int) -> None:
        self.missing += count
        if count:
            self.evidence = {
                "cause": cause,
                "numbers": [before.number, self.entry.number],
                "received": received,
                "gaps": self.entry.gaps - before.gaps,
            }

    def _moved_while_awaiting(self, move: Move, before: Subscription) -> Move:
        """The publisher began anew: is a number that went up of its new count, or of the old?"""
        if self._published is None or self._published.number is None:
            return move  # there is nothing of the new count
        if move == "new_entry":
            younger = self.entry.received < before.received or self.entry.gaps < before.gaps
            return move if younger else "renumbered"
        received = self.entry.received - before.received
        leapt = (advance(before.number, self.entry.number) or 0) > received
        if self.entry.confirmed != before.confirmed or (leapt and self.entry.gaps == before.gaps):
            return "renumbered"
        self._moves += 1
        return move

    def subscriber_restarted(self) -> None:
        """What it tells next is of another process."""
        self._renewed = self.awaited = True

    def leave(self) -> None:
        """The subscriber has no such entry any more."""
        self._settle_tail()
        self.behind = 0
        self._hidden, self._not_judged = True, False
        self.status = "gone"

    # -- what the publisher tells -----------------------------------------------------------------

    def published(self, number: int | None, begun: float, ended: float) -> None:
        """The publisher's next ``number``, None if it does not know the stream."""
        self._published = PublisherReply(number, begun, ended)
        if self._is_ahead(number, begun):
            self.publisher_restarted()  # nobody receives what was not yet pushed
        self._received_then = self.received

    def _is_ahead(self, number: int | None, begun: float) -> bool:
        """Whether it had received more than was pushed when the publisher was asked."""
        if number is None or not self.entry.received or self.seen > begun or self._renumbering:
            return False
        return advance(self.entry.number, last_used(number)) is None

    def publisher_gone(self, begun: float, ended: float) -> None:
        """There is no publisher: it pushes nothing."""
        if self._published is not None:
            self._published = PublisherReply(self._published.number, begun, ended)

    def publisher_restarted(self) -> None:
        """The publisher counts from 1 again."""
        if self._published is None:
            return  # it was never compared with what the publisher counted before
        self._judged = None
        if not self.entry.received:
            self._mark = None
            self._first_is_known = False
        elif self._renumbering == "seen":
            self._renumbering = ""
        else:
            self._renumbering = "awaited"
            self._settle_tail()
            self._moves = int(self.received != self._received_then)

    def unwatch(self) -> None:
        """Nothing is known of the publisher."""
        self._published = self._judged = None
        self._renumbering = ""
        if self.status != "gone":
            self.status = "unwatched"

    # -- judgement --------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """How far it has come since it was judged last, compared with what was pushed by then."""
        last = self._judged
        if self._hidden or self._not_judged:
            return "drains"
        if last is None or self.entry.received == last.received:
            return ""
        if last.top is None or self._renumbering:
            return "drains"
        return "passed" if advance(self.entry.number, last.top) is None else "drains"

    def judge(self, *, hold: bool = False) -> None:
        """Once a poll: tell apart what is on its way, what waits, and what will never come.

        Nothing is judged anew unless both sides were asked since the last time, the subscriber
        after the publisher had answered that time.

        Args:
            hold: whether older events of the same publisher may still be in front of these.
        """
        self._hidden = False
        if self._published is None or self.status == "gone":
            return
        told, last = self._published, self._judged
        if self.begun <= self._interrupted[0] or told.begun <= self._interrupted[1]:
            return
        if last is not None and (
            self.begun <= last.begun
            or told.begun <= last.told.begun
            or self.begun < last.told.ended
        ):
            return
        if self._renumbering == "seen" and told.begun >= self._renumbered_at:
            self._renumbering = ""
        if self._renumbering == "seen":
            return  # the publisher's number is from before
        if told.number is None:
            self._judge_unserved(told)
            return
        top = last_used(told.number)
        if self._renumbering == "awaited" and self._moves:
            if self._moves < PATIENCE and self.entry.number != top:
                return  # of the old count or the new one
            self._renumbering = ""
        at = self.entry.number if self.entry.received else self._mark
        if self._renumbering == "awaited":
            at = 0  # nothing of the new count has arrived
        if at is None:
            if told.begun >= self._since:
                self._mark = top
            self.status, at = "new", top
        else:
            self._judge_progress(top, at, hold)
        self.behind = advance(at, top) or 0
        self._judged = Judged(top, self.entry.received, self.begun, told)
        self._not_judged = False

    def _judge_unserved(self, told: PublisherReply) -> None:
        twice = self._judged is not None and self._judged.top is None
        if self.status != "unserved":
            self.status = "unserved" if twice else "new"
        self.behind = self.tail
        self.evidence = {"cause": "no_stream"}
        self._judged = Judged(None, self.entry.received, self.begun, told)

    def _judge_progress(self, top: int, at: int, hold: bool) -> None:
        """``top``: last number pushed; ``at``: last number received."""
        last = self._judged
        if last is None or last.top is None:
            self._strikes = 0
            if last is not None or self.status not in ("stalled", "backlog"):
                self.status = "new"
            return
        behind = advance(at, top) or 0
        overdue = (advance(at, last.top) or 0) > self.tail
        if self.entry.received != last.received:
            self._strikes = 0
            self.status = "backlog" if overdue else "in_flight" if behind else "level"
        elif overdue and hold:
            self._strikes = 0
        elif overdue:
            self._strikes += 1
            if self._strikes >= self.patience - 1:
                self._judge_end(top, at, behind, grew=top != last.top)
        elif self.status != "stalled":
            self._strikes = 0
            self.status = "in_flight" if behind > self.tail else "level"

    def _judge_end(self, top: int, at: int, behind: int, *, grew: bool) -> None:
        """Nothing has come for some polls though something was to come."""
        self.evidence = {
            "cause": "end",
            "numbers": [at, top],
            "received": 0,
            "polls": self._strikes + 1,
        }
        if grew:
            self.status = "stalled"
        else:
            self.tail = behind
            if self.status != "stalled":
                self.status = "level"

    def interrupt(self) -> None:
        """One of the two could not be asked: what was told before is no measure of progress."""
        self._judged = None
        asked = self._published.begun if self._published else self.begun
        self._interrupted = self.begun, asked

    def was_wrong(self) -> None:
        """Some that were taken for lost arrived: be slower to judge."""
        self.patience = min(2 * self.patience, MOST_PATIENCE)
