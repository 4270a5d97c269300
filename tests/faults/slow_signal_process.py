"""A process that writes files of readouts, to be killed.

It prints ``written <number>`` after each flush, the number of the last readout that was flushed.
With ``--thread`` it writes as the builder does, otherwise all in one thread, step by step.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from socs.counters import SLOW_SIGNAL_FILES, Counters
from socs.db.spool import Spool
from socs.slow_signal.layout import ALL_PRESENT, MODULES, PIXELS, READOUT, Readouts
from socs.slow_signal.store import Registration, SSFileWriter
from socs.slow_signal.store.naming import Names
from socs.slow_signal.store.series import FileSeries, SeriesSettings

PREFIX = "Camera"
SIZE_LIMIT = 300_000  # bytes; files follow one another within a moment
TOGETHER = 16  # readouts
_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


def made(numbers: np.ndarray) -> Readouts:
    """The readouts with these numbers: all their values follow from their number."""
    readouts = np.zeros(len(numbers), READOUT)
    readouts["number"] = numbers
    readouts["tack"] = numbers * 1_000
    readouts["cpu_ns"] = 1_700_000_000_000_000_000 + numbers * 1_000
    readouts["present"] = ALL_PRESENT
    pixels = np.arange(MODULES * PIXELS, dtype=np.uint64).reshape(MODULES, PIXELS)
    # Like noise: 12 bits that cannot be compressed.
    mixed = (numbers[:, None, None] * _ODD[0]) ^ (pixels * _ODD[1])
    readouts["counts"] = (mixed * _ODD[2]) >> np.uint64(52)
    readouts["tacks"] = (numbers * 1_000)[:, None, None]
    return readouts


def is_as_made(readouts: Readouts) -> bool:
    """Is every value what it was?"""
    return readouts.tobytes() == made(readouts["number"]).tobytes()


def say(text: str) -> None:
    """In one system call, so that nothing of it stays behind."""
    os.write(1, f"{text}\n".encode())


def step_by_step(folder: Path, first: int, count: int, spool: Spool, layout: str) -> None:
    counters = Counters(SLOW_SIGNAL_FILES)
    registration = Registration(spool)
    series = FileSeries(
        Names(folder, PREFIX, "order"),
        SeriesSettings(layout=layout, size_limit=SIZE_LIMIT, flush_every=0.0),
        counters=counters,
        on_finished=registration.finished,
        on_settled=registration.settled,
    )
    series.start(time.monotonic())
    say("started")
    for start in range(first, first + count, TOGETHER):
        series.write(made(np.arange(start, start + TOGETHER, dtype=np.uint64)), time.monotonic())
        series.tick(time.monotonic())
        say(f"written {first + counters['readouts_written'] - 1}")
    series.close(time.monotonic())
    say("closed")


def in_a_thread(folder: Path, first: int, spool: Spool, options: argparse.Namespace) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    registration = Registration(spool)
    writer = SSFileWriter(
        PREFIX,
        folder,
        "order",
        layout=options.layout,
        filesize_lim=options.limit,
        flush_every=0.05,
        on_finished=registration.finished,
        on_settled=registration.settled,
        report=lambda text: None,
    )
    writer.start()
    say("started")
    number, offered = first, 0
    while not stop.wait(options.pause):
        writer.write(made(np.arange(number, number + TOGETHER, dtype=np.uint64)))
        number, offered = number + TOGETHER, offered + TOGETHER
        if not options.status:
            say(f"written {first + writer.counters['readouts_written'] - 1}")
        else:
            note(writer, offered, options.status)
    writer.close(20)
    if options.status:
        note(writer, offered, options.status)
    say("closed")


def note(writer: SSFileWriter, offered: int, path: str) -> None:
    """Where it stands, in a file that is always whole."""
    status = {
        **writer.counters.snapshot(),
        "offered": offered,
        "troubles": writer.troubles(),
        "status": writer.status(),
        "alive": writer.alive,
    }
    Path(f"{path}.new").write_text(json.dumps(status))
    os.replace(f"{path}.new", path)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("spool", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--layout", default="native")
    parser.add_argument("--thread", action="store_true")
    parser.add_argument("--pause", type=float, default=0.002)
    parser.add_argument("--limit", type=float, default=SIZE_LIMIT / 2**20, help="MiB")
    parser.add_argument("--status", help="file to say there what else is said on stdout")
    options = parser.parse_args(arguments)
    spool = Spool(options.spool)
    if options.thread:
        in_a_thread(options.folder, options.first, spool, options)
    else:
        step_by_step(options.folder, options.first, options.count, spool, options.layout)
    spool.close()


if __name__ == "__main__":
    main(sys.argv[1:])
