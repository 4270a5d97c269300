"""Where the files table lives: MariaDB as the environment says, else SQLite.

This is the one border at which database drivers' errors become ours (:func:`translated`).

Environment variables (each ``MYSQL_x`` may also be given as ``MYSQL_x_FILE``, the name of a file
that holds the value):

==================  ===========================================================================
MYSQL_HOST          host, or several ``host[:port],host[:port]`` tried in turn (default localhost)
MYSQL_PORT          port where a host names none (default 3306)
MYSQL_DATABASE      database (default ``files``)
MYSQL_USER          user (needed as soon as any MYSQL_ variable is set)
MYSQL_PASSWORD      password (default empty)
MYSQL_SSL_CA        certificate authority file; turns TLS with verification on (default: no TLS)
MYSQL_SSL_CERT      client certificate file
MYSQL_SSL_KEY       client key file
SOCS_DATA_DIR       directory of the SQLite file ``files.sqlite``, used when no MYSQL_ variable is
                    set (default ``~/.local/share/socs``)
==================  ===========================================================================
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from socs.errors import ConfigError, RowRefused, StorageError, StorageUnavailable

CONNECT_TIMEOUT = 5  # s; per host
STATEMENT_TIMEOUT = 10  # s; a server that hangs longer counts as down and is dialled again
LOCK_WAIT = 5  # s; another client holding rows longer than this makes us try again
LOOK = 0.01  # s between two attempts to have a new SQLite file
MYSQL_VARIABLES = ("HOST", "PORT", "DATABASE", "USER", "PASSWORD")

# What a server's error number means for the row or for the operator.
DUPLICATE_KEY = 1062
TLS_FAILED = 2026
REFUSED = {1048, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1411, 1690, 4025}
HINTS = {
    1044: "grant the user access to the database named by MYSQL_DATABASE",
    1045: "check MYSQL_USER and MYSQL_PASSWORD, and MYSQL_SSL_CA if the user must come with TLS",
    1049: "check MYSQL_DATABASE, or create that database",
    1054: "the table is of another version; run `socs doctor`",
    1142: "the user lacks a privilege; the how-to on MariaDB has the grants",
    1146: "the table is missing; run `socs files create` or set --create-table true",
    1290: "the server is read-only",
    1021: "the database server's disk is full",
    1114: "the database server's disk is full",
    2002: "is the server running, and are MYSQL_HOST and MYSQL_PORT right?",
    2003: "is the server running, and are MYSQL_HOST and MYSQL_PORT right?",
    TLS_FAILED: "check MYSQL_SSL_CA, MYSQL_SSL_CERT and MYSQL_SSL_KEY, and that the server has TLS",
    3159: "the server wants TLS; set MYSQL_SSL_CA",
}


class AlreadyStored(StorageError):
    """A row with this unique key is there already."""


@dataclass(frozen=True)
class MariaDBSettings:
    """How to reach MariaDB; ``hosts`` are (host, port) pairs tried in turn."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str = field(repr=False, default="")
    ssl: Mapping[str, str] = field(default_factory=dict)


def _setting(environ: Mapping[str, str], name: str) -> str | None:
    """Value of ``name``, or the contents of the file that ``<name>_FILE`` names."""
    value = environ.get(name)
    file = environ.get(f"{name}_FILE")
    if value is None and file:
        try:
            return Path(file).read_text().rstrip("\n")
        except OSError as error:
            raise ConfigError(f"{name}_FILE={file}: {error.strerror}") from error
    return value or None


def _hosts(text: str, port: str) -> tuple[tuple[str, int], ...]:
    pairs = []
    for item in filter(None, (item.strip() for item in text.split(","))):
        host, _, own_port = item.partition(":")
        try:
            pairs.append((host, int(own_port or port)))
        except ValueError as error:
            raise ConfigError(
                f"MYSQL_HOST/MYSQL_PORT: {item!r} has no valid port number"
            ) from error
    if not pairs:
        raise ConfigError("MYSQL_HOST names no host")
    return tuple(pairs)


def mariadb_settings(environ: Mapping[str, str]) -> MariaDBSettings | None:
    """The MariaDB settings in ``environ``, or None when no MYSQL_ variable is set.

    Raises:
        ConfigError: when they are incomplete or malformed; the message names the variable.
    """
    values = {name: _setting(environ, f"MYSQL_{name}") for name in MYSQL_VARIABLES}
    if not any(values.values()):
        return None
    if not values["USER"]:
        given = ", ".join(f"MYSQL_{name}" for name, value in values.items() if value)
        raise ConfigError(f"MYSQL_USER is not set, though {given} is; set it, or none of them")
    ssl = {key: environ.get(f"MYSQL_SSL_{key.upper()}", "") for key in ("ca", "cert", "key")}
    return MariaDBSettings(
        hosts=_hosts(values["HOST"] or "localhost", values["PORT"] or "3306"),
        database=values["DATABASE"] or "files",
        user=values["USER"],
        password=values["PASSWORD"] or "",
        ssl={key: value for key, value in ssl.items() if value},
    )


def data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Directory for what this machine keeps itself: ``SOCS_DATA_DIR`` or the user's data home."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("SOCS_DATA_DIR") or "~/.local/share/socs").expanduser()


class Database:
    """One database, reached through a small pool of connections that heal themselves.

    Use :meth:`begin` for a transaction. ``description`` is fit for logs: it holds no password.

    Args:
        environ: environment to read the settings from; ``os.environ`` when omitted.
        statement_timeout: seconds after which a statement without an answer counts as failed.
        must_exist: an SQLite file that is not there is an error, instead of being made.

    Raises:
        ConfigError: a setting is wrong or missing; the message names it.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        *,
        statement_timeout: float = STATEMENT_TIMEOUT,
        must_exist: bool = False,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._settings = mariadb_settings(environ)
        self._statement_timeout = statement_timeout
        if self._settings is None:
            path = data_dir(environ) / "files.sqlite"
            self.description = f"SQLite {path}"
            if must_exist and not path.exists():
                raise ConfigError(
                    f"there is no {path}: set SOCS_DATA_DIR to where it is, or MYSQL_HOST and "
                    "MYSQL_USER, or run `socs files create`"
                )
            self.engine = self._sqlite(path)
        else:
            hosts = ",".join(f"{host}:{port}" for host, port in self._settings.hosts)
            self.description = f"MariaDB {self._settings.user}@{hosts}/{self._settings.database}"
            self.engine = sa.create_engine(
                "mysql+pymysql://",
                creator=self._connect_mariadb,
                pool_size=2,
                max_overflow=2,
                pool_recycle=1800,
                pool_reset_on_return="rollback",
            )
        self._lock = threading.Lock()

    @property
    def is_mariadb(self) -> bool:
        """True for MariaDB, False for SQLite."""
        return self._settings is not None

    def _sqlite(self, path: Path) -> sa.Engine:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the directory {path.parent} ({error.strerror}); "
                "set SOCS_DATA_DIR to one that can be written, or MYSQL_HOST and MYSQL_USER"
            ) from error

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, timeout=LOCK_WAIT, check_same_thread=False)
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=FULL")
            return connection

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool)
        # sqlite3 opens transactions by itself, late and as readers; take the write lock at BEGIN.
        sa.event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _connect_mariadb(self) -> pymysql.Connection[Any]:
        assert self._settings is not None
        problems: list[pymysql.MySQLError] = []
        for host, port in self._settings.hosts:
            try:
                connection = pymysql.connect(
                    host=host,
                    port=port,
                    user=self._settings.user,
                    password=self._settings.password,
                    database=self._settings.database,
                    charset="utf8mb4",
                    connect_timeout=CONNECT_TIMEOUT,
                    read_timeout=self._statement_timeout,
                    write_timeout=self._statement_timeout,
                    local_infile=False,
                    ssl=dict(self._settings.ssl) or None,
                    # Else pymysql reads all authorities each time, for TLS that verifies nothing.
                    ssl_disabled=not self._settings.ssl,
                    init_command=(
                        "SET time_zone='+00:00', "
                        "sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
                        f"innodb_lock_wait_timeout={LOCK_WAIT}"
                    ),
                )
            except pymysql.MySQLError as error:
                problems.append(error)
            except OSError as error:  # of the files for TLS; the network's are MySQLErrors
                problems.append(pymysql.OperationalError(TLS_FAILED, f"no TLS: {error}"))
            else:
                return connection
        raise problems[0]

    def read(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads, and keeps no writer of an SQLite file waiting.

        Raises:
            StorageUnavailable: as :meth:`begin`.
        """
        return self.begin(self.engine.execution_options(only_reads=True))

    @contextmanager
    def begin(self, engine: sa.Engine | None = None) -> Iterator[sa.Connection]:
        """A transaction: committed at the end of the block, rolled back by an exception.

        Raises:
            StorageUnavailable: not reachable, overloaded, misconfigured: the same later may work.
                After this the outcome of a COMMIT is *unknown*.
            RowRefused: a value that will never be accepted. Nothing was stored.
            AlreadyStored: a unique key is taken. Nothing was stored.
        """
        with translated(self.description):
            try:
                with (engine or self.engine).begin() as connection:
                    yield connection
            except DBAPIError as error:
                if not isinstance(error, IntegrityError):
                    # A connection that failed once is not trusted again, nor are its siblings.
                    self.engine.dispose()
                raise

    def ping(self) -> None:
        """Return if the database answers.

        Raises:
            StorageUnavailable: it does not.
        """
        with self.read() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have readers and writers of the file keep out of each other's way.

    That is noted in a new file once, for which SQLite does not wait for another that is at it.
    """
    deadline = time.monotonic() + LOCK_WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                connection.close()
                raise
            time.sleep(LOOK)


def _begin_sqlite(connection: sa.Connection) -> None:
    only_reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn drivers' errors into :class:`StorageError`, saying ``where`` and what to change."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error.orig, where) from error
    except SQLAlchemyError as error:
        raise StorageUnavailable(f"{where}: {error}") from error
    except (pymysql.MySQLError, sqlite3.Error) as error:
        raise _translate(error, where) from error
    except (OverflowError, UnicodeError) as error:
        raise RowRefused(f"{where}: value cannot be stored: {error}") from error


def _translate(error: BaseException | None, where: str) -> StorageError:
    if isinstance(error, pymysql.MySQLError) and error.args:
        code = error.args[0]
        text = f"{where}: {error.args[-1]} (error {code})"
        if code == DUPLICATE_KEY:
            return AlreadyStored(text)
        if code in REFUSED:
            return RowRefused(text)
        hint = HINTS.get(code)
        return StorageUnavailable(f"{text}: {hint}" if hint else text)
    text = f"{where}: {error}"
    if isinstance(error, sqlite3.IntegrityError):
        return AlreadyStored(text) if "UNIQUE" in str(error) else RowRefused(text)
    if isinstance(error, sqlite3.OperationalError) and "no such table" in str(error):
        return StorageUnavailable(f"{text}: {HINTS[1146]}")
    return StorageUnavailable(text)
