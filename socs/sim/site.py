"""A private OCS site in a directory: site config, router and agents, for the demo and for tests.

Everything is bound to 127.0.0.1 and lives below one directory::

    default.yaml            site config: OCS_CONFIG_DIR=<directory> ocs-client-cli scan
    crossbar/config.json    router config; crossbar writes its keys and pid file beside it
    log/crossbar.log        output of the router
    log/<instance-id>.log   output of an agent

Any OCS tool works with the directory while the router runs. All processes are children on a
:class:`~socs.sim.leash.Leash`: none outlives this program, however it ends.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from socs.agent_client import AgentClient
from socs.errors import ConfigError, OurError
from socs.sim.leash import Child, Leash, stop_together
from socs.sim.ports import LOOPBACK, free_port
from socs.sim.site_files import HOST, AgentInstance, router_config, site_config

__all__ = ["AgentInstance", "Site", "find_crossbar"]

PORT_ATTEMPTS = 5  # another program can take a free port before the router listens on it
POLL_PERIOD = 0.05  # seconds between two looks at a router or agent that is starting
HTTP_TIMEOUT = 2.0  # seconds for one answer of the router
AGENT_TIMEOUT = 60.0  # seconds for one of an agent, which may be busy
# Variables that ocs-agent-cli would take instead of what the site config says.
OVERRIDING_VARIABLES = ("INSTANCE_ID", "SITE_HOST", "SITE_HUB", "SITE_HTTP", "CROSSBAR_TIMEOUT")


class Site:
    """A site; a context manager that leaves nothing running.

    Args:
        directory: where everything is written; made if missing.
        port: TCP port of the router; 0 for a free one.
        realm: WAMP realm.
        address_root: first part of all OCS addresses.
        instances: the agents that can be started.
        crossbar: the router's program; without it, see :func:`find_crossbar`.

    Raises:
        ConfigError: two instances share an id.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        realm: str = "test_realm",
        address_root: str = "observatory",
        instances: Sequence[AgentInstance] = (),
        crossbar: str | None = None,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.realm = realm
        self.address_root = address_root
        self.instances = {instance.instance_id: instance for instance in instances}
        if len(self.instances) != len(instances):
            raise ConfigError("two agents of the site share an instance-id")
        self.port = port or free_port()
        self._port_may_change = port == 0
        self._crossbar = crossbar
        self._router: Child | None = None
        self._agents: dict[str, Child] = {}
        self._leash = Leash()

    @property
    def site_file(self) -> Path:
        """The site config file."""
        return self.directory / "default.yaml"

    @property
    def router(self) -> Child | None:
        """The router's process, for sending it signals; ``None`` before it was started."""
        return self._router

    def write(self) -> None:
        """Write the site config and the router's config; writing them again changes nothing."""
        crossbar_directory = self.directory / "crossbar"
        for directory in (crossbar_directory, self.directory / "log"):
            directory.mkdir(parents=True, exist_ok=True)
        site = site_config(
            self.directory, self.port, self.realm, self.address_root, self.instances.values()
        )
        new = self.site_file.with_suffix(".new")
        new.write_text(site)
        os.replace(new, self.site_file)  # agents that were just started are reading it
        router = router_config(self.port, self.realm, self.address_root)
        (crossbar_directory / "config.json").write_text(router)

    def environment(self) -> dict[str, str]:
        """A copy of this environment in which OCS tools find this site."""
        environment = {
            name: value for name, value in os.environ.items() if name not in OVERRIDING_VARIABLES
        }
        return environment | {"OCS_CONFIG_DIR": str(self.directory), "PYTHONUNBUFFERED": "1"}

    # The router

    def start_router(self, timeout: float = 60.0) -> None:
        """Start the router and wait until it takes clients; nothing if it runs.

        If it was to choose its port, and somebody took that one meanwhile, it chooses another.

        Raises:
            ConfigError: crossbar is not installed.
            OurError: it ended (the message has the end of its log), or was not ready in time.
        """
        if self._router is not None and self._router.alive:
            return
        program = find_crossbar(self._crossbar)
        command = [
            program,
            "start",
            "--cbdir",
            str(self.directory / "crossbar"),
            "--color",
            "false",
        ]
        deadline = time.monotonic() + timeout
        for attempts_left in reversed(range(PORT_ATTEMPTS)):
            self.write()
            log, env = self._log("crossbar"), self.environment()
            self._router = router = self._leash.start(command, log=log, env=env)
            while router.alive and time.monotonic() < deadline:
                if self._router_is_ready(router):
                    self._port_may_change = False
                    return
                time.sleep(POLL_PERIOD)
            router.kill()
            port_taken = "cannot_listen" in router.output()
            if not (port_taken and self._port_may_change and attempts_left):
                raise OurError(f"crossbar on port {self.port} did not start:\n{_tail(router)}")
            self.port = free_port()

    def stop_router(self, timeout: float = 10.0) -> None:
        """End the router as an operator would; killed after ``timeout`` seconds."""
        if self._router is not None:
            self._router.stop(timeout)

    def kill_router(self) -> None:
        """``kill -9`` the router with its workers."""
        if self._router is not None:
            self._router.kill()

    # Agents

    def start_agent(self, instance_id: str, env: Mapping[str, str] | None = None) -> Child:
        """Start an agent with ``ocs-agent-cli`` of this Python; does not wait until it has joined.

        Args:
            env: variables beside :meth:`environment`.

        Raises:
            ConfigError: the site has no such instance, or it runs already.
        """
        if instance_id not in self.instances:
            raise ConfigError(f"no agent {instance_id!r} in {self.site_file}: {[*self.instances]}")
        known = self._agents.get(instance_id)
        if known is not None and known.alive:
            raise ConfigError(f"agent {instance_id!r} runs already as process {known.pid}")
        self.write()
        self._port_may_change = False
        command = [sys.executable, "-m", "ocs.agent_cli"]
        agent = self._leash.start(
            [*command, "--instance-id", instance_id, "--site-host", HOST],
            log=self._log(instance_id),
            env=self.environment() | dict(env or {}),
        )
        self._agents[instance_id] = agent
        return agent

    def stop_agent(self, instance_id: str, timeout: float = 15.0) -> int:
        """End an agent as an operator would (SIGTERM); returns its exit code, negative if killed.

        OCS itself takes 3 seconds for this.
        """
        return self._agents[instance_id].stop(timeout)

    def kill_agent(self, instance_id: str) -> None:
        """``kill -9`` an agent and what it started."""
        self._agents[instance_id].kill()

    def wait_joined(self, instance_id: str, timeout: float = 60.0) -> None:
        """Wait until the router passes calls on to the process started here.

        Raises:
            OurError: the agent ended, or did not answer in time (with the end of its log).
        """
        agent = self._agents[instance_id]
        deadline = time.monotonic() + timeout
        while agent.alive and time.monotonic() < deadline:
            if self._pid_behind(instance_id) == agent.pid:
                return
            time.sleep(POLL_PERIOD)
        state = f"did not answer in {timeout} s" if agent.alive else f"ended ({agent.returncode})"
        raise OurError(f"agent {instance_id!r} {state}:\n{_tail(agent)}")

    def client(self, instance_id: str) -> AgentClient:
        """A client of an agent that has joined.

        Raises:
            ocs.client_http.ControlClientError: nobody answers under this address.
        """
        options = ["--site-file", str(self.site_file), "--site-host", HOST]
        return AgentClient(instance_id, options, AGENT_TIMEOUT)

    def logs(self, instance_id: str) -> str:
        """Everything that an agent, or ``"crossbar"``, has written; empty if it never ran."""
        log = self._log(instance_id)
        return log.read_text(errors="replace") if log.exists() else ""

    def stop(self, timeout: float = 15.0) -> None:
        """End everything; what still runs ``timeout`` seconds after SIGTERM is killed (0: at once).

        Agents go first, so that they can still say good-bye to the router.
        """
        try:
            stop_together(self._agents.values(), timeout)
        finally:
            self._leash.close(timeout)

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Inside

    def _log(self, name: str) -> Path:
        return self.directory / "log" / f"{name}.log"

    def _router_is_ready(self, router: Child) -> bool:
        """Whether it is this router that answers, on all its paths."""
        # Crossbar listens first and then adds path by path: /call, /info, /ws.
        info = self._request("GET", "/info")
        if info is None or router.pid not in map(_group_of, re.findall(r"\bPID (\d+)", info)):
            return False
        return self._request("GET", "/ws") is not None

    def _pid_behind(self, instance_id: str) -> int | None:
        """The process that answers for an agent, if one does."""
        call = {"procedure": f"{self.address_root}.{instance_id}", "args": ["get_api"]}
        answer = self._request("POST", "/call", json.dumps(call))
        results = json.loads(answer).get("args") if answer is not None else None
        first = results[0] if results else None
        return first.get("instance_pid") if isinstance(first, dict) else None

    def _request(self, method: str, path: str, body: str | None = None) -> str | None:
        """The body of the router's answer; ``None`` without an answer or for an error."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=HTTP_TIMEOUT)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return text if response.status == http.client.OK else None


def find_crossbar(program: str | None = None) -> str:
    """The router's program: the argument, else ``$SOCS_CROSSBAR``, else the first that exists of

    ``crossbar`` beside this Python, in the environment ``<this one>-crossbar``, and on the PATH.

    Raises:
        ConfigError: there is none; the message says how to get it.
    """
    named = program or os.environ.get("SOCS_CROSSBAR")
    candidates = [
        str(Path(sys.executable).parent / "crossbar"),
        f"{sys.prefix}-crossbar/bin/crossbar",
        "crossbar",
    ]
    for candidate in [named] if named else candidates:
        found = shutil.which(candidate)
        if found:
            return found
    what = f"crossbar is not at {named!r}" if named else "the crossbar router was not found"
    raise ConfigError(
        f"{what}: `make demo` installs it in an environment of its own; or `pip install crossbar`"
        " anywhere and set SOCS_CROSSBAR to the program"
    )


def _group_of(pid: str) -> int | None:
    try:
        return os.getpgid(int(pid))
    except ProcessLookupError:
        return None


def _tail(child: Child, lines: int = 20) -> str:
    return "\n".join(child.output().splitlines()[-lines:])
