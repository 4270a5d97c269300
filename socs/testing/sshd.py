"""A private ssh server for the user who runs the tests, with keys of its own.

It listens on a free port of 127.0.0.1, reads nothing of the machine's own ssh configuration, and
dies with the program that started it::

    with Sshd(directory) as server:
        subprocess.run(["ssh", *server.options, "-p", str(server.port), "-i", server.key, ...])
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from socs.closing import Closing
from socs.errors import ConfigError, OurError
from socs.sim.leash import Child, Leash
from socs.sim.ports import LOOPBACK, free_port

ALIAS = "socs-sshd"  # the name under which clients know the host key, whatever port leads to it
START_TIMEOUT = 10.0  # seconds
POLL_PERIOD = 0.02
PORT_ATTEMPTS = 5
SYSTEM_PROGRAMS = os.pathsep.join(["/usr/sbin", "/usr/local/sbin"])
# Where a server that is run by root puts its unprivileged half; the system's own makes it when it
# starts, and it cannot be configured.
EMPTY_DIRECTORY = Path("/run/sshd")
OPTIONS = (
    "StrictModes no",
    "UsePAM no",
    "PubkeyAuthentication yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "MaxStartups 100",
    "PidFile none",
    # As in a shell within a shell: bash then does not run the user's .bashrc, which may take its
    # time and may print.
    "SetEnv SHLVL=2",
    "KexAlgorithms curve25519-sha256",  # a fifth of the time of what is taken otherwise
)


class Sshd(Closing):
    """A server in ``directory``; a context manager that starts it and leaves nothing running.

    Attributes:
        port: the same after each :meth:`start`.
        user: who may log in.
        key: file of the private key to do so.
        known_hosts: file that names the server's key, as :data:`ALIAS`.
        options: for ssh, so that it takes the server for the right one at any port.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.key = directory / "user_key"
        self.known_hosts = directory / "known_hosts"
        self.options = (
            *("-F", "none", "-o", f'UserKnownHostsFile="{self.known_hosts}"'),
            *("-o", f"HostKeyAlias={ALIAS}", "-o", "StrictHostKeyChecking=yes"),
        )
        self._leash = Leash()
        self._server: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process that listens, while it runs."""
        return self._server.pid if self._server is not None and self._server.alive else None

    def start(self) -> None:
        """Start the server, on the same port as before, and wait until it takes connections.

        Raises:
            ConfigError: it is not installed.
            OurError: it did not start; the message has the end of its log.
        """
        if self.pid is not None:
            return
        program = _find_program("sshd")
        if not self.key.exists():
            self._make_keys()
        if os.geteuid() == 0:
            EMPTY_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        may_choose = not self.port
        for _ in range(PORT_ATTEMPTS if may_choose else 1):
            self.port = free_port() if may_choose else self.port
            if self._started(program):
                return
        log = self._server.output() if self._server else ""
        raise OurError(f"sshd on port {self.port} did not start:\n{log[-2000:]}")

    def close(self) -> None:
        """Kill the server and all connections."""
        self.kill_connections()
        self._leash.close()

    def kill_connections(self) -> int:
        """Kill the processes that serve connections, as when the machine is switched off.

        Returns:
            How many there were.
        """
        if self._server is None or not self._server.alive:
            return 0
        self._server.pause()  # no new ones meanwhile
        killed = 0
        for pid in _descendants(self._server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        self._server.resume()
        return killed

    def make_key(self, name: str) -> Path:
        """Another key, which opens nothing; the file of its private half."""
        path = self.directory / name
        command = [_find_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise OurError(f"ssh-keygen failed:\n{made.stdout}{made.stderr}")
        return path

    def _make_keys(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        host_key = self.make_key("host_key")
        self.make_key(self.key.name)
        public = Path(f"{host_key}.pub").read_text()
        self.known_hosts.write_text(f"{ALIAS} {public}")
        shutil.copy(f"{self.key}.pub", self.directory / "authorized_keys")

    def _started(self, program: str) -> bool:
        configuration = self.directory / "sshd_config"
        lines = [
            f"ListenAddress {LOOPBACK}:{self.port}",
            f'HostKey "{self.directory / "host_key"}"',
            f'AuthorizedKeysFile "{self.directory / "authorized_keys"}"',
            *OPTIONS,
        ]
        configuration.write_text("\n".join(lines) + "\n")
        command = [program, "-D", "-e", "-f", str(configuration)]
        log = self.directory / "sshd.log"
        self._server = server = self._leash.start(command, log=log, env=os.environ)
        deadline = time.monotonic() + START_TIMEOUT
        while server.alive and time.monotonic() < deadline:
            if f"Server listening on {LOOPBACK} port {self.port}" in server.output():
                return True
            time.sleep(POLL_PERIOD)
        server.kill()
        return False


def _descendants(pid: int) -> list[int]:
    """Processes below ``pid``, the youngest first."""
    try:
        children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [below for child in children for below in [*_descendants(child), child]]


def _find_program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PROGRAMS)
    if found is None:
        raise ConfigError(f"{name} not found: apt install openssh-server")
    return found
