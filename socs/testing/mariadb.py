"""A private MariaDB server in a directory, with databases and users for tests.

The server listens on a free port of 127.0.0.1, flushes its log at every commit, and dies with the
program that started it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pymysql
from pymysql.cursors import Cursor

from socs.errors import ConfigError, OurError
from socs.sim.leash import Child, Leash
from socs.sim.ports import LOOPBACK, free_port

ADMIN = "root"  # without a password: the server is reached from this machine only
START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 20.0
QUERY_TIMEOUT = 15.0
POLL_PERIOD = 0.02
PORT_ATTEMPTS = 5
SYSTEM_PROGRAMS = os.pathsep.join(["/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin"])
OPTIONS = (
    f"--bind-address={LOOPBACK}",
    "--socket=",  # TCP only: the path of a socket must fit into 108 bytes, directories may be deep
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--key-buffer-size=1M",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
)


class Database:
    """One database of a server, with a user who may do everything in it and nothing elsewhere."""

    def __init__(self, server: MariaDB, name: str) -> None:
        self.server = server
        self.name = name
        self._passwords = {ADMIN: ""}
        server.run(f"CREATE DATABASE `{name}`")
        self.user = self._add_user("owner", "ALL PRIVILEGES", "*")

    def env(self, user: str | None = None) -> dict[str, str]:
        """``MYSQL_HOST``, ``_PORT``, ``_DATABASE``, ``_USER`` and ``_PASSWORD`` for a user.

        Args:
            user: the owner of this database, unless another is named.
        """
        return self.server.address() | {
            "MYSQL_DATABASE": self.name,
            "MYSQL_USER": user or self.user,
            "MYSQL_PASSWORD": self._passwords[user or self.user],
        }

    def admin_env(self) -> dict[str, str]:
        """The same for the server's administrator."""
        return self.env(ADMIN)

    def create_user(self, name: str, grants: str = "", on: str = "*") -> dict[str, str]:
        """Make a user of this database; returns the :meth:`env` for it.

        Args:
            name: its name is made unique on the server: see ``MYSQL_USER`` of the answer.
            grants: privileges in SQL, as ``"INSERT, SELECT"``; empty for none.
            on: the table that they are for; ``*`` for all, present and future.
        """
        return self.env(self._add_user(name, grants, on))

    def query(self, sql: str, *args: object, user: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement in a connection of its own, and commit; returns the rows.

        Args:
            args: values for the ``%s`` in the statement.
            user: the administrator, unless another is named.
        """
        user = user or ADMIN
        return self.server.run(
            sql, *args, database=self.name, user=user, password=self._passwords[user]
        )

    def drop(self) -> None:
        """Remove the database and its users."""
        self.server.run(f"DROP DATABASE IF EXISTS `{self.name}`")
        for user in [user for user in self._passwords if user != ADMIN]:
            self.server.run("DROP USER IF EXISTS %s@%s", user, LOOPBACK)
            del self._passwords[user]

    def _add_user(self, name: str, grants: str, on: str) -> str:
        user, password = f"{self.name}_{name}", secrets.token_hex(8)
        self.server.run("CREATE USER %s@%s IDENTIFIED BY %s", user, LOOPBACK, password)
        if grants:
            # In a grant on a whole database the underscore of its name would match any character.
            escaped = self.name.replace("_", "\\_")
            target = f"`{escaped}`.*" if on == "*" else f"`{self.name}`.`{on}`"
            self.server.run(f"GRANT {grants} ON {target} TO %s@%s", user, LOOPBACK)
        self._passwords[user] = password
        return user


class MariaDB:
    """A server of its own; a context manager that starts it and leaves nothing running.

    Args:
        directory: for data, log and socket; made if missing. Data that are there are used again.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).absolute()
        self.port = 0
        self._leash = Leash()
        self._server: Child | None = None
        self._database: Database | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._server.pid if self._server is not None and self._server.alive else None

    def start(self) -> None:
        """Start the server, on the same port as before, and wait until it takes connections.

        Nothing if it runs already.

        The first start makes the data directory, and the database ``socs`` with its owner.

        Raises:
            ConfigError: the server is not installed.
            OurError: it did not start; the message has the end of its log.
        """
        if self.pid is not None:
            return
        program = find_program("mariadbd")
        data = self.directory / "data"
        if not (data / "mysql").is_dir():
            self._make_data(data)
        may_choose = not self.port
        for attempts_left in reversed(range(PORT_ATTEMPTS if may_choose else 1)):
            self.port = free_port() if may_choose else self.port
            if self._started(program, data):
                break
            log = self._server.output() if self._server else ""
            if "in use" not in log or not attempts_left:
                raise OurError(f"mariadbd on port {self.port} did not start:\n{log[-2000:]}")
        if self._database is None:
            self._database = Database(self, "socs")

    def stop(self) -> None:
        """Shut the server down as an operator would; nothing if it does not run."""
        self._leash.close(STOP_TIMEOUT)

    def kill(self) -> None:
        """``kill -9`` the server; nothing if it does not run."""
        if self._server is not None:
            self._server.kill()

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing is answered."""
        if self._server is not None:
            self._server.pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._server is not None:
            self._server.resume()

    @property
    def database(self) -> Database:
        """The database ``socs``, made by the first start."""
        if self._database is None:
            raise OurError("the MariaDB server has not been started")
        return self._database

    def address(self) -> dict[str, str]:
        """``MYSQL_HOST`` and ``MYSQL_PORT``."""
        return {"MYSQL_HOST": LOOPBACK, "MYSQL_PORT": str(self.port)}

    def env(self) -> dict[str, str]:
        """See :meth:`Database.env`."""
        return self.database.env()

    def admin_env(self) -> dict[str, str]:
        """See :meth:`Database.admin_env`."""
        return self.database.admin_env()

    def create_user(self, name: str, grants: str = "", on: str = "*") -> dict[str, str]:
        """See :meth:`Database.create_user`."""
        return self.database.create_user(name, grants, on)

    def query(self, sql: str, *args: object, user: str | None = None) -> list[tuple[Any, ...]]:
        """See :meth:`Database.query`."""
        return self.database.query(sql, *args, user=user)

    def run(
        self,
        sql: str,
        *args: object,
        database: str | None = None,
        user: str = ADMIN,
        password: str = "",
    ) -> list[tuple[Any, ...]]:
        """Run one statement, as the administrator unless told otherwise; returns the rows."""
        with self._connection(user, password, database) as cursor:
            cursor.execute(sql, args or None)
            return [tuple(row) for row in cursor.fetchall()]

    @contextlib.contextmanager
    def _connection(self, user: str, password: str, database: str | None) -> Iterator[Cursor]:
        connection = pymysql.connect(
            host=LOOPBACK,
            port=self.port,
            user=user,
            password=password,
            database=database,
            charset="utf8mb4",
            ssl_disabled=True,
            autocommit=True,
            connect_timeout=int(QUERY_TIMEOUT),
            read_timeout=QUERY_TIMEOUT,
            write_timeout=QUERY_TIMEOUT,
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            yield cursor

    def _make_data(self, data: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(data, ignore_errors=True)
        command = [
            find_program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={data}",
            f"--tmpdir={self._scratch()}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-log-file-size=32M",
            *_as_this_user(),
        ]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise OurError(f"mariadb-install-db failed:\n{made.stdout}{made.stderr}")

    def _scratch(self) -> Path:
        """For temporary tables: not /tmp, where each server that starts removes all there are."""
        scratch = self.directory / "tmp"
        scratch.mkdir(exist_ok=True)
        return scratch

    def _started(self, program: str, data: Path) -> bool:
        command = [program, "--no-defaults", f"--datadir={data}", f"--port={self.port}", *OPTIONS]
        command += [f"--tmpdir={self._scratch()}", f"--pid-file={self.directory / 'pid'}"]
        command += _as_this_user()
        log = self.directory / "mariadb.log"
        self._server = server = self._leash.start(command, log=log, env=os.environ)
        deadline = time.monotonic() + START_TIMEOUT
        while server.alive and time.monotonic() < deadline:
            with contextlib.suppress(pymysql.err.OperationalError):
                if Path(self.run("SELECT @@datadir")[0][0]) == data:  # not somebody else's server
                    return True
            time.sleep(POLL_PERIOD)
        server.kill()
        return False

    def __enter__(self) -> MariaDB:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def find_program(name: str) -> str:
    """A program of the MariaDB server, on the PATH or where distributions put servers.

    Raises:
        ConfigError: it is not installed.
    """
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PROGRAMS)
    if found is None:
        raise ConfigError(f"{name} not found: apt install mariadb-server")
    return found


def _as_this_user() -> list[str]:
    """Root has to say that it means to run the server as root; others must not say anything."""
    return ["--user=root"] if os.geteuid() == 0 else []
