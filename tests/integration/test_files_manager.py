"""The table itself, and the script that makes and drops it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.errors import ConfigError, RowRefused, StorageUnavailable

SCRIPT = Path(files.__file__)
SEED_COLUMNS = {
    *("path", "action", "timestamp", "action_timestamp", "format", "plot", "site", "pub_id"),
    *("instance_id", "copied", "failed_copy_attempts", "md5sum", "pysmurf_version"),
    "socs_version",
}


def script(command: str, *, answer: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *command.split()],
        input=answer,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, **environ},
    )


@pytest.fixture
def database(files_env):
    database = Database(files_env)
    yield database
    database.close()


def columns(database: Database) -> set[str]:
    with database.begin() as connection:
        found = sa.inspect(connection).get_columns(files.table.name)
    return {column["name"] for column in found}


def test_script_creates_tests_and_drops(database: Database) -> None:
    assert "Created pysmurf_files_v1" in script("create").stdout
    assert columns(database) == SEED_COLUMNS | {"id"}
    assert "Found pysmurf_files_v1" in script("create").stdout
    assert "Found pysmurf_files_v1" in script("update").stdout
    assert "took it back" in script("test").stdout
    with database.begin() as connection:
        assert files.select_files(connection) == []
    kept = script("drop", answer="what\nn\n")
    assert "Nothing was dropped" in kept.stdout
    assert files.missing_tables(database) == []
    assert "Dropped" in script("drop", answer="y\n").stdout
    assert len(files.missing_tables(database)) == 2


def test_script_takes_the_password_as_an_option(mariadb) -> None:
    env = mariadb.env()
    password = env.pop("MYSQL_PASSWORD")
    assert script(f"create --password {password}", **env).returncode == 0
    wrong = script("create --password wrong", **env)
    assert wrong.returncode == 1
    assert "MYSQL_PASSWORD" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_mariadb_column_types(mariadb) -> None:
    database = Database(mariadb.env())
    files.create_table(database)
    database.close()
    found = dict(
        mariadb.query(
            "SELECT column_name, column_type FROM information_schema.columns"
            " WHERE table_name = 'pysmurf_files_v1' AND table_schema = DATABASE()"
        )
    )
    assert found["md5sum"] == "binary(16)"
    assert found["timestamp"] == "datetime(6)"
    assert found["path"] == "varchar(1024)"
    assert found["action_timestamp"].startswith("bigint")
    charset = mariadb.query(
        "SELECT table_collation FROM information_schema.tables"
        " WHERE table_name = 'pysmurf_files_v1' AND table_schema = DATABASE()"
    )
    assert charset == (("utf8mb4_bin",),) or list(charset) == [("utf8mb4_bin",)]


def test_foreign_table_of_that_name_is_left_alone(database: Database) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {files.table.name} (id INT, path VARCHAR(10))")
    with pytest.raises(ConfigError, match="lacks the columns action, timestamp"):
        files.create_table(database)
    assert columns(database) == {"id", "path"}


def test_values_beyond_the_column_are_refused(mariadb) -> None:
    database = Database(mariadb.env())
    files.create_table(database)
    row = files.row_of({"path": "/" + "x" * files.PATH_LENGTH, "md5sum": bytes(16)})
    with pytest.raises(RowRefused, match="path"), database.begin() as connection:
        files.add_entries(connection, [row])
    database.close()


def test_longest_path_fits(database: Database) -> None:
    files.create_table(database)
    path = "/" + "é" * (files.PATH_LENGTH - 1)
    with database.begin() as connection:
        files.add_entries(connection, [files.row_of({"path": path, "md5sum": bytes(16)})])
        assert files.known_paths(connection, [path, "/other"]) == {path}


def test_unknown_column_is_named() -> None:
    with pytest.raises(KeyError, match="colour"):
        files.row_of({"path": "/x", "colour": "red"})


def test_queries(database: Database) -> None:
    files.create_table(database)
    rows = [
        files.row_of(
            {
                "path": f"/data/{number}.npy",
                "timestamp": files.utc_text(1_700_000_000 + number),
                "instance_id": "ab"[number % 2],
                "copied": number == 0,
                "failed_copy_attempts": 5 if number == 1 else 0,
                "md5sum": bytes([number] * 16),
            }
        )
        for number in range(10)
    ]
    with database.begin() as connection:
        files.add_entries(connection, rows)
        newest = files.select_files(connection, limit=3)
        assert [row["path"] for row in newest] == [f"/data/{n}.npy" for n in (9, 8, 7)]
        after = files.select_files(connection, after_id=newest[-1]["id"])
        assert [row["path"] for row in after] == ["/data/8.npy", "/data/9.npy"]
        of_b = files.select_files(connection, instance_id="b")
        assert {row["instance_id"] for row in of_b} == {"b"}
        like_5 = files.path_matches(connection, "*/5.*")
        assert len(files.select_files(connection, like_5)) == 1
        assert files.known_contents(connection, [bytes([3] * 16)]) == {bytes([3] * 16): {"3.npy"}}
        a, b = files.statistics(connection)
    assert (a["instance_id"], a["files"], a["copied"], a["given_up"]) == ("a", 5, 1, 0)
    assert (b["instance_id"], b["files"], b["copied"], b["given_up"]) == ("b", 5, 0, 1)
    assert str(a["first"]).startswith("2023-11-14 22:13:20")


def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    database = Database({"SOCS_DATA_DIR": str(tmp_path)})
    files.create_table(database)
    with database.begin() as writer:
        files.add_entries(writer, [files.row_of({"path": "/x", "md5sum": bytes(16)})])
        with database.read() as reader:
            assert files.select_files(reader) == []
    with database.read() as reader:
        assert len(files.select_files(reader)) == 1
    database.close()


def test_no_privilege_is_said_in_plain_words(mariadb) -> None:
    environ = mariadb.create_user("reader", "SELECT")
    database = Database(environ)
    with pytest.raises(StorageUnavailable, match="privilege"):
        files.create_table(database)
    database.close()


def test_self_test_is_not_misled_by_another_row(files_env, monkeypatch) -> None:
    """On a busy table the newest row is soon somebody else's."""
    database = Database(files_env)
    files.create_table(database)
    add_entries = files.add_entries

    def add_another_too(connection: sa.Connection, rows: list) -> None:
        other = files.row_of({"path": "/data/other", "md5sum": bytes(16)})
        add_entries(connection, [*rows, other])

    monkeypatch.setattr(files, "add_entries", add_another_too)
    assert "took it back" in files._test(database)
    database.close()
