"""Clients of Channel Access in a process of its own, for benchmarks: as fast as one can send.

Two hundred hosts, 127.0.1.1 to .200, send the datagrams of :mod:`tests.bench.epics_capture` over
and over, at a rate, from some sockets in turn. What was sent is told exactly.
"""

from __future__ import annotations

import subprocess
import sys
import time
from ipaddress import IPv4Address

import numpy as np

from socs.sim.datagram_sender import DatagramSender
from tests.bench.epics_capture import capture

HOSTS, SOCKETS = 200, 3
FIRST = int(IPv4Address("127.0.1.1"))
DIFFERENT = 20_000  # datagrams
AT_ONCE = 60  # in one system call


class Clients:
    """The sending side.

    Attributes:
        requests: how many are in the first datagrams, from none to all of them; int64.
    """

    def __init__(self, port: int, seed: int = 1) -> None:
        datagrams, _ = capture(DIFFERENT, hosts=HOSTS, seed=seed)
        contents = [each.contents for each in datagrams]
        self._lengths = np.array([len(each) for each in contents])
        self._offsets = np.cumsum(self._lengths) - self._lengths
        self._memory = np.frombuffer(b"".join(contents), np.uint8)
        asked = [requests_in(each) for each in contents]
        self.requests = np.concatenate([[0], np.cumsum(asked)])
        sources = [str(IPv4Address(FIRST + host)) for host in range(HOSTS)]
        self._senders = [
            DatagramSender("127.0.0.1", port, sources, "sendmmsg") for _ in range(SOCKETS)
        ]
        self._which = np.arange(DIFFERENT) % HOSTS
        self._sent = 0

    def send(self, count: int) -> None:
        """Send the next ``count``, at most `AT_ONCE`."""
        begin = self._sent % DIFFERENT
        part = slice(begin, min(begin + count, DIFFERENT))
        sender = self._senders[self._sent // AT_ONCE % SOCKETS]
        sender.send(self._memory, self._offsets[part], self._lengths[part], self._which[part])
        self._sent += part.stop - begin

    def play(self, rate: float, seconds: float) -> tuple[int, int, float]:
        """Send for ``seconds`` at ``rate`` datagrams per second.

        After a stall it goes on at the same rate, and does not make up for the time lost.

        Returns:
            Datagrams and requests sent, and how long it took [s].
        """
        before = self._sent
        period = AT_ONCE / rate
        start = due = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            if due > now:
                time.sleep(due - now)
            due = max(due + period, now)
            self.send(AT_ONCE)
        took = time.perf_counter() - start
        return self._sent - before, self._asked(self._sent) - self._asked(before), took

    def _asked(self, sent: int) -> int:
        rounds, rest = divmod(sent, DIFFERENT)
        return int(rounds * self.requests[-1] + self.requests[rest])


def requests_in(contents: bytes) -> int:
    """How many search requests a datagram has."""
    at = count = 0
    while at < len(contents):
        count += contents[at + 1] == 6
        at += 16 + int.from_bytes(contents[at + 2 : at + 4], "big")
    return count


class ClientsProcess:
    """`Clients` in another process, that send on command."""

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "tests.bench.epics_sender", str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdout.readline()

    def __enter__(self) -> ClientsProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def begin(self, rate: float, seconds: float) -> None:
        """Start sending ``rate`` datagrams per second."""
        print(rate, seconds, file=self._process.stdin, flush=True)

    def end(self) -> tuple[int, int, float]:
        """Wait until all is sent: datagrams, requests, and how long that took [s]."""
        datagrams, requests, took = self._process.stdout.readline().split()
        return int(datagrams), int(requests), float(took)


def main(port: int) -> None:
    """Send what is asked for on the standard input, and answer what was sent."""
    clients = Clients(port)
    print("ready", flush=True)
    for line in sys.stdin:
        rate, seconds = line.split()
        print(*clients.play(float(rate), float(seconds)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
