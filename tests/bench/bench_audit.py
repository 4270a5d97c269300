"""How long it takes to compare an archive with its table: ``python -m tests.bench.bench_audit``.

All in one run, on one private MariaDB, with ``--files`` files of ``--size`` bytes in ten days, and
50 findings planted: files without a row, rows without a file, and files of another size. What each
run finds is checked against what was planted, one by one.

- ``socs files audit``: files and rows compared both ways, by size.
- ``socs files audit --hash``: and by contents; the results are written down.
- ``socs files verify``: all archived files hashed, the results written down.
- ``md5sum``: ``find | xargs md5sum`` on the same files.
- ``one query per file``: a plain loop over the directory that asks the table for each path, on a
  tenth of the files; no row is looked for on the disk.

Seconds of the commands hold their start; memory is the most that the process had resident, to be
compared with that of ``socs files stats``. The files are in ``--data`` (memory, where there is any:
the disk is not what is measured), the server in the temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.testing.mariadb import MariaDB
from tests.audited import AT_A_TIME, Archive

DAYS = 10
PLANTED = {"dark": 17, "lost": 17, "altered": 16}
YOUNG = ("--min-age", "0.001")  # s; what was planted is dark at once
SHARE = 10  # of the files are asked for one by one


def plant(archive: Archive) -> dict[str, set[str]]:
    """Spoil the archive; what has to be found."""
    ids = iter(list(archive.paths)[:: len(archive.paths) // 100])
    return {
        "dark": {
            archive.darken(f"1700{n % DAYS}/crate1slot1/1700000000_iv/outputs/dark_{n}")
            for n in range(PLANTED["dark"])
        },
        "lost": {archive.lose(next(ids)) for _ in range(PLANTED["lost"])},
        "altered": {archive.alter(next(ids), size=1) for _ in range(PLANTED["altered"])},
    }


class Measured(NamedTuple):
    """``mib`` of memory, where it was measured; ``files`` that were looked at."""

    what: str
    seconds: float
    cpu: float
    mib: float
    files: int
    findings: dict[str, set[str]]


def run(archive: Archive, env: Mapping[str, str], *line: str) -> Measured:
    """``socs files <line> --json`` with the database of ``env``, in a process of its own."""
    command = [sys.executable, "-m", "socs.cli.main", "files", *line, "--json"]
    with tempfile.TemporaryFile() as out:
        begin, used = time.perf_counter(), os.times()
        process = subprocess.Popen(command, stdout=out, env=os.environ | env)
        mib = 0.0
        while process.poll() is None:
            mib = max(mib, most_resident(process.pid))
            time.sleep(0.01)
        seconds, now = time.perf_counter() - begin, os.times()
        out.seek(0)
        found = [json.loads(text) for text in out]
    findings: dict[str, set[str]] = {kind: set() for kind in PLANTED}
    for finding in found:
        if "kind" in finding:
            findings[finding["kind"]].add(finding["path"])
    assert process.returncode == any(findings.values())
    return Measured(
        f"socs files {line[0]}{' --hash' if '--hash' in line else ''}",
        seconds,
        now.children_user + now.children_system - used.children_user - used.children_system,
        mib,
        len(archive.paths),
        findings,
    )


def most_resident(pid: int) -> float:
    """MiB that a process had at most, so far."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0]) / 1024 if sizes else 0.0  # a process that has ended has none


def timed(what: str, act: Callable[[], int]) -> Measured:
    """How long ``act`` takes, which returns the number of files."""
    begin, used = time.perf_counter(), os.times()
    number = act()
    seconds, now = time.perf_counter() - begin, os.times()
    return Measured(what, seconds, sum(now[:4]) - sum(used[:4]), 0.0, number, {})


def one_query_per_file(archive: Archive) -> int:
    """How many files were asked for."""
    number, limit = 0, len(archive.paths) // SHARE
    with archive.database.read() as connection:
        for parent, _, names in os.walk(archive.root):
            for name in names:
                path = os.path.join(parent, name)
                query = sa.select(files.table.c.id).where(files.table.c.path == path)
                connection.execute(query).scalar()
                number += 1
                if number == limit:
                    return number
    return number


def md5sum(archive: Archive) -> int:
    """What the system's own tools take for it."""
    with subprocess.Popen(
        ["find", str(archive.root), "-type", "f", "-print0"], stdout=subprocess.PIPE
    ) as find:
        md5 = ["xargs", "-0", "md5sum"]
        subprocess.run(md5, stdin=find.stdout, stdout=subprocess.DEVNULL, check=True)
    return len(archive.paths)


def compare(archive: Archive, env: Mapping[str, str], hashing: bool) -> list[Measured]:
    """All measurements."""
    audit = ("audit", "--data-dir", str(archive.root), "--quiet", *YOUNG)
    verify = ("verify", "--data-dir", str(archive.root), "--quiet")
    planted = plant(archive)
    results = [run(archive, env, *audit)]
    if hashing:
        results += [run(archive, env, *audit, "--hash"), run(archive, env, *verify)]
    for result in results:
        dark = planted["dark"] if "audit" in result.what else set()
        assert result.findings == planted | {"dark": dark}, result.what
    if hashing:
        results.append(timed("md5sum", lambda: md5sum(archive)))
    results.append(timed("one query per file", lambda: one_query_per_file(archive)))
    return [run(archive, env, "stats"), *results]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000, help="in the archive")
    parser.add_argument("--size", type=int, default=4096, help="of each [bytes]")
    parser.add_argument("--no-hash", action="store_true", help="only compare sizes")
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser.add_argument("--data", default=in_memory, help="where to write files (%(default)s)")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory(dir=arguments.data) as data,
        MariaDB(Path(name)) as server,
    ):
        env = server.env()
        database = Database(env)
        archive = Archive(Path(data), database, size=arguments.size)
        for start in range(0, arguments.files, AT_A_TIME):
            archive.add(min(AT_A_TIME, arguments.files - start), days=DAYS)
        results = compare(archive, env, not arguments.no_hash)
        database.close()
    table = Table(
        title=f"An archive of {arguments.files:,} files of {arguments.size} bytes in MariaDB, "
        f"{sum(PLANTED.values())} findings planted and found, {os.cpu_count()} cores"
    )
    for column in ("what", "seconds", "of CPU", "files/s", "MiB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for result in results:
        rate = f"{result.files / result.seconds:,.0f}" if "stats" not in result.what else ""
        mib = f"{result.mib:.0f}" if result.mib else ""
        table.add_row(result.what, f"{result.seconds:.2f}", f"{result.cpu:.2f}", rate, mib)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
