"""Several archivers share a table and an archive: each file is copied once, also when some die."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.db import copies
from socs.db.engine import Database
from socs.testing import wait_until
from tests.archiving import Source, all_at_rest, check, number
from tests.faults.archiver_process import ArchiverProcess, at_the_end_killed

LONG = 200.0  # s to wait at most, on a busy machine
PORTION = 500  # files
ROUNDS = 20  # at most, until each archiver has had its share


@pytest.fixture
def database(files_env) -> Iterator[Database]:
    database = Database(files_env)
    yield database
    database.close()


def all_archived(database: Database, source: Source) -> bool:
    return number(database, copies.table.c.state == copies.ARCHIVED) == len(source.good)


@pytest.mark.parametrize(
    ("files_env", "count"),
    [
        ("sqlite", 2),
        ("mariadb", 3),
        pytest.param("sqlite", 3, marks=pytest.mark.slow),
        pytest.param("mariadb", 2, marks=pytest.mark.slow),
    ],
    indirect=["files_env"],
)
def test_each_file_is_copied_once(files_env, database, tmp_path: Path, count: int) -> None:
    source = Source(tmp_path)
    source.add_same_names(20)
    names = [f"archiver-{n}" for n in range(count)]
    archivers = [
        ArchiverProcess(source, files_env, instance_id=name, files_per_batch=50) for name in names
    ]
    source.register(database)
    with at_the_end_killed(*archivers):
        for archiver in archivers:
            archiver.start()
        for _ in range(ROUNDS):
            for _ in range(PORTION):
                source.add(size=1000)
            source.register(database)
            wait_until(lambda: all_archived(database, source), LONG, "all files")
            if all(a.status()["counters"]["files_archived"] for a in archivers):
                break
        ends = [archiver.stop() for archiver in archivers]
    assert [end["unaccounted"] for end in ends] == [{}] * count
    shares = [end["counters"]["files_archived"] for end in ends]
    assert all(shares), "one had nothing to do"
    assert sum(shares) == len(source.good)
    assert sum(end["counters"]["claims_lost"] for end in ends) == 0
    # Two of the files with the same name have the same contents as the first.
    assert sum(end["counters"]["files_adopted"] for end in ends) <= 2
    check(database, tmp_path / "archive", source)


def killed_in_turn(
    directory: Path, env: dict[str, str], database: Database, *, count: int, kills: int
) -> None:
    """After each kill the others do all that is left; then the dead one comes back."""
    source, chance = Source(directory), random.Random(kills)
    archivers = [
        ArchiverProcess(source, env, instance_id=f"archiver-{n}", lease=1.0) for n in range(count)
    ]
    with at_the_end_killed(*archivers):
        for archiver in archivers:
            archiver.start()
        for turn in range(kills):
            source.mix(PORTION, share=0.02)
            source.register(database)
            pause = threading.Event()
            pause.wait(chance.uniform(0.0, 0.7))  # the instant is what is random here
            victim = archivers[turn % count]
            victim.kill(alone=chance.random() < 0.5)
            wait_until(lambda: all_at_rest(database), LONG, "the others to take over")
            victim.start()
        ends = [archiver.stop() for archiver in archivers]
    assert [end["unaccounted"] for end in ends] == [{}] * count
    check(database, directory / "archive", source)


@pytest.mark.parametrize(
    "files_env", ["mariadb", pytest.param("sqlite", marks=pytest.mark.slow)], indirect=True
)
def test_others_take_over_when_one_is_killed(files_env, database, tmp_path: Path) -> None:
    killed_in_turn(tmp_path, files_env, database, count=2, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_archivers_killed_sixty_times(files_env, database, tmp_path: Path) -> None:
    killed_in_turn(tmp_path, files_env, database, count=3, kills=60)
