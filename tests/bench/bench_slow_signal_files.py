"""Files of readouts: ``python -m tests.bench.bench_slow_signal_files``.

Bytes of a readout, and rates of writing, reading in order, loading the column of amplitudes, and
access at random. All layouts in one run, on slowly varying data as the peer's simulator makes it,
rounds interleaved, medians. Rates are readouts per second of the clock, and (in brackets) of this
process's CPU time: other programs slow down the former only. Files are written as the builder
writes them: 10 readouts at a time, journal, HDF5, flushed to the disk and named.

Where SSDAQ is set up (see :mod:`tests.ssdaq_peer`), its own writers and readers do the same in the
same run, and we read their files; then there are ratios, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from socs.counters import SLOW_SIGNAL_FILES, Counters
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import SSDataReader, formats
from socs.slow_signal.store.naming import Names
from socs.slow_signal.store.series import FileSeries, SeriesSettings
from tests.camera_data import random_walk
from tests.ssdaq_peer import VERSIONS, Peer, missing, peer_of, save

TOGETHER = 10  # readouts, as the assembler hands them over
RATES = ("write", "read", "column", "random")
BY_US = "by us: "  # before the name of a rate at which we read a file of SSDAQ
Figures = dict[str, list[tuple[float, float]]]  # readouts/s by clock and by CPU


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
    measure_reading(path, count, picks, figures)
    path.unlink()


def measure_reading(path: Path, count: int, picks: int, figures: Figures) -> None:
    """Size of a file, and how fast we read it."""
    figures["bytes"] = [(path.stat().st_size / count, 0.0)]
    with SSDataReader(path) as reader, timed(figures, "read", count):
        for _ in reader.read():
            pass
    with SSDataReader(path) as reader, timed(figures, "column", count):
        reader.column("data")
    with SSDataReader(path) as reader, timed(figures, "random", picks):
        for number in np.random.default_rng(1).integers(0, count, picks):
            reader[number]


def measure_peer(
    folder: Path, peer: Peer, readouts: Readouts, picks: int, figures: Figures
) -> None:
    """One round of SSDAQ, in a process of its own; then we read its file."""
    path = folder / "peer.hdf5"
    source = save(folder / "readouts.npz", readouts)
    rates = json.loads(peer.run("rates", path, source, picks, timeout=600))
    for name, both in rates.items():
        figures.setdefault(name, []).append(tuple(both))
    ours: Figures = {}
    measure_reading(path, len(readouts), picks, ours)
    path.unlink()
    figures["bytes"] = ours.pop("bytes")
    for name, (both,) in ours.items():
        figures.setdefault(BY_US + name, []).append(both)


def medians(values: list[tuple[float, float]]) -> tuple[float, float]:
    """By the clock and by CPU time."""
    clock, cpu = (statistics.median(kind) for kind in zip(*values, strict=True))
    return clock, cpu


def shown(figures: Figures, prefix: str = "") -> str:
    """The rates whose names begin with ``prefix``, a column each."""
    columns = []
    for name in RATES:
        both = medians(figures[prefix + name]) if prefix + name in figures else None
        digits = 1 if both and both[0] < 100 else 0
        text = f"{both[0]:,.{digits}f} ({both[1]:,.{digits}f})" if both else "-"
        columns.append(f"{text:>20}")
    return " ".join(columns)


def ratios(ours: Figures, theirs: Figures, prefix: str = "") -> str:
    """How many times as fast we are."""
    columns = []
    for name in RATES:
        text = "-"
        if prefix + name in ours and name in theirs:
            pair = zip(medians(ours[prefix + name]), medians(theirs[name]), strict=True)
            text = "{:,.2f} ({:,.2f})".format(*(mine / other for mine, other in pair))
        columns.append(f"{text:>20}")
    return " ".join(columns)


def print_table(results: Mapping[str, Figures]) -> None:
    """A row for each layout and each version of SSDAQ, then ratios."""
    names = " ".join(f"{name + ' [1/s]':>20}" for name in RATES)
    print(f"{'':26} {'bytes':>7} {names}")
    for name, figures in results.items():
        print(f"{name:26} {figures['bytes'][0][0]:7,.0f} {shown(figures)}")
    native = results[formats.NATIVE]
    for name, theirs in results.items():
        if BY_US + "read" not in theirs:
            continue
        size = native["bytes"][0][0] / theirs["bytes"][0][0]
        print(f"{'its file, by us':26} {'':7} {shown(theirs, BY_US)}")
        print(f"  {'/ ' + name:24} {'':7} {ratios(theirs, theirs, BY_US)}")
        print(f"  {'native / ' + name:24} {size:7.2f} {ratios(native, theirs)}")


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readouts", type=int, default=20_000, help="of a native file")
    parser.add_argument("--exchange", type=int, default=2_000, help="of a file of other layouts")
    parser.add_argument("--picks", type=int, default=1_000, help="readouts at random")
    parser.add_argument("--peer-picks", type=int, default=20, help="the same of SSDAQ's files")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(args)
    readouts = random_walk(options.readouts, first=2)
    some = readouts[: options.exchange]
    tasks: dict[str, Callable[..., None]] = {}
    for layout in formats.LAYOUTS:
        written = readouts if layout == formats.NATIVE else some
        tasks[layout] = partial(measure, layout=layout, readouts=written, picks=options.picks)
    for layout, (_, commit, _) in VERSIONS.items():
        if reason := missing(layout):
            print(reason)
        else:
            tasks[f"SSDAQ {commit}"] = partial(
                measure_peer, peer=peer_of(layout), readouts=some, picks=options.peer_picks
            )
    results: dict[str, Figures] = {name: {} for name in tasks}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(options.rounds):
            for name, task in tasks.items():
                task(Path(directory), figures=results[name])
    print(f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after")
    print_table(results)


if __name__ == "__main__":
    main()
