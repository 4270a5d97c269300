"""A camera of 32 modules in a process of its own, for benchmarks: as fast as one can send.

Each module sends from an address of its own, 127.0.1.100 to .131, through one socket (IP_PKTINFO).
A set is one packet of each, sent in one burst. Counts are those of the simulated camera: a random
walk, the same again every `SETS` sets. TACKs go on from set to set.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import IPv4Address

import numpy as np

from socs.sim.camera_walk import Walk
from socs.sim.datagram_sender import DatagramSender
from socs.slow_signal.layout import MODULES, PIXELS, SIGN, WIRE
from tests.slow_signal_packets import FIRST_OCTET, NETWORK, STEP, T0

READOUTS = 10  # in a packet
SETS = 80
LONGEST_CALL = 8  # sets
# Of readout i they are COUNTS[i % len(COUNTS)]: shape (800, 32, 64).
COUNTS = Walk(seed=1, length=SETS * READOUTS // 2 + 1).counts


class Camera:
    """The sending side; up to ``LONGEST_CALL`` sets with one system call."""

    def __init__(self, port: int) -> None:
        rows = LONGEST_CALL * MODULES
        self._wire = np.zeros((SETS, MODULES, READOUTS), WIRE)
        counts = COUNTS.reshape(SETS, READOUTS, MODULES, PIXELS).swapaxes(1, 2) ^ SIGN
        self._wire["low"], self._wire["high"] = counts[..., :32], counts[..., 32:]
        self._memory = self._wire.reshape(-1).view(np.uint8)
        self._length = WIRE.itemsize * READOUTS
        self._offsets = self._length * np.arange(rows)
        self._which = np.arange(rows)
        first = NETWORK + FIRST_OCTET
        addresses = [str(IPv4Address(first + module)) for module in range(MODULES)]
        self._sender = DatagramSender("127.0.0.1", port, addresses * LONGEST_CALL, "sendmmsg")
        self._sets = 0

    def send(self, sets: int) -> None:
        """Send the next ``sets``, at most `LONGEST_CALL`, in one burst."""
        while sets:
            first = self._sets % SETS
            count = min(sets, SETS - first)
            readouts = READOUTS * (self._sets + np.arange(count)[:, None, None])
            tacks = T0 + STEP * (readouts + np.arange(READOUTS))
            wire = self._wire[first : first + count]
            wire["tack"] = wire["aux"] = tacks
            rows, begin = count * MODULES, first * MODULES * self._length
            self._sender.send(
                self._memory, self._offsets[:rows] + begin, self._length, self._which[:rows]
            )
            self._sets += count
            sets -= count

    def play(self, sets: int, rate: float) -> float:
        """Send ``sets`` at ``rate`` packets per second, 0 for flat out; how long it took [s].

        After a stall it goes on at the same rate, and does not make up for the time lost.
        """
        at_once = LONGEST_CALL if not rate or rate > 100_000 else 1
        period = at_once * MODULES / rate if rate else 0.0
        start = due = time.perf_counter()
        for sent in range(0, sets, at_once):
            while (now := time.perf_counter()) < due:
                if due - now > 0.0005:
                    time.sleep(due - now - 0.0003)
            due = max(due + period, now)
            self.send(min(at_once, sets - sent))
        return time.perf_counter() - start


@dataclass
class CameraProcess:
    """A `Camera` in another process, that sends on command."""

    port: int

    def __enter__(self) -> CameraProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.camera_sender", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def begin(self, sets: int, rate: float = 0.0) -> None:
        """Start sending ``sets`` at ``rate`` packets per second, 0 for flat out."""
        print(sets, rate, file=self._process.stdin, flush=True)

    def end(self) -> float:
        """Wait until they are sent; how long that took [s]."""
        return float(self._process.stdout.readline())


def main(port: int) -> None:
    """Send what is asked for on the standard input, and answer how long it took."""
    camera = Camera(port)
    print("ready", flush=True)
    for line in sys.stdin:
        sets, rate = line.split()
        print(camera.play(int(sets), float(rate)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
