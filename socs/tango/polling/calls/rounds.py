"""Polls: who is asked, and the verdict on those who do not answer. Used by the main thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import cast

from socs.tango.polling.calls.members import Members
from socs.tango.polling.calls.worker import Asked, Pinged, ServerWorker
from socs.tango.polling.messages import Answer, Answers, FromChild, Over
from socs.tango.states import Outcome

LANE_TIME = 0.02  # s that servers that answer at once are waited for, to be told together


class Round:
    """A poll that is under way.

    Args:
        number: of the poll.
        begun: when [s].
        servers: who is asked.
        timeout: after which servers are judged [s].
        ping_timeout: after which the verdict is due [s].

    Attributes:
        waiting: servers without an answer.
        judged: those of them that did not answer in time, and what is to be said of it.
    """

    def __init__(
        self,
        number: int,
        begun: float,
        servers: Iterable[str],
        timeout: float,
        ping_timeout: float,
    ) -> None:
        self.number, self.begun = number, begun
        self.waiting = set(servers)
        self.judged: dict[str, str] = {}
        self._late_at = begun + timeout
        self._over_at = begun + timeout + ping_timeout
        self._called = False

    def due(self) -> float:
        """When something is to be done without a message [s]."""
        if not self.waiting:
            return -math.inf
        return self._over_at if self._called else self._late_at

    def overdue(self, now: float) -> set[str]:
        """Once, when the time-out is over: servers to be judged."""
        if self._called or now < self._late_at:
            return set()
        self._called = True
        return self.waiting - self.judged.keys()

    def has_ended(self, now: float) -> bool:
        """Whether the verdict is due."""
        return now >= self._over_at

    def is_since(self, when: float | None) -> bool:
        """Whether ``when`` [s] is after servers were judged."""
        return when is not None and when >= self._late_at


class Rounds:
    """Polls, one after the other.

    Args:
        members: who is polled.
        send: sends a message to the parent.
    """

    def __init__(self, members: Members, send: Callable[[FromChild], None]) -> None:
        self._members, self._send = members, send
        self._round: Round | None = None
        self._late = 0
        self._answers: list[Answer] = []  # not told yet
        self._lane_until = math.inf

    def due(self) -> float:
        """When something is to be done without a message [s]."""
        if self._round is None:
            return math.inf
        return min(self._round.due(), self._lane_until)

    def begin(self, number: int) -> None:
        """Ask everybody; who is still held up by another poll is asked when that is over."""
        workers, settings = self._members.workers, self._members.settings
        self._round = Round(
            number, time.monotonic(), workers, settings.timeout, settings.ping_timeout
        )
        prompt: list[ServerWorker] = []
        apart: list[ServerWorker] = []
        for worker in workers.values():
            if worker.asked is None:
                worker.asked = number
                (prompt if worker.prompt else apart).append(worker)
        self._members.lane.ask(number, prompt)
        for worker in apart:
            worker.ask_apart(number)
        self._lane_until = self._round.begun + LANE_TIME

    def take_asked(self, asked: Asked) -> None:
        """A worker is free again."""
        worker = self._members.workers.get(asked.server)
        if worker is None:
            return
        worker.asked = None
        current = self._round
        if current is None or asked.server not in current.waiting:
            self._late += asked.outcome == "ok"
        elif asked.number != current.number:
            self._late += asked.outcome == "ok"
            worker.asked = current.number
            worker.ask_apart(current.number)
        elif asked.outcome == "timeout":
            self._judge(current, asked.server, asked.reason)
        else:
            self._answer(current, asked)

    def take_pinged(self, pinged: Pinged) -> None:
        """A ping told something of a server that did not answer."""
        current = self._round
        if current is None or pinged.number != current.number:
            return
        if pinged.server not in current.judged or pinged.server not in self._members.workers:
            return
        if pinged.outcome not in ("timeout", "delayed"):
            self._sentence(current, pinged.server, pinged.outcome, pinged.reason)

    def see_to(self, now: float) -> None:
        """Judge those who are late, and end the poll when it is over."""
        current = self._round
        if current is None:
            return
        if now >= self._lane_until:
            self._lane_until = math.inf
            self._members.lane.close()
        current.waiting &= self._members.workers.keys()
        for server in current.overdue(now):
            text = f"no answer within {self._members.settings.timeout:g} s"
            self._judge(current, server, text)
        if current.has_ended(now):
            for server in sorted(current.waiting):
                self._sentence_unpinged(current, server)
        self._tell()
        if not current.waiting:
            self._send(Over(current.number, self._late))
            self._round, self._late = None, 0

    def _tell(self) -> None:
        if self._answers:
            self._send(Answers(self._answers))
            self._answers = []

    def _judge(self, current: Round, server: str, reason: str) -> None:
        """Find out what it is with a server that did not answer in time."""
        if server not in current.judged:
            current.judged[server] = reason
            worker = self._members.workers[server]
            worker.ping(current.number)
            if worker.connecting:
                self._members.directory(server).look()

    def _sentence(self, current: Round, server: str, pinged: str, reason: str) -> None:
        """Tell what a server that did not answer is, after a ping did."""
        if pinged != "ok":
            self._verdict(current, server, pinged, reason)
        elif self._members.workers[server].connecting:
            self._verdict(current, server, "unknown", "it is not connected yet")
        else:
            self._verdict(current, server, "busy", current.judged[server])

    def _sentence_unpinged(self, current: Round, server: str) -> None:
        """Tell what a server is that did not answer to a ping, either.

        While it is being connected it is not even asked; that may be the database's fault.
        """
        directory = self._members.directory(server)
        worker = self._members.workers[server]
        if not worker.connecting or worker.hung or current.is_since(directory.answered):
            self._verdict(current, server, "hung", current.judged[server])
        elif worker.gone[0]:
            self._verdict(current, server, *worker.gone)
        else:
            reason = f"the Tango database {directory.title} does not answer"
            self._verdict(current, server, "unknown", reason)

    def _verdict(self, current: Round, server: str, outcome: str, reason: str) -> None:
        now = time.monotonic()
        self._answer(current, Asked(server, 0, outcome, current.begun, now, reason=reason))

    def _answer(self, current: Round, asked: Asked) -> None:
        current.waiting.discard(asked.server)
        current.judged.pop(asked.server, None)
        self._members.workers[asked.server].hung = asked.outcome == "hung"
        answer = Answer(
            current.number,
            asked.server,
            cast(Outcome, asked.outcome),  # the worker's other ones were dealt with
            asked.begun,
            asked.ended,
            asked.reply,
            asked.identity,
            asked.reason,
        )
        self._answers.append(answer)
