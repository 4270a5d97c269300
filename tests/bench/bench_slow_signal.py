"""Camera packets per second, and CPU per packet: ``python -m tests.bench.bench_slow_signal``.

Part 1, decode and assemble. A packet is 1440 bytes: 10 readouts of one of 32 modules.

"In memory": batches as the receiver hands them over, without a socket.

From real UDP on loopback, sent by another process, in one run:

- ``bare loop``: recvmmsg in a Python loop that looks at each datagram's size, sender and first byte
  of the TACK. What one would write by hand to find the limit.
- ``receiver``: our `UdpReceiver`, that counts.
- ``assemble``: the same with decoding and assembling; every readout must come out complete, and
  every 64th batch is compared with what was sent.
- ``gathering``: the same, where packets gather for a moment before they are taken, so that batches
  are larger, as in the stream.

"drain" fills the kernel's buffer while nobody reads, and times the emptying. "live" finds the
highest rate at which twice nothing is lost; batches grow with the rate. CPU is that of the
receiving process, all threads. Where the sender is the limit, it says so.
"""

from __future__ import annotations

import argparse
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil

from socs.slow_signal.assemble import Assembler
from socs.slow_signal.decode import MAX_READOUTS, decode
from socs.slow_signal.layout import ALL_PRESENT, MODULES, WIRE, Readouts
from socs.slow_signal.stream import BATCH, GATHER
from socs.wire.batch import Batch
from socs.wire.recvmmsg import DatagramMemory, RecvmmsgReader
from socs.wire.udp import UdpReceiver
from socs.wire.udp_socket import KernelDrops, bind_udp, grant_receive_buffer
from tests.bench.camera_sender import COUNTS, READOUTS, CameraProcess
from tests.slow_signal_packets import STEP, T0, batch, packet

BUFFER = 32 << 20  # bytes
WIDTH = MAX_READOUTS * WIRE.itemsize  # bytes kept of a datagram
RATES = (0, 300_000, 250_000, 200_000, 160_000, 130_000, 100_000, 80_000, 60_000, 40_000, 20_000)
MIB = 1 << 20


# -- in memory ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """What arrives: (set, module) of each packet, in order."""

    name: str
    sets: np.ndarray
    modules: np.ndarray


def streams(count: int) -> list[Stream]:
    """Streams of about ``count`` packets."""
    sets, modules = np.divmod(np.arange(count), MODULES)
    rng = np.random.default_rng(0)

    def delayed(share: float, packets: int) -> np.ndarray:
        late = packets * (rng.random(count) < share)
        return np.argsort(np.arange(count) + late, kind="stable")

    def chosen(name: str, rows: np.ndarray) -> Stream:
        return Stream(name, sets[rows], modules[rows])

    copies = rng.choice([0, 1, 2], count, p=[0.01, 0.98, 0.01])
    return [
        chosen("in order", np.arange(count)),
        chosen("one module away", np.flatnonzero(modules != 5)),
        chosen(
            "all late by up to 2 sets", np.argsort(np.arange(count) + rng.integers(0, 64, count))
        ),
        chosen("5 % late by a set", delayed(0.05, 40)),
        chosen("1 % lost, 1 % doubled", np.repeat(np.arange(count), copies)),
    ]


def in_memory(stream: Stream, size: int) -> tuple[float, float]:
    """CPU of decoding, and of assembling, per packet [us], in batches of ``size``."""
    first = batch([packet(module, 0) for module in range(MODULES)], width=WIDTH)
    wire = first.data[:, : READOUTS * WIRE.itemsize].view(WIRE)
    data = np.zeros((size, WIDTH), np.uint8)
    rows = data[:, : READOUTS * WIRE.itemsize].view(WIRE)
    sizes = np.full(size, READOUTS * WIRE.itemsize, np.uint32)
    assembler, decoding, assembling, out = Assembler(), 0.0, 0.0, 0
    total = len(stream.sets) // size * size
    for start in range(0, total, size):
        modules = stream.modules[start : start + size]
        rows[...] = wire[modules]
        readouts = READOUTS * stream.sets[start : start + size, None] + np.arange(READOUTS)
        rows["tack"] = T0 + STEP * readouts
        arrived = Batch(data, sizes, first.hosts[modules], first.ports[modules], time.time())
        begun = time.thread_time()
        packets = decode(arrived)
        decoded = time.thread_time()
        out += len(assembler.feed(packets, time.monotonic()))
        assembling += time.thread_time() - decoded
        decoding += decoded - begun
    out += len(assembler.flush())
    expected = len(np.unique(stream.sets[:total])) * READOUTS
    if out != expected or assembler.totals()["parts_late"]:
        raise SystemExit(f"{out} readouts of {expected}: {assembler.totals()}")
    return decoding / total * 1e6, assembling / total * 1e6


def print_in_memory(count: int, repeats: int) -> None:
    print(
        f"{'in memory':26} {'batch':>6} {'decode':>8} {'assemble':>9} {'sum':>8}  [us/packet, CPU]"
    )
    for stream in streams(count):
        for size in (32, 64, 128, 256, 512, 1024) if stream.name == "in order" else (32, 256):
            best = min((in_memory(stream, size) for _ in range(repeats)), key=sum)
            print(f"{stream.name:26} {size:6} {best[0]:8.2f} {best[1]:9.2f} {sum(best):8.2f}")


# -- from real UDP --------------------------------------------------------------------------------


class BareLoop:
    """The limit: take batches and look at each datagram once."""

    def __init__(self, size: int) -> None:
        self._socket = bind_udp("127.0.0.1", 0)
        grant_receive_buffer(self._socket, BUFFER)
        self._reader = RecvmmsgReader(self._socket, DatagramMemory(size, WIDTH))
        self._drops = KernelDrops(self._socket)
        self._stopping = False
        self._thread = threading.Thread(target=self._run)
        self.port: int = self._socket.getsockname()[1]
        self.taken = self.batches = self.looked_at = 0

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        ready = select.poll()
        ready.register(self._socket, select.POLLIN)
        memory = self._reader.buffers
        lengths, hosts, tacks = memory.headers["length"], memory.names["host"], memory.data[:, 7]
        while not self._stopping:
            count = self._reader.read()
            if not count:
                ready.poll(100)
                continue
            self.looked_at += int((lengths[:count] != 1440).sum())
            self.looked_at += int(hosts[:count].sum()) + int(tacks[:count].sum())
            self.taken += count
            self.batches += 1

    def stop(self) -> int:
        """End; how many datagrams the kernel dropped."""
        self._stopping = True
        self._thread.join()
        dropped = self._drops.new()
        self._socket.close()
        return dropped

    def verify(self, sent: int) -> None:
        """Nothing is known of what was in them."""


class Receiver:
    """`UdpReceiver`, and nothing behind it."""

    def __init__(self, size: int, gather: float = 0.0) -> None:
        self._receiver = UdpReceiver(
            "127.0.0.1",
            0,
            self.take,
            receive_buffer=BUFFER,
            max_datagram=WIDTH,
            batch=size,
            gather=gather,
        )
        self._receiver.open()
        self.port = self._receiver.port
        self.taken = self.batches = 0

    def start(self) -> None:
        self._receiver.start()

    def take(self, arrived: Batch) -> None:
        self.taken += len(arrived)
        self.batches += 1

    def stop(self) -> int:
        """End; how many datagrams the kernel dropped."""
        self._receiver.stop()
        return int(self._receiver.stats()["kernel_drops"])

    def verify(self, sent: int) -> None:
        """Nothing is known of what was in them."""


class Assembling(Receiver):
    """`UdpReceiver`, decoding, assembling."""

    def __init__(self, size: int, gather: float = 0.0) -> None:
        super().__init__(size, gather)
        self._assembler = Assembler()
        self._wrong = 0

    def take(self, arrived: Batch) -> None:
        readouts = self._assembler.feed(decode(arrived), time.monotonic())
        super().take(arrived)
        if self.batches % 64 == 0 and len(readouts):
            self._compare(readouts)

    def _compare(self, readouts: Readouts) -> None:
        places = (readouts["tack"] - np.uint64(T0)) // np.uint64(STEP)
        right = (readouts["counts"] == COUNTS[places % np.uint64(len(COUNTS))]).all(axis=(1, 2))
        right &= readouts["present"] == ALL_PRESENT
        self._wrong += int(np.count_nonzero(~right))

    def verify(self, sent: int) -> None:
        """After ``sent`` packets, none of which was dropped: all is there and right."""
        totals = self._assembler.totals()
        if self._wrong or totals["readouts_complete"] * MODULES != sent * READOUTS:
            raise SystemExit(f"{self._wrong} readouts wrong of {sent} packets: {totals}")


class Gathering(Assembling):
    """The same, with larger batches at low rates."""

    def __init__(self, size: int) -> None:
        super().__init__(size, GATHER)


Loop = BareLoop | Receiver
LOOPS: dict[str, Callable[[int], Loop]] = {
    "bare loop": BareLoop,
    "receiver": Receiver,
    "assemble": Assembling,
    "gathering": Gathering,
}


@dataclass(frozen=True)
class Measured:
    """Rate [packets/s], CPU [us/packet], mean batch [packets], packets lost, memory [bytes]."""

    rate: float
    cpu: float
    batch: float
    lost: int
    rss: int


def measure(make: Callable[[int], Loop], size: int, sets: int, rate: float | None) -> Measured:
    """Play ``sets`` at ``rate``, 0 for flat out; None to fill the kernel's buffer first."""
    loop, expected = make(size), sets * MODULES
    with CameraProcess(loop.port) as camera:
        if rate is None:
            camera.begin(sets)
            camera.end()
        cpu, begun = time.process_time(), time.perf_counter()
        loop.start()
        if rate is not None:
            camera.begin(sets, rate)
            seconds = camera.end()
        deadline = time.monotonic() + 2
        while loop.taken < expected and time.monotonic() < deadline:
            time.sleep(0.0005)
        cpu = time.process_time() - cpu
        if rate is None:
            seconds = time.perf_counter() - begun
    rss = psutil.Process().memory_info().rss
    lost = loop.stop()
    if loop.taken + lost != expected:
        raise SystemExit(f"{expected} sent, {loop.taken} taken, {lost} dropped")
    if not lost:
        loop.verify(expected)
    taken = max(loop.taken, 1)
    return Measured(expected / seconds, cpu / taken * 1e6, taken / max(loop.batches, 1), lost, rss)


def highest(make: Callable[[int], Loop], size: int, seconds: float) -> tuple[Measured, float]:
    """The highest rate without loss, twice in a row, and the rate that was asked for."""
    for rate in RATES:
        sets = int((rate or 400_000) * seconds / MODULES)
        trials = []
        while len(trials) < 2 and not (trials and trials[-1].lost):
            trials.append(measure(make, size, sets, rate))
        if not trials[-1].lost:
            return min(trials, key=lambda trial: trial.rate), rate
    return trials[-1], rate


def print_from_udp(size: int, seconds: float) -> None:
    print(f"\nfrom UDP, batches of at most {size}")
    print(f"{'':12} {'drain':>11} {'us CPU':>7} {'ratio':>6} {'live':>11} {'ratio':>6}", end="")
    print(f" {'us CPU':>7} {'batch':>6} {'RSS MiB':>8}")
    bare: dict[str, float] = {}
    for name, make in LOOPS.items():
        drains = [measure(make, size, 800, None) for _ in range(3)]
        drain = max(drains, key=lambda each: each.rate)
        live, asked = highest(make, size, seconds)
        bare = bare or {"drain": drain.rate, "live": live.rate}
        print(
            f"{name:12} {drain.rate:9,.0f}/s {drain.cpu:7.2f} {drain.rate / bare['drain']:6.2f} "
            f"{live.rate:9,.0f}/s {live.rate / bare['live']:6.2f} {live.cpu:7.2f} "
            f"{live.batch:6.1f} {live.rss / MIB:8.0f}"
            + ("" if asked else "  the sender is the limit")
            + (f"  {live.lost} lost" if live.lost else "")
        )


def print_at_rates(size: int, seconds: float) -> None:
    print(f"\n{'at':>12}" + 2 * f" {'us CPU':>9} {'batch':>6} {'lost':>6}" + "   (gathering)")
    for rate in (3_200, 20_000, 40_000, 80_000, 120_000):
        print(f"{rate:10,}/s", end="")
        for make in (Assembling, Gathering):
            done = measure(make, size, int(rate * seconds / MODULES), rate)
            print(f" {done.cpu:9.2f} {done.batch:6.1f} {done.lost:6}", end="")
        print(f"   {done.rate:10,.0f}/s sent")


def main(args: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packets", type=int, default=20_480, help="per figure in memory")
    parser.add_argument("--repeats", type=int, default=3, help="of which the best counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="per live trial")
    parser.add_argument("--batch", type=int, default=BATCH, help="datagrams per system call")
    options = parser.parse_args(args)
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}")
    print_in_memory(options.packets, options.repeats)
    print_from_udp(options.batch, options.seconds)
    print_at_rates(options.batch, options.seconds)


if __name__ == "__main__":
    main()
