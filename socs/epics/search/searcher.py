"""Searching ourselves: who serves these names? Never more datagrams than the limiter allows.

::

    ask(names, priority, now)          waiting, each name once
    due(now)    -> datagrams to send   in flight, by the number of the channel
    feed(...)                          servers that answered are noted
    tick(now)   -> outcomes            found, or not found after some attempts

An outcome waits for the end of the time in which answers are awaited, so that a second server of a
name is found as well. Time is any monotonic time [s].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from socs.epics.decode.ca import CaMessages
from socs.epics.decode.pva import PvaMessages
from socs.epics.decode.words import Tally
from socs.epics.networks import Networks
from socs.epics.search.limiter import Limiter
from socs.epics.search.messages import Names, is_name
from socs.errors import ConfigError

NUMBERS = 1 << 32  # of channels and datagrams
MOST_SERVERS = 16  # of one name that are remembered; more are forged or a fault


class Format(Protocol):
    """How requests are written; :mod:`socs.epics.search.messages` has two."""

    @property
    def room(self) -> int: ...
    def size(self, name: bytes) -> int: ...
    def datagram(self, number: int, port: int, names: Names) -> bytes: ...


class Priority(IntEnum):
    """What goes first: somebody looks at it, a server changed, or it is its turn."""

    PAGE = 0
    BEACON = 1
    POLL = 2


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        enabled: nothing is ever sent unless this is set.
        datagrams_per_second: to all destinations together.
        burst: most datagrams at once.
        timeout: how long answers are awaited [s].
        attempts: how often a name is asked for until it counts as not found.
        most_waiting: names; what is asked for beyond that is refused.

    Raises:
        ConfigError: a value is not possible.
    """

    enabled: bool = False
    datagrams_per_second: float = 10.0
    burst: int = 5
    timeout: float = 1.0
    attempts: int = 3
    most_waiting: int = 100_000

    def __post_init__(self) -> None:
        Limiter(self.datagrams_per_second, self.burst)
        for name in ("timeout", "attempts", "most_waiting"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: {getattr(self, name)} is not above 0")

    def limiter(self) -> Limiter:
        """One for all that search together."""
        return Limiter(self.datagrams_per_second, self.burst)


class Server(NamedTuple):
    """Who answered: where it listens (TCP), for PV Access its GUID, and who sent the answer.

    ``sender`` is 0 if that was not told.
    """

    host: int
    port: int
    guid: bytes = b""
    sender: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of a search; no server: the name was not found.

    Attributes:
        servers: each once, in the order of their first answers.
        attempts: how often it was asked for.
    """

    name: bytes
    servers: tuple[Server, ...]
    attempts: int
    priority: Priority


@dataclass(slots=True)
class _Asked:
    name: bytes
    priority: Priority
    cid: int = -1  # in flight if there is one
    attempts: int = 0
    servers: list[Server] = field(default_factory=list)


class Searcher:
    """Searches of one protocol.

    Args:
        settings: see there.
        form: how requests are written.
        destinations: to how many addresses each datagram will be sent.
        limiter: shared by all that search; by default one of its own.
        admit: networks of servers whose answers are believed; None for all.
        first: number of the first channel; one that others cannot guess is harder to forge.
        port: at which answers arrive.

    Attributes:
        tally: what happened, by the counters of `socs.counters.EPICS_SEARCH`; to be emptied.

    Raises:
        ConfigError: so many destinations are never reached with these settings.
    """

    def __init__(
        self,
        settings: SearchSettings,
        form: Format,
        destinations: int = 1,
        *,
        limiter: Limiter | None = None,
        admit: Networks | None = None,
        first: int = 1,
        port: int = 0,
    ) -> None:
        self._limiter = limiter or settings.limiter()
        if not 1 <= destinations <= self._limiter.burst:
            raise ConfigError(
                f"burst: {self._limiter.burst} does not reach {destinations} destinations"
            )
        self.tally = Tally()
        self.port = port
        self._settings, self._form = settings, form
        self._destinations, self._admit = destinations, admit
        self._next_cid = self._next_number = first % NUMBERS
        self._asked: dict[bytes, _Asked] = {}
        self._waiting: dict[Priority, deque[_Asked]] = {each: deque() for each in Priority}
        self._in_flight: dict[int, _Asked] = {}
        self._ends: deque[tuple[float, int]] = deque()
        self._last: dict[bytes, list[int]] = {}  # datagrams of the last `due`: channels in them

    def __len__(self) -> int:
        """Names without an outcome yet."""
        return len(self._asked)

    def ask(self, names: Iterable[bytes], priority: Priority) -> int:
        """Search for ``names``; how many are searched for now that were not before.

        A name that waits already may move up. What cannot be a name, and what is too much, is
        refused and counted.
        """
        fresh = 0
        for name in names:
            known = self._asked.get(name)
            if known is not None:
                self.tally.add("search_merged", 1)
                if priority < known.priority:
                    known.priority = priority
                    if known.cid < 0:
                        self._waiting[priority].append(known)
            elif not self._settings.enabled:
                self.tally.add("search_refused_off", 1)
            elif not is_name(name):
                self.tally.add("search_refused_name", 1)
            elif len(self._asked) >= self._settings.most_waiting:
                self.tally.add("search_refused_full", 1)
            else:
                asked = self._asked[name] = _Asked(name, priority)
                self._waiting[priority].append(asked)
                fresh += 1
        self.tally.add("search_asked", fresh)
        return fresh

    def due(self, now: float) -> list[bytes]:
        """Datagrams to send at once, each to all destinations."""
        datagrams: list[bytes] = []
        self._last = {}
        while self._first() is not None and self._limiter.take(self._destinations, now):
            names: list[tuple[int, bytes]] = []
            room = self._form.room
            while (asked := self._first()) is not None:
                room -= self._form.size(asked.name)
                if room < 0:
                    break
                self._waiting[asked.priority].popleft()
                names.append((self._send(asked, now), asked.name))
            datagram = self._form.datagram(self._next_number, self.port, names)
            datagrams.append(datagram)
            self._last[datagram] = [cid for cid, _ in names]
            self._next_number = (self._next_number + 1) % NUMBERS
            self.tally.add("search_requests", len(names))
        self.tally.add("search_datagrams", len(datagrams) * self._destinations)
        return datagrams

    def unsent(self, datagram: bytes) -> None:
        """It was due just now, but could be sent to no destination: that was no attempt."""
        for cid in self._last.pop(datagram, ()):
            self._in_flight[cid].attempts -= 1

    def _first(self) -> _Asked | None:
        """What is to be sent next. Drops what moved up or was sent meanwhile."""
        for priority, queue in self._waiting.items():
            while queue:
                if queue[0].priority == priority and queue[0].cid < 0:
                    return queue[0]
                queue.popleft()
        return None

    def _send(self, asked: _Asked, now: float) -> int:
        """Put a name in flight; the number of its channel."""
        while self._next_cid in self._in_flight:
            self._next_cid = (self._next_cid + 1) % NUMBERS
        asked.cid, self._next_cid = self._next_cid, (self._next_cid + 1) % NUMBERS
        asked.attempts += 1
        self._in_flight[asked.cid] = asked
        self._ends.append((now + self._settings.timeout, asked.cid))
        return asked.cid

    def feed_ca(self, found: CaMessages, hosts: NDArray[np.uint32] | None = None) -> None:
        """Take note of answers of Channel Access; ``hosts`` sent the datagrams."""
        rows = found.responses
        self._note(rows, rows["cid"], hosts)

    def feed_pva(self, found: PvaMessages, hosts: NDArray[np.uint32] | None = None) -> None:
        """Take note of answers of PV Access; ``hosts`` sent the datagrams."""
        rows = found.responses[found.answers["of"]]
        good = rows["found"]
        self.tally.add("search_denied", int(np.count_nonzero(~good)))
        rows, ids = rows[good], found.answers["id"][good]
        guids = [guid.tobytes() for guid in rows["guid"]]
        self._note(rows, ids, hosts, guids)

    def _note(
        self,
        rows: NDArray[np.void],
        cids: NDArray[np.uint32],
        hosts: NDArray[np.uint32] | None,
        guids: list[bytes] | None = None,
    ) -> None:
        admitted = np.ones(len(rows), np.bool_)
        senders = np.zeros(len(rows), np.uint32) if hosts is None else hosts[rows["datagram"]]
        if self._admit is not None:
            admitted = self._admit.holds(rows["host"])
            if hosts is not None:
                admitted &= self._admit.holds(senders)
        self.tally.add("search_foreign", int(np.count_nonzero(~admitted)))
        told = (cids, rows["host"], rows["port"], senders)
        columns = zip(*(column.tolist() for column in told), strict=True)
        for row, (cid, host, port, sender) in enumerate(columns):
            if not admitted[row]:
                continue
            asked = self._in_flight.get(cid)
            if asked is None:
                self.tally.add("search_stray", 1)
                continue
            self.tally.add("search_answers", 1)
            server = Server(host, port, guids[row] if guids else b"", sender)
            known = any(server[:3] == other[:3] for other in asked.servers)
            if not known and len(asked.servers) < MOST_SERVERS:
                asked.servers.append(server)

    def tick(self, now: float) -> list[Outcome]:
        """Searches that have ended. What was not answered waits for its next attempt."""
        outcomes = []
        while self._ends and self._ends[0][0] <= now:
            _, cid = self._ends.popleft()
            asked = self._in_flight.pop(cid)
            asked.cid = -1
            if not asked.servers and asked.attempts < self._settings.attempts:
                self._waiting[asked.priority].append(asked)
                continue
            del self._asked[asked.name]
            self.tally.add("search_found" if asked.servers else "search_not_found", 1)
            servers = tuple(asked.servers)
            outcomes.append(Outcome(asked.name, servers, asked.attempts, asked.priority))
        return outcomes

    def wait(self, now: float) -> float:
        """How long there is nothing to do but take answers [s]; infinite if nothing is asked."""
        waits = [float("inf")]
        if self._ends:
            waits.append(self._ends[0][0] - now)
        if self._first() is not None:
            waits.append(self._limiter.wait(self._destinations, now))
        return max(0.0, min(waits))
