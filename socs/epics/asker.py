"""Asking applications that send heartbeats, in a thread. The core decides what is asked when."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

from socs.closing import Closing
from socs.counters import EPICS_ASKING, Counters
from socs.epics.asking import Asking, AskingSettings, Request
from socs.epics.conversations import Told
from socs.epics.decode.heartbeat import MOST_BYTES
from socs.epics.decode.words import Tally
from socs.epics.networks import Networks, host_text
from socs.epics.searching import EVERYWHERE, SharedLimiter
from socs.problems import Problems
from socs.wire.udp_socket import bind_udp

LONGEST_WAIT = 0.5  # s
PAUSE = 0.5  # s after an error of the socket
MOST_AT_ONCE = 256  # datagrams taken until requests are sent again

log = logging.getLogger(__name__)


class Asker(Closing):
    """Asks applications for their names, and what runs on their hosts.

    Args:
        settings: see there; unless they enable it, nothing is ever sent.
        on_answers: gets what came of conversations, from the thread of this.
        admit: networks whose applications are asked; empty for all.
        limiter: shared by all that search and ask; by default one of its own.
        address: to bind to.
        on_problem: gets messages for people.
        counters: where to count; must have those of ``EPICS_ASKING``.

    Raises:
        ConfigError: a setting is not possible.
    """

    def __init__(
        self,
        settings: AskingSettings,
        on_answers: Callable[[list[Told]], None],
        *,
        admit: Sequence[str] = (),
        limiter: SharedLimiter | None = None,
        address: str = EVERYWHERE,
        on_problem: Callable[[str], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.counters = counters if counters is not None else Counters(EPICS_ASKING)
        self._asking = Asking(
            settings,
            lambda: secrets.randbits(32),
            limiter=limiter or SharedLimiter(settings.datagrams_per_second, settings.burst),
            admit=Networks(admit, "admit") if admit else None,
        )
        self._address = address
        self._on_answers = on_answers
        self._problems = Problems(on_problem)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    def start(self) -> None:
        """Bind, and ask what is to be asked. Does nothing when it runs.

        Raises:
            ConfigError: the socket cannot be bound.
        """
        if self.alive:
            return
        sock = bind_udp(self._address, 0)
        self._port = sock.getsockname()[1]
        wake, self._waker = socket.socketpair()
        wake.setblocking(False)
        self._waker.setblocking(False)
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._run, args=(sock, wake), name="udp-epics-asking", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; what has not ended goes on when started again."""
        self._stopping.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def ask_names(self, host: int, port: int, sequence: int, *, server: int = 0) -> bool:
        """Ask an application for its names; see :meth:`socs.epics.asking.Asking.ask_names`."""
        with self._lock:
            fresh = self._asking.ask_names(host, port, sequence, server=server)
        self._wake()
        return fresh

    def ask_netstat(self, host: int, port: int, sequence: int, *, server: int = 0) -> bool:
        """Ask an application to describe its host (NETSTAT)."""
        with self._lock:
            now = time.monotonic()
            fresh = self._asking.ask_netstat(host, port, sequence, now, server=server)
        self._wake()
        return fresh

    def heard(self, host: int, port: int, sequence: int) -> None:
        """A heartbeat with this number came from there; tell each one, or requests become stale."""
        with self._lock:
            self._asking.heard(host, port, sequence)

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
        """Conversations without an outcome yet."""
        return len(self._asking)

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None:
            try:
                waker.send(b"x")
            except OSError:
                return  # awake already, or gone

    def _run(self, sock: socket.socket, wake: socket.socket) -> None:
        ready = select.poll()
        ready.register(sock, select.POLLIN)
        ready.register(wake, select.POLLIN)
        try:
            while not self._stopping.is_set():
                try:
                    ready.poll(1000 * self._send_and_tell(sock))
                    _take_all(wake)
                    self._receive(sock)
                except OSError as error:
                    self.counters.add("asking_socket_errors")
                    self._report("socket", f"asking applications: {error}")
                    self._stopping.wait(PAUSE)
                except Exception as error:  # noqa: BLE001  told and counted; asking goes on
                    self.counters.add("asking_defects")
                    self._report_defect("asking applications", error)
                    self._stopping.wait(PAUSE)
        finally:
            for each in (sock, wake):
                each.close()
            if self._waker is not None:
                self._waker.close()

    def _receive(self, sock: socket.socket) -> None:
        """Take what has come, but not for ever."""
        for _ in range(MOST_AT_ONCE):
            try:
                # One byte more than allowed, so that what is longer is seen to be.
                datagram, (host, port) = sock.recvfrom(MOST_BYTES + 1)
            except BlockingIOError:
                return
            try:
                with self._lock:
                    self._asking.feed(datagram, int(ipaddress.IPv4Address(host)), port)
            except Exception as error:  # noqa: BLE001  told and counted; asking goes on
                self.counters.add("asking_answer_errors")
                self._report_defect("what applications answer", error)

    def _send_and_tell(self, sock: socket.socket) -> float:
        """Send what is due, and tell what has ended; how long to wait then [s]."""
        now = time.monotonic()
        with self._lock:
            told = self._asking.tick(now)
            requests = self._asking.due(now)
            self.counters.add_all(self._asking.tally.counts)
            self._asking.tally = Tally()
        for request in requests:
            if not self._send(sock, request):
                with self._lock:
                    self._asking.unsent(request, now)
        if told:
            try:
                self._on_answers(told)
            except Exception as error:  # noqa: BLE001  told and counted; asking goes on
                self.counters.add("asking_handler_errors", len(told))
                self._report_defect("answers of applications", error)
        with self._lock:
            return min(self._asking.wait(time.monotonic()), LONGEST_WAIT)

    def _send(self, sock: socket.socket, request: Request) -> bool:
        where = host_text(request.host), request.port
        try:
            sock.sendto(request.datagram, where)
            return True
        except OSError as error:
            self.counters.add("asking_send_errors")
            self._report("send", f"a request could not be sent to {where[0]}:{where[1]}: {error}")
            return False

    def _report_defect(self, what: str, error: Exception) -> None:
        if self._report(what, f"{what}: {error!r}"):
            log.error("%s: a defect", what, exc_info=error)

    def _report(self, kind: str, text: str) -> bool:
        return self._problems.report(kind, text, time.monotonic())


def _take_all(wake: socket.socket) -> None:
    try:
        wake.recv(4096)
    except BlockingIOError:
        return
