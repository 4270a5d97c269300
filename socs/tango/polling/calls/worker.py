"""One device server: a thread that asks it, and one that pings it when it does not answer.

While it answers at once, others ask it; see :mod:`socs.tango.polling.calls.lane`.

The connection is kept. It is never renewed behind our back: after a restart of the server the first
call fails, which tells that the next answer is of another process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import msgspec
import tango

from socs.tango.polling.calls.caller import Caller, causes
from socs.tango.polling.failures import failure_of
from socs.tango.polling.messages import PerfDone

QUERY = "QueryEventSystem"
NOTHING = tango.DeviceData()  # is its argument
IDENTITY_WAIT = 0.2  # s that an answer waits at most for what tells processes apart
PROMPT = 0.05  # s within which an answer is prompt
GONE = ("refused", "not_exported")

# Commands that switch performance monitoring: stock Tango's, those of servers patched by SKA.
_SWITCHES: tuple[Callable[[Any, bool], object], ...] = (
    lambda proxy, on: proxy.command_inout("EnableEventSystemPerfMon", on),
    lambda proxy, on: proxy.command_inout(f"{'Start' if on else 'Stop'}EventSystemPerfMon"),
)


class Asked(msgspec.Struct, frozen=True):
    """What became of one query. ``outcome`` is one of `Failure` or ``ok``."""

    server: str
    number: int
    outcome: str
    begun: float
    ended: float
    reply: str = ""
    identity: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Pinged:
    """What a ping told: ``ok`` if somebody is there, else one of `Failure`."""

    server: str
    number: int
    outcome: str
    reason: str


@dataclass(frozen=True)
class Ready:
    """A first connection was tried."""

    server: str


class ServerWorker:
    """Asks one server.

    Args:
        server: its full name.
        device: the name by which Tango connects to it.
        identify: asks the database what tells its process from others.
        tell: gets what the threads find: `Ready`, `Asked`, `Pinged` and `PerfDone`.
        timeout: for an answer [s].
        ping_timeout: for a ping [s].

    Attributes:
        asked: the poll that it is busy with; None if it is free.
        ready: whether a first connection was tried.
        connecting: whether it has to be connected before it can be asked.
        gone: outcome and reason since it was found to be gone, till it answers; else "" and "".
        hung: whether it was found to hang when it was asked last.
        prompt: whether it answered at once when it was asked last.
        monitors: whether performance monitoring may be on because of us.
    """

    def __init__(
        self,
        server: str,
        device: str,
        identify: Callable[[], Future[str]],
        tell: Callable[[Any], None],
        *,
        timeout: float,
        ping_timeout: float,
    ) -> None:
        self.server = server
        self.asked: int | None = None
        self.ready = self.connecting = self.monitors = self.hung = False
        self.prompt = False
        self.gone = ("", "")
        self._device = device
        self._identify, self._tell = identify, tell
        self._timeout, self._ping_timeout = timeout, ping_timeout
        self._caller = Caller(f"ask {server}")
        self._calling = threading.Lock()  # one call at a time, by its own thread or the lane's
        self._pinger: Caller | None = None
        self._pinging = False
        self._proxy: Any = None
        self._ping_proxy: Any = None
        self._identities: tuple[Future[str], Future[str]] | None = None
        self._compared: Any = None  # the identities that told `_process`
        self._process = ""
        self._switching = False
        self._monitored = False  # by this connection
        self._post(self._connect_first)

    # -- called by the main thread ----------------------------------------------------------------

    def ask_apart(self, number: int) -> None:
        """Let its own thread ask the server, for the poll of this number."""
        self._post(lambda: self._ask(number))

    def ping(self, number: int) -> None:
        """Find out whether somebody is there, unless the last ping still hangs."""
        if self._pinging:
            return
        self._pinging = True
        self._pinger = self._pinger or Caller(f"ping {self.server}")
        self._pinger.post(lambda: self._tell(self._ping(number)))

    def monitor(self, on: bool) -> None:
        """Switch performance monitoring, as soon as the server can be reached.

        It is switched on again for each new process.
        """
        self.monitors = on
        if not self._switching:
            self._switching = True
            self._post(self._switch)

    def end(self) -> None:
        """End the threads when they are free."""
        self._caller.end()
        if self._pinger is not None:
            self._pinger.end()

    def _post(self, call: Callable[[], object]) -> None:
        """Let its own thread make a call."""

        def locked() -> None:
            with self._calling:
                call()

        self._caller.post(locked)

    # -- what the lane's threads do ---------------------------------------------------------------

    def ask_promptly(self, number: int) -> Asked | None:
        """Ask it if that takes one call; whatever takes more is for its own thread, and told."""
        if not self._calling.acquire(blocking=False):
            self.ask_apart(number)
            return None
        try:
            if not self._takes_one_call():
                self.ask_apart(number)
                return None
            outcome, begun, text = self._query()
            if outcome == "ok":
                return self._answered(number, begun, text)
        finally:
            self._calling.release()
        self._post(lambda: self._follow_up(number, True, outcome, begun, text))
        return None

    def _takes_one_call(self) -> bool:
        """Whether it is connected, nothing is to be switched, and its process is known."""
        known = self._identities is not None and self._identities is self._compared
        return known and (self._monitored or not self.monitors)

    # -- what its thread does ---------------------------------------------------------------------

    def _connect_first(self) -> None:
        self.connecting = True
        try:
            self._connected()
        except tango.DevFailed:
            pass  # told by the first query
        finally:
            self.connecting = False
            self._tell(Ready(self.server))

    def _connected(self) -> Any:
        """The proxy, made if there is none."""
        if self._proxy is None:
            before = self._identify()
            proxy = tango.DeviceProxy(self._device)
            pinging = tango.DeviceProxy(self._device)  # now, while the database answers
            pinging.set_timeout_millis(round(1000 * self._ping_timeout))
            self._ping_proxy = self._ping_proxy or pinging
            proxy.set_timeout_millis(round(1000 * self._timeout))
            proxy.set_transparency_reconnection(False)
            self._proxy, self._identities = proxy, (before, self._identify())
        return self._proxy

    def _ask(self, number: int) -> None:
        was_connected = self._identities is not None
        self._follow_up(number, was_connected, *self._query())

    def _follow_up(
        self, number: int, was_connected: bool, outcome: str, begun: float, text: str
    ) -> None:
        """Tell what became of a query, after another one if there may be another process."""
        first = outcome
        if was_connected and outcome in ("refused", "unknown"):
            self._still_gone(outcome, text, first)
            outcome, begun, text = self._query()
        if outcome == "ok":
            self.gone = ("", "")
            told = self._answered(number, begun, text)
        else:
            self.prompt, ended = False, time.monotonic()
            outcome, text = self._still_gone(outcome, text, first)
            told = Asked(self.server, number, outcome, begun, ended, reason=text)
        self._tell(told)

    def _answered(self, number: int, begun: float, reply: str) -> Asked:
        ended = time.monotonic()
        self.prompt = ended - begun < PROMPT
        return Asked(self.server, number, "ok", begun, ended, reply, self._identity())

    def _query(self) -> tuple[str, float, str]:
        """The outcome, when it was asked, and the reply or the reason."""
        begun = time.monotonic()
        self.connecting = self._identities is None
        try:
            lost = self._proxy is not None and self._identities is None
            before = self._identify() if lost else None
            proxy = self._connected()
            if self.monitors and not self._monitored:
                self._enable(proxy, True)
            begun = time.monotonic()
            reply = proxy.command_inout_raw(QUERY, NOTHING).extract()  # half the work in Python
            if before is not None:
                self._identities = before, self._identify()
            return "ok", begun, reply
        except tango.DevFailed as error:
            outcome, reason = failure_of(causes(error))
            if outcome != "no_command":  # the next call connects again, who knows to whom
                self._identities, self._monitored = None, False
            return outcome, begun, reason
        except Exception as error:  # noqa: BLE001  an answer that pytango chokes on ends no thread
            return "unknown", begun, repr(error)
        finally:
            self.connecting = False

    def _still_gone(self, outcome: str, reason: str, first: str) -> tuple[str, str]:
        """A server that was gone, and cannot be looked up or tried again yet, is still gone."""
        if outcome in GONE:
            self.gone = outcome, reason
        elif outcome == "delayed" or (outcome == "unknown" and first == "refused"):
            self.gone = self.gone if self.gone[0] else ("refused", reason)
            return self.gone
        elif outcome == "unknown" and self.gone[0]:
            return self.gone
        return outcome, reason

    def _identity(self) -> str:
        """What tells the process apart: told the same before and after connecting, or ""."""
        if self._identities is None:
            return ""
        if self._identities is not self._compared:
            try:
                before, after = (each.result(IDENTITY_WAIT) for each in self._identities)
            except TimeoutError:
                return ""
            except tango.DevFailed:
                self._identities = self._identify(), self._identify()
                return ""
            if before != after:
                self._identities = self._identities[1], self._identify()
                return ""
            self._compared, self._process = self._identities, after
        return self._process

    def _ping(self, number: int) -> Pinged:
        try:
            (self._ping_proxy or tango.DeviceProxy(self._device)).ping()
            return Pinged(self.server, number, "ok", "")
        except tango.DevFailed as error:
            return Pinged(self.server, number, *failure_of(causes(error)))
        finally:
            self._pinging = False

    # -- performance monitoring -------------------------------------------------------------------

    def _switch(self) -> None:
        self._switching = False
        on = self.monitors
        try:
            self._enable(self._connected(), on)
        except tango.DevFailed as error:
            outcome, reason = failure_of(causes(error))
            if on or outcome not in (*GONE, "no_command"):
                self._tell(PerfDone(self.server, on, reason))
                return
            self._tell(PerfDone(self.server, on))  # there is nothing that could be on

    def _enable(self, proxy: Any, on: bool) -> None:
        for number, switch in enumerate(_SWITCHES):
            try:
                switch(proxy, on)
                break
            except tango.DevFailed as error:
                unknown = failure_of(causes(error))[0] == "no_command"
                if not unknown or number == len(_SWITCHES) - 1:
                    raise
        self._monitored = on
        self._tell(PerfDone(self.server, on))
