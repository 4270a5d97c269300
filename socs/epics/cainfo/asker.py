"""Asks IOCs about process variables, by a child process that is started, watched and replaced.

::

    with ChannelInfo(AddressLists.from_environ(os.environ)) as channels:
        [answer] = channels.ask(["LINAC:CURRENT"], timeout=5)
        answer["state"], answer["value"]

Names of known servers are asked there, without any broadcast::

    channels.ask([Question("LINAC:CURRENT", "ca", "10.0.0.7:5064")])
"""

from __future__ import annotations

import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from socs.closing import Closing
from socs.counters import EPICS_CAINFO, Counters
from socs.epics.cainfo.addresses import AddressLists, split_address
from socs.epics.cainfo.messages import PROTOCOLS, Ask, Protocol, PvInfo, Question
from socs.epics.cainfo.process import ChildProcess
from socs.errors import ConfigError
from socs.problems import Problems, printable

TIMEOUT = 5.0  # s for each name
MOST_ELEMENTS = 100  # of a value
MOST_NAMES = 10_000  # of one call
START_TIME = 20.0  # s; Python and its modules take one, on a busy machine ten
GRACE = 3.0  # s after the time-out of names that the child may take to tell of it
NEEDED = {"ca": "caproto", "pva": "p4p"}
STUCK = "the process that asks servers did not answer, and is started again"
ENDED = "the process that asks servers ended"


class ChannelInfo(Closing):
    """What servers say of process variables. Threads may share it.

    Args:
        addresses: where to search for names whose server is not given.
        report: gets sentences for people about what goes wrong here.
        protocols: by which can be asked; each takes time to load.

    Attributes:
        counters: those of ``EPICS_CAINFO``.

    Raises:
        ConfigError: a package is missing.
    """

    def __init__(
        self,
        addresses: AddressLists | None = None,
        report: Callable[[str], None] | None = None,
        protocols: Sequence[Protocol] = PROTOCOLS,
    ) -> None:
        needed = [NEEDED[protocol] for protocol in protocols]
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(f"this needs {' and '.join(missing)}: pip install 'socs[epics]'")
        self.counters = Counters(EPICS_CAINFO)
        self._protocols = tuple(protocols)
        self._environ = child_environ(addresses or AddressLists())
        self._problems = Problems(report)
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._closed = False

    def start(self) -> None:
        """Start the child now, so that the first question need not wait for it.

        Raises:
            OSError: it cannot be started: no memory, too many processes or files.
        """
        self._running()

    def ask(
        self,
        questions: Iterable[Question | str],
        timeout: float = TIMEOUT,
        most_elements: int = MOST_ELEMENTS,
    ) -> list[dict[str, Any]]:
        """Ask for all at the same time, and wait.

        Args:
            questions: names, or names with protocols and servers; at most `MOST_NAMES`.
            timeout: for each name [s]. The first call may take some seconds more, as the child
                is started; if the child hangs, a call takes `GRACE` more.
            most_elements: of a long value that are told.

        Returns:
            The fields of `PvInfo` for each question, in their order, fit for JSON. Whatever is
            wrong is the ``reason`` of a name that is ``disconnected``.
        """
        asked = [Question(each) if isinstance(each, str) else each for each in questions]
        self.counters.add("info_asked", len(asked))
        found: dict[Question, dict[str, Any]] = {}
        wanted = []
        for number, question in enumerate(dict.fromkeys(asked)):
            refused = "too many names" if number >= MOST_NAMES else self._objection(question)
            if refused:
                found[question] = _unknown(question, refused)
            else:
                wanted.append(question)
        if wanted:
            self._fill(wanted, found, timeout, max(1, most_elements))
        states = [found[question]["state"] for question in asked]
        for state in ("connected", "disconnected"):
            self.counters.add(f"info_{state}", states.count(state))
        return [dict(found[question]) for question in asked]

    def close(self) -> None:
        """End the child; whoever waits for answers gets none."""
        with self._lock:
            self._closed = True
            child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _fill(
        self,
        wanted: Sequence[Question],
        found: dict[Question, dict[str, Any]],
        timeout: float,
        most_elements: int,
    ) -> None:
        """Find all that are ``wanted``; if the child ends meanwhile, once more by another one."""
        reason = ""
        deadline: float | None = None
        for _ in range(2):
            left = [question for question in wanted if question not in found]
            if not left:
                break
            try:
                child = self._running()
            except OSError as error:
                reason = f"the process that asks servers cannot be started: {error}"
                break
            if child.wait_ready(START_TIME):
                deadline = deadline or time.monotonic() + timeout  # starting it does not count
                time_left = deadline - time.monotonic()
                if time_left <= 0:
                    break
                ask = Ask(0, time_left, most_elements, left)
                reason = self._take_answers(child, ask, found)
            else:
                reason = ENDED if child.gone else STUCK
            if reason:
                self._replace(child, reason)
        for question in wanted:
            if question not in found:
                self.counters.add("info_unanswered")
                found[question] = _unknown(question, reason)

    def _take_answers(
        self, child: ChildProcess, ask: Ask, found: dict[Question, dict[str, Any]]
    ) -> str:
        """Wait for all answers; what went wrong, or ""."""
        deadline = time.monotonic() + ask.timeout + GRACE
        try:
            number, inbox = child.ask(ask, deadline)
        except TimeoutError:
            return STUCK
        except OSError:
            return ENDED
        missing = len(ask.questions)
        try:
            while missing:
                answer = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
                if answer is None:
                    return ENDED
                if answer.info is not None:
                    found[ask.questions[answer.index]] = answer.info
                    missing -= 1
        except queue.Empty:
            return STUCK
        finally:
            child.forget(number)
        return ""

    def _objection(self, question: Question) -> str:
        """Why it cannot be asked; "" if it can."""
        if question.protocol not in self._protocols:
            which = " nor ".join(self._protocols)
            return f"protocol {printable(str(question.protocol))} is not {which}"
        try:
            question.name.encode()
            if question.server:
                split_address(question.server)
        except (UnicodeEncodeError, ConfigError) as error:
            return printable(f"{error}")
        return ""

    def _running(self) -> ChildProcess:
        """The child; a new one if there is none.

        Raises:
            OSError: it cannot be started, or this is closed.
        """
        with self._lock:
            child = self._child
        if child is not None and child.gone:
            self._replace(child, ENDED)
        with self._lock:
            if self._closed:
                raise BrokenPipeError("closed")
            if self._child is None:
                self._child = ChildProcess(self._environ, self._protocols)
                self.counters.add("info_starts")
            return self._child

    def _replace(self, child: ChildProcess, reason: str) -> None:
        """End a child that does not do its work; the next question starts another one."""
        with self._lock:
            mine = self._child is child
            if mine:
                self._child = None
        child.kill()
        if mine:
            self.counters.add("info_stuck" if reason == STUCK else "info_ended")
            self._problems.report("child", reason, time.monotonic())


def child_environ(addresses: AddressLists) -> dict[str, str]:
    """The environment of the child: ours, but nothing of EPICS in it except ``addresses``."""
    mine = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("EPICS_", "PVXS_", "CAPROTO_"))
    }
    return mine | addresses.environ() | {"PVXS_LOG": "*=CRIT"}


def _unknown(question: Question, reason: str) -> dict[str, Any]:
    info = PvInfo(
        name=question.name.encode("utf-8", "backslashreplace").decode(),
        protocol=question.protocol,
        server=question.server,
        reason=reason,
    )
    fields: dict[str, Any] = msgspec.to_builtins(info)
    return fields
