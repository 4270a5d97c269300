"""Settings of the database from the environment, and what drivers' errors mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pymysql
import pytest
from sqlalchemy.exc import DBAPIError

from socs.db import engine
from socs.db.engine import (
    AlreadyStored,
    Database,
    MariaDBSettings,
    data_dir,
    mariadb_settings,
    translated,
)
from socs.errors import ConfigError, RowRefused, StorageUnavailable


def test_no_variable_means_sqlite(tmp_path: Path) -> None:
    assert mariadb_settings({}) is None
    database = Database({"SOCS_DATA_DIR": str(tmp_path / "new" / "directory")})
    assert not database.is_mariadb
    with database.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert (tmp_path / "new" / "directory" / "files.sqlite").exists()
    database.close()


def test_defaults() -> None:
    assert mariadb_settings({"MYSQL_USER": "ocs"}) == MariaDBSettings(
        hosts=(("localhost", 3306),), database="files", user="ocs"
    )
    assert data_dir({}) == Path("~/.local/share/socs").expanduser()


def test_everything_set(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    settings = mariadb_settings(
        {
            "MYSQL_HOST": "a, b:3307",
            "MYSQL_PORT": "3308",
            "MYSQL_DATABASE": "other",
            "MYSQL_USER": "ocs",
            "MYSQL_PASSWORD_FILE": str(tmp_path / "secret"),
            "MYSQL_SSL_CA": "/ca.pem",
        }
    )
    assert settings == MariaDBSettings(
        hosts=(("a", 3308), ("b", 3307)),
        database="other",
        user="ocs",
        password="from a file",
        ssl={"ca": "/ca.pem"},
    )


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"MYSQL_HOST": "db"}, "MYSQL_USER"),
        ({"MYSQL_USER": "u", "MYSQL_PORT": "many"}, "MYSQL_PORT"),
        ({"MYSQL_USER": "u", "MYSQL_HOST": "a:b"}, "MYSQL_HOST"),
        ({"MYSQL_USER": "u", "MYSQL_HOST": ","}, "MYSQL_HOST"),
        ({"MYSQL_USER": "u", "MYSQL_PASSWORD_FILE": "/nowhere"}, "MYSQL_PASSWORD_FILE"),
    ],
)
def test_wrong_setting_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        mariadb_settings(environ)


def test_password_is_never_shown() -> None:
    environ = {"MYSQL_USER": "ocs", "MYSQL_PASSWORD": "s3cret", "MYSQL_HOST": "127.0.0.1:1"}
    database = Database(environ)
    assert "s3cret" not in database.description + repr(mariadb_settings(environ))
    with pytest.raises(StorageUnavailable) as caught, database.begin():
        pass
    assert "s3cret" not in str(caught.value)
    assert "MYSQL_HOST and MYSQL_PORT" in str(caught.value)


def test_without_tls_no_certificates_are_read(monkeypatch) -> None:
    def read(**given: object) -> None:
        pytest.fail("the certificates of all authorities are read")

    monkeypatch.setattr(pymysql.connections.ssl, "create_default_context", read)
    database = Database({"MYSQL_USER": "ocs", "MYSQL_HOST": "127.0.0.1:1"})
    with pytest.raises(StorageUnavailable, match="error 2003"):
        database.ping()


@pytest.mark.parametrize(
    ("code", "kind", "hint"),
    [
        (1205, StorageUnavailable, ""),  # lock wait
        (1213, StorageUnavailable, ""),  # deadlock
        (1040, StorageUnavailable, ""),  # too many connections
        (1047, StorageUnavailable, ""),  # cluster node not ready
        (2013, StorageUnavailable, ""),  # connection lost
        (1290, StorageUnavailable, "read-only"),
        (1114, StorageUnavailable, "disk is full"),
        (1045, StorageUnavailable, "MYSQL_PASSWORD"),
        (2026, StorageUnavailable, "MYSQL_SSL_CA"),
        (3159, StorageUnavailable, "MYSQL_SSL_CA"),
        (1142, StorageUnavailable, "privilege"),
        (1146, StorageUnavailable, "socs files create"),
        (1406, RowRefused, ""),  # too long
        (1366, RowRefused, ""),  # wrong character
        (1264, RowRefused, ""),  # out of range
        (1062, AlreadyStored, ""),
    ],
)
def test_server_errors_are_sorted(code: int, kind: type, hint: str) -> None:
    error = pymysql.err.OperationalError(code, "text of the server")
    with pytest.raises(kind) as caught, translated("MariaDB x"):
        raise DBAPIError.instance("SELECT", (), error, pymysql.MySQLError)
    assert hint in str(caught.value)
    assert f"(error {code})" in str(caught.value)
    assert str(caught.value).startswith("MariaDB x: text of the server")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.IntegrityError("UNIQUE constraint failed: x"), AlreadyStored),
        (sqlite3.IntegrityError("NOT NULL constraint failed: x"), RowRefused),
        (sqlite3.OperationalError("database is locked"), StorageUnavailable),
        (sqlite3.OperationalError("database or disk is full"), StorageUnavailable),
        (OverflowError("Python int too large"), RowRefused),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), RowRefused),
    ],
)
def test_sqlite_and_python_errors_are_sorted(error: Exception, kind: type) -> None:
    with pytest.raises(kind), translated("here"):
        raise error


def test_transaction_is_rolled_back_by_an_error(tmp_path: Path) -> None:
    database = Database({"SOCS_DATA_DIR": str(tmp_path)})
    with database.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    with suppress(ZeroDivisionError), database.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError
    with database.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
    database.close()


@pytest.fixture
def new_file(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody who is setting up a new SQLite file, which another connection does not wait for."""
    with closing(sqlite3.connect(tmp_path / "files.sqlite")) as other:
        other.execute("CREATE TABLE theirs (id)")
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_new_file_that_another_sets_up_is_waited_for(
    new_file: sqlite3.Connection, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(engine.time, "sleep", lambda seconds: new_file.commit())
    database = Database({"SOCS_DATA_DIR": str(tmp_path)})
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("SELECT count(*) FROM theirs").scalar() == 0
    database.close()


def test_new_file_that_stays_locked_is_told(
    new_file: sqlite3.Connection, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(engine, "LOCK_WAIT", 0)
    database = Database({"SOCS_DATA_DIR": str(tmp_path)})
    with pytest.raises(StorageUnavailable, match="database is locked"):
        database.ping()
    database.close()
