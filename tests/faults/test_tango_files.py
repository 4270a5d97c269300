"""Files of lines and their registration over kill -9, outages of the database, and a full disk."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from socs.counters import TANGO_FILES_CONSERVATION, imbalances
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.testing import wait_until
from tests.faults.mounts import private_mounts
from tests.harness import rows

REPOSITORY = Path(__file__).parents[2]
KILLS = 3


class Writer:
    """The process of :mod:`tests.faults.tango_files_process`, and what it tells."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process, self._status = process, directory / "status.json"

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._status.read_bytes())
        return found

    def has(self, what: str, least: int) -> bool:
        return self._status.exists() and self.status()["numbers"][what] >= least

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0


@contextmanager
def writing(
    directory: Path, environ: dict[str, str], run: int, before: Sequence[str] = ()
) -> Iterator[Writer]:
    (directory / "status.json").unlink(missing_ok=True)
    words = [*before, sys.executable, "-m", "tests.faults.tango_files_process"]
    process = subprocess.Popen([*words, str(directory), str(run)], cwd=REPOSITORY, env=environ)
    try:
        yield Writer(process, directory)
    finally:
        process.kill()
        process.wait()


def lines_in(paths: Sequence[Path]) -> dict[int, list[int]]:
    """Numbers of lines by run, in the order of files; each line is JSON, or this fails."""
    found: dict[int, list[int]] = {}
    for path in sorted(paths):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            found.setdefault(row["run"], []).append(row["number"])
    return found


def sums(paths: Sequence[Path]) -> list[tuple[str, str]]:
    return sorted((str(path), hashlib.md5(path.read_bytes()).hexdigest()) for path in paths)


def test_killed_again_and_again_no_line_is_torn_and_each_file_has_one_row(
    tmp_path: Path, files_env
) -> None:
    environ = {**_environ(), **files_env}
    chance = random.Random(5)
    for run in range(KILLS):
        with writing(tmp_path, environ, run) as writer:
            wait_until(lambda writer=writer: writer.has("line_files_completed", 1), 30)
            time.sleep(chance.random() / 5)  # at any moment whatever
    with writing(tmp_path, environ, KILLS) as writer:
        wait_until(lambda: writer.has("lines_written", 100), 30)
        assert imbalances(writer.status()["numbers"], TANGO_FILES_CONSERVATION) == {}
        paths = list((tmp_path / "lines").glob("*.jsonl"))
        wait_until(lambda: len(rows(files_env)) >= len(paths), 30, "all that was left")
        writer.stop()
    with writing(tmp_path, environ, KILLS + 1) as writer:  # registers what the last one left
        wait_until(lambda: writer.has("lines_written", 1), 30)
        wait_until(lambda: not sum(_left(writer)), 30)
        writer.stop()
    found = sorted((tmp_path / "lines").iterdir())
    assert all(path.suffix == ".jsonl" for path in found)
    # In order, without a hole, from the first one on.
    for numbers in lines_in(found).values():
        assert numbers == list(range(len(numbers)))
    assert len(lines_in(found)) == KILLS + 2
    registered = sorted(rows(files_env))
    missing = set(sums(found)) - set(registered)
    assert len(registered) == len(set(registered))
    assert set(registered) <= set(sums(found))
    assert len(missing) <= 1  # the last file may be in the spool
    assert {(row["action"], row["format"]) for row in _rows(files_env)} == {
        ("tango_events", "jsonl")
    }


def _left(writer: Writer) -> list[int]:
    told = writer.status()["register"]
    return [told["files_pending"], told["files_waiting"], told["files_failed"]]


def _rows(environ) -> list[dict[str, Any]]:
    database = Database(environ)
    try:
        with database.read() as connection:
            return [dict(row) for row in files.select_files(connection, limit=1000)]
    finally:
        database.close()


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MYSQL_")}


@pytest.mark.timeout(120)
def test_a_full_disk_is_told_counted_and_gone_on_after(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    environ = {**_environ(), "SOCS_DATA_DIR": str(tmp_path / "table")}
    with private_mounts() as mounts:
        mounts.mount("-t", "tmpfs", "-o", "size=128k", "none", tmp_path / "lines")
        folder = mounts.seen(tmp_path / "lines")
        before = (*mounts.inside, f"--wd={REPOSITORY}")
        with writing(tmp_path, environ, 0, before) as writer:
            wait_until(lambda: writer.has("lines_queue_full", 100), 60, "lines to be dropped")
            status = writer.status()
            assert any("No space left" in text for text in status["troubles"])
            assert imbalances(status["numbers"], TANGO_FILES_CONSERVATION) == {}
            kept = [path.read_bytes() for path in sorted(folder.glob("*.jsonl"))]
            for path in folder.glob("*.jsonl"):
                path.unlink()
            written = status["numbers"]["lines_written"]
            wait_until(lambda: writer.has("lines_written", written + 200), 60, "lines to go on")
            wait_until(lambda: not writer.status()["troubles"], 60, "all to be well")
            writer.stop()
        kept += [path.read_bytes() for path in sorted(folder.glob("*.jsonl"))]
    numbers = [json.loads(line)["number"] for text in kept for line in text.splitlines()]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= written + 200
