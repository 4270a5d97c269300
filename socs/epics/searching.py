"""Sending searches and taking the answers, in a thread. What is sent when is decided by the core.

One of these serves one protocol; two may share a limiter, and so the cap.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Literal

from socs.closing import Closing
from socs.counters import EPICS_SEARCH, Counters
from socs.epics.decode import ca, pva
from socs.epics.decode.words import Tally
from socs.epics.limiter import MOST_PER_SECOND, Limiter
from socs.epics.networks import Networks
from socs.epics.search import Format, Outcome, Priority, Searcher, SearchSettings
from socs.epics.search_messages import CaFormat, PvaFormat
from socs.errors import ConfigError
from socs.problems import Problems
from socs.wire.batch import Batch
from socs.wire.recvmmsg import DatagramMemory, batch_of, make_reader
from socs.wire.udp_socket import bind_udp, check_range

Destination = tuple[str, int]  # IPv4 address and UDP port
EVERYWHERE = "0.0.0.0"  # noqa: S104  answers come from anywhere
MAX_DATAGRAM = 65536
BATCH = 256
LONGEST_WAIT = 0.5  # s
PAUSE = 0.5  # s after an error of the socket

log = logging.getLogger(__name__)


class SharedLimiter(Limiter):
    """A limiter for several threads. All of a process together are under one cap besides."""

    _cap: ClassVar[Limiter] = Limiter(MOST_PER_SECOND, MOST_PER_SECOND)
    _lock: ClassVar[threading.RLock] = threading.RLock()

    def take(self, datagrams: int, now: float) -> bool:
        """See :class:`socs.epics.limiter.Limiter`."""
        with self._lock:
            return self.wait(datagrams, now) == 0 and (
                super().take(datagrams, now) and self._cap.take(datagrams, now)
            )

    def wait(self, datagrams: int, now: float) -> float:
        """See :class:`socs.epics.limiter.Limiter`."""
        with self._lock:
            return max(super().wait(datagrams, now), self._cap.wait(datagrams, now))


class ActiveSearch(Closing):
    """Searches for names on the network.

    Args:
        protocol: ``ca`` or ``pva``.
        settings: see there; unless they enable it, nothing is ever sent.
        destinations: where requests are sent, mostly broadcast addresses.
        on_outcomes: gets what came of searches, from the thread of this.
        admit: networks of servers whose answers are believed; empty for all.
        limiter: shared by several of these; by default one of its own.
        address: to bind to.
        port: to bind to; 0 for any free one.
        on_problem: gets messages for people.
        counters: where to count; must have those of ``EPICS_SEARCH``.

    Raises:
        ConfigError: a setting is not possible.
    """

    def __init__(
        self,
        protocol: Literal["ca", "pva"],
        settings: SearchSettings,
        destinations: Sequence[Destination],
        on_outcomes: Callable[[list[Outcome]], None],
        *,
        admit: Sequence[str] = (),
        limiter: SharedLimiter | None = None,
        address: str = EVERYWHERE,
        port: int = 0,
        on_problem: Callable[[str], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        if protocol not in ("ca", "pva"):
            raise ConfigError(f"protocol: {protocol!r} is neither ca nor pva")
        self.protocol = protocol
        self.counters = counters if counters is not None else Counters(EPICS_SEARCH)
        self._destinations = [_checked(each) for each in destinations]
        form: Format = CaFormat() if protocol == "ca" else PvaFormat()
        self._searcher = Searcher(
            settings,
            form,
            len(self._destinations),
            limiter=limiter or SharedLimiter(settings.datagrams_per_second, settings.burst),
            admit=Networks(admit, "admit") if admit else None,
            first=secrets.randbits(32),
        )
        self._bind = (address, port)
        self._on_outcomes = on_outcomes
        self._problems = Problems(on_problem)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._waker: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind, and search for what is asked. Does nothing when it runs.

        Raises:
            ConfigError: the socket cannot be bound.
        """
        if self.alive:
            return
        sock = bind_udp(*self._bind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket = sock
        self._searcher.port = sock.getsockname()[1]
        wake, self._waker = socket.socketpair()
        wake.setblocking(False)
        self._waker.setblocking(False)
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._run, args=(sock, wake), name="udp-epics-search", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; what is asked for has no outcome, and goes on when started again."""
        self._stopping.set()
        self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def ask(self, names: Iterable[bytes], priority: Priority = Priority.POLL) -> int:
        """Search for ``names``; how many are searched for now that were not before."""
        with self._lock:
            fresh = self._searcher.ask(names, priority)
        self._wake()
        return fresh

    @property
    def port(self) -> int:
        """The UDP port bound to; 0 before the start. A capture leaves it out."""
        return self._searcher.port

    @property
    def alive(self) -> bool:
        """Does its thread run."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Names without an outcome yet."""
        return len(self._searcher)

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None:
            try:
                waker.send(b"x")
            except OSError:
                return  # awake already, or gone

    def _run(self, sock: socket.socket, wake: socket.socket) -> None:
        memory = DatagramMemory(BATCH, MAX_DATAGRAM)
        reader = make_reader(sock, memory, "auto")
        ready = select.poll()
        ready.register(sock, select.POLLIN)
        ready.register(wake, select.POLLIN)
        try:
            while not self._stopping.is_set():
                try:
                    ready.poll(1000 * self._send_and_tell(sock))
                    _drain(wake)
                    while count := reader.read():
                        self._take(batch_of(memory, count, time.time()))
                except OSError as error:
                    self.counters.add("search_socket_errors")
                    self._report("socket", f"searching: {error}")
                    self._stopping.wait(PAUSE)
                except Exception as error:  # noqa: BLE001  told and counted; searching goes on
                    self.counters.add("search_defects")
                    self._report_defect("searching", error)
                    self._stopping.wait(PAUSE)
        finally:
            for each in (sock, wake):
                each.close()
            if self._waker is not None:
                self._waker.close()

    def _send_and_tell(self, sock: socket.socket) -> float:
        """Send what is due, and tell what has ended; how long to wait then [s]."""
        now = time.monotonic()
        with self._lock:
            outcomes = self._searcher.tick(now)
            datagrams = self._searcher.due(now)
            wait = self._searcher.wait(now)
            self._count(self._searcher)
        for datagram in datagrams:
            sent = [self._send(sock, datagram, each) for each in self._destinations]
            if not any(sent):
                with self._lock:
                    self._searcher.unsent(datagram)
        if outcomes:
            try:
                self._on_outcomes(outcomes)
            except Exception as error:  # noqa: BLE001  told and counted; searching goes on
                self.counters.add("search_handler_errors", len(outcomes))
                self._report_defect("outcomes of searches", error)
        return min(wait, LONGEST_WAIT)

    def _send(self, sock: socket.socket, datagram: bytes, destination: Destination) -> bool:
        try:
            sock.sendto(datagram, destination)
            return True
        except OSError as error:
            self.counters.add("search_send_errors")
            self._report(
                "send", f"a search could not be sent to {destination[0]}:{destination[1]}: {error}"
            )
            return False

    def _take(self, batch: Batch) -> None:
        try:
            with self._lock:
                if self.protocol == "ca":
                    self._searcher.feed_ca(ca.decode(batch), batch.hosts)
                else:
                    self._searcher.feed_pva(pva.decode(batch), batch.hosts)
        except Exception as error:  # noqa: BLE001  told and counted; searching goes on
            self.counters.add("search_answer_errors", len(batch.hosts))
            self._report_defect(f"answers to searches, the first from {batch.sender(0)}", error)

    def _count(self, searcher: Searcher) -> None:
        self.counters.add_all(searcher.tally.counts)
        searcher.tally = Tally()

    def _report_defect(self, what: str, error: Exception) -> None:
        if self._report(what.partition(",")[0], f"{what}: {error!r}"):
            log.error("%s: a defect", what, exc_info=error)

    def _report(self, kind: str, text: str) -> bool:
        return self._problems.report(kind, text, time.monotonic())


def _drain(wake: socket.socket) -> None:
    try:
        wake.recv(4096)
    except BlockingIOError:
        return


def _checked(destination: Destination) -> Destination:
    host, port = destination
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ConfigError(f"destinations: {host!r} is no IPv4 address") from error
    check_range("destinations: port", port, 65535)
    return host, port
