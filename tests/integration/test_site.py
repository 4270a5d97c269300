"""The site in a directory, with a real router and a stock OCS agent."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from ocs.client_http import ControlClientError

from socs.errors import ConfigError, OurError
from socs.sim import site as site_module
from socs.sim.site import AgentInstance, Site, find_crossbar
from socs.testing import LOOPBACK, free_port, wait_until

FAKE = AgentInstance("FakeDataAgent", "fake-1", [["--mode", "idle"], ["--num-channels", 2]])


def works(site: Site) -> bool:
    """Whether the agent runs a task and says so."""
    reply = site.client("fake-1").delay_task(delay=0)
    return reply.session["success"] is True


def processes_of(program: int, expected: int) -> list[psutil.Process]:
    """What a program has started: agents, router, the worker of the router, the leash's watcher."""
    found = psutil.Process(program).children(recursive=True)
    assert len(found) == expected, found
    return found


def all_ended(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs; an entry that nobody has reaped yet does not run."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


@pytest.mark.own_router
def test_router_takes_clients_on_all_paths_as_soon_as_it_is_started(site):
    here = site()
    for path in ("/info", "/ws"):
        connection = http.client.HTTPConnection(LOOPBACK, here.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            assert connection.getresponse().status == http.client.OK
    with pytest.raises(ControlClientError, match="no_such_procedure"):
        here.client("fake-1")


@pytest.mark.own_router
def test_agent_answers_and_survives_the_router(site):
    here = site([FAKE])
    agent = here.start_agent("fake-1")
    here.wait_joined("fake-1")
    assert works(here)
    router = here.router.pid
    workers = processes_of(router, 1)
    here.kill_router()
    wait_until(lambda: all_ended(workers), what="the end of the router's worker")
    with pytest.raises(ControlClientError):
        here.client("fake-1")
    here.start_router()
    assert here.router.pid != router
    here.wait_joined("fake-1", timeout=30)
    assert works(here)
    assert agent.alive


def test_agent_killed_stopped_and_started_again(site):
    here = site([FAKE])
    first = here.start_agent("fake-1")
    with pytest.raises(ConfigError, match=f"runs already as process {first.pid}"):
        here.start_agent("fake-1")
    here.wait_joined("fake-1")
    here.kill_agent("fake-1")
    assert first.returncode == -signal.SIGKILL
    second = here.start_agent("fake-1", env={"LOGLEVEL": "debug"})
    here.wait_joined("fake-1")
    assert works(here)
    assert here.stop_agent("fake-1") == 0
    assert not second.alive
    assert "caught SIGTERM" in here.logs("fake-1")


def test_plain_ocs_tools_work_with_the_directory(site):
    here = site([FAKE])
    here.start_agent("fake-1")
    here.wait_joined("fake-1")
    program = Path(sys.executable).parent / "ocs-client-cli"
    scan = subprocess.run(
        [program, "scan"],
        env=os.environ | {"OCS_CONFIG_DIR": str(here.directory)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "fake-1" in scan.stdout.split("Detected Agents")[1]


def test_stop_ends_all_in_order_and_twice(tmp_path):
    with Site(tmp_path, instances=[FAKE]) as here:
        here.start_router()
        agent = here.start_agent("fake-1")
        here.wait_joined("fake-1")
        running = [
            *processes_of(here.router.pid, 1),
            *map(psutil.Process, [here.router.pid, agent.pid]),
        ]
    wait_until(lambda: all_ended(running), what="the end of all processes")
    here.stop()
    log = here.logs("fake-1")
    assert "session left" in log[log.index("caught SIGTERM") :]


INTERRUPTED = """
import sys, time
from pathlib import Path
from socs.sim.site import AgentInstance, Site
with Site(Path(sys.argv[1]), instances=[AgentInstance("FakeDataAgent", "fake-1")]) as site:
    site.start_router()
    site.start_agent("fake-1")
    site.wait_joined("fake-1")
    print("ready", flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize(
    "end",
    [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL],  # SIGINT: see the demo
)
def test_nothing_runs_after_ctrl_c_or_kill_of_the_program(tmp_path, end):
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as program:
        try:
            assert program.stdout.readline() == b"ready\n"
            running = processes_of(program.pid, 4)
            os.killpg(program.pid, end)  # as the terminal does for Ctrl-C
            program.wait(60)
        finally:
            program.kill()
    wait_until(lambda: all_ended(running), what="the end of all processes")


def test_router_takes_another_port_when_its_own_is_taken(site, monkeypatch):
    taken = free_port()
    ports = iter([taken, free_port()])
    monkeypatch.setattr(site_module, "free_port", lambda: next(ports))
    with socket.create_server((LOOPBACK, taken)):
        here = site([FAKE], router=False)
        assert here.port == taken
        here.start_router()
        assert here.port != taken
        here.start_agent("fake-1")
        here.wait_joined("fake-1")


def test_router_does_not_leave_a_port_that_it_was_given(tmp_path):
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with Site(tmp_path, port=port) as here, pytest.raises(OurError, match="cannot_listen"):
            here.start_router()
        assert here.port == port


def test_agent_that_ends_at_once_is_reported_with_its_log(site):
    here = site([AgentInstance("NoSuchAgent", "x")], router=False)
    here.start_agent("x")
    with pytest.raises(OurError, match=r"(?s)agent 'x' ended \(1\).*NoSuchAgent"):
        here.wait_joined("x")


def test_agent_that_is_no_use_without_a_router_is_reported(site):
    here = site([FAKE], router=False)
    here.start_agent("fake-1")
    with pytest.raises(OurError, match=r"did not answer in 0\.5 s"):
        here.wait_joined("fake-1", timeout=0.5)


def test_missing_router_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SOCS_CROSSBAR", raising=False)
    here = Site(tmp_path, crossbar="/nowhere/crossbar")
    with pytest.raises(ConfigError, match=r"'/nowhere/crossbar'.*make demo.*SOCS_CROSSBAR"):
        here.start_router()
    monkeypatch.setenv("SOCS_CROSSBAR", "/no/crossbar")
    with pytest.raises(ConfigError, match="not at '/no/crossbar'"):
        find_crossbar()
