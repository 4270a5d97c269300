"""Processes that copy hang or are killed: one file is to blame at most, and no other data root."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from socs.archive import archiver as archiver_module
from socs.archive import copier, settings
from socs.archive.archiver import Archiver
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.testing import wait_until
from tests.archiving import Source, check, number, rows_of, running_archiver

LONG = 100.0  # s to wait at most, on a busy machine
FOR_EVER = 1e5  # s
OTHERS = 100  # files; more than go to a worker at a time


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"SOCS_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def database(env) -> Iterator[Database]:
    database = Database(env)
    yield database
    database.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(archiver_module, "ONE_FILE_PAUSE", 0.5)


def the_worker() -> psutil.Process:
    """The only process that copies."""
    children = psutil.Process().children()
    (worker,) = (c for c in children if "socs.archive.copy_worker" in " ".join(c.cmdline()))
    return worker


def archived(archiver: Archiver) -> int:
    return archiver.numbers()["files_archived"]


def stop_worker_at_work(archiver: Archiver, database: Database, source: Source) -> psutil.Process:
    """Have one file archived, and stop its worker; it never begins with the files added then."""
    source.add(size=1000)
    source.register(database)
    wait_until(lambda: archived(archiver) == 1, LONG)
    worker = the_worker()
    worker.suspend()
    for _ in range(OTHERS):
        source.add(size=1000)
    source.register(database)
    wait_until(archiver.mover.current, LONG, "the worker to be given work")
    return worker


def assert_one_to_blame(database: Database, archiver: Archiver, cause: str) -> None:
    numbers = archiver.numbers()
    causes = {name: n for name, n in numbers.items() if name.startswith("attempts_") and n}
    assert causes == {cause: 1}
    blamed = [row for row in rows_of(database).values() if row["failed_copy_attempts"]]
    assert [row["failed_copy_attempts"] for row in blamed] == [1]


def test_killed_worker_blames_one_file(env, database, tmp_path: Path) -> None:
    source = Source(tmp_path)
    with running_archiver(source, env, workers=1) as archiver:
        stop_worker_at_work(archiver, database, source).kill()
        wait_until(lambda: archived(archiver) == len(source.good), LONG, "all files")
        assert archiver.numbers()["files_released"] == 0  # none had to wait
        assert_one_to_blame(database, archiver, "attempts_unreadable")
    assert archiver.status()["unaccounted"] == {}
    check(database, tmp_path / "archive", source)


def test_file_too_large_for_the_archive_is_told(env, database, tmp_path: Path) -> None:
    source = Source(tmp_path / "source")
    with running_archiver(source, env, workers=1) as archiver:
        source.add(size=1000)
        source.register(database)
        wait_until(lambda: archived(archiver) == 1, LONG)
        resource.prlimit(the_worker().pid, resource.RLIMIT_FSIZE, (4096, 4096))
        source.add(size=5000)
        source.register(database)
        wait_until(lambda: archiver.numbers()["attempts_not_placed"], LONG)
        assert_one_to_blame(database, archiver, "attempts_not_placed")
    (blamed,) = [row for row in rows_of(database).values() if row["failed_copy_attempts"]]
    assert blamed["detail"].endswith(" takes no file of 5000 bytes: File too large")


def test_hanging_worker_blames_one_file(env, database, tmp_path: Path) -> None:
    source = Source(tmp_path)
    with running_archiver(source, env, workers=1, hang=1.5) as archiver:
        stop_worker_at_work(archiver, database, source)
        trouble = f"copying from {source.root} to {tmp_path / 'archive'} hangs"
        wait_until(lambda: trouble in archiver.troubles(), LONG, "the message")
        wait_until(lambda: archived(archiver) == len(source.good), LONG, "all files")
        wait_until(lambda: archiver.troubles() == [], LONG)
        assert_one_to_blame(database, archiver, "attempts_hanging")
    assert archiver.status()["unaccounted"] == {}
    check(database, tmp_path / "archive", source)


def test_root_that_hangs_holds_up_no_other(env, database, tmp_path: Path, monkeypatch) -> None:
    """More files of a root that hangs than are claimed at a time, all announced before others."""
    monkeypatch.setattr(copier, "SILENCE", 1.0 / FOR_EVER)
    monkeypatch.setattr(settings, "ROOM", OTHERS)
    hanging, other = Source(tmp_path), Source(tmp_path / "other", seed=2)
    roots = [str(hanging.root), str(other.root)]
    options = {"workers": 1, "hang": FOR_EVER, "files_per_batch": OTHERS // 2}
    with running_archiver(hanging, env, roots=roots, **options) as archiver:
        worker = stop_worker_at_work(archiver, database, hanging)
        for _ in range(3 * OTHERS):
            hanging.add(size=1000)
        hanging.register(database)
        for _ in range(OTHERS):
            other.add(size=1000)
        other.register(database)
        is_archived = copies.table.c.state == copies.ARCHIVED
        wait_until(lambda: number(database, is_archived) == 1 + len(other.good), LONG, "the others")
        assert {*other.good} < {row["source"] for row in rows_of(database).values()}
        assert "hangs" in "".join(archiver.troubles())
        assert number(database, files.table.c.failed_copy_attempts > 0) == 0
        os.kill(worker.pid, signal.SIGCONT)
        everything = len(hanging.good) + len(other.good)
        wait_until(lambda: archived(archiver) == everything, LONG, "all files")
        wait_until(lambda: archiver.troubles() == [], LONG)
    assert archiver.status()["unaccounted"] == {}
    assert number(database, files.table.c.failed_copy_attempts > 0) == 0


def test_batch_may_be_larger_than_what_is_copied_at_a_time(env, database, tmp_path: Path) -> None:
    source = Source(tmp_path)
    for _ in range(10):
        source.add(size=1000)
    source.register(database)
    with running_archiver(source, env, files_per_batch=5 * copier.ROOM) as archiver:
        wait_until(lambda: archived(archiver) == len(source.good), LONG, "all files")
    check(database, tmp_path / "archive", source)
