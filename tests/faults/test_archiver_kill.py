"""Killed at any moment, the archiver loses no file and archives none twice; poison stops nobody."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.testing import wait_until
from tests.archiving import (
    Source,
    all_at_rest,
    check,
    files_below,
    number,
    rows_of,
    running_archiver,
    temporary,
)
from tests.faults.archiver_process import ArchiverProcess, at_the_end_killed

LONG = 300.0  # s to wait at most, on a busy machine
FOR_EVER = 1e6  # s
SLOW = pytest.mark.slow
QUICK_ON_SQLITE = pytest.mark.parametrize(
    "files_env", ["sqlite", pytest.param("mariadb", marks=SLOW)], indirect=True
)
QUICK_ON_MARIADB = pytest.mark.parametrize(
    "files_env", ["mariadb", pytest.param("sqlite", marks=SLOW)], indirect=True
)


@pytest.fixture
def database(files_env) -> Iterator[Database]:
    database = Database(files_env)
    yield database
    database.close()


def archived(database: Database) -> int:
    return number(database, copies.table.c.state == copies.ARCHIVED)


def assert_sound(status: Mapping[str, Any]) -> None:
    """Every file that an archiver claimed is accounted for, and nothing is wrong with it."""
    assert status["unaccounted"] == {}
    assert status["counters"]["files_in_hand"] == 0
    assert status["troubles"] == ["the archiver has stopped by itself"]  # after its end


# -- poison ---------------------------------------------------------------------------------------


def poisoned(directory: Path, env: Mapping[str, str], database: Database, count: int) -> None:
    source = Source(directory)
    source.mix(count // 2)
    source.add_oddities()
    source.mix(count // 2)
    source.register(database)
    attempted_once = copies.table.c.state.in_((copies.WAITING, copies.CHANGED))
    with running_archiver(source, env, retry_wait=FOR_EVER) as archiver:
        # No attempt is a second one: the good ones waited for none of the spoilt ones.
        wait_until(lambda: archived(database) == len(source.good), LONG, "all good files")
        wait_until(lambda: number(database, attempted_once) == len(source.spoilt), LONG)
        # Counted when the database has them.
        wait_until(lambda: archiver.numbers()["files_archived"] == len(source.good))
        numbers = archiver.numbers()
        assert numbers["files_claimed"] == len(source.good) + len(source.spoilt)
        assert numbers["bytes_archived"] == sum(map(size_of, source.good))
    with database.begin() as connection:  # time passes
        waiting = copies.table.c.state == copies.WAITING
        connection.execute(copies.table.update().where(waiting).values(due=0.0))
    with running_archiver(source, env) as archiver:
        wait_until(lambda: all_at_rest(database), LONG, "all attempts")
        wait_until(lambda: not archiver.numbers()["files_in_hand"])
        assert archiver.troubles() == []
    assert archiver.status()["unaccounted"] == {}
    check(database, directory / "archive", source)
    failures = sum(end.attempts for end in source.spoilt.values())
    first = sum(1 for end in source.spoilt.values())
    assert archiver.numbers()["files_claimed"] == failures - first


def size_of(path: str) -> int:
    return Path(path).stat().st_size


def test_poison_comes_to_rest_and_holds_nobody_up(files_env, database, tmp_path: Path) -> None:
    poisoned(tmp_path, files_env, database, 1000)


@SLOW
def test_poison_among_ten_thousand_files(files_env, database, tmp_path: Path) -> None:
    poisoned(tmp_path, files_env, database, 10_000)


# -- kill -9 at random instants -------------------------------------------------------------------


class Interrupted:
    """What the kills found: that they hit the archiver at work."""

    def __init__(self, database: Database, archive: Path) -> None:
        self._database, self._archive = database, archive
        self.claimed = self.parts = self.unrecorded = 0

    def __str__(self) -> str:
        return (
            f"{self.claimed} files claimed, {self.parts} under a temporary name, "
            f"{self.unrecorded} in their place and not recorded"
        )

    def look(self) -> None:
        """After a kill."""
        self.claimed += number(self._database, copies.table.c.state == copies.COPYING)
        there = files_below(self._archive)
        parts = [path for path in there if "/.suprsync-" in path]
        self.parts += len(parts)
        recorded = {row["path"] for row in rows_of(self._database).values() if row["copied"]}
        self.unrecorded += len(set(there) - set(parts) - recorded)


def killed_at_random(
    directory: Path,
    env: Mapping[str, str],
    database: Database,
    *,
    count: int,
    kills: int,
    seed: int,
) -> None:
    """A part of ``count`` files is announced before each kill, the rest at the end."""
    source, chance = Source(directory, seed), random.Random(seed)
    source.add_oddities()
    victim = ArchiverProcess(source, env)
    interrupted = Interrupted(database, directory / "archive")
    with at_the_end_killed(victim):
        for _ in range(kills):
            source.mix(count // kills)
            source.register(database)
            victim.start()
            pause = threading.Event()
            pause.wait(chance.uniform(0.0, 0.5))  # the instant is what is random here
            victim.kill(alone=chance.random() < 0.5)
            interrupted.look()
        victim.start()
        wait_until(lambda: all_at_rest(database), LONG, "all files to come to rest")
        status = victim.stop()
    assert_sound(status)
    check(database, directory / "archive", source)
    print(f"after {kills} kills: {interrupted}")
    assert interrupted.claimed


@QUICK_ON_SQLITE
def test_killed_at_random_instants(files_env, database, tmp_path: Path) -> None:
    killed_at_random(tmp_path, files_env, database, count=900, kills=3, seed=1)


@SLOW
@pytest.mark.timeout(1200)
def test_killed_at_a_hundred_random_instants(files_env, database, tmp_path: Path) -> None:
    killed_at_random(tmp_path, files_env, database, count=10_000, kills=100, seed=2)


@QUICK_ON_SQLITE
def test_signal_to_all_processes_at_once(files_env, database, tmp_path: Path) -> None:
    """As of a service manager that ends all processes of a service: no attempt counts as failed."""
    source = Source(tmp_path)
    victim = ArchiverProcess(source, files_env)
    with at_the_end_killed(victim):
        for _ in range(2):
            for _ in range(300):
                source.add(size=1000)
            source.register(database)
            before = archived(database)
            victim.start()
            wait_until(lambda n=before: archived(database) > n, LONG, "the first files")
            os.killpg(victim.process.pid, signal.SIGTERM)
            status = victim.wait()
            assert_sound(status)
            assert status["counters"]["attempts_unreadable"] == 0
            assert number(database, files.table.c.failed_copy_attempts > 0) == 0
        victim.start()
        wait_until(lambda: archived(database) == len(source.good), LONG)
        assert_sound(victim.stop())
    check(database, tmp_path / "archive", source)


# -- kill -9 at named points ----------------------------------------------------------------------


@contextmanager
def nothing_is_recorded(database: Database) -> Iterator[None]:
    """Copies can be looked at, but neither be claimed nor settled."""
    with database.begin() as connection:  # of SQLite this takes the lock of all writers
        connection.execute(copies.table.select().with_for_update()).all()
        yield


def names_in_use(archive: Path) -> set[str]:
    return {path for path in files_below(archive) if "/.suprsync-" not in path}


@QUICK_ON_MARIADB
def test_killed_between_the_name_and_the_record(files_env, database, tmp_path: Path) -> None:
    source = Source(tmp_path)
    for _ in range(1000):
        source.add(size=1000)
    source.register(database)
    archive = tmp_path / "archive"
    victim = ArchiverProcess(source, files_env)
    with at_the_end_killed(victim):
        victim.start()
        wait_until(lambda: archived(database), LONG, "the first files")
        with nothing_is_recorded(database):
            recorded = archived(database)
            wait_until(lambda: len(names_in_use(archive)) > recorded, LONG, "one more name")
            victim.kill()
        unrecorded = len(names_in_use(archive)) - recorded
        victim.start()
        wait_until(lambda: archived(database) == len(source.good), LONG)
        status = victim.stop()
    assert_sound(status)
    assert status["counters"]["files_adopted"] == unrecorded
    check(database, archive, source)  # among other things: there is no name.1


def parts(archive: Path) -> list[Path]:
    return list(archive.glob("*/.suprsync-*/part-*"))


def halted_at_work(victim: ArchiverProcess, archive: Path) -> bool:
    """Halt the processes that copy, if they are just copying."""
    if not parts(archive):
        return False
    halted = victim.copiers()
    for copier in halted:
        copier.suspend()
    wait_until(lambda: all(c.status() == psutil.STATUS_STOPPED for c in halted), LONG)
    if parts(archive):
        return True
    resume_copiers(victim)
    return False


def resume_copiers(victim: ArchiverProcess) -> None:
    for copier in victim.copiers():
        copier.resume()


@pytest.mark.parametrize("end", ["killed", pytest.param("killed alone", marks=SLOW), "stopped"])
def test_ended_in_the_middle_of_copies(tmp_path: Path, end: str) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "data")}
    source, database, archive = Source(tmp_path), Database(env), tmp_path / "archive"
    for _ in range(4):
        source.add_large(34 << 20)  # these are copied by workers for large files
    source.register(database)
    victim = ArchiverProcess(source, env)
    with at_the_end_killed(victim):
        victim.start()
        wait_until(lambda: halted_at_work(victim, archive), LONG, "a copy")
        if end == "stopped":
            status = victim.stop()
            assert_sound(status)
            assert status["counters"]["files_released"] > 0
            assert temporary(archive) == []
            assert number(database, copies.table.c.due > 0) == 0  # others may have them at once
        elif end == "killed":
            victim.kill()
            assert parts(archive)
        else:
            resume_copiers(victim)
            victim.kill(alone=True)
        victim.start()
        wait_until(lambda: archived(database) == len(source.good), LONG)
        wait_until(lambda: not temporary(archive), LONG, "what is temporary to go")
        assert_sound(victim.stop())
    check(database, archive, source)
    database.close()
