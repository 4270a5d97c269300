"""As :mod:`tests.faults.test_kill_stream`, with the whole agent: process, router, session data."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from socs.sim.leash import Child
from socs.sim.ports import free_port
from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until
from tests.faults.test_kill_stream import kill_at_random

MONITOR = "pysmurf-monitor"


class AgentVictim:
    """The monitor agent of a site; killed and restarted on the same port and spool."""

    def __init__(self, site: Callable[..., Site], directory: Path, environ: dict[str, str]):
        self.port = free_port(socket.SOCK_DGRAM)
        (directory / "data").mkdir(exist_ok=True)
        self.environ = {"SOCS_DATA_DIR": str(directory / "state"), **environ}
        arguments = ["--udp-port", self.port, "--data-root", directory / "data"]
        self.site = site([AgentInstance("PysmurfMonitor", MONITOR, [*map(str, arguments)])])
        self.slowest_start = 0.0

    def start(self) -> None:
        begin = time.monotonic()
        agent: Child = self.site.start_agent(MONITOR, env=self.environ)
        wait_until(lambda: "listening on" in agent.output(), 20, "the agent to listen again")
        self.slowest_start = max(self.slowest_start, time.monotonic() - begin)

    def kill(self) -> None:
        self.site.kill_agent(MONITOR)

    def stop(self) -> None:
        self.site.stop_agent(MONITOR)

    def numbers(self) -> dict[str, int]:
        return self.read()["counters"]

    def read(self) -> dict:
        self.site.wait_joined(MONITOR)
        status = self.site.client(MONITOR).run.status
        return wait_until(lambda: status().session.get("data"), 10, "session data")


def test_agent_killed_at_three_random_instants(site, mariadb, tmp_path: Path) -> None:
    kill_at_random(AgentVictim(site, tmp_path, mariadb.env()), tmp_path, times=3, seed=3)


@pytest.mark.slow
def test_agent_killed_at_a_hundred_random_instants(site, mariadb, tmp_path: Path) -> None:
    kill_at_random(AgentVictim(site, tmp_path, mariadb.env()), tmp_path, times=100, seed=4)
