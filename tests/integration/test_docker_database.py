"""The files that make the database of the containers, run on a real server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.cli.main import main
from socs.db import batches, claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.claims import Archived
from socs.db.engine import Database
from socs.epics.monitor.host_book import HostBook
from socs.epics.store import tables
from socs.epics.store.purge import PurgeAges, purge_tables
from socs.errors import StorageError
from socs.testing.mariadb import MariaDB, find_program

INIT = Path(__file__).parents[2] / "docker" / "mariadb" / "initdb.d"
PASSWORDS = {
    "DB_PW": "it's \\ one",
    "DB_ARCHIVER_PW": "two",
    "DB_EPICS_PW": "four",
    "DB_ADMIN_PW": "three",
}
# What the entrypoint of the official image offers to the scripts that it sources.
ENTRYPOINT = r"""
set -eo pipefail
docker_process_sql() {
    local database=
    case "$1" in --database=*) database=$1; shift;; esac
    "$CLIENT" --no-defaults --host=127.0.0.1 --port="$PORT" --user=root \
        "${database:---database=$MARIADB_DATABASE}" "$@"
}
docker_sql_escape_string_literal() {
    local text=${1//\\/\\\\}
    echo "${text//\'/\\\'}"
}
docker_process_sql < "$1"
. "$2"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("docker-database")) as server:
        server.run("CREATE DATABASE files")
        env = {
            "PATH": os.environ["PATH"],
            "CLIENT": find_program("mariadb"),
            "PORT": str(server.port),
            "MARIADB_DATABASE": "files",
            "DB_USER": "socs_monitor",
            **PASSWORDS,
        }
        scripts = [str(INIT / name) for name in ("10-tables.sql", "20-users.sh")]
        subprocess.run(
            ["bash", "-c", ENTRYPOINT, "bash", *scripts],
            env=env,
            check=True,
            capture_output=True,
            text=True,
        )
        yield server


def database(server: MariaDB, user: str, password: str) -> Database:
    return Database(
        server.address()
        | {"MYSQL_DATABASE": "files", "MYSQL_USER": user, "MYSQL_PASSWORD": password}
    )


@pytest.fixture
def monitor(server) -> Iterator[Database]:
    found = database(server, "socs_monitor", PASSWORDS["DB_PW"])
    yield found
    found.close()


ROW = files.row_of(
    {"path": "/data/a", "timestamp": files.utc_text(1.5), "md5sum": bytes(16), "copied": False}
)


def test_the_monitor_finds_its_tables_and_registers(monitor: Database) -> None:
    assert files.missing_tables(monitor) == []
    assert files.create_table(monitor) is False
    with monitor.begin() as connection:
        batches.record(connection, "0" * 32, 1, 1, "0" * 16)
        files.add_entries(connection, [ROW])
    assert batches.settle(monitor, "0" * 32, 1, "0" * 16) is True
    with monitor.begin() as connection:
        assert files.known_paths(connection, ["/data/a"]) == {"/data/a"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pysmurf_files_v1 SET copied = 1",
        "DELETE FROM pysmurf_files_v1",
        "DELETE FROM socs_spool_batches_v1",
        "DROP TABLE pysmurf_files_v1",
        "CREATE TABLE another (a INT)",
    ],
)
def test_the_monitor_may_do_nothing_else(monitor: Database, statement: str) -> None:
    with pytest.raises(StorageError, match="denied"), monitor.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def archiver(server) -> Iterator[Database]:
    found = database(server, "socs_archiver", PASSWORDS["DB_ARCHIVER_PW"])
    yield found
    found.close()


def test_the_archiver_finds_its_tables_and_archives(monitor: Database, archiver: Database) -> None:
    with monitor.begin() as connection:
        row = {"path": "/data/b", "instance_id": "monitor", "failed_copy_attempts": 0}
        row |= {"copied": False, "md5sum": bytes(16)}
        files.add_entries(connection, [files.row_of(row)])
    assert copies.create_table(archiver) is False
    with archiver.begin() as connection:
        claims.prepare(connection, "archiver")
        (claimed,) = claims.claim(
            *(connection, "archiver", ["monitor"]),
            **{"limit": 1, "now": 1.0, "until": 2.0, "max_attempts": 5},
        )
        claims.renew(connection, "archiver", [claimed["id"]], 3.0)
        stored = Archived(claimed["id"], "/archive/b", 1)
        assert claims.settle(connection, "archiver", [stored], [], 2.0) == {claimed["id"]}
        copies.damaged(connection, claimed["id"], copies.LOST, "it has gone")
        assert copies.retry(connection, [claimed["id"]]) == 1
        assert copies.ignore(connection, [claimed["id"]], "enough") == 1
        assert copies.counts(connection) == {copies.IGNORED: 1}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM pysmurf_files_v1",
        "DELETE FROM socs_copies_v1",
        "UPDATE socs_spool_batches_v1 SET files = 0",
        "DROP TABLE socs_copies_v1",
        "CREATE TABLE another (a INT)",
    ],
)
def test_the_archiver_may_do_nothing_else(archiver: Database, statement: str) -> None:
    with pytest.raises(StorageError, match="denied"), archiver.begin() as connection:
        connection.exec_driver_sql(statement)


def test_the_monitor_has_no_business_with_copies(monitor: Database) -> None:
    with pytest.raises(StorageError, match="denied"), monitor.read() as connection:
        copies.counts(connection)


@pytest.fixture
def epics(server) -> Iterator[Database]:
    found = database(server, "socs_epics", PASSWORDS["DB_EPICS_PW"])
    yield found
    found.close()


def test_the_epics_monitor_finds_its_tables_and_keeps_what_it_is_told(epics: Database) -> None:
    assert tables.ensure_tables(epics, create=False) is False
    assert files.create_table(epics) is False
    book = HostBook(epics)
    book.create_group("ring", hosts=["10.0.0.1"])
    book.edit_group("ring", new_name="all", remove=["10.0.0.1"])
    book.delete_group("all")
    book.expect("10.0.0.1", "ann", 1.0, ports=["CA:5064"])
    book.maintain("10.0.0.1", "ann", 2.0, maintenance=True)
    book.maintain("10.0.0.1", "ann", 3.0, maintenance=False)
    number = book.note("10.0.0.1", "look", "ann", 4.0, needs_ack=True)
    assert book.acknowledge("bob", 5.0, ids=[number]) == 1
    ages = PurgeAges(events=1.0, logs=1.0)
    assert purge_tables(epics, ages, 10.0) == {"events": 0, "logs": 1}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE socs_epics_events_v1 SET kind = 'NEW'",
        "UPDATE pysmurf_files_v1 SET copied = 1",
        "DELETE FROM pysmurf_files_v1",
        "DROP TABLE socs_epics_logs_v1",
        "SELECT * FROM socs_copies_v1",
    ],
)
def test_the_epics_monitor_may_do_nothing_else(epics: Database, statement: str) -> None:
    with pytest.raises(StorageError, match="denied"), epics.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("command", ["list", "stats"])
def test_the_monitors_user_may_look_at_files(server: MariaDB, monkeypatch, capsys, command) -> None:
    env = server.address() | {"MYSQL_DATABASE": "files", "MYSQL_USER": "socs_monitor"}
    for name, value in (env | {"MYSQL_PASSWORD": PASSWORDS["DB_PW"]}).items():
        monkeypatch.setenv(name, value)
    assert main(["files", command]) == 0, capsys.readouterr().err


def test_the_administrator_may_drop_and_create(server: MariaDB) -> None:
    admin = database(server, "socs_admin", PASSWORDS["DB_ADMIN_PW"])
    try:
        files.drop_table(admin)
        with admin.begin() as connection:
            copies.table.drop(connection)
        assert len(files.missing_tables(admin)) == 2
        assert copies.create_table(admin) is True
        assert files.missing_tables(admin) == []
        with admin.read() as connection:
            assert copies.counts(connection) == {}
    finally:
        admin.close()
