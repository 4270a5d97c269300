"""Sending searches and taking the answers, in a thread. What is sent when is decided by the core.

One of these serves one protocol; two may share a limiter, and so the cap.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from socs.counters import EPICS_SEARCH, Counters
from socs.epics.decode import ca, pva
from socs.epics.networks import Networks
from socs.epics.search.messages import CaFormat, PvaFormat
from socs.epics.search.searcher import Format, Outcome, Priority, Searcher, SearchSettings
from socs.epics.search.udp_thread import EVERYWHERE, SharedLimiter, UdpThread
from socs.errors import ConfigError
from socs.wire.batch import Batch
from socs.wire.recvmmsg import DatagramMemory, batch_of, make_reader
from socs.wire.udp_socket import check_range

Destination = tuple[str, int]  # IPv4 address and UDP port
MAX_DATAGRAM = 65536
BATCH = 256


class ActiveSearch(UdpThread):
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

    prefix, doing = "search", "searching"
    sent, ended = "a search", "outcomes of searches"

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
        super().__init__(
            self._searcher,
            on_outcomes,
            (address, port),
            on_problem=on_problem,
            counters=counters if counters is not None else Counters(EPICS_SEARCH),
        )

    def ask(self, names: Iterable[bytes], priority: Priority = Priority.POLL) -> int:
        """Search for ``names``; how many are searched for now that were not before."""
        with self._lock:
            fresh = self._searcher.ask(names, priority)
        self._wake()
        return fresh

    def _opened(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._searcher.port = self.port

    def _receiver(self, sock: socket.socket) -> Callable[[], None]:
        memory = DatagramMemory(BATCH, MAX_DATAGRAM)
        reader = make_reader(sock, memory, "auto")

        def receive() -> None:
            while count := reader.read():
                self._take(batch_of(memory, count, time.time()))

        return receive

    def _post(self, sock: socket.socket, request: bytes, now: float) -> None:
        sent = [self._send(sock, request, each) for each in self._destinations]
        if not any(sent):
            with self._lock:
                self._searcher.unsent(request)

    def _take(self, batch: Batch) -> None:
        try:
            with self._lock:
                if self.protocol == "ca":
                    self._searcher.feed_ca(ca.decode(batch), batch.hosts)
                else:
                    self._searcher.feed_pva(pva.decode(batch), batch.hosts)
        except Exception as error:  # noqa: BLE001  told and counted; searching goes on
            self._count("answer_errors", len(batch.hosts))
            self._report_defect(f"answers to searches, the first from {batch.sender(0)}", error)


def _checked(destination: Destination) -> Destination:
    host, port = destination
    try:
        ipaddress.IPv4Address(host)
    except ValueError as error:
        raise ConfigError(f"destinations: {host!r} is no IPv4 address") from error
    check_range("destinations: port", port, 65535)
    return host, port
