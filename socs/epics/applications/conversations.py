"""Conversations with an application that sends heartbeats: what to ask next, and when all is told.

Each request is answered by one datagram. Names come some at a time, lines one at a time; an
application makes its lines anew when the first one is asked for, by whomever.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from socs.epics.decode import heartbeat
from socs.epics.decode.heartbeat import LIST_PVS, NETSTAT, Line, Names
from socs.epics.search.messages import is_name

MOST_REBUILT = 3  # times that lines are begun anew because another client asked for the first one
MOST_SKIPPED = 20  # lines that cannot be read
LARGEST = 8_000_000  # characters that are kept of one conversation

What = Literal["names", "lines"]

# how a conversation ended: what is known then; each is a counter, with "asking_" before
ENDINGS = {
    "complete": "all was told",
    "silent": "there was no answer at all",
    "cut": "answers ceased, or an empty one came before all was told",
    "full": "there is more than is kept",
    "long": "it took longer than it may",
    "changed": "other clients had the lines made anew again and again",
}


@dataclass(frozen=True)
class Answered:
    """What came of a conversation.

    Attributes:
        what: ``names`` that the application serves, or ``lines`` that describe its host.
        host, port: who was asked; UDP.
        server: TCP port of its server, as was said when it was asked for; the names are there.
        texts: the names, each once, or the lines; in order. Unless the ending is ``complete``,
            there are more.
        ending: one of `ENDINGS`.
        total: how many names there are, as the application says; of lines always 0.
        skipped: names that can be none, and lines that cannot be read; not among the texts.
        requests: that were sent.
    """

    what: What
    host: int
    port: int
    server: int
    texts: tuple[str, ...]
    ending: str
    total: int
    skipped: int
    requests: int


class Conversation(ABC):
    """One conversation, of either kind.

    Args:
        host, port, server: see `Answered`.
        sequence: number of the last heartbeat.
        most: texts that are kept.

    Attributes:
        what: its kind.
        sequence: to be kept up to date; an old one is refused.
        offset: what is asked for next.
        skipped, requests: see `Answered`.
        answers: how many came.
        handle: of the request under way.
        awaited: is an answer awaited; until when is in ``until`` [s].
        attempts: how often this request was sent.
        spoilt: what cannot be read came instead of an answer.
        begun: when the first request was sent [s].
    """

    what: ClassVar[What]
    _command: ClassVar[int]

    def __init__(self, host: int, port: int, server: int, sequence: int, most: int) -> None:
        self.host, self.port, self.server, self.sequence = host, port, server, sequence
        self.offset = self.skipped = self.requests = self.answers = 0
        self.handle = self.attempts = 0
        self.awaited = self.spoilt = False
        self.begun = self.until = 0.0
        self._most, self._room = most, LARGEST

    def awaits(self, handle: int) -> bool:
        """Is an answer with this handle the one that is awaited."""
        return self.awaited and handle == self.handle

    def request(self) -> bytes:
        """The datagram that asks for what is next."""
        return heartbeat.request(self._command, self.sequence, self.offset, self.handle)

    @abstractmethod
    def take(self, answer: Names | Line) -> str:
        """Take an answer of its kind; the ending, or nothing if it goes on."""

    @abstractmethod
    def pass_over(self) -> bool:
        """What is asked for cannot be read; can it go on without."""

    @abstractmethod
    def told(self, ending: str) -> Answered:
        """What came of it."""

    def _tell(self, texts: tuple[str, ...], ending: str, total: int) -> Answered:
        who = self.host, self.port, self.server
        return Answered(self.what, *who, texts, ending, total, self.skipped, self.requests)


class NamesConversation(Conversation):
    """Which names does it serve."""

    what = "names"
    _command = LIST_PVS

    def __init__(self, host: int, port: int, server: int, sequence: int, most: int) -> None:
        super().__init__(host, port, server, sequence, most)
        self._names: dict[str, None] = {}
        self._total = 0

    def take(self, answer: Names | Line) -> str:
        """See `Conversation`."""
        assert isinstance(answer, Names)
        self._total = answer.total
        if not answer.names:
            return "complete" if self.offset >= self._total else "cut"
        for name in answer.names:
            self.offset += 1
            if self.offset > self._most or len(name) > self._room:
                return "full"
            if is_name(name.encode()):
                self._room -= len(name)
                self._names[name] = None
            else:
                self.skipped += 1
        return "complete" if self.offset >= self._total else ""

    def pass_over(self) -> bool:
        """No: nobody knows how many names were in it."""
        return False

    def told(self, ending: str) -> Answered:
        """See `Conversation`."""
        return self._tell(tuple(self._names), ending, self._total)


class LinesConversation(Conversation):
    """What describes its host: the table of TCP sockets and the processes."""

    what = "lines"
    _command = NETSTAT

    def __init__(self, host: int, port: int, server: int, sequence: int, most: int) -> None:
        super().__init__(host, port, server, sequence, most)
        self._lines: list[str] = []
        self._build = ""
        self._rebuilt = 0

    def take(self, answer: Names | Line) -> str:
        """See `Conversation`."""
        assert isinstance(answer, Line)
        if self.offset == 0:
            self._build = answer.build
        elif answer.build != self._build:
            return self._begin_anew(answer.build)
        if not answer.line:
            return "complete"
        if len(self._lines) >= self._most or len(answer.line) > self._room:
            return "full"
        self._lines.append(answer.line)
        self._room -= len(answer.line)
        self.offset += 1
        return ""

    def _begin_anew(self, build: str) -> str:
        """The lines are other ones now. Asking for the first would make them anew once more."""
        self._rebuilt += 1
        if self._rebuilt > MOST_REBUILT:
            return "changed"
        self._build, self._lines, self._room = build, [f"build: {build}"], LARGEST
        self.offset, self.skipped = 1, 0
        return ""

    def pass_over(self) -> bool:
        """Yes, some times: it is one line."""
        self.offset += 1
        self.skipped += 1
        return self.skipped <= MOST_SKIPPED

    def told(self, ending: str) -> Answered:
        """See `Conversation`."""
        return self._tell(tuple(self._lines), ending, 0)
