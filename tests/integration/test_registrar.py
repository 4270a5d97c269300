"""From the spool into a real table: exactly once, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from socs.counters import FILES, Counters
from socs.dataroots import DataRoots
from socs.db import batches, file_readers, registrar
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.file_readers import Found
from socs.db.registrar import Registrar, RowConstants
from socs.db.spool import FileEntry, Spool, SpooledFile
from socs.errors import ConfigError
from socs.testing import wait_until
from socs.testing.cutter import Moment, TcpCutter, is_mysql_commit


class Bench:
    """A spool, a database, and the registrar between them, in a directory."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.data = directory / "files"
        self.data.mkdir(exist_ok=True)
        self.spool = Spool(directory / "spool")
        self.database = Database(environ, statement_timeout=2)
        self.counters = Counters(FILES)
        self.log: list[str] = []
        self.more_roots: list[Path] = []
        self.constants = RowConstants("site", "monitor", settle=0.0, file_attempts=3, batch=50)
        self.registrar = self.new_registrar()

    def new_registrar(self) -> Registrar:
        return Registrar(
            self.spool,
            self.database,
            DataRoots([self.data, *self.more_roots]),
            self.constants,
            counters=self.counters,
            report=self.log.append,
        )

    def announce(self, count: int, prefix: str = "f") -> dict[str, bytes]:
        """Write files and put them into the spool; {path: md5sum}."""
        written = {}
        for number in range(count):
            path = self.data / f"{prefix}{number}.dat"
            path.write_bytes(os.urandom(100))
            written[str(path)] = hashlib.md5(path.read_bytes()).digest()
        self.spool.append([FileEntry(path=path) for path in written], now=time.time() - 1)
        return written

    def rows(self) -> list[tuple[str, bytes]]:
        with self.database.begin() as connection:
            query = sa.select(files.table.c.path, files.table.c.md5sum)
            return [(path, bytes(md5sum)) for path, md5sum in connection.execute(query)]

    def wait_for(self, count: int, timeout: float = 30) -> None:
        wait_until(lambda: self.counters["files_registered"] >= count, timeout, f"{count} rows")

    def close(self) -> None:
        self.registrar.stop()
        self.spool.close()
        self.database.close()


@contextmanager
def running(directory: Path, environ: dict[str, str], *, table: bool = True) -> Iterator[Bench]:
    bench = Bench(directory, environ)
    if table:
        files.create_table(bench.database)
    try:
        bench.registrar.start()
        yield bench
    finally:
        bench.close()


def test_each_file_becomes_one_row_with_its_md5(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        written = bench.announce(500)
        bench.wait_for(500)
        assert sorted(bench.rows()) == sorted(written.items())
        assert bench.spool.counts() == {"queued": 0, "waiting": 0, "failed": 0}


def test_columns_of_a_row(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        path = bench.data / "ünïcode 'quoted\".npy"
        path.write_bytes(b"x")
        moment = 1568779322.188764
        entry = FileEntry(str(path), "take_iv", moment, 1568779300, "npy", True, "crate", "4.1")
        bench.spool.append([entry], now=time.time())
        bench.wait_for(1)
        with bench.database.begin() as connection:
            (row,) = files.select_files(connection)
        assert row["timestamp"].isoformat() == "2019-09-18T04:02:02.188764"
        assert bytes(row["md5sum"]) == hashlib.md5(b"x").digest()
        expected = {
            "path": str(path),
            "action": "take_iv",
            "action_timestamp": 1568779300,
            "format": "npy",
            "plot": True,
            "site": "site",
            "pub_id": "crate",
            "instance_id": "monitor",
            "copied": False,
            "failed_copy_attempts": 0,
            "pysmurf_version": "4.1",
        }
        assert {name: row[name] for name in expected} == expected
        assert row["socs_version"]


def test_injection_is_stored_as_text(files_env, tmp_path: Path) -> None:
    nasty = ["'; DROP TABLE pysmurf_files_v1; --", '" OR 1=1 #', "\\", "%s %(x)s", "a\0b", "😀"]
    with running(tmp_path, files_env) as bench:
        path = bench.data / "x"
        path.write_bytes(b"x")
        entries = [FileEntry(str(path), action=text, pub_id=text) for text in nasty]
        bench.spool.append(entries, now=time.time())
        bench.wait_for(len(nasty))
        with bench.database.begin() as connection:
            rows = files.select_files(connection)
        assert sorted(row["action"] for row in rows) == sorted(nasty)


def test_bad_files_hold_nobody_up(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        (bench.data / "fifo").parent.mkdir(exist_ok=True)
        os.mkfifo(bench.data / "fifo")
        (tmp_path / "outside").write_text("")
        bad = [bench.data / "never", bench.data / "fifo", tmp_path / "outside"]
        bench.spool.append([FileEntry(str(path)) for path in bad], now=time.time() - 1)
        bench.announce(20)
        bench.wait_for(20)
        wait_until(lambda: bench.spool.counts()["failed"] == 2, 10)
        assert {entry.cause for entry in bench.spool.failed()} == {
            "attempts_not_regular",
            "attempts_outside_roots",
        }
        wait_until(lambda: bench.spool.counts()["failed"] == 3, 20, "three attempts at the third")
        assert bench.counters["attempts_missing"] == 3
        assert bench.registrar.problem is None
        (bench.data / "never").write_text("now")
        assert bench.spool.retry(cause="attempts_missing", now=time.time()) == 1
        bench.wait_for(21)


def test_late_file_is_registered_when_it_comes(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        path = bench.data / "late"
        bench.spool.append([FileEntry(str(path))], now=time.time() - 1)
        wait_until(lambda: bench.spool.counts()["waiting"] == 1)
        path.write_bytes(b"here")
        bench.wait_for(1)
        assert bench.rows() == [(str(path), hashlib.md5(b"here").digest())]


def test_refused_row_is_set_aside_and_its_batch_stored(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        path = bench.data / "poison"
        path.write_bytes(b"x")
        bench.registrar.stop()
        # No database stores a lone surrogate, and none a number of 100 digits.
        poison = [FileEntry(str(path), action_timestamp=2**63 - 1, timestamp=5.0, format="f" * 300)]
        bench.spool.append(poison if bench.database.is_mariadb else [], now=time.time() - 1)
        bench.announce(49)
        bench.registrar = bench.new_registrar()
        bench.registrar.start()
        bench.wait_for(49)
        if bench.database.is_mariadb:
            wait_until(lambda: bench.spool.counts()["failed"] == 1)
            (failed,) = bench.spool.failed()
            assert failed.cause == "attempts_refused"
            assert "format" in failed.detail
        assert len(bench.rows()) == 49


def test_missing_table_is_a_problem_that_ends_when_it_is_made(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env, table=False) as bench:
        bench.announce(10)
        problem = wait_until(lambda: bench.registrar.problem)
        assert "socs files create" in problem
        files.create_table(bench.database)
        bench.wait_for(10)
        assert bench.registrar.problem is None
        assert len(bench.rows()) == 10


def test_open_batch_of_a_dead_process_that_was_committed(files_env, tmp_path: Path) -> None:
    """Killed after COMMIT, before the spool was trimmed."""
    with running(tmp_path, files_env) as bench:
        bench.registrar.stop()
        bench.announce(3)
        taken = bench.spool.take(10, now=time.time(), received_before=time.time())
        batch = bench.spool.begin(taken)
        with bench.database.begin() as connection:
            batches.record(connection, bench.spool.identity, batch.number, 3, batch.digest)
            rows = [files.row_of({"path": e.file.path, "md5sum": bytes(16)}) for e in taken]
            files.add_entries(connection, rows)
        bench.registrar = bench.new_registrar()
        bench.registrar.start()
        bench.wait_for(3)
        assert len(bench.rows()) == 3
        assert sum(bench.spool.counts().values()) == 0


def test_open_batch_of_a_dead_process_that_was_not_committed(files_env, tmp_path: Path) -> None:
    """Killed between writing the batch down and COMMIT."""
    with running(tmp_path, files_env) as bench:
        bench.registrar.stop()
        written = bench.announce(3)
        taken = bench.spool.take(10, now=time.time(), received_before=time.time())
        batch = bench.spool.begin(taken)
        bench.registrar = bench.new_registrar()
        bench.registrar.start()
        bench.wait_for(3)
        assert sorted(bench.rows()) == sorted(written.items())
        # The old number can never be committed any more.
        assert batches.settle(bench.database, bench.spool.identity, batch.number, batch.digest) is (
            False
        )


def test_old_copy_of_the_spool_takes_a_new_identity(files_env, tmp_path: Path) -> None:
    """A restored backup counts its batches from where it was; other files, same numbers."""
    with running(tmp_path, files_env) as bench:
        bench.registrar.stop()
        identity = bench.spool.identity
        with bench.database.begin() as connection:
            batches.record(connection, identity, 1, 7, "0123456789abcdef")
        written = bench.announce(3)
        bench.registrar = bench.new_registrar()
        bench.registrar.start()
        bench.wait_for(3)
        assert sorted(bench.rows()) == sorted(written.items())
        assert bench.spool.identity != identity


@pytest.fixture
def cutter(mariadb) -> Iterator[TcpCutter]:
    env = mariadb.env()
    with TcpCutter((env["MYSQL_HOST"], int(env["MYSQL_PORT"]))) as cutter:
        yield cutter


def through(cutter: TcpCutter, env: dict[str, str]) -> dict[str, str]:
    host, port = cutter.address
    return env | {"MYSQL_HOST": host, "MYSQL_PORT": str(port)}


@pytest.mark.parametrize("moment", list(Moment))
def test_connection_cut_around_commit(
    mariadb, cutter, tmp_path: Path, moment: Moment, monkeypatch
) -> None:
    """The client never learns whether its COMMIT took place; yet each file has one row."""
    monkeypatch.setattr(registrar, "PROBE", 3600)  # whose transactions would be cut instead
    with running(tmp_path, through(cutter, mariadb.env())) as bench:
        written: dict[str, bytes] = {}
        for cut in range(5):
            cutter.arm(is_mysql_commit, moment)
            written |= bench.announce(20, f"{cut}-")
            bench.wait_for(len(written))
            cutter.disarm()
        assert cutter.cuts == 5
        assert sorted(bench.rows()) == sorted(written.items())
        assert bench.counters["database_errors"] >= 5


def test_hanging_database_is_dialled_again(mariadb, cutter, tmp_path: Path) -> None:
    with running(tmp_path, through(cutter, mariadb.env())) as bench:
        bench.announce(5, "before")
        bench.wait_for(5)
        cutter.hang()
        bench.announce(5, "during")
        assert "error" in wait_until(lambda: bench.registrar.problem, 20)
        cutter.resume()
        bench.wait_for(10)
        assert len(bench.rows()) == 10
        assert bench.registrar.problem is None


def test_stopping_while_the_database_is_away_keeps_the_files(
    mariadb, cutter, tmp_path: Path
) -> None:
    environ = through(cutter, mariadb.env())
    with running(tmp_path, environ) as bench:
        cutter.refuse()
        cutter.cut()
        written = bench.announce(5)
        wait_until(lambda: bench.registrar.problem, 20)
    cutter.allow()
    with running(tmp_path, environ) as bench:
        bench.wait_for(5)
        assert sorted(bench.rows()) == sorted(written.items())


def test_user_with_insert_and_select_only(mariadb, tmp_path: Path) -> None:
    """The privileges that the documentation gives the monitor are enough."""
    admin = Database(mariadb.env())
    files.create_table(admin)
    admin.close()
    environ = mariadb.create_user("monitor", "INSERT, SELECT")
    with running(tmp_path, environ, table=False) as bench:
        assert files.create_table(bench.database) is False
        written = bench.announce(20)
        bench.wait_for(20)
        assert sorted(bench.rows()) == sorted(written.items())


def test_hosts_are_tried_in_turn(mariadb, tmp_path: Path) -> None:
    env = mariadb.env()
    environ = env | {"MYSQL_HOST": f"127.0.0.1:1,{env['MYSQL_HOST']}:{env['MYSQL_PORT']}"}
    with running(tmp_path, environ) as bench:
        bench.announce(3)
        bench.wait_for(3)


def workers() -> list[psutil.Process]:
    """The processes that read files."""
    children = psutil.Process().children()
    return [child for child in children if "socs.db.file_readers" in child.cmdline()]


def test_file_server_that_hangs_holds_up_its_own_files_only(
    files_env, tmp_path: Path, monkeypatch
) -> None:
    """A stopped worker is to the monitor what a worker is whose file server does not answer."""
    monkeypatch.setattr(file_readers, "HANG", 0.5)
    monkeypatch.setattr(registrar, "HANG", 0.5)
    with running(tmp_path, files_env) as bench:
        bench.registrar.stop()
        bench.more_roots.append(tmp_path / "other")
        (tmp_path / "other").mkdir()
        bench.constants = replace(bench.constants, workers=1)
        bench.registrar = bench.new_registrar()
        bench.registrar.start()
        bench.announce(1, "warm")
        bench.wait_for(1)
        hung = workers()
        for process in hung:
            process.suspend()
        bench.announce(300, "hung")
        other = tmp_path / "other" / "good"
        other.write_bytes(b"good")
        bench.spool.append([FileEntry(str(other))], now=time.time() - 1)
        bench.wait_for(2)
        assert str(other) in dict(bench.rows())
        troubles = wait_until(bench.registrar.troubles)
        assert troubles == [f"reading below {bench.data} hangs"]
        bench.announce(5, "later")
        wait_until(lambda: bench.counters["attempts_hanging"] >= 5)
        for process in hung:
            process.resume()
        bench.wait_for(307)
        assert len(bench.rows()) == 307
        assert bench.registrar.troubles() == []


def test_stopping_does_not_wait_for_a_file_server_that_hangs(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        bench.announce(1, "warm")
        bench.wait_for(1)
        for process in workers():
            process.suspend()
        bench.announce(10)
        wait_until(lambda: bench.registrar.status()["in_progress"] == 10)
        assert bench.registrar.stop()
        assert sum(bench.spool.counts().values()) == 10


def test_database_that_goes_away_while_idle_is_noticed(
    mariadb, cutter, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(registrar, "PROBE", 0.1)
    with running(tmp_path, through(cutter, mariadb.env())) as bench:
        bench.announce(1)
        bench.wait_for(1)
        cutter.refuse()
        cutter.cut()
        wait_until(bench.registrar.troubles, 10)
        cutter.allow()
        wait_until(lambda: bench.registrar.troubles() == [], 10)


def test_dead_reader_costs_an_attempt_not_a_file(files_env, tmp_path: Path) -> None:
    with running(tmp_path, files_env) as bench:
        bench.announce(1, "warm")
        bench.wait_for(1)
        for process in workers():
            process.kill()
            process.wait()
        bench.announce(10)
        bench.wait_for(11)
        assert len(bench.rows()) == 11


def test_time_that_no_table_can_hold_stops_nobody(files_env, tmp_path: Path) -> None:
    """Some file systems keep times far beyond the year 9999."""
    with running(tmp_path, files_env) as bench:
        bench.registrar.stop()
        bench.registrar = bench.new_registrar()
        path = bench.data / "x"
        path.write_bytes(b"x")
        entry = SpooledFile(1, 0.0, FileEntry(str(path), timestamp=None))
        row = bench.registrar._row(entry, Found(str(path), 1e12, bytes(16)))
        with bench.database.begin() as connection:
            files.add_entries(connection, [row])
            (stored,) = files.select_files(connection)
        assert stored["timestamp"].year == 1970


def test_table_of_something_else_is_a_problem_until_it_is_mended(tmp_path: Path) -> None:
    with running(tmp_path, {"SOCS_DATA_DIR": str(tmp_path)}) as bench:
        bench.registrar.stop()
        mended = threading.Event()

        def prepare() -> None:
            if not mended.is_set():
                raise ConfigError("the table lacks the column md5sum")

        bench.registrar = Registrar(
            *(bench.spool, bench.database, DataRoots([bench.data]), bench.constants),
            counters=bench.counters,
            prepare=prepare,
        )
        bench.registrar.start()
        wait_until(bench.registrar.troubles)
        assert (
            bench.registrar.status()["database"]["problem"] == "the table lacks the column md5sum"
        )
        assert bench.registrar.defect is None
        mended.set()
        bench.announce(1)
        bench.wait_for(1)
        assert bench.registrar.troubles() == []


def test_status_stays_small(tmp_path: Path) -> None:
    with running(tmp_path, {"SOCS_DATA_DIR": str(tmp_path)}) as bench:
        bench.registrar.stop()
        bench.spool.append([FileEntry("/" + "\U0001f600" * 1023) for _ in range(20)], now=1.0)
        taken = bench.spool.take(20, now=2.0, received_before=2.0)
        bench.spool.fail([(entry, "attempts_refused", "\U0001f600" * 5000) for entry in taken])
        status = bench.registrar.status()
        assert 1 <= len(status["failed_files"]) < 20
        assert len(json.dumps(status, ensure_ascii=False).encode()) < 40_000
