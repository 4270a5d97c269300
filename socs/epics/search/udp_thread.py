"""A thread with a socket around a core that decides what is sent when, and what came of it."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from socs.closing import Closing
from socs.counters import Counters
from socs.epics.decode.words import Tally
from socs.epics.search.limiter import MOST_PER_SECOND, Limiter
from socs.problems import Problems
from socs.wire.udp_socket import bind_udp

EVERYWHERE = "0.0.0.0"  # noqa: S104  answers come from anywhere
LONGEST_WAIT = 0.5  # s
PAUSE = 0.5  # s after an error of the socket

log = logging.getLogger(__name__)

Place = tuple[str, int]  # IPv4 address and UDP port


class SharedLimiter(Limiter):
    """A limiter for several threads. All of a process together are under one cap besides."""

    _cap: ClassVar[Limiter] = Limiter(MOST_PER_SECOND, MOST_PER_SECOND)
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def take(self, datagrams: int, now: float) -> bool:
        """See :class:`socs.epics.search.limiter.Limiter`."""
        with self._lock:
            return self.wait(datagrams, now) == 0 and (
                super().take(datagrams, now) and self._cap.take(datagrams, now)
            )

    def wait(self, datagrams: int, now: float) -> float:
        """See :class:`socs.epics.search.limiter.Limiter`."""
        with self._lock:
            return max(super().wait(datagrams, now), self._cap.wait(datagrams, now))

    @classmethod
    def all_left(cls, since: float, until: float) -> None:
        """The same as :meth:`left`, for the cap of the process."""
        with cls._lock:
            cls._cap.left(since, until)


class Core(Protocol):
    """What decides. Called with the lock held."""

    tally: Tally

    def tick(self, now: float) -> list[Any]:
        """What has ended."""

    def due(self, now: float) -> list[Any]:
        """What is to be sent now."""

    def wait(self, now: float) -> float:
        """How long there is nothing to do [s]."""

    def __len__(self) -> int:
        """How much has not ended."""


class UdpThread(Closing):
    """Sends what is due, takes what comes, and tells what has ended, in a thread.

    Nothing ends the thread but `close`: whatever goes wrong is counted and told, and it goes on.

    Args:
        core: see there.
        on_ended: gets what has ended, from the thread of this.
        bind: address and port to bind to; port 0 for any free one.
        on_problem: gets messages for people.
        counters: where to count; must have those that begin with `prefix`.

    Attributes:
        prefix: of counters.
        doing, sent, ended: what this does, a thing that it sends, and things that end, for people.
    """

    prefix: ClassVar[str]
    doing: ClassVar[str]
    sent: ClassVar[str]
    ended: ClassVar[str]

    def __init__(
        self,
        core: Core,
        on_ended: Callable[[list[Any]], None],
        bind: Place,
        *,
        on_problem: Callable[[str], None] | None,
        counters: Counters,
    ) -> None:
        self.counters = counters
        self._core, self._on_ended, self._bind = core, on_ended, bind
        self._problems = Problems(on_problem)
        self._lock = threading.Lock()  # of the core
        self._stopping = threading.Event()
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    def start(self) -> None:
        """Bind, and begin. Does nothing when it runs.

        Raises:
            ConfigError: the socket cannot be bound.
        """
        if self.alive:
            return
        sock = bind_udp(*self._bind)
        self._port = sock.getsockname()[1]
        self._opened(sock)
        wake, self._waker = socket.socketpair()
        wake.setblocking(False)
        self._waker.setblocking(False)
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._run, args=(sock, wake), name=f"udp-epics-{self.prefix}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; what has not ended goes on when started again."""
        self._stopping.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def port(self) -> int:
        """The UDP port bound to; 0 before the start. A capture leaves it out."""
        return self._port

    @property
    def alive(self) -> bool:
        """Does its thread run."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How much was asked for and has not ended."""
        return len(self._core)

    @abstractmethod
    def _opened(self, sock: socket.socket) -> None:
        """The socket is bound; the thread begins after this."""

    @abstractmethod
    def _receiver(self, sock: socket.socket) -> Callable[[], None]:
        """What takes all that has come."""

    @abstractmethod
    def _post(self, sock: socket.socket, request: Any, now: float) -> None:
        """Send what is due; the core is told if that is not possible."""

    # -- for those ----------------------------------------------------------------------------

    def _wake(self) -> None:
        """Look at once what is due."""
        if self._waker is not None:
            try:
                self._waker.send(b"x")
            except OSError:
                return  # awake already, or gone

    def _send(self, sock: socket.socket, datagram: bytes, where: Place) -> bool:
        try:
            sock.sendto(datagram, where)
            return True
        except OSError as error:
            self._count("send_errors")
            text = f"{self.sent} could not be sent to {where[0]}:{where[1]}: {error}"
            self._report("send", text)
            return False

    def _count(self, counter: str, amount: int = 1) -> None:
        self.counters.add(f"{self.prefix}_{counter}", amount)

    def _report_defect(self, what: str, error: Exception) -> None:
        if self._report(what.partition(",")[0], f"{what}: {error!r}"):
            log.error("%s: a defect", what, exc_info=error)

    def _report(self, kind: str, text: str) -> bool:
        return self._problems.report(kind, text, time.monotonic())

    # -- the thread -----------------------------------------------------------------------------

    def _run(self, sock: socket.socket, wake: socket.socket) -> None:
        try:
            receive, ready = self._receiver(sock), select.poll()
            ready.register(sock, select.POLLIN)
            ready.register(wake, select.POLLIN)
            while not self._stopping.is_set():
                try:
                    ready.poll(1000 * self._send_and_tell(sock))
                    _drain(wake)
                    receive()
                except OSError as error:
                    self._count("socket_errors")
                    self._report("socket", f"{self.doing}: {error}")
                    self._stopping.wait(PAUSE)
                except Exception as error:  # noqa: BLE001  told and counted; it goes on
                    self._count("defects")
                    self._report_defect(self.doing, error)
                    self._stopping.wait(PAUSE)
        finally:
            for each in (sock, wake):
                each.close()
            if self._waker is not None:
                self._waker.close()

    def _send_and_tell(self, sock: socket.socket) -> float:
        """Send what is due, and tell what has ended; how long to wait then [s]."""
        now, core = time.monotonic(), self._core
        with self._lock:
            ended, requests = core.tick(now), core.due(now)
            self.counters.add_all(core.tally.counts)
            core.tally = Tally()
        for request in requests:
            self._post(sock, request, now)
        if requests:
            SharedLimiter.all_left(now, time.monotonic())
        if ended:
            try:
                self._on_ended(ended)
            except Exception as error:  # noqa: BLE001  told and counted; it goes on
                self._count("handler_errors", len(ended))
                self._report_defect(self.ended, error)
        with self._lock:
            return min(core.wait(time.monotonic()), LONGEST_WAIT)


def _drain(wake: socket.socket) -> None:
    try:
        wake.recv(4096)
    except BlockingIOError:
        return
