"""Controller, monitor and a real router: what a script publishes reaches its session."""

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import ocs
import psutil
import pytest

from socs.sim.site import AgentInstance, Site
from socs.testing import free_port, wait_until

PUBLISHER = "from socs.sim.pysmurf_publisher import Publisher\npub = Publisher('script.py')\n"
WAITS = "import time\nprint('up')\ntime.sleep(100)\n"


@dataclass
class House:
    """A site whose agents have their data in a directory."""

    directory: Path
    site: Site

    def start(self, *agents, **options):
        for agent in agents:
            self.site.start_agent(agent, **options)
        for agent in agents:
            self.site.wait_joined(agent)


def instances(directory):
    """A monitor, two controllers that listen to it, and one that cannot start."""
    scripts = directory / "scripts"
    scripts.mkdir(parents=True)
    port = free_port(socket.SOCK_DGRAM)
    common = ["--udp-port", port, "--monitor-id", "monitor"]
    second = ["--script-root", str(scripts), "--smurfpub-id", "crate2"]
    return [
        AgentInstance(
            "PysmurfMonitor",
            "monitor",
            ["--udp-port", port, "--data-dir", str(directory / "spool")],
        ),
        AgentInstance("PysmurfController", "first", [common, ["--grace", 0.5]]),
        AgentInstance("PysmurfController", "second", [common, second]),
        AgentInstance("PysmurfController", "wrong", ["--python", "/no/such/python"]),
    ]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """No settings of another site in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MYSQL_", "SMURFPUB_"))]:
            patch.delenv(name)
        patch.setenv("SOCS_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def house(tmp_path_factory, environment):
    """For tests that leave the router, the monitor and the first controller running."""
    directory = tmp_path_factory.mktemp("house")
    agents = instances(directory)
    with Site(directory / "site", instances=agents, address_root="site.north") as site:
        site.start_router()
        house = House(directory, site)
        house.start("monitor", "first")
        yield house


@pytest.fixture
def own_house(tmp_path, site, environment):
    """For tests that kill and restart: ``own_house(router=False)``; starts no agents."""

    def make(**options):
        directory = tmp_path / "house"
        return House(directory, site(instances(directory), **options))

    return make


@pytest.fixture
def first(house):
    """A client of the first controller."""
    client = house.site.client("first")
    yield client
    client.run.abort()
    client.run.wait(timeout=60)


@pytest.fixture
def script(tmp_path):
    def write(code, name="script.py", directory=tmp_path):
        path = directory / name
        path.write_text(code)
        return str(path)

    return write


def texts(session):
    return [text for _, text in session["messages"]]


def own(session):
    return {key: value for key, value in session["data"].items() if key != "_run"}


def started(client):
    """Wait for the script's process; its id."""
    return wait_until(
        lambda: client.run.status().session.get("data", {}).get("_run", {}).get("pid"),
        what="the script's process",
    )


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_a_script_publishes_reaches_the_session(house, first, script):
    code = f"""{PUBLISHER}
import sys
pub.publish({{"args": sys.argv[1:], "bad": float("nan")}}, "session_data")
pub.publish("half way {{x}}", "session_log")
pub.publish([1, 2], "session_data")
pub.publish({{"last": [1.5, None, {{"x": True}}]}}, "session_data")
"""
    reply = first.run.start(script=script(code), args=["a b", 3])
    assert reply.status == ocs.OK, reply.msg
    reply = first.run.wait(timeout=60)
    assert reply.status == ocs.OK, reply.msg
    session = reply.session
    assert session["success"] is True
    assert own(session) == {
        "args": ["a b", "3"],
        "bad": None,
        "last": [1.5, None, {"x": True}],
    }
    about = session["data"]["_run"]
    assert about["exit_code"] == 0
    assert about["ignored"] == {"data_not_a_dict": 1}
    assert "half way {x}" in texts(session)
    assert "Script has finished with exit code 0" in texts(session)


def test_what_comes_just_before_the_end_counts(first, script):
    """The process ends at once after sending: the message arrives after its end."""
    code = f"{PUBLISHER}import os\npub.publish({{'last': 1}}, 'session_data')\nos._exit(4)\n"
    first.run.start(script=script(code))
    session = first.run.wait(timeout=60).session
    assert own(session) == {"last": 1}
    assert session["success"] is False
    assert "Script has finished with exit code 4" in texts(session)


def test_each_controller_hears_its_own_scripts_only(house, first, script):
    house.start("second")
    second = house.site.client("second")
    code = f"""{PUBLISHER}
import sys, time
pub.publish({{'who': sys.argv[1], 'id': pub.pub_id}}, 'session_data')
time.sleep(0.5)
"""
    in_root = script(code, directory=house.directory / "scripts")
    first.run.start(script=in_root, args=["first"])
    second.run.start(script=in_root, args=["second"])
    sessions = [client.run.wait(timeout=60).session for client in (first, second)]
    assert [own(session) for session in sessions] == [
        {"who": "first", "id": "first"},
        {"who": "second", "id": "crate2"},
    ]
    assert [session["data"]["_run"]["ignored_messages"] for session in sessions] == [0, 0]
    second.run.start(script=script(code))
    session = second.run.wait(timeout=60).session
    assert session["success"] is False
    assert "--script-root" in " ".join(texts(session))
    assert house.site.stop_agent("second") == 0


def test_output_goes_to_the_log_of_the_agent(house, first, script):
    code = "import sys; print('{brace} öut\\x1b[1m'); print('err', file=sys.stderr)"
    first.run.start(script=script(code, "talks.py"))
    assert first.run.wait(timeout=60).session["success"]
    logs = house.site.logs("first")
    assert "talks.py: {brace} öut\\x1b[1m\n" in logs
    assert "talks.py: err\n" in logs


def test_output_goes_to_a_file(first, script, tmp_path):
    log = tmp_path / "out.log"
    first.run.start(script=script("print('hello')"), log=str(log))
    assert first.run.wait(timeout=60).session["success"]
    assert log.read_text() == "hello\n"
    first.run.start(script=script("print('hello')"), log=str(tmp_path / "no" / "out.log"))
    session = first.run.wait(timeout=60).session
    assert session["success"] is False
    assert "Cannot open the log file" in " ".join(texts(session))


def test_missing_script_is_named(first, tmp_path):
    first.run.start(script=str(tmp_path / "missing.py"))
    session = first.run.wait(timeout=60).session
    assert session["success"] is False
    assert f"There is no script {tmp_path / 'missing.py'}" in texts(session)


@pytest.mark.parametrize("way", ["run.abort", "abort"])
def test_abort(first, script, way):
    first.run.start(script=script(WAITS))
    pid = started(first)
    # OCSClient calls a Task and waits for it; `run.abort` is the abort of the Task `run`
    reply = first.run.abort() if way == "run.abort" else first.abort()
    assert reply.status == ocs.OK, reply.msg
    session = first.run.wait(timeout=60).session
    assert session["status"] == "done"
    assert session["success"] is False
    assert "Script was ended by SIGTERM, after it was aborted" in texts(session)
    wait_until(lambda: gone(pid), 2, "the end of the script")


def test_answers_of_an_ocs_agent(first, script):
    assert first.run.start().status == ocs.ERROR
    assert first.run.start(script="x", colour="red").status == ocs.ERROR
    assert first.run.start(script="x", args="y").status == ocs.ERROR
    assert first.run.start(script=script(WAITS)).status == ocs.OK
    started(first)
    again = first.run.start(script=script(WAITS))
    assert again.status == ocs.ERROR
    assert "already in progress" in again.msg
    assert first.run.wait(timeout=0.1).status == ocs.TIMEOUT
    assert first.run.status().session["status"] == "running"
    assert first.run.abort().status == ocs.OK
    assert first.run.wait(timeout=60).status == ocs.OK
    assert first.run.abort().status == ocs.ERROR
    assert first.abort().session["success"] is False


@pytest.mark.own_router
def test_session_data_arrive_after_the_router_was_restarted(own_house, script):
    house = own_house()
    house.start("monitor", "first")
    house.site.kill_router()
    house.site.start_router()
    for agent in ("monitor", "first"):
        house.site.wait_joined(agent, timeout=60)
    client = house.site.client("first")
    code = f"{PUBLISHER}pub.publish({{'again': 1}}, 'session_data')"
    client.run.start(script=script(code))
    assert own(client.run.wait(timeout=60).session) == {"again": 1}


STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITS}"


@pytest.mark.parametrize("code", [WAITS, STUBBORN], ids=["obedient", "stubborn"])
def test_sigterm_ends_the_script_and_then_the_agent(own_house, script, code):
    house = own_house()
    house.start("first")
    client = house.site.client("first")
    client.run.start(script=script(code))
    wait_until(lambda: "script.py: up" in house.site.logs("first"), what="the script's output")
    pid = started(client)
    assert house.site.stop_agent("first", timeout=60) == 0
    assert gone(pid)


def test_a_script_does_not_outlive_its_controller(own_house, script):
    house = own_house()
    agent = house.site.start_agent("first")
    house.site.wait_joined("first")
    client = house.site.client("first")
    client.run.start(script=script(WAITS))
    pid = started(client)
    os.kill(agent.pid, signal.SIGKILL)
    wait_until(lambda: gone(pid), 5, "the end of the script")


def test_sigterm_before_there_is_a_router(own_house):
    """Then OCS has not yet installed its own handler."""
    house = own_house(router=False)
    agent = house.site.start_agent("first")
    wait_until(lambda: "log_file is" in agent.output(), what="the agent's start")
    wait_until(lambda: takes_sigterm(agent.pid), what="the reactor's signal handler")
    agent.signal(signal.SIGTERM)
    assert agent.wait(60) == 0


def takes_sigterm(pid):
    """Whether the process has a handler for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(
        next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16
    )
    return bool(caught & 1 << (signal.SIGTERM - 1))


def test_a_wrong_option_is_one_line_and_status_2(own_house):
    agent = own_house(router=False).site.start_agent("wrong")
    assert agent.wait(60) == 2
    (line,) = [line for line in agent.output().splitlines() if "/no/such/python" in line]
    assert line == "PysmurfController: --python /no/such/python: there is no such program"
    assert "Traceback" not in agent.output()
