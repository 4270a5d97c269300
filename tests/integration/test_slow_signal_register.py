"""Complete files of readouts in the files table, on both databases."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from socs.counters import imbalances
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.errors import StorageUnavailable
from socs.slow_signal.register import EQUATIONS, FileRegister
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.store import SSDataReader
from socs.slow_signal.stream import SlowSignalStream
from socs.testing import wait_until
from tests.integration.test_slow_signal_stream import send, settled
from tests.slow_signal_packets import sets


@contextmanager
def registering(directory: Path, environ: Mapping[str, str]) -> Iterator[FileRegister]:
    database = Database(environ, statement_timeout=5)
    constants = RowConstants("site", "builder", settle=0.0)
    data = str(directory / "files")
    Path(data).mkdir(exist_ok=True)
    register = FileRegister(directory / "spool", database, [data], constants)
    register.start()
    try:
        yield register
    finally:
        register.stop()
        database.close()


@contextmanager
def streaming(directory: Path, register: FileRegister) -> Iterator[SlowSignalStream]:
    writer = WriterSettings(folder=str(directory / "files"), file_enumerator="order")
    stream = SlowSignalStream(
        StreamSettings(listen_ip="0.0.0.0", listen_port=0, writer=writer),
        on_finished=register.finished,
        on_settled=register.settled,
    )
    stream.start()
    try:
        yield stream
    finally:
        stream.stop()


def rows(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    database = Database(environ)
    try:
        with database.read() as connection:
            found = connection.execute(sa.select(files.table).order_by(files.table.c.path))
            return [dict(row._mapping) for row in found]
    finally:
        database.close()


def test_every_file_is_registered_once_with_what_it_is(tmp_path: Path, files_env) -> None:
    with registering(tmp_path, files_env) as register:
        with streaming(tmp_path, register) as stream:
            for number in range(3):
                send(stream, sets([number], range(32)))
                settled(stream, 32 * (number + 1))
                stream.new_file()
        wait_until(lambda: register.numbers()["files_registered"] == 3)
        status = json.loads(json.dumps(register.status()))
    found = rows(files_env)
    assert len(found) == 3
    for row in found:
        path = Path(row["path"])
        assert (row["format"], row["action"]) == ("hdf5", "slow_signal")
        assert (row["site"], row["instance_id"]) == ("site", "builder")
        assert bytes(row["md5sum"]) == hashlib.md5(path.read_bytes()).digest()
        with SSDataReader(path) as reader:
            begun = reader.column("cpu_ns")[0] / 1e9
        assert row["action_timestamp"] == int(begun)
    assert status["unaccounted"] == {}
    assert status["troubles"] == []
    assert sorted(status["last_files"]) == [row["path"] for row in found]


def test_a_file_that_comes_twice_is_registered_once(tmp_path: Path, files_env) -> None:
    taken: list = []
    with registering(tmp_path, files_env) as register:

        class Twice:
            def finished(self, completed) -> None:
                register.finished(completed)
                taken.append(completed)
                if len(taken) == 1:
                    raise StorageUnavailable("as if it had not been done")

            settled = staticmethod(register.settled)

        with streaming(tmp_path, Twice()) as stream:
            send(stream, sets([0], range(32)))
            settled(stream, 32)
            stream.new_file()
            wait_until(lambda: len(taken) == 2)
        numbers = wait_until(
            lambda: (n := register.numbers())["files_registered"] == 1 and n, 10, "the row"
        )
        assert numbers["files_spooled"] == 1
        assert imbalances(numbers, EQUATIONS) == {}
        assert register.spool.streams() == {}
    assert len(rows(files_env)) == 1


def test_files_wait_for_the_next_start(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with registering(tmp_path, env) as register:
        register.registrar.stop()
        assert "Registrar has stopped by itself" in register.troubles()
        with streaming(tmp_path, register) as stream:
            send(stream, sets([0], range(32)))
        assert register.numbers()["files_pending"] == 1
    with registering(tmp_path, env) as register:
        wait_until(lambda: register.numbers()["files_registered"] == 1)
        assert register.numbers()["files_at_start"] == 1
        assert register.status()["unaccounted"] == {}
    assert len(rows(env)) == 1


def test_failed_files_are_retried_or_forgotten(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with registering(tmp_path, env) as register:
        register.registrar.stop()
        with streaming(tmp_path, register) as stream:
            send(stream, sets([0], range(32)))
    (path,) = (tmp_path / "files").glob("*.hdf5")
    elsewhere = path.rename(tmp_path / "elsewhere.hdf5")
    path.symlink_to(elsewhere)
    with registering(tmp_path, env) as register:
        wait_until(lambda: register.numbers()["files_failed"] == 1)
        path.unlink()
        elsewhere.rename(path)
        assert register.retry_failed("attempts_outside_roots") == 1
        wait_until(lambda: register.numbers()["files_registered"] == 1)
        assert register.status()["unaccounted"] == {}
