"""What archiving costs and how fast it is: ``python -m tests.bench.bench_archive``.

All in one run, the archiver as its agent runs it, without OCS:

- ``cost``: CPU time and memory of the archiver's process (those that copy apart) beside a table of
  ``--rows`` archived files, on SQLite and on a private MariaDB: until it has started and counted,
  at rest, and for one pass with 100 new files of 4 kB; for this also the server's CPU time. Again
  with ``--left`` of the rows at rest without a copy: missing, changed, failed and ignored ones in
  equal parts. (Of a peer's loop 6 to 9 s and 260 MB are reported, at 100 000 rows.)
- ``large``: 30 files of 50 MB, in MB/s, beside ``rsync -a`` of the same tree.
- ``small``: 10 000 files of 4 kB, in files/s, beside one call of ``rsync -a`` per file (of a sample
  of 300 files), and beside one for the whole tree.

The archiver hashes each copy, flushes it to the disk, and commits it to the table (SQLite, flushed
as well); ``rsync -a`` does none of this, so ``rsync -a --fsync`` is shown too. Source and archive
are in ``--data``, on one file system; sources are in the page cache. All ways take turns, with new
files each time: factors are those of one turn, and CPU times those of all processes. What the runs
must agree on is checked: files archived = files announced.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from socs.archive import copy_worker
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.testing import wait_until
from socs.testing.mariadb import MariaDB
from tests.archiving import BEGIN, MONITOR, Source, number, running_archiver
from tests.faults.archiver_process import ArchiverProcess, at_the_end_killed

MIB = 1 << 20
SMALL = 4096  # bytes of a small file
NEW = 100  # files of a pass
AT_A_TIME = 10_000  # rows inserted in a transaction
REST = 20.0  # s for which the archiver is watched at rest
LEFT = (copies.MISSING, copies.CHANGED, copies.FAILED, copies.IGNORED)
ATTEMPTS = {copies.CHANGED: 1, copies.IGNORED: 0}  # of the others: all
PATIENCE = 600.0  # s


# -- cost beside a long table -----------------------------------------------------------------


def fill(database: Database, rows: int, left: int) -> None:
    """A table of ``rows`` files, archived but for the last ``left``."""
    copies.create_table(database)
    for start in range(1, rows + 1, AT_A_TIME):
        ids = range(start, min(start + AT_A_TIME, rows + 1))
        with database.begin() as connection:
            files.add_entries(connection, [_row(number, rows - left) for number in ids])
            connection.execute(copies.table.insert(), [_copy(n, rows - left) for n in ids])


def _row(number: int, archived: int) -> files.Row:
    state = copies.ARCHIVED if number <= archived else LEFT[number % len(LEFT)]
    directory = "/archive/17000/crate1slot2/1700000000_tune/outputs"
    return files.row_of(
        {
            "path": f"{directory}/{number}.npy",
            "action": "tune",
            "timestamp": files.utc_text(BEGIN + number),
            "action_timestamp": BEGIN,
            "format": "npy",
            "plot": False,
            "site": "site",
            "pub_id": "crate1slot2",
            "instance_id": MONITOR,
            "copied": number <= archived,
            "failed_copy_attempts": 0
            if number <= archived
            else ATTEMPTS.get(state, files.MAX_COPY_ATTEMPTS),
            "md5sum": number.to_bytes(16, "big"),
        }
    )


def _copy(number: int, archived: int) -> dict[str, object]:
    done = number <= archived
    return {
        "file_id": number,
        "state": copies.ARCHIVED if done else LEFT[number % len(LEFT)],
        "owner": "archiver",
        "source": f"/data/smurf_data/{number}.npy" if done else None,
        "size": SMALL if done else None,
        "archived_at": float(BEGIN) if done else None,
        "verified_at": float(BEGIN) if done else None,
    }


class Meter:
    """CPU time [s] and memory [MiB] of one process, without its children."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.begin = self._cpu()
        self.memory = self.most = self._memory()

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def _memory(self) -> float:
        return self._process.memory_info().rss / MIB

    @property
    def cpu(self) -> float:
        """Since the meter was made."""
        return self._cpu() - self.begin

    @property
    def growth(self) -> float:
        """Of what was the most, over what was there when the meter was made."""
        return self.most - self.memory

    def watch(self, archiver: ArchiverProcess, done: str, count: int) -> None:
        """Until ``done``, one of ``archive_stats`` or the counters, is ``count``."""

        def reached() -> bool:
            self.most = max(self.most, self._memory())
            status = archiver.status()
            return {**status["counters"], **status["archive_stats"]}[done] == count

        wait_until(reached, PATIENCE, f"{count} {done}", period=0.02)


def cost(
    directory: Path, env: Mapping[str, str], rows: int, left: int, server: int | None = None
) -> dict[str, float]:
    """Measure beside a table of so many rows; CPU in s, memory in MiB. ``server``: its process."""
    database = Database(env)
    fill(database, rows, left)
    source = Source(directory)
    archiver = ArchiverProcess(source, env, poll_interval=5.0)
    with at_the_end_killed(archiver):
        archiver.start()
        assert archiver.process is not None
        start = Meter(archiver.process.pid)
        start.begin = 0.0  # its whole life
        start.watch(archiver, "num_files", rows)
        start_cpu = start.cpu
        rest = Meter(archiver.process.pid)
        time.sleep(REST)
        rest_cpu = rest.cpu
        for _ in range(NEW):
            source.add(size=SMALL)
        one_pass, served = Meter(archiver.process.pid), Meter(server or os.getpid())
        source.register(database)
        one_pass.watch(archiver, "files_archived", NEW)
        one_pass.watch(archiver, "uncopied_files", 0)
        one_pass.watch(archiver, "num_files", rows + NEW)
        result = {
            "start": start_cpu,
            "rest": rest_cpu / REST * 5.0,
            "pass": one_pass.cpu,
            "server": served.cpu if server else 0.0,
            "growth": one_pass.growth,
            "memory": one_pass.most,
        }
        assert archiver.stop()["unaccounted"] == {}
    database.close()
    return result


# -- speed --------------------------------------------------------------------------------------


class Speed(NamedTuple):
    """What some files took: in all, and of CPUs [s]."""

    files: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Files per second."""
        return self.files / self.seconds


Way = Callable[[Source], Speed]


def measure(
    data: str | None, sizes: Sequence[int], ways: Mapping[str, Way], repeat: int
) -> dict[str, list[Speed]]:
    """Each way ``repeat`` times, each time with new files and in the opposite order."""
    speeds: dict[str, list[Speed]] = {name: [] for name in ways}
    for turn in range(repeat):
        with tempfile.TemporaryDirectory(dir=data) as name:
            source = Source(Path(name) / "in" / "measured")
            for size in sizes:
                source.add(size=size)
            for way in list(ways)[:: -1 if turn % 2 else 1]:
                os.sync()
                speeds[way].append(ways[way](source))
    return speeds


def _cpu() -> float:
    """CPU time of this process and of all its children that have ended [s]."""
    return sum(os.times()[:4])


def archive(source: Source) -> Speed:
    """From the announcement of all files until the last is recorded, by an archiver at work."""
    directory = source.directory.parent.parent
    env = {"SOCS_DATA_DIR": str(directory / "table")}
    database = Database(env)
    warm = Source(directory / "in" / "warm", seed=2)
    warm.add(size=SMALL)
    for _ in range(2):  # one for each process that copies large files
        warm.add_large(copy_worker.SMALL + 1)
    warm.register(database)
    target = directory / "archive"
    target.mkdir()
    where = {"roots": [str(directory / "in")], "data_dir": str(target)}
    cpu = _cpu()
    with running_archiver(source, env, **where, poll_interval=5.0) as archiver:
        done = len(warm.good)
        wait_until(lambda: archiver.numbers()["files_archived"] == done, PATIENCE)
        begin = time.perf_counter()
        source.register(database)
        archiver.look_now()
        done += len(source.good)
        wait_until(lambda: archiver.numbers()["files_archived"] == done, PATIENCE, period=0.005)
        seconds = time.perf_counter() - begin
        assert archiver.troubles() == []
    assert number(database, copies.table.c.state == copies.ARCHIVED) == done
    database.close()
    shutil.rmtree(target)
    return Speed(len(source.good), seconds, _cpu() - cpu)


def rsync(*options: str, sample: int | None = None) -> Way:
    """``rsync -a`` of the tree, or of each file of a sample on its own."""

    def run(source: Source) -> Speed:
        with tempfile.TemporaryDirectory(dir=source.directory.parent.parent) as target:
            command = ["rsync", "-a", *options]
            paths = [f"{source.root}/"] if sample is None else list(source.good)[:sample]
            begin, cpu = time.perf_counter(), _cpu()
            for path in paths:
                subprocess.run([*command, path, f"{target}/"], check=True)
            seconds = time.perf_counter() - begin
            return Speed(sample or len(source.good), seconds, _cpu() - cpu)

    return run


# -- printing -----------------------------------------------------------------------------------


def print_costs(costs: Mapping[str, Mapping[str, float]], rows: int) -> None:
    """One line per table."""
    title = f"Archiver beside {rows:,} rows: CPU and memory of its process"
    table = Table(title=title)
    heads = ("table", "start [s]", "rest, per 5 s [s]", f"pass, {NEW} new files [s]", "server [s]")
    for column in (*heads, "growth [MiB]", "memory [MiB]"):
        table.add_column(column, justify="left" if column == "table" else "right")
    for what, seen in costs.items():
        seconds = [f"{seen[name]:.2f}" for name in ("start", "rest", "pass", "server")]
        table.add_row(what, *seconds, *(f"{seen[name]:.0f}" for name in ("growth", "memory")))
    Console(width=120).print(table)


def print_speeds(
    data: str | None, repeat: int, tables: Mapping[str, tuple[int, Mapping[str, list[Speed]]]]
) -> None:
    """One table; ``tables`` are sizes of a file and measured ways, of which the first is ours."""
    where = data or tempfile.gettempdir()
    title = f"Archiving in {where}, {os.cpu_count()} cores, SQLite; medians of {repeat}"
    table = Table(title=title)
    heads = ("what", "files/s", "MB/s", "archiver is faster by", "CPU per file [ms]")
    for column in heads:
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, (size, speeds) in tables.items():
        ours = next(iter(speeds.values()))
        for way, theirs in speeds.items():
            rate = median(speed.rate for speed in theirs)
            factors = [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]
            factor = f"{median(factors):.2f} ({min(factors):.2f} to {max(factors):.2f})"
            cpu = median(speed.cpu / speed.files for speed in theirs) * 1e3
            table.add_row(
                f"{way}, {what}",
                f"{rate:,.0f}",
                f"{rate * size / 1e6:,.1f}",
                "" if theirs is ours else factor,
                f"{cpu:,.2f}",
            )
        table.add_section()
    Console(width=120).print(table)


def measure_speeds(arguments: argparse.Namespace) -> None:
    """Large files, then small ones; printed."""
    data, repeat = arguments.data, arguments.repeat
    count, size, small = arguments.large, arguments.size, arguments.small
    whole = {"rsync -a": rsync(), "rsync -a --fsync": rsync("--fsync")}
    each = {f"rsync -a per file (sample of {arguments.sample})": rsync(sample=arguments.sample)}
    large_files = measure(data, [size] * count, {"archiver": archive} | whole, repeat)
    small_files = measure(data, [SMALL] * small, {"archiver": archive} | each | whole, repeat)
    print_speeds(
        data,
        repeat,
        {
            f"{count} files of {size / 1e6:.0f} MB": (size, large_files),
            f"{small:,} files of 4 kB": (SMALL, small_files),
        },
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="archived files in the table")
    parser.add_argument("--left", type=int, default=50_000, help="of them at rest without a copy")
    parser.add_argument("--large", type=int, default=30, help="number of large files")
    parser.add_argument("--size", type=int, default=50_000_000, help="of a large file [bytes]")
    parser.add_argument("--small", type=int, default=10_000, help="number of small files")
    parser.add_argument("--sample", type=int, default=300, help="files copied by a call each")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of copying")
    parser.add_argument("--data", help="where files are (default: the temporary directory)")
    parser.add_argument("--only", choices=["cost", "speed"], help="measure this only")
    arguments = parser.parse_args()
    if arguments.only != "cost":
        measure_speeds(arguments)
    if arguments.only == "speed":
        return
    costs = {}
    for left in (0, arguments.left):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            env = {"SOCS_DATA_DIR": str(directory / "table")}
            costs[f"SQLite, {left:,} at rest"] = cost(directory, env, arguments.rows, left)
        with tempfile.TemporaryDirectory() as name, MariaDB(Path(name) / "mariadb") as server:
            env = server.env()
            costs[f"MariaDB, {left:,} at rest"] = cost(
                Path(name), env, arguments.rows, left, server.pid
            )
    print_costs(costs, arguments.rows)


if __name__ == "__main__":
    main()
