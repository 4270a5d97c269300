"""States of process variables: what the answers to searches say, and what silence says.

A search gives the servers that answered within its time; none is an answer, too. What happens
depends on the state and on that; see :data:`TRANSITIONS`. States are a column of the inventory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.inventory import Inventory
from socs.epics.networks import Networks, host_text
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import CA, PVA, Event, PvEvent, PvsEvent
from socs.epics.track.settings import TrackSettings

State = Literal["NEVER_SEEN", "ONLINE", "LOST", "DUPLICATE"]
Noticed = Literal["one", "several", "none"]
STATES: tuple[State, ...] = ("NEVER_SEEN", "ONLINE", "LOST", "DUPLICATE")
INVALID = "INVALID"  # shown instead of NEVER_SEEN for a name that is not valid

# (state, servers that answered): (new state, the event; none if empty)
TRANSITIONS: dict[tuple[State, Noticed], tuple[State, str]] = {
    ("NEVER_SEEN", "one"): ("ONLINE", "FOUND"),
    ("NEVER_SEEN", "several"): ("DUPLICATE", "DUPLICATE"),
    ("NEVER_SEEN", "none"): ("NEVER_SEEN", ""),
    ("ONLINE", "one"): ("ONLINE", ""),
    ("ONLINE", "several"): ("DUPLICATE", "DUPLICATE"),
    ("ONLINE", "none"): ("LOST", "LOST"),
    ("LOST", "one"): ("ONLINE", "REAPPEARED"),
    ("LOST", "several"): ("DUPLICATE", "DUPLICATE"),
    ("LOST", "none"): ("LOST", ""),
    ("DUPLICATE", "one"): ("ONLINE", "SINGLE_AGAIN"),
    ("DUPLICATE", "several"): ("DUPLICATE", ""),
    ("DUPLICATE", "none"): ("LOST", "LOST"),
}
CAUSES = {
    "FOUND": "a server answered for the first time",
    "DUPLICATE": "several servers answered",
    "LOST": "searches in a row had no answer",
    "REAPPEARED": "a server answers again",
    "SINGLE_AGAIN": "only one server answers",
    "MOVED": "another server answers",
}
COUNTS = (
    "answers_taken",
    "answers_elsewhere",
    "searches_judged",
    "searches_unanswered",
    "searches_blind",
)
EXAMPLES = 10  # names in an event of many
MOST_WAITING = 1 << 16  # overheard answers of which more is awaited


class Answer(NamedTuple):
    """A server that says that it has a name.

    Attributes:
        protocol: :data:`~socs.epics.track.events.CA` or PVA.
        host, port: where it listens, as the answer says.
        sender: who sent the answer.
        guid: of PV Access.
    """

    protocol: int
    host: int
    port: int
    sender: int
    guid: bytes = b""

    @property
    def server(self) -> tuple[int, int, int | bytes]:
        """The same for the same server, whichever way it answered."""
        if self.guid:
            return self.protocol, 0, self.guid
        return self.protocol, self.host, self.port


class Pvs:
    """States of all process variables.

    Args:
        inventory: where they are kept.
        settings: thresholds.
        sight: when we listened.

    Attributes:
        counts: see `COUNTS`.
    """

    def __init__(self, inventory: Inventory, settings: TrackSettings, sight: Coverage) -> None:
        self.inventory = inventory
        self.counts = dict.fromkeys(COUNTS, 0)
        self._settings, self._sight = settings, sight
        self._subnets = Networks(settings.subnets, "subnets")
        self._waiting: dict[tuple[int, int], tuple[float, Answer]] = {}  # by number and protocol

    def state(self, number: int) -> str:
        """The state for people."""
        state: str = STATES[self.inventory.state[number]]
        if state == "NEVER_SEEN" and not self.inventory.names.valid[number]:
            return INVALID
        return state

    def totals(self) -> dict[str, int]:
        """How many are in each state."""
        end = self.inventory.end
        known = self.inventory.names.known[:end]
        states = np.bincount(self.inventory.state[:end][known], minlength=len(STATES)).tolist()
        never = known & (self.inventory.state[:end] == 0) & ~self.inventory.names.valid[:end]
        invalid = int(np.count_nonzero(never))
        totals: dict[str, int] = dict(zip(STATES, states, strict=True))
        totals["NEVER_SEEN"] -= invalid
        return totals | {INVALID: invalid}

    def searched(
        self, number: int, answers: Iterable[Answer], asked: float, now: float
    ) -> list[Event]:
        """A search of ours is over: these servers answered.

        Args:
            number: of the name.
            answers: all that came, also none.
            asked: when the search went out, UNIX time [s].
            now: when it was over.
        """
        answers = self._admitted(answers)
        self.inventory.searched[number] = now
        if answers:
            for protocol in (CA, PVA):
                self._waiting.pop((number, protocol), None)
            return self._judge(number, answers, now)
        self.counts["searches_unanswered"] += 1
        host = int(self.inventory.host[number])
        if host and not self._sight.saw(host, asked, now):
            self.counts["searches_blind"] += 1
            return []
        misses = self.inventory.misses
        misses[number] = min(int(misses[number]) + 1, 255)
        if misses[number] < self._settings.misses:
            return []
        return self._judge(number, [], now)

    def overheard(self, number: int, answer: Answer, now: float) -> list[Event]:
        """Somebody else's search was answered; further servers may answer it, too.

        Two servers that answer within ``answers_within`` are duplicates. They stay that until only
        one of them was heard for ``duplicate_ends_after``. So an answer of another server than the
        known one may be the first of two: what it says is told by `tick`, once it is clear that
        there is no other.
        """
        if not self._admitted([answer]):
            return []
        inventory, key = self.inventory, (number, answer.protocol)
        here = np.array([number])
        if STATES[inventory.state[number]] == "DUPLICATE":
            self._note(here, answer, now)
            if self._still_several(number) or len(self._waiting) >= MOST_WAITING:
                self._waiting.pop(key, None)
            else:
                self._waiting.setdefault(key, (now, answer))
            return []
        others = [
            Answer(seen.protocol, seen.host, seen.port, seen.host)
            for seen in inventory.servers.of(number)
            if now - seen.last <= self._settings.answers_within
            and seen.protocol == answer.protocol
            and (seen.host, seen.port) != (answer.host, answer.port)
        ]
        elsewhere = self._server(number, answer.protocol) not in {(0, 0), answer[1:3]}
        if elsewhere and not others and len(self._waiting) < MOST_WAITING:
            inventory.servers.add(here, answer.protocol, answer.host, answer.port, now)
            self._waiting.setdefault(key, (now, answer))
            return []
        self._waiting.pop(key, None)
        return self._judge(number, [answer, *others][:2], now, fresh=1)

    def tick(self, now: float) -> list[Event]:
        """What overheard answers say for which another one might have come."""
        events: list[Event] = []
        for key, (came, answer) in list(self._waiting.items()):
            if now - came <= self._settings.answers_within:
                break  # the others came later
            del self._waiting[key]
            if not self._still_several(key[0]):
                events += self._judge(key[0], [answer], now, seen=came)
        return events

    def forget(self, numbers: NDArray[np.integer]) -> None:
        """These numbers will stand for other names."""
        gone = set(numbers.tolist())
        self._waiting = {key: each for key, each in self._waiting.items() if key[0] not in gone}
        self.inventory.forget(numbers)

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing came later than that."""
        waiting = self._waiting.items()
        self._waiting = {key: (min(came, now), answer) for key, (came, answer) in waiting}
        self.inventory.set_back(now)

    def _still_several(self, number: int) -> bool:
        """Is it a duplicate: when it was last asked for by some protocol, had it two servers.

        Who was not heard for ``duplicate_ends_after`` before the last answer has gone.
        """
        if STATES[self.inventory.state[number]] != "DUPLICATE":
            return False
        last: dict[int, list[float]] = {}
        for seen in self.inventory.servers.of(number):
            last.setdefault(seen.protocol, []).append(seen.last)
        patience = self._settings.duplicate_ends_after
        return any(
            latest - patience <= other for latest, *others in last.values() for other in others
        )

    def judge_all(
        self, numbers: NDArray[np.integer], answer: Answer | None, now: float
    ) -> list[Event]:
        """All these process variables go the way of one of them that was searched for.

        Args:
            numbers: of the names; all of one server.
            answer: of the server that has them now; None if none answered.
            now: UNIX time [s].
        """
        if answer is not None and not self._admitted([answer]):
            return []
        noticed: Noticed = "none" if answer is None else "one"
        states = self.inventory.state[numbers]
        events: list[Event] = []
        for code, state in enumerate(STATES):
            those = numbers[states == code]
            if len(those):
                events += self._move_all(those, state, noticed, answer, now)
        return events

    def admits(self, answer: Answer) -> bool:
        """Is it of a server within the subnets, and from there?"""
        return answer.host in self._subnets and answer.sender in self._subnets

    @property
    def misses(self) -> int:
        """Searches in a row without an answer until a process variable is lost."""
        return self._settings.misses

    def told(self, numbers: NDArray[np.integer], protocol: int, host: int, port: int) -> None:
        """An application says that it serves these. It is believed until a server answers."""
        if host in self._subnets:
            inventory = self.inventory
            numbers = numbers[inventory.host[numbers] == 0]
            inventory.host[numbers], inventory.port[numbers] = host, port
            inventory.protocol[numbers] = protocol

    # -- one process variable ---------------------------------------------------------------------

    def _admitted(self, answers: Iterable[Answer]) -> list[Answer]:
        """Those of servers within the subnets, each server once, in a fixed order."""
        kept: dict[object, Answer] = {}
        for answer in sorted(answers):
            if self.admits(answer):
                kept.setdefault(answer.server, answer)
            else:
                self.counts["answers_elsewhere"] += 1
        return list(kept.values())

    def _judge(
        self,
        number: int,
        answers: Sequence[Answer],
        now: float,
        *,
        fresh: int | None = None,
        seen: float | None = None,
    ) -> list[Event]:
        """The first ``fresh`` of ``answers``, all by default, came now, or when they were seen."""
        self.counts["searches_judged"] += 1
        per_protocol = [answer.protocol for answer in answers]
        most = max((per_protocol.count(protocol) for protocol in per_protocol), default=0)
        noticed: Noticed = "none" if most == 0 else "one" if most == 1 else "several"
        inventory = self.inventory
        before = STATES[inventory.state[number]]
        state, kind = TRANSITIONS[before, noticed]
        old = [self._server(number, answer.protocol) for answer in answers]
        for answer in reversed(answers[:fresh]):
            self._note(np.array([number]), answer, now if seen is None else seen)
        events: list[Event] = []
        if kind:
            inventory.state[number] = STATES.index(state)
            inventory.changed[number] = now
            told = {"servers": ", ".join(map(_place, answers)), "before": before}
            if noticed == "none":
                told |= {"misses": int(inventory.misses[number])}
            events.append(self._event(number, kind, told, now))
        if noticed == "one" and before != "DUPLICATE":
            events += [
                replace(
                    self._event(
                        number, "MOVED", {"from": _text(*place), "to": _place(answer)}, now
                    ),
                    protocol=answer.protocol,
                    host=answer.host,
                    port=answer.port,
                )
                for answer, place in zip(answers, old, strict=True)
                if place[0] and place != (answer.host, answer.port)
            ]
        return events

    def _server(self, number: int, protocol: int) -> tuple[int, int]:
        column = protocol - CA
        inventory = self.inventory
        return int(inventory.host_of[number, column]), int(inventory.port_of[number, column])

    def _note(self, numbers: NDArray[np.integer], answer: Answer, now: float) -> None:
        """Remember who answered for these."""
        self.counts["answers_taken"] += 1
        inventory, column = self.inventory, answer.protocol - CA
        inventory.host[numbers], inventory.port[numbers] = answer.host, answer.port
        inventory.protocol[numbers] = answer.protocol
        inventory.host_of[numbers, column] = answer.host
        inventory.port_of[numbers, column] = answer.port
        first = inventory.first_seen[numbers] == 0
        inventory.first_seen[numbers[first]] = now
        inventory.last_seen[numbers] = now
        inventory.answers[numbers] += np.uint32(1)
        inventory.misses[numbers] = 0
        inventory.servers.add(numbers, answer.protocol, answer.host, answer.port, now)

    def _event(self, number: int, kind: str, told: dict[str, int | str], now: float) -> PvEvent:
        inventory = self.inventory
        return PvEvent(
            now,
            kind,
            CAUSES[kind],
            told,
            number,
            inventory.names.name(number),
            int(inventory.protocol[number]),
            int(inventory.host[number]),
            int(inventory.port[number]),
        )

    # -- many of them -----------------------------------------------------------------------------

    def _move_all(
        self,
        numbers: NDArray[np.integer],
        before: State,
        noticed: Noticed,
        answer: Answer | None,
        now: float,
    ) -> list[Event]:
        if before == "DUPLICATE" and answer is not None:
            return []  # that one server answers for another name does not make this one single
        inventory = self.inventory
        state, kind = TRANSITIONS[before, noticed]
        moved = numbers[:0]
        if answer is not None:
            column = answer.protocol - CA
            hosts, ports = inventory.host_of[numbers, column], inventory.port_of[numbers, column]
            moved = numbers[(hosts != 0) & ((hosts != answer.host) | (ports != answer.port))]
            self._note(numbers, answer, now)
        events: list[Event] = []
        if kind:
            inventory.state[numbers] = STATES.index(state)
            inventory.changed[numbers] = now
            events.append(self._event_of_all(numbers, kind, answer, now))
        if len(moved):
            events.append(self._event_of_all(moved, "MOVED", answer, now))
        return events

    def _event_of_all(
        self, numbers: NDArray[np.integer], kind: str, answer: Answer | None, now: float
    ) -> PvsEvent:
        inventory, one = self.inventory, int(numbers[0])
        examples = tuple(inventory.names.names(numbers[:EXAMPLES]))
        if answer is None:
            where = inventory.protocol[one], inventory.host[one], inventory.port[one]
        else:
            where = answer[:3]
        cause = f"{CAUSES[kind]}, judged by one of them"
        return PvsEvent(now, kind, cause, {}, len(numbers), examples, *map(int, where))


def _place(answer: Answer) -> str:
    return _text(answer.host, answer.port)


def _text(host: int, port: int) -> str:
    return f"{host_text(host)}:{port}"
