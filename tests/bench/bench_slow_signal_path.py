"""The whole way of the slow signal: ``python -m tests.bench.bench_slow_signal_path``.

A camera in a process of its own plays 32 modules, 10 readouts in each packet. This process runs
`SlowSignalStream`: receive, decode, assemble, publish in the layout of 16 912 bytes, and, in the
second row, write native files. A third process subscribes and checks every message: its length, its
number and TACK, whether all modules are there, and each 50th value by value.

Rates are tried from the highest down until twice in a row nothing is lost anywhere: no datagram, no
readout, no message, no row of a file, and all is right. The rate is that which was really sent, the
lower one of the two; where the camera did not keep the pace asked for, it says so. "drain" fills
the kernel's buffer while nobody takes anything, and times the emptying until all is published. CPU,
per packet, is that of this process, all threads, with those of ZMQ and of the file writer; while
others use the machine, it tells more than rates do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import zmq

from socs.counters import imbalances
from socs.slow_signal.layout import MODULES, MV_PER_COUNT
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.readout import MESSAGES
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.stream import EQUATIONS, SlowSignalStream
from socs.testing import wait_until
from tests.bench.camera_sender import READOUTS, CameraProcess
from tests.slow_signal_packets import STEP, T0, counts_of

RATES = (160_000, 130_000, 100_000, 80_000, 60_000, 50_000, 40_000, 30_000, 20_000, 10_000, 5_000)
DRAINED = 300  # sets; the kernel's buffer of 32 MiB holds them
QUEUE = 10_000  # messages that may wait for the subscriber
MESSAGE = MESSAGES["seed"]
BY_VALUE = 50  # each such message is compared value by value
PROBE, END = 0, 1  # TACKs of messages that are no readouts; these have the number 0
MIB = 1 << 20


# -- the subscriber -------------------------------------------------------------------------------


@dataclass
class Heard:
    """What a subscriber counts."""

    messages: int = 0
    wrong: int = 0
    newest: int = 0

    def take(self, message: bytes) -> None:
        """Check one."""
        self.messages += 1
        number, tack = np.frombuffer(message, "<u8", 2).tolist()
        index = (tack - T0) // STEP
        right = len(message) == MESSAGE.itemsize and number == index + 1 == self.newest + 1
        self.newest = number
        if right and self.messages % BY_VALUE == 0:
            row = np.frombuffer(message, MESSAGE)[0]
            right = np.array_equal(row["data"], VALUES[index % READOUTS])
            right &= bool((row["tacks"] == tack).all())
        self.wrong += not right


VALUES = MV_PER_COUNT * np.array(
    [[counts_of(module, index) for module in range(MODULES)] for index in range(READOUTS)]
)


def subscribe(endpoint: str) -> None:
    """Say when something is heard; at the end, what it was."""
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.set(zmq.RCVHWM, QUEUE)
    socket.subscribe(b"")
    socket.connect(endpoint)
    heard, ready = Heard(), False
    while True:
        message = socket.recv()
        number, tack = np.frombuffer(message, "<u8", 2).tolist()
        if number:
            heard.take(message)
        elif tack == END:
            break
        elif not ready:
            ready = True
            print("ready", flush=True)
    print(json.dumps([heard.messages, heard.wrong]), flush=True)
    socket.close(0)


class Subscriber:
    """`subscribe` in another process."""

    def __init__(self, stream: SlowSignalStream) -> None:
        self._stream = stream
        (self._publisher,) = stream.publishers
        command = [sys.executable, "-m", "tests.bench.bench_slow_signal_path", "--subscribe"]
        self._process = subprocess.Popen(
            [*command, self._publisher.endpoint], stdout=subprocess.PIPE, text=True
        )
        os.set_blocking(self._process.stdout.fileno(), False)
        wait_until(lambda: self._answer_to(PROBE), 30, "the subscription")

    def _answer_to(self, tack: int) -> str:
        mark = np.zeros(1, MESSAGE)
        mark["tack"] = tack
        with self._stream._turn:
            self._publisher.send([memoryview(mark.view(np.uint8))])
            self._publisher.published -= 1
        return self._process.stdout.readline()

    def end(self) -> tuple[int, int]:
        """Messages it has heard, and how many of them were wrong."""
        answer = wait_until(lambda: self._answer_to(END), 60, "the subscriber", period=0.05)
        self._process.communicate(timeout=30)
        messages, wrong = json.loads(answer)
        return messages, wrong


# -- a trial --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """Rate sent [packets/s], CPU [us/packet], memory [bytes], and what went wrong, if anything."""

    rate: float
    cpu: float
    rss: int
    faults: str


def trial(rate: int | None, seconds: float, folder: Path | None) -> Trial:
    """Play ``seconds`` at ``rate``, or None to fill the kernel's buffer before anything is taken.

    Readouts are written into ``folder``, if any.
    """
    sets = DRAINED if rate is None else int(rate * seconds / MODULES)
    stream = SlowSignalStream(
        StreamSettings(
            listen_ip="127.0.0.1",
            listen_port=0,
            publishers=[PublisherSettings("bench", "127.0.0.1", 0, high_water_mark=QUEUE)],
            writer=WriterSettings(folder=str(folder)) if folder else None,
        )
    )
    try:
        subscriber = Subscriber(stream)
        with CameraProcess(stream.receiver.port) as camera:
            if rate is None:
                camera.begin(sets)
                camera.end()
            cpu, begun = time.process_time(), time.perf_counter()
            stream.start()
            if rate is not None:
                camera.begin(sets, rate)
                took = camera.end()
        for wanted in (_out, _at_rest):
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and not wanted(stream.numbers(), sets):
                time.sleep(0.005)
            if rate is None and wanted is _out:
                took = time.perf_counter() - begun
        cpu = time.process_time() - cpu
        rss = psutil.Process().memory_info().rss
        heard = subscriber.end()
    finally:
        numbers = stream.stop(60)
    faults = _faults(numbers, sets, heard, stored=folder is not None)
    return Trial(sets * MODULES / took, cpu / sets / MODULES * 1e6, rss, faults)


def _out(numbers: dict[str, int], sets: int) -> bool:
    return numbers["readouts_out"] >= sets * READOUTS or numbers["kernel_drops"] > 0


def _at_rest(numbers: dict[str, int], sets: int) -> bool:
    taken = numbers["datagrams_received"] + numbers["kernel_drops"] >= sets * MODULES
    return taken and not numbers["readouts_queued"] and not numbers["readouts_unflushed"]


def _faults(numbers: dict[str, int], sets: int, heard: tuple[int, int], *, stored: bool) -> str:
    readouts = sets * READOUTS
    wanted = {
        "kernel_drops": 0,
        "publisher_overflows": 0,
        "readouts_complete": readouts,
        "readouts_out": readouts,
        "readouts_published": readouts,
        "readouts_written": readouts if stored else 0,
    }
    found = [f"{name} {numbers[name]}" for name, value in wanted.items() if numbers[name] != value]
    if heard != (readouts, 0):
        found.append(f"{heard[0]} of {readouts} heard, {heard[1]} wrong")
    return ", ".join(found + [f"unaccounted {name}" for name in imbalances(numbers, EQUATIONS)])


def drain(*, stored: bool) -> Trial:
    """The best of three with the kernel's buffer full at the beginning."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder, str(number)) if stored else None for number in range(3)]
        return min((trial(None, 0, place) for place in places), key=lambda each: each.cpu)


def highest(rates: Sequence[int], seconds: float, *, stored: bool) -> tuple[Trial, list[str]]:
    """The highest of ``rates`` without any fault, twice; and the faults at higher ones."""
    failed = []
    for rate in rates:
        trials: list[Trial] = []
        while len(trials) < 2 and not (trials and trials[-1].faults):
            with tempfile.TemporaryDirectory() as folder:
                trials.append(trial(rate, seconds, Path(folder) if stored else None))
        if not trials[-1].faults:
            slower = min(trials, key=lambda each: each.rate)
            if slower.rate < 0.98 * rate:
                failed.append(f"{rate:,}/s: the camera did not keep that pace")
            return slower, failed
        failed.append(f"{rate:,}/s, of which {trials[-1].rate:,.0f}/s sent: {trials[-1].faults}")
    return trials[-1], failed


def main(args: list[str] | None = None) -> None:
    """Print the table, or be the subscriber."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="packets per second")
    parser.add_argument("--seconds", type=float, default=3.0, help="per trial")
    parser.add_argument("--subscribe", metavar="ENDPOINT", help="be the subscriber")
    options = parser.parse_args(args)
    if options.subscribe:
        subscribe(options.subscribe)
        return
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}")
    print(f"{'':18} {'drain':>12} {'us CPU':>7} {'lossless':>12} {'us CPU':>7} {'RSS MiB':>8}")
    for name, stored in (("publish", False), ("publish and write", True)):
        full = drain(stored=stored)
        best, failed = highest(options.rates, options.seconds, stored=stored)
        note = f"  not even that: {best.faults}" if best.faults else ""
        print(
            f"{name:18} {full.rate:10,.0f}/s {full.cpu:7.2f} {best.rate:10,.0f}/s {best.cpu:7.2f}"
            f" {best.rss / MIB:8.0f}{note}"
        )
        if full.faults:
            print(f"    drained with {full.faults}")
        for line in failed:
            print(f"    not at {line}")


if __name__ == "__main__":
    main()
