"""How many datagrams per second the bare receive loop takes: ``python -m tests.bench.bench_udp``.

Three loops in one run, each fed by the same sender in a process of its own:

- ``recvmmsg``: `UdpReceiver` with one system call per batch.
- ``recv``: `UdpReceiver` with its portable method, one system call per datagram.
- ``plain loop``: ``socket.recv`` in a bare Python loop, without counting or sender: what one would
  write by hand.

"drain" fills the kernel's buffer while nobody reads and times the emptying: the loop alone. "live"
has the sender go flat out while the loop runs; both share the machine's processors and the kernel's
UDP code, so the sender is often the limit. What was lost is what the kernel dropped.
"""

from __future__ import annotations

import argparse
import ctypes
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from socs.wire.recvmmsg import DatagramMemory, RecvmmsgReader
from socs.wire.udp import Batch, UdpReceiver
from socs.wire.udp_socket import bind_udp, grant_receive_buffer

SIZES = {300: 40_000, 1440: 20_000}  # bytes of a datagram: how many fit the kernel's buffer
BUFFER = 32 << 20  # bytes
LOOPS = ("recvmmsg", "recv", "plain loop")


@dataclass
class Count:
    """Counts datagrams and tells when the expected number is there."""

    expected: int
    reached: threading.Event = field(default_factory=threading.Event)
    total: int = 0

    def take(self, batch: Batch) -> None:
        self.total += len(batch)
        if self.total >= self.expected:
            self.reached.set()


class Sender:
    """The other process: sends on command, as fast as it can."""

    def __init__(self, port: int, size: int) -> None:
        command = [sys.executable, "-m", "tests.bench.bench_udp", "--send", str(port), str(size)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def begin(self, count: int) -> None:
        """Start sending ``count`` datagrams."""
        print(count, file=self._process.stdin, flush=True)

    def end(self) -> float:
        """Wait until they are sent; how long that took [s]."""
        return float(self._process.stdout.readline())


def send_on_command(port: int, size: int) -> None:
    """The sender's side: ``sendmmsg`` on the structures that the receiver uses."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    rows = 64
    memory = DatagramMemory(rows, size)
    headers = RecvmmsgReader(sock, memory)  # fills in the headers and owns what they point to
    memory.headers["name"] = memory.headers["name_length"] = 0
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    first = ctypes.c_void_p(headers.buffers.headers.ctypes.data)
    for line in sys.stdin:
        count = int(line)
        start = time.perf_counter()
        while count > 0:
            sent = sendmmsg(sock.fileno(), first, min(rows, count), 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            count -= sent
        print(time.perf_counter() - start, flush=True)


def drain(loop: str, size: int, seconds: float) -> float:
    """Datagrams per second that ``loop`` takes out of a full buffer."""
    taken, busy = 0, 0.0
    count = SIZES[size]
    while busy < seconds:
        with LoopAtRest(loop, count) as target, Sender(target.port, size) as sender:
            sender.begin(count)
            sender.end()
            busy += target.run_until_expected()
            taken += count
    return taken / busy


class LoopAtRest:
    """One of the loops on a bound socket, to be run when the kernel's buffer is full."""

    def __init__(self, loop: str, expected: int) -> None:
        self.count = Count(expected)
        if loop == "plain loop":
            self._socket = bind_udp("127.0.0.1", 0)
            grant_receive_buffer(self._socket, BUFFER)
            self.port: int = self._socket.getsockname()[1]
            self._run: Callable[[], None] = self._plain_loop
            self._close: Callable[[], None] = self._socket.close
        else:
            receiver = UdpReceiver(
                "127.0.0.1", 0, self.count.take, receive_buffer=BUFFER, method=loop
            )
            receiver.open()
            self.port = receiver.port
            self._run = receiver.start
            self._close = receiver.stop

    def _plain_loop(self) -> None:
        receive = self._socket.recv
        for _ in range(self.count.expected):
            receive(65536)
        self.count.reached.set()

    def __enter__(self) -> LoopAtRest:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def run_until_expected(self) -> float:
        """How long the loop took for the expected number of datagrams [s]."""
        start = time.perf_counter()
        self._run()
        if not self.count.reached.wait(30):
            raise SystemExit(f"only {self.count.total} of {self.count.expected} arrived")
        return time.perf_counter() - start


def live(loop: str, size: int, count: int) -> tuple[float, float]:
    """(datagrams per second sent, share lost) with sender and receiver at work together."""
    received = Count(count)
    with UdpReceiver("127.0.0.1", 0, received.take, receive_buffer=BUFFER, method=loop) as receiver:
        with Sender(receiver.port, size) as sender:
            sender.begin(count)
            seconds = sender.end()
        receiver.stop()
        dropped = receiver.stats()["kernel_drops"]
    if received.total + dropped != count:
        raise SystemExit(f"{count} sent, but {received.total} received and {dropped} dropped")
    return count / seconds, dropped / count


def main(args: list[str] | None = None) -> None:
    """Print the table, or act as the sender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="per drain figure")
    parser.add_argument("--live", type=int, default=400_000, help="datagrams per live figure")
    parser.add_argument("--send", nargs=2, type=int, metavar=("PORT", "SIZE"), help="be the sender")
    options = parser.parse_args(args)
    if options.send:
        send_on_command(*options.send)
        return
    print(
        f"{'loop':12} {'bytes':>6} {'drain [1/s]':>12} {'ratio':>6} {'live [1/s]':>12} {'lost':>7}"
    )
    for size in SIZES:
        rates = {loop: drain(loop, size, options.seconds) for loop in LOOPS}
        for loop, rate in rates.items():
            line = f"{loop:12} {size:6} {rate:12,.0f} {rate / rates['plain loop']:6.2f}"
            if loop != "plain loop":
                sent, lost = live(loop, size, options.live)
                line += f" {sent:12,.0f} {lost:7.2%}"
            print(line)


if __name__ == "__main__":
    main()
