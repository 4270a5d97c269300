"""Asking applications that send heartbeats, in a thread. The core decides what is asked when."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Sequence

from socs.counters import EPICS_ASKING, Counters
from socs.epics.applications.asking import Asking, AskingSettings, Request
from socs.epics.applications.conversations import Answered
from socs.epics.decode.heartbeat import MOST_BYTES
from socs.epics.networks import Networks, host_text
from socs.epics.search.udp_thread import EVERYWHERE, SharedLimiter, UdpThread

MOST_AT_ONCE = 256  # datagrams taken until requests are sent again


class Asker(UdpThread):
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

    prefix, doing = "asking", "asking applications"
    sent, ended = "a request", "answers of applications"

    def __init__(
        self,
        settings: AskingSettings,
        on_answers: Callable[[list[Answered]], None],
        *,
        admit: Sequence[str] = (),
        limiter: SharedLimiter | None = None,
        address: str = EVERYWHERE,
        on_problem: Callable[[str], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._asking = Asking(
            settings,
            lambda: secrets.randbits(32),
            limiter=limiter or SharedLimiter(settings.datagrams_per_second, settings.burst),
            admit=Networks(admit, "admit") if admit else None,
        )
        super().__init__(
            self._asking,
            on_answers,
            (address, 0),
            on_problem=on_problem,
            counters=counters if counters is not None else Counters(EPICS_ASKING),
        )

    def ask_names(self, host: int, port: int, sequence: int, *, server: int = 0) -> bool:
        """Ask an application for its names; see :meth:`.asking.Asking.ask_names`."""
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

    def _opened(self, sock: socket.socket) -> None:
        """It never sends to all."""

    def _receiver(self, sock: socket.socket) -> Callable[[], None]:
        return lambda: self._receive(sock)

    def _post(self, sock: socket.socket, request: Request, now: float) -> None:
        if not self._send(sock, request.datagram, (host_text(request.host), request.port)):
            with self._lock:
                self._asking.unsent(request, now)

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
                self._count("answer_errors")
                self._report_defect("what applications answer", error)
