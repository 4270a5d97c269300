"""How fast announced files become rows: ``python -m tests.bench.bench_registration``.

All in one run, on one private MariaDB (flush at every commit), with files of 4 kB:

- ``one row per commit``: PyMySQL, a COMMIT for each row, as the peer does it.
- ``executemany``: PyMySQL alone, 1000 prepared rows per COMMIT; no files, no announcements. The
  ceiling for anything that uses this driver.
- ``read + executemany``: the same in a plain loop that also reads and hashes the files.
- ``registrar``: our spool is full, our registrar empties it into the table.
- ``burst``: the whole way; another process announces all files back to back.
- ``sustained``: the whole way at ``--rate`` for ``--seconds``, with memory and latency.
- ``mixed``: 500 files per second beside 5000 other messages per second, for ``--seconds``.

Latency is the time from the file's being written (it is announced at once) until its row is
committed. It holds the half second for which a file must have been left alone.

The server and the spool are in the temporary directory, the files in ``--data`` (memory, where
there is any: creating files must not be what is measured). Rates are files per second. What the
runs must agree on is checked: rows in the table = files.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pymysql
from rich.console import Console
from rich.table import Table

from socs.counters import FILES, Counters
from socs.dataroots import DataRoots
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.registrar import Registrar, RowConstants
from socs.db.spool import FileEntry, Spool
from socs.sim.pysmurf_truth import read_truth
from socs.testing import wait_until
from socs.testing.mariadb import MariaDB
from tests.harness import running_stream, source_command

SIZE = 4096  # bytes of a file
PER_COMMIT = 1000  # rows
MIXED = 500  # files per second beside other messages
OTHERS = ("--metadata-rate", 2500, "--session-rate", 1250)  # of the latter two messages each
MIB = 1 << 20


class Bench:
    """The server, the files, and a fresh table for each measurement."""

    def __init__(self, data: Path, server: MariaDB, count: int) -> None:
        self.data, self.env, self.count = data, server.env(), count
        self.paths = [str(data / f"{number}.npy") for number in range(count)]
        for path in self.paths:
            Path(path).write_bytes(os.urandom(SIZE))

    @contextmanager
    def fresh_table(self) -> Iterator[Database]:
        database = Database(self.env)
        files.drop_table(database)
        files.create_table(database)
        try:
            yield database
        finally:
            database.close()

    def rows_of(self, paths: Sequence[str], md5sums: Sequence[bytes]) -> list[files.Row]:
        common = {
            "action": "take_iv",
            "timestamp": files.utc_text(1.7e9),
            "action_timestamp": 1700000000,
            "format": "npy",
            "plot": False,
            "site": "site",
            "pub_id": "crate1slot2",
            "instance_id": "pysmurf-monitor",
            "copied": False,
            "failed_copy_attempts": 0,
            "pysmurf_version": "4.1.0",
            "socs_version": "0.1.0",
        }
        pairs = zip(paths, md5sums, strict=True)
        return [files.row_of(common | {"path": path, "md5sum": md5}) for path, md5 in pairs]

    def plain(self, per_commit: int, count: int, *, reading: bool) -> float:
        """PyMySQL without any of our code between it and the table."""
        names = ", ".join(f"`{name}`" for name in files.COLUMNS)
        markers = ", ".join(["%s"] * len(files.COLUMNS))
        statement = f"INSERT INTO {files.table.name} ({names}) VALUES ({markers})"
        prepared = self.rows_of(self.paths[:count], [os.urandom(16) for _ in range(count)])
        with self.fresh_table():
            connection = pymysql.connect(
                host=self.env["MYSQL_HOST"],
                port=int(self.env["MYSQL_PORT"]),
                user=self.env["MYSQL_USER"],
                password=self.env["MYSQL_PASSWORD"],
                database=self.env["MYSQL_DATABASE"],
            )
            begin = time.perf_counter()
            with connection.cursor() as cursor:
                for start in range(0, count, per_commit):
                    rows = prepared[start : start + per_commit]
                    if reading:
                        paths = self.paths[start : start + per_commit]
                        rows = self.rows_of(paths, [read_md5(path) for path in paths])
                    cursor.executemany(statement, rows)
                    connection.commit()
            rate = count / (time.perf_counter() - begin)
            connection.close()
        return rate

    def registrar(self) -> float:
        with self.fresh_table() as database, tempfile.TemporaryDirectory() as spool_dir:
            spool = Spool(Path(spool_dir))
            counters = Counters(FILES)
            registrar = Registrar(
                spool,
                database,
                DataRoots([self.data]),
                RowConstants("site", "monitor", settle=0.0),
                counters=counters,
            )
            registrar.start()
            spool.append([FileEntry(self.paths[0])], now=time.time())
            wait_until(lambda: counters["files_registered"] == 1)  # the readers have started
            entries = [
                FileEntry(path, "take_iv", 1.7e9, 1700000000, "npy", False, "crate1slot2", "4.1.0")
                for path in self.paths
            ]
            begin = time.perf_counter()
            for start in range(0, self.count, PER_COMMIT):
                spool.append(entries[start : start + PER_COMMIT], now=time.time())
            wait_until(lambda: counters["files_registered"] == self.count + 1, 300, period=0.005)
            rate = self.count / (time.perf_counter() - begin)
            registrar.stop()
            spool.close()
        return rate

    def live(self, rate: object, count: int, *more: object) -> dict[str, Any]:
        """The whole way; the source is another process, with ``more`` options."""
        with (
            self.fresh_table(),
            tempfile.TemporaryDirectory() as name,
            tempfile.TemporaryDirectory(dir=self.data) as data,
        ):
            directory = Path(name)
            (directory / "data").symlink_to(data)
            with running_stream(directory, self.env, constants={"settle": 0.5}) as stream:
                options = ("--rate", rate, "--files", count, "--size", SIZE, *more)
                latencies = [] if rate == "burst" else measure_latencies(stream)
                if rate == "burst":
                    options += ("--prepare",)
                command = source_command(directory, stream.receiver.port, *options)
                source = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                result = watch(stream, source, count)
                truth = read_truth(directory / "truth.json")
                numbers = stream.numbers()
        assert numbers["files_registered"] == len(truth.announced) == count, numbers
        assert numbers["datagrams_received"] == truth.datagrams, numbers
        assert numbers["sequence_lost"] == numbers["kernel_drops"] == 0, numbers
        return result | {"messages": truth.datagrams / count, "latencies": sorted(latencies)}


def measure_latencies(stream) -> list[float]:
    """Seconds from the writing of each file to its row; grows while the stream runs."""
    latencies: list[float] = []
    column = files.COLUMNS.index("timestamp")

    def registered(rows: Sequence[files.Row]) -> None:
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        written = (datetime.fromisoformat(row[column]) for row in rows)
        latencies.extend((now - moment).total_seconds() for moment in written)

    stream.registrar._on_registered = registered
    return latencies


def percentiles(latencies: Sequence[float]) -> list[str]:
    """Median, 99 %, and largest, as text [s]; the latencies are sorted."""
    if not latencies:
        return [""] * 3
    last = len(latencies) - 1
    return [f"{latencies[round(last * share)]:.2f}" for share in (0.5, 0.99, 1.0)]


def watch(stream, source: subprocess.Popen, count: int) -> dict[str, float]:
    """Follow a run; its rate, largest backlog, and memory of this process and its readers."""
    process = psutil.Process()
    begin, memory, backlog = 0.0, [], 0
    while (done := stream.counters["files_registered"]) < count:
        begin = begin or (time.perf_counter() if stream.counters["files_spooled"] else 0.0)
        backlog = max(backlog, stream.counters["files_spooled"] - done)
        if begin:
            memory.append(rss(process, source.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - begin
    source.wait()
    fifth = max(len(memory) // 5, 1)
    return {
        "rate": count / seconds,
        "backlog": backlog,
        "rss_early": max(memory[fifth : 2 * fifth], default=memory[0]),
        "rss_late": max(memory[-fifth:]),
    }


def rss(process: psutil.Process, but: int) -> float:
    """Resident memory [MiB] of ``process`` and its children except one."""
    children = [child for child in process.children() if child.pid != but]
    readers = [child for child in children if "socs.db.file_readers" in child.cmdline()]
    return sum(each.memory_info().rss for each in [process, *readers]) / MIB


def read_md5(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.md5(file.read()).digest()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=40_000, help="files per measurement")
    parser.add_argument("--rate", type=int, default=5000, help="sustained files per second")
    parser.add_argument("--seconds", type=int, default=60, help="length of the sustained run [s]")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser.add_argument("--data", default=memory, help="where to write files (default %(default)s)")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory(dir=arguments.data) as data,
        MariaDB(Path(name)) as server,
    ):
        bench = Bench(Path(data), server, arguments.files)
        single = bench.plain(1, 2000, reading=False)
        ceiling = bench.plain(PER_COMMIT, arguments.files, reading=False)
        reading = bench.plain(PER_COMMIT, arguments.files, reading=True)
        ours = bench.registrar()
        burst = bench.live("burst", arguments.files)
        sustained = bench.live(arguments.rate, arguments.rate * arguments.seconds)
        mixed = bench.live(MIXED, MIXED * arguments.seconds, *OTHERS)
    table = Table(title=f"Registration in MariaDB, files of {SIZE} bytes, {os.cpu_count()} cores")
    for column in ("what", "files/s", "of ceiling", "median [s]", "99 % [s]", "longest [s]"):
        table.add_column(column, justify="left" if column == "what" else "right")
    seconds = f"{arguments.seconds} s (datagram -> table)"
    for what, result in {
        "one row per commit": single,
        f"executemany, {PER_COMMIT} rows per commit (ceiling)": ceiling,
        "read + executemany, plain loop": reading,
        "registrar (spool -> table)": ours,
        "burst (datagram -> table)": burst,
        f"sustained {seconds}": sustained,
        f"mixed, {mixed['messages']:.0f} messages per file, {seconds}": mixed,
    }.items():
        live = result if isinstance(result, dict) else {"rate": result, "latencies": []}
        rate, latencies = live["rate"], percentiles(live["latencies"])
        table.add_row(what, f"{rate:,.0f}", f"{rate / ceiling:.2f}", *latencies)
    Console(width=120).print(table)
    print(
        f"Sustained: largest backlog {sustained['backlog']:,.0f} files; "
        f"memory {sustained['rss_early']:.0f} MiB early, {sustained['rss_late']:.0f} MiB at the end"
    )


if __name__ == "__main__":
    main()
