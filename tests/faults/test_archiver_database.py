"""The archiver's database goes away, hangs, and is cut off around COMMIT: nothing is miscounted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from socs.archive.archiver import Archiver
from socs.db import copies
from socs.db.engine import Database
from socs.testing import LOOPBACK, wait_until
from socs.testing.cutter import Moment, TcpCutter, is_mysql_commit
from socs.testing.mariadb import MariaDB
from tests.archiving import MONITOR, Source, all_at_rest, check, number, running_archiver

LONG = 100.0  # s to wait at most, on a busy machine


@pytest.fixture
def database(mariadb_private: MariaDB) -> Iterator[Database]:
    database = Database(mariadb_private.env())
    yield database
    database.close()


def finish(archiver: Archiver, database: Database, source: Source) -> Mapping[str, int]:
    """Wait for all files; the numbers, which have to add up to one success for each good file."""

    def settled() -> bool:
        return all_at_rest(database) and not archiver.numbers()["files_in_hand"]

    wait_until(settled, LONG, "all files to come to rest")
    wait_until(lambda: archiver.troubles() == [], LONG)
    status = archiver.status()
    numbers = status["counters"]
    assert status["unaccounted"] == {}
    assert numbers["files_archived"] == len(source.good)
    assert numbers["bytes_archived"] == sum(Path(path).stat().st_size for path in source.good)
    assert numbers["claims_lost"] == 0  # there is no other archiver
    assert numbers["attempts_changed"] == way(source, copies.CHANGED)
    assert numbers["attempts_missing"] == way(source, copies.MISSING)
    assert numbers["database_errors"] > 0
    return numbers


def way(source: Source, state: str) -> int:
    """Failed attempts that end in ``state``."""
    return sum(end.attempts for end in source.spoilt.values() if end.state == state)


def mixed(directory: Path, database: Database, count: int) -> Source:
    source = Source(directory)
    for kind in range(count):
        if kind % 50 == 25:
            source.add_spoilt(["gone", "longer"][kind // 50 % 2])
        else:
            source.add(size=1000)
    source.register(database)
    return source


class CommitOfClaims:
    """Recognizes the COMMIT after new claims, of which it is then not known whether they hold."""

    def __init__(self) -> None:
        self._claimed = False

    def __call__(self, chunk: bytes) -> bool:
        self._claimed = self._claimed or b"INSERT INTO socs_copies_v1" in chunk
        return self._claimed and is_mysql_commit(chunk)


def cut_around_commit(
    directory: Path, server: MariaDB, database: Database, moment: Moment, *, count: int, cuts: int
) -> None:
    source = mixed(directory, database, count)
    with TcpCutter((LOOPBACK, server.port)) as cutter:
        host, port = cutter.address
        env = server.env() | {"MYSQL_HOST": host, "MYSQL_PORT": str(port)}
        with running_archiver(source, env, files_per_batch=20) as archiver:
            for done in range(cuts):
                cutter.arm(CommitOfClaims() if done % 2 else is_mysql_commit, moment)
                wait_until(lambda expected=done + 1: cutter.cuts == expected, LONG, "the cut")
                before = archiver.numbers()["files_claimed"]
                wait_until(lambda n=before: archiver.numbers()["files_claimed"] > n, LONG, "more")
            finish(archiver, database, source)
    check(database, directory / "archive", source)


def test_connection_cut_before_the_reply_to_commit(
    mariadb_private, database, tmp_path: Path
) -> None:
    server, moment = mariadb_private, Moment.BEFORE_REPLY
    cut_around_commit(tmp_path, server, database, moment, count=400, cuts=8)


@pytest.mark.slow
@pytest.mark.parametrize("moment", list(Moment))
def test_connection_cut_around_two_hundred_commits(
    mariadb_private, database, tmp_path: Path, moment: Moment
) -> None:
    cut_around_commit(tmp_path, mariadb_private, database, moment, count=4000, cuts=200)


def recorded(database: Database) -> int:
    return number(database, copies.table.c.state == copies.ARCHIVED)


def test_server_is_stopped_and_hangs_in_the_middle(
    mariadb_private: MariaDB, database: Database, tmp_path: Path
) -> None:
    source = mixed(tmp_path, database, 1000)
    with running_archiver(source, mariadb_private.env()) as archiver:
        wait_until(lambda: archiver.numbers()["files_archived"] > 100, LONG)
        mariadb_private.stop()
        wait_until(lambda: "127.0.0.1" in "".join(archiver.troubles()), LONG, "troubles")
        mariadb_private.start()
        before = archiver.numbers()["files_archived"]
        wait_until(lambda: archiver.numbers()["files_archived"] > before, LONG, "more files")
        errors = archiver.numbers()["database_errors"]
        mariadb_private.pause()
        wait_until(lambda: archiver.numbers()["database_errors"] > errors + 1, LONG, "time-outs")
        assert "127.0.0.1" in "".join(archiver.troubles())
        mariadb_private.resume()
        database.close()  # its connections are those of the server that was stopped
        finish(archiver, database, source)
    check(database, tmp_path / "archive", source)


def test_table_is_missing_and_comes(mariadb_private: MariaDB, tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.add()
    env = mariadb_private.env()
    with running_archiver(source, env, create_table=False) as archiver:
        wait_until(lambda: "socs files create" in "".join(archiver.troubles()), LONG)
        database = Database(env)
        source.register(database)
        wait_until(lambda: archiver.numbers()["files_archived"] == 1, LONG)
        wait_until(lambda: archiver.troubles() == [], LONG)
    database.close()
    assert MONITOR in archiver.status()["archive"]["targets"]
