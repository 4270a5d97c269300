"""Finding files that nobody announced, in a running stream, with and without a spool's help."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from socs.counters import CONSERVATION, imbalances
from socs.dataroots import DataRoots
from socs.db.engine import Database
from socs.errors import NotAllowed
from socs.part_files import part_of
from socs.pysmurf.rescan import Found, Rescan
from socs.pysmurf.stream import PysmurfStream
from socs.slow_signal.store.naming import journal_of
from socs.testing import wait_until
from tests.harness import rows, running_stream


def rescan(stream: PysmurfStream, directory: str, env: dict[str, str]) -> Found:
    database = Database(env)
    try:
        return Rescan(directory, min_age=0.0).run(
            *(stream.spool, database, DataRoots([directory])),
            counters=stream.counters,
            now=math.inf,
        )
    finally:
        database.close()


def test_files_of_a_rescan_are_accounted_for(files_env, tmp_path: Path) -> None:
    with running_stream(tmp_path, files_env) as stream:
        directory = tmp_path / "data" / "run"
        directory.mkdir()
        for number in range(30):
            (directory / f"{number}").write_bytes(b"x")
        assert rescan(stream, str(directory), files_env).queued == 30
        wait_until(lambda: stream.numbers()["files_registered"] == 30, 20)
        assert stream.numbers()["files_rescanned"] == 30
        wait_until(lambda: imbalances(stream.numbers(), CONSERVATION) == {}, 5)
    assert len(rows(files_env)) == 30


def test_name_that_is_not_utf8_does_not_end_a_rescan(files_env, tmp_path: Path) -> None:
    with running_stream(tmp_path, files_env) as stream:
        data = tmp_path / "data" / "run"
        data.mkdir()
        (data / "good").write_bytes(b"x")
        with open(os.fsencode(data) + b"/bad\xff", "wb") as file:
            file.write(b"y")
        found = rescan(stream, str(data), files_env)
        assert (found.queued, found.unreadable) == (1, 1)
        wait_until(lambda: rows(files_env), 20)
        assert [path for path, _ in rows(files_env)] == [str(data / "good")]


def test_unfinished_files_are_counted_and_left_alone(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    whole = tmp_path / "data" / "SlowSignal_2026-11-21.13.05.hdf5"
    with running_stream(tmp_path, env) as stream:
        for path in (whole, journal_of(whole), part_of(whole)):
            path.write_bytes(b"x")
        journal_of(whole).with_name(f"{journal_of(whole).name}.damaged-1700000000").touch()
        (tmp_path / "data" / "journal.part.npy").write_bytes(b"y")
        found = rescan(stream, str(tmp_path / "data"), env)
        assert (found.looked_at, found.queued, found.unfinished) == (5, 2, 3)
        assert found.examples == [str(whole), str(tmp_path / "data" / "journal.part.npy")]
        assert found.summary(dry_run=False).endswith("; 3 are unfinished")


def test_directory_that_is_no_path_is_refused(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with running_stream(tmp_path, env) as stream:
        data = DataRoots([tmp_path / "data"])
        for path in ("/data/\0", "/data/\ud800"):
            with pytest.raises(NotAllowed):
                Rescan(path).run(
                    stream.spool, Database(env), data, counters=stream.counters, now=0.0
                )
