"""Files of readouts: ``python -m tests.bench.bench_slow_signal_files``.

Bytes of a readout, and rates of writing, reading in order, loading the column of amplitudes, and
access at random. All layouts in one run, on slowly varying data as the peer's simulator makes it,
rounds interleaved, medians. Rates are readouts per second of the clock, and (in brackets) of this
process's CPU time: other programs slow down the former only. Files are written as the builder
writes them: 10 readouts at a time, journal, HDF5, flushed to the disk and named.

With ``--peer`` the peer's own classes do the same in the same run: give a Python that can import
SSDAQ's ``ssdaq.data.io``, for example ``--peer "/tmp/peer/bin/python" --peer-path /tmp/SSDAQ``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from socs.counters import SLOW_SIGNAL_FILES, Counters
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import SSDataReader, formats
from socs.slow_signal.store.naming import Names
from socs.slow_signal.store.series import FileSeries, SeriesSettings
from tests.camera_data import random_walk

TOGETHER = 10  # readouts, as the assembler hands them over
FIGURES = ("bytes", "write", "read", "column", "random")
Figures = dict[str, list[tuple[float, float]]]  # readouts/s by clock and by CPU

PEER = """
import json, sys, time
import numpy as np
from ssdaq.data import SSReadout
from ssdaq.data.io import SSDataReader, SSDataWriter
path, count, picks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = np.load(path + ".npy")[:count]
readouts = [
    SSReadout(int(r["tack"]), int(r["number"]), int(r["cpu_ns"]) // 10**9,
              int(r["cpu_ns"]) % 10**9, r["counts"] * (0.03815 * 2.0))
    for r in rows
]
def timed(do):
    clock, cpu = time.perf_counter(), time.process_time()
    number = do()
    return number / (time.perf_counter() - clock), number / (time.process_time() - cpu)
def write():
    writer = SSDataWriter(path)
    for readout in readouts:
        writer.write_readout(readout)
    writer.close_file()
    return count
def read():
    for _ in reader.read():
        pass
    return count
def random():
    for number in np.random.default_rng(1).integers(0, count, picks):
        reader[int(number)]
    return picks
result = {"write": timed(write)}
reader = SSDataReader(path)
result["read"] = timed(read)
reader.close_file()
reader = SSDataReader(path)
result["random"] = timed(random)
print(json.dumps(result))
"""


@contextmanager
def timed(figures: Figures, name: str, count: int) -> Iterator[None]:
    """Adds the rate of what is done in the block, ``count`` readouts."""
    clock, cpu = time.perf_counter(), time.process_time()
    yield
    seconds, busy = time.perf_counter() - clock, time.process_time() - cpu
    figures.setdefault(name, []).append((count / seconds, count / busy))


def write(folder: Path, layout: str, readouts: Readouts) -> Path:
    """A file, written as the builder does."""
    done: list[str] = []
    series = FileSeries(
        Names(folder, layout, None),
        SeriesSettings(layout=layout),
        counters=Counters(SLOW_SIGNAL_FILES),
        on_finished=lambda completed: done.append(completed.path),
    )
    series.start(time.monotonic())
    for start in range(0, len(readouts), TOGETHER):
        series.write(readouts[start : start + TOGETHER], time.monotonic())
    series.close(time.monotonic())
    return Path(done[0])


def measure(folder: Path, layout: str, readouts: Readouts, picks: int, figures: Figures) -> None:
    """One round of one layout."""
    count = len(readouts)
    with timed(figures, "write", count):
        path = write(folder, layout, readouts)
    figures["bytes"] = [(path.stat().st_size / count, 0.0)]
    with SSDataReader(path) as reader, timed(figures, "read", count):
        for _ in reader.read():
            pass
    with SSDataReader(path) as reader, timed(figures, "column", count):
        reader.column("data")
    with SSDataReader(path) as reader, timed(figures, "random", picks):
        for number in np.random.default_rng(1).integers(0, count, picks):
            reader[number]
    path.unlink()


def measure_peer(
    folder: Path, command: str, source: str, count: int, picks: int, figures: Figures
) -> None:
    """One round of the peer, in a process of its own."""
    path = folder / "peer.hdf5"
    done = subprocess.run(
        [*shlex.split(command), "-c", PEER, str(path), str(count), str(picks)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    for name, rates in json.loads(done.stdout.splitlines()[-1]).items():
        figures.setdefault(name, []).append(tuple(rates))
    figures["bytes"] = [(path.stat().st_size / count, 0.0)]
    with SSDataReader(path) as reader, timed(figures, "ours", count):
        for _ in reader.read():
            pass
    path.unlink()


def shown(values: list[tuple[float, float]] | None) -> str:
    """Medians of both kinds of rates."""
    if not values:
        return "-"
    clock, cpu = (statistics.median(kind) for kind in zip(*values, strict=True))
    digits = 1 if clock < 100 else 0
    return f"{clock:,.{digits}f} ({cpu:,.{digits}f})"


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readouts", type=int, default=20_000, help="of a native file")
    parser.add_argument("--exchange", type=int, default=4_000, help="of a file of the peers")
    parser.add_argument("--picks", type=int, default=1_000, help="readouts at random")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="command of a Python that can import the peer")
    parser.add_argument("--peer-path", default="", help="where the peer's package is")
    options = parser.parse_args(args)
    readouts = random_walk(options.readouts, first=2)
    tasks: dict[str, Callable[[Path, Figures], None]] = {}
    for layout in formats.LAYOUTS:
        some = readouts if layout == formats.NATIVE else readouts[: options.exchange]
        tasks[layout] = lambda folder, figures, layout=layout, some=some: measure(
            folder, layout, some, options.picks, figures
        )
    if options.peer:
        tasks["peer"] = lambda folder, figures: measure_peer(
            folder, options.peer, options.peer_path, options.exchange, 20, figures
        )
    results: dict[str, Figures] = {name: {} for name in tasks}
    with tempfile.TemporaryDirectory() as directory:
        np.save(f"{directory}/peer.hdf5.npy", readouts[: options.exchange])
        for _ in range(options.rounds):
            for name, task in tasks.items():
                task(Path(directory), results[name])
    print(f"{'':8} {'bytes':>7} " + " ".join(f"{name + ' [1/s]':>20}" for name in FIGURES[1:]))
    for name, figures in results.items():
        columns = " ".join(f"{shown(figures.get(figure)):>20}" for figure in FIGURES[1:])
        print(f"{name:8} {figures['bytes'][0][0]:7,.0f} {columns}")
    if options.peer:
        print(f"the peer's file, read by us: {shown(results['peer']['ours'])}")


if __name__ == "__main__":
    main()
