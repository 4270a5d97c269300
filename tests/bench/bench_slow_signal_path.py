"""The slow signal, stage by stage: ``python -m tests.bench.bench_slow_signal_path``.

A camera in a process of its own plays 32 modules, 10 readouts in each packet, with the counts of a
random walk. Another process takes the packets, and in each row of the table it does more:

- ``bare loop``: takes batches and looks at each packet once: the limit.
- ``assemble``: `UdpReceiver`, decoding, assembling. Every readout must come out complete, and those
  of each 64th batch are compared with what was sent.
- ``publish``: `SlowSignalStream`, publishing in the layout of 16 912 bytes. A third process
  subscribes and checks every message: its length, its number and TACK, whether all modules are
  there, and each 50th value by value.
- ``publish, write``: that with native files, which are read and compared value by value.

"drain" fills the kernel's buffer while nobody takes anything, and times the emptying until all is
assembled or published; the median of three, rows taking turns. "of bare" is how much CPU the bare
loop needs for that, divided by what the row needs.

"lossless": rates are tried from the highest down until twice in a row nothing is lost anywhere: no
datagram, no readout, no message, no row of a file, and all is right. The rate is that which was
really sent, the lower one of the two; where the camera did not keep the pace asked for, it says so.

CPU, per packet, is that of the process under test, all threads, with those of ZMQ and of the file
writer; while others use the machine, it tells more than rates do. So is RSS, at the end of a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import zmq

from socs.counters import imbalances
from socs.slow_signal.layout import ALL_PRESENT, MODULES, MV_PER_COUNT
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.readout import MESSAGES
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.store import SSDataReader
from socs.slow_signal.stream import BATCH, EQUATIONS, SlowSignalStream
from socs.testing import wait_until
from tests.bench.bench_slow_signal import BareLoop, Gathering, Loop, measure
from tests.bench.camera_sender import COUNTS, READOUTS, CameraProcess
from tests.slow_signal_packets import STEP, T0

FAST = (0, 300_000, 250_000, 200_000)  # packets/s; 0 is flat out, for the first two rows
RATES = (160_000, 130_000, 100_000, 80_000, 60_000, 50_000, 40_000, 30_000, 20_000, 10_000, 5_000)
FLAT_OUT = 400_000  # packets/s, to have enough of them
AT_ONCE = 1000  # readouts of a file that are compared
ROUNDS = 3
DRAINED = 800  # sets; the kernel's buffer of 32 MiB holds them
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
            right = np.array_equal(row["data"], MV_PER_COUNT * COUNTS[index % len(COUNTS)])
            right &= bool((row["tacks"] == tack).all())
        self.wrong += not right


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


def receive(make: Callable[[int], Loop], rate: int | None, seconds: float) -> Trial:
    """Play ``seconds`` at ``rate``; None: fill the kernel's buffer before anything is taken."""
    done = measure(make, BATCH, number_of_sets(rate, seconds), rate)
    return Trial(done.rate, done.cpu, done.rss, f"{done.lost} lost" if done.lost else "")


def number_of_sets(rate: int | None, seconds: float) -> int:
    return DRAINED if rate is None else int((rate or FLAT_OUT) * seconds / MODULES)


def whole_way(rate: int | None, seconds: float, *, stored: bool) -> Trial:
    """The same with the whole stream, with files or without."""
    with tempfile.TemporaryDirectory() as folder:
        return whole_way_into(Path(folder) if stored else None, rate, seconds)


def whole_way_into(folder: Path | None, rate: int | None, seconds: float) -> Trial:
    """Write readouts into ``folder``, if any."""
    sets = number_of_sets(rate, seconds)
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
    faults = _faults(numbers, sets, heard, folder)
    return Trial(sets * MODULES / took, cpu / sets / MODULES * 1e6, rss, faults)


def _out(numbers: dict[str, int], sets: int) -> bool:
    return numbers["readouts_out"] >= sets * READOUTS or numbers["kernel_drops"] > 0


def _at_rest(numbers: dict[str, int], sets: int) -> bool:
    taken = numbers["datagrams_received"] + numbers["kernel_drops"] >= sets * MODULES
    return taken and not numbers["readouts_queued"] and not numbers["readouts_unflushed"]


def _faults(numbers: dict[str, int], sets: int, heard: tuple[int, int], folder: Path | None) -> str:
    readouts = sets * READOUTS
    wanted = {
        "kernel_drops": 0,
        "publisher_overflows": 0,
        "readouts_complete": readouts,
        "readouts_out": readouts,
        "readouts_published": readouts,
        "readouts_written": readouts if folder else 0,
    }
    found = [f"{name} {numbers[name]}" for name, value in wanted.items() if numbers[name] != value]
    if heard != (readouts, 0):
        found.append(f"{heard[0]} of {readouts} heard, {heard[1]} wrong")
    if folder:
        count, wrong = _stored(folder)
        if (count, wrong) != (readouts, 0):
            found.append(f"{count} of {readouts} in files, {wrong} wrong")
    return ", ".join(found + [f"unaccounted {name}" for name in imbalances(numbers, EQUATIONS)])


def _stored(folder: Path) -> tuple[int, int]:
    """Readouts in the files, and how many of them are wrong."""
    found = wrong = 0
    for path in sorted(folder.glob("*.hdf5")):
        with SSDataReader(path) as reader:
            for start in range(0, len(reader), AT_ONCE):
                readouts = reader.readouts(start, min(start + AT_ONCE, len(reader)))
                indices = found + np.arange(len(readouts))
                right = (readouts["counts"] == COUNTS[indices % len(COUNTS)]).all(axis=(1, 2))
                right &= readouts["number"] == indices + 1
                right &= readouts["present"] == ALL_PRESENT
                right &= (readouts["tacks"] == (T0 + STEP * indices)[:, None, None]).all(
                    axis=(1, 2)
                )
                wrong += int(np.count_nonzero(~right))
                found += len(readouts)
    return found, wrong


Row = Callable[[int | None, float], Trial]
ROWS: dict[str, tuple[Row, Sequence[int]]] = {
    "bare loop": (partial(receive, BareLoop), FAST + RATES),
    "assemble": (partial(receive, Gathering), FAST + RATES),
    "publish": (partial(whole_way, stored=False), RATES),
    "publish, write": (partial(whole_way, stored=True), RATES),
}


# -- the table ------------------------------------------------------------------------------------


def trial(name: str, rate: int | None, seconds: float) -> Trial:
    """A trial of a row in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bench_slow_signal_path", "--trial", name]
    command += ["--seconds", str(seconds)] + ([] if rate is None else ["--rates", str(rate)])
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Trial(**json.loads(done.stdout))


def highest(name: str, rates: Sequence[int], seconds: float) -> tuple[Trial, list[str]]:
    """The highest of ``rates`` without any fault, twice; and why none is higher."""
    failed = []
    for rate in rates:
        trials: list[Trial] = []
        while len(trials) < 2 and not (trials and trials[-1].faults):
            trials.append(trial(name, rate, seconds))
        if not trials[-1].faults:
            slower = min(trials, key=lambda each: each.rate)
            if slower.rate < 0.98 * rate or not rate:
                failed.append(
                    f"{rate or FLAT_OUT:,}/s: nothing lost, but the camera did not keep pace"
                )
            return slower, failed
        failed.append(f"{rate:,}/s, of which {trials[-1].rate:,.0f}/s sent: {trials[-1].faults}")
    return trials[-1], failed


def main(args: list[str] | None = None) -> None:
    """Print the table, or be the subscriber, or do one trial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rates", type=int, nargs="+", help="packets per second; 0 is flat out")
    parser.add_argument("--seconds", type=float, default=3.0, help="per trial")
    parser.add_argument("--trial", metavar="ROW", help="do one trial of this row")
    parser.add_argument("--subscribe", metavar="ENDPOINT", help="be the subscriber")
    options = parser.parse_args(args)
    if options.subscribe:
        subscribe(options.subscribe)
    elif options.trial:
        rate = options.rates[0] if options.rates else None
        print(json.dumps(asdict(ROWS[options.trial][0](rate, options.seconds))))
    else:
        print_table(options.rows, options.rates, options.seconds)


def print_table(rows: Sequence[str], rates: Sequence[int] | None, seconds: float) -> None:
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}")
    drains: dict[str, list[Trial]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name in rows:
            drains[name].append(trial(name, None, seconds))
    cpu = {name: statistics.median(each.cpu for each in drains[name]) for name in rows}
    print(f"{'':15} {'drain':>12} {'us CPU':>7} {'of bare':>7}", end="")
    print(f" {'lossless':>12} {'us CPU':>7} {'RSS MiB':>8}")
    for name in rows:
        best, failed = highest(name, rates or ROWS[name][1], seconds)
        drained = statistics.median(each.rate for each in drains[name])
        print(
            f"{name:15} {drained:10,.0f}/s {cpu[name]:7.2f} {cpu[rows[0]] / cpu[name]:7.2f}"
            f" {best.rate:10,.0f}/s {best.cpu:7.2f} {best.rss / MIB:8.0f}"
            + (f"  not even that: {best.faults}" if best.faults else "")
        )
        for line in [f"drained with {each.faults}" for each in drains[name] if each.faults]:
            print(f"    {line}")
        for line in failed:
            print(f"    at {line}")
    print(f"load of this machine after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
