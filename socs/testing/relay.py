"""A UDP relay that loses, doubles, reorders and delays datagrams, and knows exactly which.

What happens to the n-th datagram depends on the seed and on n alone, never on timing, so that a
test can say beforehand what a receiver must report::

    with UdpRelay(receiver_address, decide=RandomFates(seed=7, loss=0.01, reorder=0.05)) as relay:
        send_all_to(relay.address)
        wait_until(lambda: relay.counts.received == sent)
        relay.release()
    assert reported_lost == relay.counts.dropped

:class:`Impairment` decides and holds; it does no I/O. :class:`UdpRelay` adds sockets and a thread.
"""

from __future__ import annotations

import contextlib
import enum
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from socs.closing import Closing
from socs.errors import ConfigError, OurError
from socs.sim.ports import LOOPBACK

Address = tuple[str, int]

LARGEST_DATAGRAM = 65_535
RECEIVE_BUFFER = 64 * 1024 * 1024  # bytes wanted; the kernel grants less to ordinary users
SO_RCVBUFFORCE = 33  # from <asm-generic/socket.h>; for root, beyond net.core.rmem_max
IDLE_TIMEOUT = 0.05  # seconds between two looks at whether the relay is to end
SHORTEST_WAIT = 0.0005  # seconds; a time-out of 0 would mean "do not wait at all"


class Fate(enum.Enum):
    """What happens to one datagram."""

    PASS = "pass"  # noqa: S105 - not a password
    DROP = "drop"
    DUPLICATE = "duplicate"  # sent twice, back to back
    HOLD = "hold"  # sent after one or more of the datagrams that come later


class RandomFates:
    """Fates drawn with given probabilities; the same for the same seed.

    Args:
        seed: of the generator.
        loss, duplicate, reorder: probabilities, of sum 1 at most.
    """

    def __init__(
        self, seed: int, *, loss: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0
    ) -> None:
        if min(loss, duplicate, reorder) < 0 or loss + duplicate + reorder > 1:
            raise ConfigError(f"not probabilities of sum <= 1: {loss}, {duplicate}, {reorder}")
        self._random = random.Random(seed)
        self._draws: list[float] = []
        self._limits = (
            (loss, Fate.DROP),
            (loss + duplicate, Fate.DUPLICATE),
            (loss + duplicate + reorder, Fate.HOLD),
        )

    def __call__(self, index: int, datagram: bytes = b"") -> Fate:
        """The fate of datagram number ``index`` (from 0), whatever it contains."""
        while len(self._draws) <= index:
            self._draws.append(self._random.random())
        draw = self._draws[index]
        return next((fate for limit, fate in self._limits if draw < limit), Fate.PASS)


@dataclass
class RelayCounts:
    """Datagrams since the start; ``sent == received - dropped + duplicated - waiting``."""

    received: int = 0
    dropped: int = 0
    duplicated: int = 0
    held: int = 0
    reordered: int = 0  # of the held, those that were really sent after a later one
    sent: int = 0
    waiting: int = 0  # held or delayed, not sent yet


class Impairment:
    """Which datagrams to send when; no I/O and no clock.

    Args:
        decide: the fate of a datagram, given its number (from 0) and its bytes.
        delay: seconds from the arrival of each datagram, or from its release, to its sending.
        span: a held datagram is sent after this many later arrivals.
    """

    def __init__(
        self, decide: Callable[[int, bytes], Fate], *, delay: float = 0.0, span: int = 3
    ) -> None:
        if delay < 0 or span < 1:
            raise ConfigError(f"delay {delay} must be >= 0 and span {span} >= 1")
        self._decide = decide
        self._delay = delay
        self._span = span
        self._held: list[tuple[int, bytes]] = []  # (number, bytes), oldest first
        self._due: deque[tuple[float, bytes]] = deque()  # the delay is constant: always in order
        self._latest_queued = -1  # highest number of a datagram that was queued for sending
        self._counts = RelayCounts()
        self.fates: list[Fate] = []

    @property
    def counts(self) -> RelayCounts:
        """A copy of the counts."""
        return replace(self._counts, waiting=len(self._held) + len(self._due))

    @property
    def next_due(self) -> float | None:
        """When the next delay is over."""
        return self._due[0][0] if self._due else None

    def feed(self, datagram: bytes, now: float) -> list[bytes]:
        """Take a datagram in; returns those to be sent now, in this order."""
        index = self._counts.received
        fate = self._decide(index, datagram)
        self.fates.append(fate)
        self._counts.received += 1
        if fate is Fate.DROP:
            self._counts.dropped += 1
        elif fate is Fate.HOLD:
            self._counts.held += 1
            self._held.append((index, datagram))
        else:
            self._queue(index, datagram, now)
            if fate is Fate.DUPLICATE:
                self._counts.duplicated += 1
                self._queue(index, datagram, now)
        while self._held and self._held[0][0] + self._span <= index:
            self._queue(*self._held.pop(0), now)
        return self.tick(now)

    def tick(self, now: float) -> list[bytes]:
        """Those whose delay is over, in the order of sending."""
        out = []
        while self._due and self._due[0][0] <= now:
            out.append(self._due.popleft()[1])
        self._counts.sent += len(out)
        return out

    def release(self, now: float) -> list[bytes]:
        """Hold nothing back any longer; returns those to be sent now."""
        while self._held:
            self._queue(*self._held.pop(0), now)
        return self.tick(now)

    def _queue(self, index: int, datagram: bytes, now: float) -> None:
        self._counts.reordered += index < self._latest_queued
        self._latest_queued = max(index, self._latest_queued)
        self._due.append((now + self._delay, datagram))


class UdpRelay(Closing):
    """Takes datagrams on a port of its own and sends them on to ``target``; a context manager.

    The receiver sees the relay as the sender. See :class:`Impairment` for the other arguments.
    """

    def __init__(
        self,
        target: Address,
        *,
        decide: Callable[[int, bytes], Fate],
        delay: float = 0.0,
        span: int = 3,
    ) -> None:
        self._impairment = Impairment(decide, delay=delay, span=span)
        self._target = target
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._failure: OSError | None = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self.address: Address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._run, name="udp-relay", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> RelayCounts:
        """The counts at one moment."""
        with self._lock:
            return self._impairment.counts

    @property
    def fates(self) -> list[Fate]:
        """The fate of each datagram received, in the order of arrival."""
        with self._lock:
            return list(self._impairment.fates)

    @property
    def kernel_drops(self) -> int:
        """Datagrams lost on the way into the relay, because senders were faster than it."""
        inode = str(os.fstat(self._socket.fileno()).st_ino)
        for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[9] == inode:
                return int(columns[12])
        raise OurError("the relay's socket is not in /proc/net/udp")

    def release(self) -> None:
        """Send on what is held back, for the end of a test."""
        with self._lock:
            self._send(self._impairment.release(time.monotonic()))

    def close(self) -> None:
        """End the relay; what was held or delayed is not sent.

        Raises:
            OurError: a datagram could not be sent on, so the counts are wrong.
        """
        self._ending.set()
        self._thread.join()
        self._socket.close()
        if self._failure is not None:
            raise OurError(f"the relay failed: {self._failure}") from self._failure

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._step()
        except OSError as failure:
            self._failure = failure

    def _step(self) -> None:
        next_due = self._impairment.next_due
        wait = IDLE_TIMEOUT if next_due is None else next_due - time.monotonic()
        self._socket.settimeout(min(max(wait, SHORTEST_WAIT), IDLE_TIMEOUT))
        try:
            datagram = self._socket.recv(LARGEST_DATAGRAM)
        except TimeoutError:
            with self._lock:
                self._send(self._impairment.tick(time.monotonic()))
            return
        with self._lock:
            self._send(self._impairment.feed(datagram, time.monotonic()))

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self._socket.sendto(datagram, self._target)
