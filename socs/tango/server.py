"""One device server: what state it is in, what it publishes, and what it subscribed to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from socs.tango.counting import Rate, Room, advance
from socs.tango.events import Event, event
from socs.tango.limits import MAX_SHOWN, PATIENCE
from socs.tango.link import Link
from socs.tango.names import EventName, ServerName
from socs.tango.performance import Performance
from socs.tango.snapshot import Snapshot
from socs.tango.states import GONE, OUTCOMES, STATES, Outcome, State, began_anew


@dataclass(frozen=True, slots=True)
class Sample:
    """What became of asking one server once.

    Attributes:
        server: its admin device.
        outcome: see :mod:`socs.tango.states`.
        begun, ended: when it was asked, and when that was over, by a clock that never goes back
            [s]; the same for all servers.
        snapshot: what it told, if ``outcome`` is ``ok``.
        identity: what tells its process from the next one of the same name, such as process id and
            start time; "" if that is not known.
        reason: text of the error.
        cause: of a reply that could not be decoded, the cause of the error.
    """

    server: str
    outcome: Outcome
    begun: float
    ended: float
    snapshot: Snapshot | None = None
    identity: str = ""
    reason: str = ""
    cause: str = ""


class Stream:
    """One stream that a server publishes.

    Attributes:
        number: the next number of it.
        published: events since it was first seen.
        changed: when it was first seen to have gone on [s]; None if it never did.
        present: whether it was in the last reply; ``awaited``: or it may come back after a restart.
    """

    __slots__ = ("awaited", "changed", "name", "number", "present", "published", "rate", "seen")

    def __init__(self, name: EventName, number: int, now: float) -> None:
        self.name, self.number = name, number
        self.published = 0
        self.rate = Rate(0, now)
        self.changed: float | None = None
        self.seen = now
        self.present, self.awaited = True, False

    def feed(self, number: int, now: float) -> int:
        """Take the next number; events since the last one."""
        pushed = advance(self.number, number)
        pushed = max(0, number - 1) if pushed is None else pushed
        self.number, self.seen = number, now
        self.published += pushed
        if pushed:
            self.changed = now
        return pushed


class Server:
    """What is known of one device server.

    Args:
        name: its admin device.
        now: time [s].
        attributes: room for statistics of attributes.

    Attributes:
        state, since, reason: state, since when [s], and the error's text.
        answered: when it answered last [s]; None if it never did.
        restarts: how often it was seen to be another process.
        streams: what it publishes, by path.
        links: what it subscribed to.
        lacking: what it cannot connect to: polls in which that was told.
        readers: links of all servers to its streams.
        refused: names of its last reply for which there was no room.
        own_hosts: what it calls its Tango database, ``host:port``; empty if it has not told yet.
    """

    def __init__(self, name: ServerName, now: float, attributes: Room) -> None:
        self.name = name
        self.state: State = "unknown"
        self.since = self.seen = now
        self.begun = float("-inf")
        self.reason = self.identity = ""
        self.answered: float | None = None
        self.restarts = self.refused = 0
        self.streams: dict[str, Stream] = {}
        self.links: dict[EventName, Link] = {}
        self.lacking: dict[EventName, int] = {}
        self.readers: set[Link] = set()
        self.performance = Performance(attributes)
        self.endpoints: dict[str, str] = {}
        self.own_hosts: frozenset[str] = frozenset()
        self.dialect = ""
        self._was_gone = False
        self._unasked = 0  # polls

    @property
    def names(self) -> int:
        """How many names are followed because of it."""
        return len(self.streams) + len(self.links) + len(self.lacking)

    @property
    def is_gone(self) -> bool:
        """Whether there is no process."""
        return self.state in GONE

    def take_outcome(self, sample: Sample) -> list[Event]:
        """The events of a change of state, the end of the old one first."""
        self.begun, self.seen = sample.begun, sample.ended
        state, before = OUTCOMES[sample.outcome], self.state
        self.reason = sample.reason
        self._was_gone |= state in GONE
        if state == before:
            return []
        events = []
        if before != "up" and (before != "unknown" or self.answered is not None):
            events.append(self._state_event(before, "no longer", sample, self.since))
        if state != "up":
            events.append(self._state_event(state, "", sample, sample.ended))
        self.state, self.since = state, sample.ended
        return events

    def miss(self, last_poll: float, now: float) -> Sample | None:
        """Take note of a poll that is over; what it comes to if nobody asks this server any more.

        Args:
            last_poll: when the poll before was over [s].
            now: the same of this one.
        """
        self._unasked = self._unasked + 1 if self.seen < last_poll else 0
        if self._unasked < PATIENCE or self.state == "unknown":
            return None
        return Sample(str(self.name), "unknown", self.begun, now, reason="nobody asks it any more")

    def _state_event(self, state: State, ended: str, sample: Sample, since: float) -> Event:
        meaning = STATES[state]
        evidence: dict[str, Any] = {"outcome": sample.outcome, "reason": sample.reason}
        if ended:
            evidence["seconds"] = sample.ended - since
        return Event(
            kind=state,
            phase="end" if ended else "begin",
            text=f"server {self.name} {meaning.sentence} {ended}".rstrip(),
            time=sample.ended,
            severity="info" if ended else meaning.severity,
            server=str(self.name),
            evidence=evidence,
        )

    def leave(self, now: float) -> list[Event]:
        """The end of the state that was told of it: nobody asks it any more."""
        if self.state == "up" or (self.state == "unknown" and self.answered is None):
            return []
        return [
            Event(
                kind=self.state,
                phase="end",
                text=f"server {self.name} is no longer monitored",
                time=now,
                severity="info",
                server=str(self.name),
                evidence={"seconds": now - self.since},
            )
        ]

    def take_identity(self, sample: Sample, snapshot: Snapshot) -> list[Event]:
        """The event of a restart, if this answer is of another process than the last one."""
        fell = [
            (stream.number, number)
            for name, number in snapshot.published.items()
            if (stream := self.streams.get(name.path)) is not None
            and advance(stream.number, number) is None
        ]
        anew = began_anew(
            known=self.identity,
            told=sample.identity,
            was_gone=self._was_gone,
            was_up_before=self.answered is not None,
            fell_back=bool(fell),
        )
        evidence = {
            "identities": [self.identity, sample.identity],
            "was_gone": self._was_gone,
            "numbers": list(fell[0]) if fell else [],
        }
        if sample.identity or anew:
            self.identity = sample.identity
        self._was_gone = False
        self.answered, self.dialect = sample.ended, snapshot.dialect
        self.endpoints = snapshot.channels
        if not anew:
            return []
        self.restarts += 1
        for stream in self.streams.values():
            stream.awaited, stream.number = True, 1
        for link in self.links.values():
            link.subscriber_restarted()
        for link in self.readers:
            link.publisher_restarted()
        return [event("restarted", "once", sample.ended, server=str(self.name), evidence=evidence)]


def hosts_of(snapshot: Snapshot) -> frozenset[str]:
    """What a server calls its Tango database, by the names of its streams; a few at most."""
    hosts = dict.fromkeys(name.authority for name in snapshot.published)
    return frozenset(islice(hosts, MAX_SHOWN))
