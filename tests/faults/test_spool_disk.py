"""The spool and its disk, seen by a system call tracer, which also injects the disk's errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, pathlib, sys
from socs.db.spool import FileEntry, Spool
from socs.errors import StorageUnavailable

spool = Spool(pathlib.Path(sys.argv[1]))
os.write(1, b"begin")
for number in range(5):
    try:
        spool.append([FileEntry(f"/{number}")], now=1.0)
    except StorageUnavailable as error:
        os.write(1, f"refused {number}: {error}\\n".encode())
os.write(1, b"end")
spool.close()
"""


def traced(directory: Path, *options: str) -> tuple[str, str]:
    """Run PROGRAM under strace; the trace, and what it printed."""
    trace = directory / "trace"
    result = subprocess.run(
        [
            *("strace", "-f", "-e", "trace=fsync,fdatasync,write", "-o", str(trace), *options),
            *(sys.executable, "-c", PROGRAM, str(directory / "spool")),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return trace.read_text(), result.stdout


def test_every_commit_reaches_the_disk(tmp_path: Path) -> None:
    calls, printed = traced(tmp_path)
    during = calls[calls.index('"begin"') : calls.index('"end"')]
    assert during.count("sync(") >= 5
    assert "refused" not in printed


def test_commit_that_does_not_reach_the_disk_is_refused(tmp_path: Path) -> None:
    calls, _ = traced(tmp_path)
    before = calls[: calls.index('"begin"')].count("sync(")
    failing = f"inject=fsync,fdatasync:error=EIO:when={before + 3}"
    other = tmp_path / "other"
    other.mkdir()
    _, printed = traced(other, "-e", failing)
    assert "refused 2: " in printed
    assert "disk I/O error" in printed
    assert printed.count("refused") == 1
