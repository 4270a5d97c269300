"""A private Tango database: pytango's own database server, on SQLite, in a directory.

It listens on a free port of 127.0.0.1, keeps what it is told over restarts, and dies with the
program that started it::

    with TangoDatabase(directory) as database:
        subprocess.run([..., "-ORBendPoint", "giop:tcp:127.0.0.1:0"], env=database.env())

Nothing of Tango is loaded into this process: its threads would never end.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TypeVar

from socs.closing import Closing
from socs.errors import OurError
from socs.sim.leash import Child, Leash
from socs.sim.ports import LOOPBACK, free_port
from socs.tango.installed import require_pytango

START_TIMEOUT = 30.0  # seconds
STOP_TIMEOUT = 10.0
POLL_PERIOD = 0.02
PORT_ATTEMPTS = 5
INSTANCE = "2"  # its device is sys/database/2, as everywhere

Self = TypeVar("Self", bound="TangoDatabase")


class TangoDatabase(Closing):
    """A server of its own; a context manager that starts it and leaves nothing running.

    Args:
        directory: for the SQLite file and the log; made if missing. A file that is there is used
            again.

    Attributes:
        port: the same after each :meth:`start`; 0 before the first.
        file: the SQLite file.
        log: what the server printed, all runs.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).absolute()
        self.port = 0
        self.file = self.directory / "tango_database.sqlite"
        self.log = self.directory / "tango_database.log"
        self._leash = Leash()
        self._server: Child | None = None

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, as ``TANGO_HOST`` has it.

        Not ``localhost``: Tango puts the machine's own name in its place, in the names of devices
        and events.
        """
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._server.pid if self._server is not None and self._server.alive else None

    def env(self) -> dict[str, str]:
        """The environment of a process that works with this database: ours and ``TANGO_HOST``."""
        return {**os.environ, "TANGO_HOST": self.host}

    def start(self) -> None:
        """Start the server, on the same port as before, and wait until it answers.

        Nothing if it runs already.

        Raises:
            ConfigError: pytango is not installed.
            OurError: the server did not start; the message has the end of its log.
        """
        if self.pid is not None:
            return
        require_pytango()
        self.directory.mkdir(parents=True, exist_ok=True)
        may_choose = not self.port
        for attempts_left in reversed(range(PORT_ATTEMPTS if may_choose else 1)):
            self.port = free_port() if may_choose else self.port
            if self._started():
                return
            log = self._server.output() if self._server else ""
            if "in use" not in log or not attempts_left:
                raise OurError(f"Tango database on {self.host} did not start:\n{log[-2000:]}")

    def stop(self) -> None:
        """End the server as an operator would; nothing if it does not run."""
        self._leash.close(STOP_TIMEOUT)

    close = stop

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def kill(self) -> None:
        """``kill -9`` the server; nothing if it does not run."""
        if self._server is not None:
            self._server.kill()

    def freeze(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing is answered."""
        if self._server is not None:
            self._server.pause()

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        if self._server is not None:
            self._server.resume()

    def _started(self) -> bool:
        command = [sys.executable, "-m", "tango.databaseds.database"]
        command += ["--host", LOOPBACK, "--port", str(self.port), INSTANCE]
        env = self.env() | {"PYTANGO_DATABASE_NAME": str(self.file), "PYTHONUNBUFFERED": "1"}
        self._server = server = self._leash.start(command, log=self.log, env=env)
        deadline = time.monotonic() + START_TIMEOUT
        while server.alive and time.monotonic() < deadline:
            if "Ready to accept request" in server.output():
                return True
            time.sleep(POLL_PERIOD)
        server.kill()
        return False
