"""Receiving UDP datagrams in batches, in a thread of its own; shared by all streams.

::

    kernel --recvmmsg--> rows of one NumPy array --allow-list--> handler(Batch)

One thread waits in ``poll`` and takes all that is there, at most ``batch`` datagrams at a time. So
a single datagram is handed on at once, and under load the batches grow by themselves. Nothing in
here runs once per datagram (except in the ``recv`` method, where the system call does).

Every datagram is counted once, under the names of `socs.counters.UDP`: received is accepted +
sender not allowed + truncated + handler errors + queue full. What the kernel dropped before we
could take it is counted beside that, as ``kernel_drops``.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from socs.counters import UDP, Counters
from socs.problems import Problems
from socs.wire.batch import Batch, SenderNetworks
from socs.wire.recvmmsg import DatagramMemory, Reader, batch_of, make_reader
from socs.wire.udp_socket import Drops, KernelDrops, bind_udp, check_range, grant_receive_buffer

__all__ = ["Batch", "UdpReceiver"]

DROPS_INTERVAL = 0.5  # [s] between two looks at the kernel's count of drops
MAX_DATAGRAM = 65536  # bytes; more than UDP over IPv4 can carry (65 507)
MAX_BATCH = 1024  # datagrams; the kernel takes no more per call
MAX_BUFFER = (1 << 30) - 1  # bytes; its double must fit the kernel's int
FIRST_PAUSE = 0.01  # [s] after a second socket error in a row; doubled up to LONGEST_PAUSE
LONGEST_PAUSE = 0.5  # [s]
GATHERING_ROOM = 1 << 20  # bytes of kernel buffer below which nothing may gather there
DEAD_SOCKET = (errno.EBADF, errno.ENOTSOCK)  # nothing will ever arrive here again

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Opened:
    """What exists between opening and closing. The receiver's thread closes what it uses."""

    sock: socket.socket
    reader: Reader
    networks: SenderNetworks
    drops: Drops
    wake: socket.socket
    waker: socket.socket
    stopping: threading.Event = field(default_factory=threading.Event)
    drain_until: float = 0.0  # monotonic [s]
    next_drops: float = 0.0  # monotonic [s]
    errors_in_a_row: int = 0

    def close(self) -> None:
        for sock in (self.sock, self.wake, self.waker):
            sock.close()


class UdpReceiver:
    """Receives datagrams and hands them on in batches, from a thread of its own.

    Args:
        address: IPv4 address (or host name) to bind to; 0.0.0.0 for all interfaces.
        port: port to bind to; 0 for any free one.
        handler: gets each `Batch`, in the receiver's thread; an empty one is never handed on. It
            returns how many of the datagrams it had to shed for want of room, None for none. What
            it raises is counted and reported, and reception goes on.
        allow: networks that may send; empty for all. Others' datagrams are counted and refused.
        max_datagram: longest datagram of this stream [bytes]; longer ones are refused whole.
        batch: most datagrams per system call.
        gather: time that datagrams have to become more in the kernel before they are taken, which
            makes batches larger and so cheaper, and all of them later [s].
        receive_buffer: kernel buffer to ask for [bytes].
        method: ``recvmmsg``, ``recv`` (one datagram per system call), or the best that works here.
        reuse_port, reuse_address: set SO_REUSEPORT, SO_REUSEADDR before binding.
        now: the clock, UNIX time [s].
        on_problem: gets messages for people (one line, at most 200 characters, rarely more than
            one a minute of each kind), from the receiver's thread; logged as warnings by default.
        counters: where to count; must have those of `socs.counters.UDP`.
    """

    def __init__(
        self,
        address: str,
        port: int,
        handler: Callable[[Batch], int | None],
        *,
        allow: Sequence[str] = (),
        max_datagram: int = MAX_DATAGRAM,
        batch: int = 256,
        gather: float = 0.0,
        receive_buffer: int = 32 << 20,
        method: Literal["auto", "recvmmsg", "recv"] = "auto",
        reuse_port: bool = False,
        reuse_address: bool = False,
        now: Callable[[], float] = time.time,
        on_problem: Callable[[str], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._address, self._port = address, port
        self._handler = handler
        self._allow = allow
        self._max_datagram = max_datagram
        self._batch, self._gather = batch, gather
        self._receive_buffer = receive_buffer
        self._method = method
        self._reuse = {"reuse_port": reuse_port, "reuse_address": reuse_address}
        self._now = now
        self._problems = Problems(on_problem)
        self._counters = counters if counters is not None else Counters(UDP)
        self._last_received = 0.0
        self._granted = 0
        self._drops_told = 0
        self._method_used: str = method
        self._bound: tuple[str, int] | None = None
        self._opened: _Opened | None = None
        self._thread: threading.Thread | None = None
        # Held while sockets are opened, closed, or used by a thread other than the receiver's.
        self._lock = threading.RLock()

    def open(self) -> None:
        """Bind, so that the kernel keeps datagrams from now on. Does nothing when open.

        Raises:
            ConfigError: a setting is wrong or the socket cannot be bound; the message names it.
        """
        with self._lock:
            if self._opened is not None:
                return
            check_range("max_datagram", self._max_datagram, MAX_DATAGRAM)
            check_range("batch", self._batch, MAX_BATCH)
            check_range("receive_buffer", self._receive_buffer, MAX_BUFFER)
            networks = SenderNetworks(self._allow)
            sock = self._make_socket()
            try:
                self._granted = grant_receive_buffer(sock, self._receive_buffer)
                reader, drops = self._make_reader(sock), self._make_drops(sock)
                wake, waker = socket.socketpair()
            except BaseException:
                sock.close()
                raise
            self._bound = sock.getsockname()
            self._opened = _Opened(sock, reader, networks, drops, wake, waker)
            self._method_used = reader.method
        if self._granted < self._receive_buffer:
            self._report(
                "receive_buffer",
                f"receive buffer: asked for {self._receive_buffer} bytes, granted {self._granted}; "
                f"raise it with: sysctl -w net.core.rmem_max={self._receive_buffer}",
            )

    # What capturing does in another way.

    def _make_socket(self) -> socket.socket:
        return bind_udp(self._address, self._port, **self._reuse)

    def _make_reader(self, sock: socket.socket) -> Reader:
        return make_reader(sock, DatagramMemory(self._batch, self._max_datagram), self._method)

    def _make_drops(self, sock: socket.socket) -> Drops:
        return KernelDrops(sock)

    def _batch_of(self, reader: Reader, count: int, received: float) -> Batch:
        return batch_of(reader.buffers, count, received)

    def start(self) -> None:
        """Open if needed and start receiving. Does nothing when running.

        Raises:
            ConfigError: see `open`.
        """
        with self._lock:
            if self.alive:
                return
            self.open()
            self._thread = threading.Thread(
                target=self._run, args=(self._opened,), name="udp-receiver", daemon=True
            )
            self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Take what the kernel still holds, hand it on, and close. Does nothing when stopped.

        Draining ends when nothing is left, or after half of ``timeout`` if senders go on.

        Args:
            timeout: longest time to wait for the thread [s]. A handler that takes longer is
                reported; the thread then closes the socket itself when the handler returns.
        """
        with self._lock:
            thread, opened = self._thread, self._opened
            if opened is not None:
                opened.drain_until = time.monotonic() + timeout / 2
                opened.stopping.set()
                opened.waker.send(b"x")
        if thread is threading.current_thread():
            return  # the handler stops its own receiver: the loop ends after this batch
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                self._report("stop", f"receiver did not stop in {timeout:g} s: handler is busy")
                return
        if opened is not None:
            self._close(opened)

    def __enter__(self) -> UdpReceiver:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The address bound to (also after `stop`); until then the one asked for."""
        return self._bound[0] if self._bound else self._address

    @property
    def port(self) -> int:
        """The port bound to (also after `stop`); until then the one asked for."""
        return self._bound[1] if self._bound else self._port

    @property
    def method(self) -> str:
        """``recvmmsg`` or ``recv``; before `open`, the method asked for."""
        return self._method_used

    @property
    def receive_buffer_granted(self) -> int:
        """Size of the kernel's receive buffer [bytes], in the unit it was asked for; 0 before open.

        Linux sets aside and reports the double, since its bookkeeping counts too; this is the half
        of what it reports, to be compared with ``receive_buffer``.
        """
        return self._granted

    @property
    def alive(self) -> bool:
        """True while the thread runs. If False between `start` and `stop`, it died: see the log."""
        return self._thread is not None and self._thread.is_alive()

    def stats(self) -> dict[str, int | float]:
        """The counters of `socs.counters.UDP`, and:

        - ``receive_buffer_granted``: see the property [bytes].
        - ``last_received``: when the last batch came, UNIX time [s]; 0.0 for never.
        """
        with self._lock:
            if self._opened is not None:
                self._count_drops(self._opened)
        now = self._counters.snapshot()
        values: dict[str, int | float] = {counter.name: now[counter.name] for counter in UDP}
        values["receive_buffer_granted"] = self._granted
        values["last_received"] = self._last_received
        return values

    def _run(self, opened: _Opened) -> None:
        """The thread: until told to stop, then what is left; closes in the end."""
        try:
            ready = select.poll()
            ready.register(opened.sock, select.POLLIN)
            ready.register(opened.wake, select.POLLIN)
            gather = self._gather if self._granted >= GATHERING_ROOM else 0.0
            while not opened.stopping.is_set():
                if self._take(opened) < self._batch:
                    ready.poll(DROPS_INTERVAL * 1000)
                    opened.stopping.wait(gather)
                if time.monotonic() >= opened.next_drops:
                    self._look_at_drops(opened)
            while self._take(opened) or opened.errors_in_a_row == 1:
                if time.monotonic() >= opened.drain_until:
                    break
            self._look_at_drops(opened)
        except Exception as error:
            log.exception("the UDP receiver has ended")
            self._report("ended", f"receiver on port {self.port} has ended: {error!r}")
        finally:
            self._close(opened)

    def _take(self, opened: _Opened) -> int:
        """One system call and the handling of what it brought; the number of datagrams taken."""
        try:
            count = opened.reader.read()
        except OSError as error:
            if error.errno in DEAD_SOCKET:
                raise
            self._socket_error(opened, error)
            return 0
        opened.errors_in_a_row = 0
        if count:
            self._last_received = self._now()
            self._hand_on(opened, count, self._last_received)
        return count

    def _hand_on(self, opened: _Opened, count: int, received: float) -> None:
        """Refuse, handle and count the first ``count`` rows, all counters at one moment."""
        batch = self._batch_of(opened.reader, count, received)
        headers = opened.reader.buffers.headers[:count]
        amounts = {"datagrams_received": count, "bytes_received": int(batch.sizes.sum())}
        strange = ~opened.networks.admits(batch.hosts)
        too_long = ((headers["flags"] & socket.MSG_TRUNC) != 0) & ~strange
        if strange.any() or too_long.any():
            amounts["sender_not_allowed"] = int(strange.sum())
            amounts["datagram_truncated"] = int(too_long.sum())
            self._report_refused(batch, int(strange.argmax()), int(too_long.argmax()), amounts)
            batch = batch.only(~(strange | too_long))
        if len(batch):
            amounts |= self._handle(batch)
        self._counters.add_all(amounts)

    def _handle(self, batch: Batch) -> dict[str, int]:
        """Call the handler; what to count."""
        count = len(batch)
        try:
            shed = self._handler(batch) or 0
            if not 0 <= shed <= count:
                raise ValueError(f"the handler says it shed {shed} of {count} datagrams")
        except Exception as error:  # supervised: counted and reported, reception goes on
            place = traceback.extract_tb(error.__traceback__)[-1]
            told = self._report(
                "handler",
                f"handler failed on {count} datagrams, the first from {batch.sender(0)}: "
                f"{error!r} at {place.name}:{place.lineno}",
            )
            if told:
                log.error("the handler of a UDP receiver failed", exc_info=error)
            return {"handler_errors": count}
        return {"datagrams_accepted": count - shed, "queue_full": shed}

    def _report_refused(
        self, batch: Batch, strange: int, too_long: int, amounts: dict[str, int]
    ) -> None:
        """Tell of refused datagrams, with the sender of the first of each kind."""
        if amounts["sender_not_allowed"]:
            self._report(
                "sender_not_allowed",
                f"refused a datagram from {batch.sender(strange)}: not in an allowed network",
            )
        if amounts["datagram_truncated"]:
            self._report(
                "datagram_truncated",
                f"refused a datagram from {batch.sender(too_long)}: "
                f"longer than {self._max_datagram} bytes",
            )

    def _socket_error(self, opened: _Opened, error: OSError) -> None:
        """Count and tell; pause if it is not the first in a row, so as not to spin."""
        opened.errors_in_a_row += 1
        self._counters.add("socket_errors")
        self._report(f"socket error {error.errno}", f"receiving on port {self.port}: {error}")
        if opened.errors_in_a_row > 1:
            doublings = min(opened.errors_in_a_row - 2, 10)
            opened.stopping.wait(min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE))

    def _look_at_drops(self, opened: _Opened) -> None:
        opened.next_drops = time.monotonic() + DROPS_INTERVAL
        with self._lock:
            self._count_drops(opened)
        dropped = self._counters["kernel_drops"]
        if dropped > self._drops_told:
            self._report(
                "kernel_drops",
                f"the kernel dropped {dropped - self._drops_told} datagrams: the receive buffer of "
                f"{self._granted} bytes was full; see net.core.rmem_max",
            )
            self._drops_told = dropped

    def _count_drops(self, opened: _Opened) -> None:
        """Take over the kernel's count. Call with the lock held."""
        fresh = opened.drops.new()
        if fresh:
            self._counters.add("kernel_drops", fresh)

    def _report(self, kind: str, text: str) -> bool:
        return self._problems.report(kind, text, time.monotonic())

    def _close(self, opened: _Opened) -> None:
        with self._lock:
            opened.close()
            if self._opened is opened:
                self._opened = None
