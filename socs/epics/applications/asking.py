"""Asking applications that send heartbeats: which names they serve, and what runs on their hosts.

::

    ask_names(...), ask_netstat(...)       waiting, each once
    due(now)            -> requests      some conversations at once, one request under way in each
    feed(datagram, host, port)           answers, only from whom was asked what
    tick(now)           -> what was told of conversations that have ended

No more requests are sent than the limiter allows. Time is any monotonic time [s].
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from socs.epics.applications.conversations import (
    Answered,
    Conversation,
    LinesConversation,
    NamesConversation,
    What,
)
from socs.epics.decode import heartbeat
from socs.epics.decode.heartbeat import Heartbeat, Names
from socs.epics.decode.words import Tally
from socs.epics.networks import Networks
from socs.epics.ports import HIGHEST_PORT
from socs.epics.search.limiter import Limiter
from socs.errors import ConfigError, PeerError

HIGHEST_UNICAST = 0xDFFF_FFFF  # above are multicast and broadcast


@dataclass(frozen=True)
class AskingSettings:
    """How to ask. Times in seconds.

    Attributes:
        enabled: nothing is ever sent unless this is set.
        datagrams_per_second: requests, to all applications together.
        burst: most of them at once.
        at_once: conversations.
        timeout: how long an answer is awaited.
        first_line_timeout: the same for the first line; the application reads all of its host's
            processes before.
        attempts: how often something is asked for until the conversation ends without it.
        longest: how long a conversation may take.
        lines_every: a host is asked for its lines once in this time.
        most_names, most_lines: that are kept of one application.
        most_waiting: conversations that have not begun; what is asked for beyond is refused.

    Raises:
        ConfigError: a value is not possible.
    """

    enabled: bool = False
    datagrams_per_second: float = 20.0
    burst: int = 5
    at_once: int = 8
    timeout: float = 5.0
    first_line_timeout: float = 60.0
    attempts: int = 3
    longest: float = 900.0
    lines_every: float = 60.0
    most_names: int = 100_000
    most_lines: int = 50_000
    most_waiting: int = 20_000

    def __post_init__(self) -> None:
        Limiter(self.datagrams_per_second, self.burst)
        for name, value in vars(self).items():
            if name not in {"enabled", "lines_every"} and not value > 0:
                raise ConfigError(f"{name}: {value} is not above 0")
        if not self.lines_every >= 0:
            raise ConfigError(f"lines_every: {self.lines_every} is below 0")


class Request(NamedTuple):
    """A datagram to send to an application."""

    host: int
    port: int
    datagram: bytes
    what: What


Key = tuple[int, int, What]  # host and port of the application


class Asking:
    """All conversations.

    Args:
        settings: see there.
        draw: gives numbers below 2^32 that nobody can guess. An answer must bear the one of its
            request, so that others cannot forge it.
        limiter: shared by all that send; by default one of its own.
        admit: networks whose applications are asked; None for all.

    Attributes:
        tally: what happened, by the counters of `socs.counters.EPICS_ASKING`; to be emptied.
    """

    def __init__(
        self,
        settings: AskingSettings,
        draw: Callable[[], int],
        *,
        limiter: Limiter | None = None,
        admit: Networks | None = None,
    ) -> None:
        self.tally = Tally()
        self._settings, self._draw, self._admit = settings, draw, admit
        self._limiter = limiter or Limiter(settings.datagrams_per_second, settings.burst)
        self._open: dict[Key, Conversation] = {}  # those that have not ended
        self._waiting: deque[Conversation] = deque()
        self._running: dict[Key, Conversation] = {}
        self._ready: deque[Conversation] = deque()  # of these, with a request to be sent
        self._describing: set[int] = set()  # hosts with a conversation about lines
        self._described: dict[int, float] = {}  # host: when its last one began; oldest first
        self._told: list[Answered] = []

    def __len__(self) -> int:
        """Conversations without an outcome yet."""
        return len(self._open)

    def ask_names(self, host: int, port: int, sequence: int, *, server: int = 0) -> bool:
        """Ask an application for its names; will it be asked.

        What is asked for already, switched off, or too much is counted.

        Args:
            host, port: where its heartbeats come from.
            sequence: number of its last heartbeat.
            server: TCP port of its server; handed back with the names.
        """
        most = self._settings.most_names
        return self._ask(NamesConversation(host, port, server, sequence, most))

    def ask_netstat(
        self, host: int, port: int, sequence: int, now: float, *, server: int = 0
    ) -> bool:
        """Ask an application to describe its host; see `ask_names`."""
        self._forget_described(now)
        if host in self._described and host not in self._describing:
            self.tally.add("asking_refused_soon", 1)
            return False
        most = self._settings.most_lines
        return self._ask(LinesConversation(host, port, server, sequence, most))

    def heard(self, host: int, port: int, sequence: int) -> None:
        """A heartbeat came from there. Requests that bear the number of an old one are refused."""
        for talk in (self._open.get((host, port, "names")), self._open.get((host, port, "lines"))):
            if talk is not None:
                talk.sequence = sequence

    def due(self, now: float) -> list[Request]:
        """Requests to send at once."""
        requests = []
        while self._may_send() and self._limiter.take(1, now):
            talk = self._ready.popleft() if self._ready else self._begin(now)
            if not talk.attempts:
                talk.handle = self._draw()
            else:
                self.tally.add("asking_repeated", 1)
            talk.attempts += 1
            talk.requests += 1
            talk.awaited = True
            first_line = talk.what == "lines" and talk.offset == 0
            settings = self._settings
            timeout = settings.first_line_timeout if first_line else settings.timeout
            talk.until = now + timeout
            requests.append(Request(talk.host, talk.port, talk.request(), talk.what))
        self.tally.add("asking_requests", len(requests))
        return requests

    def unsent(self, request: Request, now: float) -> None:
        """It was due, but the system did not send it. It is asked for again after a time-out."""
        talk = self._running.get((request.host, request.port, request.what))
        if talk is not None and talk.awaited:
            talk.attempts -= 1
            talk.requests -= 1
            talk.until = now + self._settings.timeout

    def feed(self, datagram: bytes, host: int, port: int) -> None:
        """Take what came from ``host`` and ``port``, whatever it is."""
        self.tally.add("asking_datagrams", 1)
        try:
            answer = heartbeat.decode(datagram)
        except PeerError:
            self.tally.add("asking_unreadable", 1)
            talk = self._running.get((host, port, "lines"))
            if talk is not None and talk.awaited:
                talk.spoilt = True
            return
        what: What = "names" if isinstance(answer, Names) else "lines"
        talk = self._running.get((host, port, what))
        if isinstance(answer, Heartbeat) or talk is None or not talk.awaits(answer.handle):
            self.tally.add("asking_stray", 1)
            return
        talk.answers += 1
        self._go_on(talk, talk.take(answer))
        self.tally.add("asking_answers", 1)

    def tick(self, now: float) -> list[Answered]:
        """What was told in conversations that have ended since the last call."""
        settings = self._settings
        for talk in list(self._running.values()):
            late = talk.awaited and now >= talk.until
            if now - talk.begun > settings.longest:
                self._end(talk, "long")
            elif late and talk.spoilt:
                self._go_on(talk, "" if talk.pass_over() else "cut")
            elif late and talk.attempts < settings.attempts:
                talk.awaited = False
                self._ready.append(talk)
            elif late:
                self._end(talk, "cut" if talk.answers else "silent")
        self._forget_described(now)
        told, self._told = self._told, []
        return told

    def wait(self, now: float) -> float:
        """How long there is nothing to do but take answers [s]; infinite if nothing is asked."""
        if self._told:
            return 0.0
        waits = [talk.until - now for talk in self._running.values() if talk.awaited]
        if self._may_send():
            waits.append(self._limiter.wait(1, now))
        return max(0.0, min(waits, default=float("inf")))

    # -- conversations ----------------------------------------------------------------------------

    def _ask(self, talk: Conversation) -> bool:
        key = talk.host, talk.port, talk.what
        if key in self._open or (talk.what == "lines" and talk.host in self._describing):
            cause = "asking_merged"
        elif not self._settings.enabled:
            cause = "asking_refused_off"
        elif not self._possible(talk):
            cause = "asking_refused_address"
        elif len(self._waiting) >= self._settings.most_waiting:
            cause = "asking_refused_full"
        else:
            cause = "asking_asked"
            self._open[key] = talk
            self._waiting.append(talk)
            if talk.what == "lines":
                self._describing.add(talk.host)
        self.tally.add(cause, 1)
        return cause == "asking_asked"

    def _possible(self, talk: Conversation) -> bool:
        """Can an application be there."""
        if not 0 < talk.host <= HIGHEST_UNICAST or not 0 < talk.port <= HIGHEST_PORT:
            return False
        return self._admit is None or talk.host in self._admit

    def _may_send(self) -> bool:
        room = len(self._running) < self._settings.at_once
        return bool(self._ready) or (room and bool(self._waiting))

    def _begin(self, now: float) -> Conversation:
        talk = self._waiting.popleft()
        talk.begun = now
        self._running[talk.host, talk.port, talk.what] = talk
        if talk.what == "lines":
            self._described.pop(talk.host, None)
            self._described[talk.host] = now
        return talk

    def _go_on(self, talk: Conversation, ending: str) -> None:
        """With the next request, unless it has ended."""
        talk.awaited = talk.spoilt = False
        talk.attempts = 0
        if ending:
            self._end(talk, ending)
        else:
            self._ready.append(talk)

    def _end(self, talk: Conversation, ending: str) -> None:
        key = talk.host, talk.port, talk.what
        del self._open[key], self._running[key]
        if talk in self._ready:
            self._ready.remove(talk)
        if talk.what == "lines":
            self._describing.discard(talk.host)
        told = talk.told(ending)
        self.tally.add(f"asking_{ending}", 1)
        self.tally.add(f"asking_{talk.what}", len(told.texts))
        self.tally.add("asking_skipped", told.skipped)
        self._told.append(told)

    def _forget_described(self, now: float) -> None:
        while self._described:
            host, begun = next(iter(self._described.items()))
            if now - begun < self._settings.lines_every:
                return
            del self._described[host]
