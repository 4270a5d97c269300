"""Clients of Channel Access in a process of its own, for benchmarks: as fast as one can send.

Two hundred hosts, 127.0.1.1 to .200, send the datagrams of :mod:`tests.bench.epics_capture` over
and over, at a rate, from some sockets in turn. What was sent is told exactly, for each source too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from ipaddress import IPv4Address
from typing import NamedTuple

import numpy as np

from socs.sim.datagram_sender import DatagramSender
from tests.bench.epics_capture import capture

HOSTS, SOCKETS = 200, 3
FIRST = int(IPv4Address("127.0.1.1"))
DIFFERENT = 20_000  # datagrams
AT_ONCE = 100  # in one system call; DIFFERENT is a multiple of it
LATEST = 0.1  # s that are made up for after a stall


class Sent(NamedTuple):
    """What was sent, how long that took [s], and the CPU time of the process for it [s].

    ``sources`` has datagrams and requests by source, ``127.0.1.1:4711``.
    """

    datagrams: int
    requests: int
    took: float
    cpu: float
    sources: dict[str, tuple[int, int]]


class Clients:
    """The sending side."""

    def __init__(self, port: int, seed: int = 1) -> None:
        datagrams, _ = capture(DIFFERENT, hosts=HOSTS, seed=seed)
        contents = [each.contents for each in datagrams]
        self._lengths = np.array([len(each) for each in contents])
        self._offsets = np.cumsum(self._lengths) - self._lengths
        self._memory = np.frombuffer(b"".join(contents), np.uint8)
        self._requests = np.array([requests_in(each) for each in contents])
        sources = [str(IPv4Address(FIRST + host)) for host in range(HOSTS)]
        self._senders = [
            DatagramSender("127.0.0.1", port, sources, "sendmmsg") for _ in range(SOCKETS)
        ]
        self._which = np.arange(DIFFERENT) % HOSTS
        self._sent = 0

    def send(self) -> None:
        """Send the next `AT_ONCE`."""
        begin = self._sent % DIFFERENT
        part = slice(begin, begin + AT_ONCE)
        sender = self._senders[self._sent // AT_ONCE % SOCKETS]
        sender.send(self._memory, self._offsets[part], self._lengths[part], self._which[part])
        self._sent += AT_ONCE

    def play(self, rate: float, seconds: float) -> Sent:
        """Send for ``seconds`` at ``rate`` datagrams per second; `LATEST` limits what is made up
        for after a stall.
        """
        before, cpu = self._sent, time.process_time()
        period = AT_ONCE / rate
        start = due = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            if due > now:
                time.sleep(due - now)
            due = max(due + period, now - LATEST)
            self.send()
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        sources = self._by_source(before, self._sent)
        requests = sum(each[1] for each in sources.values())
        return Sent(self._sent - before, requests, took, cpu, sources)

    def _by_source(self, begin: int, end: int) -> dict[str, tuple[int, int]]:
        """Datagrams and requests of each source in those from ``begin`` on, before ``end``."""
        sent = np.arange(begin, end)
        source = sent // AT_ONCE % SOCKETS * HOSTS + self._which[sent % DIFFERENT]
        datagrams = np.bincount(source, minlength=SOCKETS * HOSTS)
        requests = np.bincount(source, self._requests[sent % DIFFERENT], SOCKETS * HOSTS)
        told = [
            f"{IPv4Address(FIRST + host)}:{sender.port}"
            for sender in self._senders
            for host in range(HOSTS)
        ]
        amounts = zip(datagrams.tolist(), requests.astype(int).tolist(), strict=True)
        return {name: each for name, each in zip(told, amounts, strict=True) if each[0]}


def requests_in(contents: bytes) -> int:
    """How many search requests a datagram has."""
    at = count = 0
    while at < len(contents):
        count += contents[at + 1] == 6
        at += 16 + int.from_bytes(contents[at + 2 : at + 4], "big")
    return count


class ClientsProcess:
    """`Clients` in another process, that send on command.

    Attributes:
        pid: of the process.
    """

    def __init__(self, port: int) -> None:
        command = [sys.executable, "-m", "tests.bench.epics_sender", str(port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process.stdout.readline()
        self.pid = self._process.pid

    def __enter__(self) -> ClientsProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def begin(self, rate: float, seconds: float) -> None:
        """Start sending ``rate`` datagrams per second."""
        print(rate, seconds, file=self._process.stdin, flush=True)

    def end(self) -> Sent:
        """Wait until all is sent."""
        return Sent(*json.loads(self._process.stdout.readline()))


def main(port: int) -> None:
    """Send what is asked for on the standard input, and answer what was sent."""
    clients = Clients(port)
    print("ready", flush=True)
    for line in sys.stdin:
        rate, seconds = line.split()
        print(json.dumps(clients.play(float(rate), float(seconds))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
