import argparse
import os
import sys
import time
from types import SimpleNamespace

import pytest
import txaio

txaio.use_twisted()  # before an agent is imported

from ocs import ocs_agent  # noqa: E402

from socs.agents.pysmurf_controller import pysmurf_controller  # noqa: E402
from socs.agents.pysmurf_controller.pysmurf_controller import (  # noqa: E402
    PysmurfController,
    build,
    make_parser,
)
from socs.errors import ConfigError  # noqa: E402


class Agent(ocs_agent.OCSAgent):
    """An OCS agent without a router."""

    def __init__(self):
        settings = {"instance_id": "controller", "access_policy": None, "log_dir": None}
        super().__init__(
            ocs_agent.ComponentConfig("realm", {}), SimpleNamespace(**settings), "site.controller"
        )
        self.lines = []
        self.log = SimpleNamespace(
            **{level: self._logs(level) for level in ("debug", "info", "warn", "error")}
        )

    def _logs(self, level):
        return lambda text, /, **values: self.lines.append((level, text.format(**values)))


@pytest.fixture
def controller(monkeypatch):
    """Make a controller: ``controller("--grace", "0")``."""
    for name in [name for name in os.environ if name.startswith("SMURFPUB_")]:
        monkeypatch.delenv(name)

    def make(*options):
        args = make_parser().parse_args(["--grace", "0", *options])
        args.instance_id, args.address_root = "controller", "site.north"
        return PysmurfController(Agent(), args)

    return make


@pytest.fixture
def agent(monkeypatch, pump):
    """An agent with its operations registered, and no router."""
    monkeypatch.setenv("SMURFPUB_ID", "crate1")
    args = make_parser().parse_args(["--grace", "0.05", "-m", "mon"])
    args.instance_id, args.address_root = "controller", "site.north"
    agent = Agent()
    agent.on_shutdown = build(agent, args)
    yield agent
    closed = []
    agent.on_shutdown[0]().addCallback(closed.append)
    pump(lambda: closed)
    session = agent.sessions["run"]
    if session is not None:
        pump(lambda: session.status == "done")
    for session in agent.sessions.values():
        if session is not None:
            forget(session)


@pytest.fixture
def script(tmp_path):
    def write(code):
        path = tmp_path / "script.py"
        path.write_text(code)
        return str(path)

    return write


def publish(agent, payload, kind="session_data", pub_id="crate1"):
    """Deliver a message of the monitor's feed."""
    (subscription,) = agent.startup_subs
    message = {"id": pub_id, "type": kind, "payload": payload}
    subscription["handler"]((message, {"agent_address": "site.north.mon"}))


def run(agent, pump, **params):
    """Run a script to its end; the session."""
    status, message, _ = agent.start("run", params)
    assert status == 0, message
    session = agent.sessions["run"]
    pump(lambda: session.status == "done")
    forget(session)
    return session


def forget(session):
    """Cancel the call, minutes from now, that would purge old messages."""
    session.purger.addErrback(lambda _: None).cancel()


def texts(session):
    return [text for _, text in session.messages]


def test_topic_has_the_whole_address_root():
    args = make_parser().parse_args(["-m", "mon"])
    args.instance_id, args.address_root = "controller", "site.north"
    agent = Agent()
    PysmurfController(agent, args)
    assert [sub["topic"] for sub in agent.startup_subs] == [
        "site.north.mon.feeds.pysmurf_session_data"
    ]


def test_without_a_monitor_nothing_is_subscribed():
    args = make_parser().parse_args([])
    args.instance_id, args.address_root = "controller", "site"
    agent = Agent()
    PysmurfController(agent, args)
    assert agent.startup_subs == []


def test_exit_code_decides_success(agent, pump, script):
    path = script("import sys; sys.exit(int(sys.argv[1]))")
    good = run(agent, pump, script=path, args=[0])
    assert good.success is True
    bad = run(agent, pump, script=path, args=["3"])
    assert bad.success is False
    assert "Script has finished with exit code 3" in texts(bad)
    about = bad.data["_run"]
    assert about["script"] == path
    assert about["args"] == ["3"]
    assert about["exit_code"] == 3
    assert about["pid"] > 0
    assert good.start_time <= about["started"] <= about["ended"] <= time.time()
    bad.encoded()  # strict JSON


def test_environment_of_the_script(agent, pump, script):
    names = [f"SMURFPUB_{name}" for name in ("BACKEND", "ID", "UDP_HOST", "UDP_PORT")]
    session = run(agent, pump, script=script(f"import os; print([os.environ[n] for n in {names}])"))
    assert session.success
    assert ("info", "script.py: ['udp', 'crate1', '127.0.0.1', '8200']") in agent.lines


@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ([], {}, ("controller", "127.0.0.1", "8200")),
        ([], {"ID": "e", "UDP_HOST": "h", "UDP_PORT": "1"}, ("e", "h", "1")),
        (
            ["--smurfpub-id", "o", "--udp-host", "i", "--udp-port", "2"],
            {"ID": "e", "UDP_HOST": "h", "UDP_PORT": "1"},
            ("o", "i", "2"),
        ),
    ],
)
def test_options_win_over_the_environment(controller, monkeypatch, options, environment, expected):
    controller()  # leaves no such variable
    for name, value in environment.items():
        monkeypatch.setenv(f"SMURFPUB_{name}", value)
    args = make_parser().parse_args(options)
    args.instance_id, args.address_root = "controller", "site"
    made = PysmurfController(Agent(), args)
    env = made._smurfpub
    assert (env["SMURFPUB_ID"], env["SMURFPUB_UDP_HOST"], env["SMURFPUB_UDP_PORT"]) == expected


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--python", "/no/python"], "/no/python"), (["--script-root", "/no/dir"], "/no/dir")],
)
def test_wrong_options_are_config_errors(controller, options, word):
    with pytest.raises(ConfigError, match=word):
        controller(*options)


def test_wrong_port_in_the_environment(controller, monkeypatch):
    monkeypatch.setattr(pysmurf_controller.os, "environ", {"SMURFPUB_UDP_PORT": "x"})
    with pytest.raises(ConfigError, match="SMURFPUB_UDP_PORT"):
        controller("--python", sys.executable)


def test_session_data_and_log_of_the_running_script(agent, pump, script):
    agent.start("run", {"script": script("print('up'); input(); import time; time.sleep(0.3)")})
    session = agent.sessions["run"]
    pump(lambda: session.data.get("_run", {}).get("pid"))
    publish(agent, {"a": 1})
    publish(agent, {"b": float("nan")})
    publish(agent, {"c": 3}, pub_id="other")
    publish(agent, "{log_logger} \x1b[1m", "session_log")
    publish(agent, 5, "session_log")
    agent.startup_subs[0]["handler"](())  # not even a message
    pump(lambda: session.status == "done")
    assert {key: session.data[key] for key in session.data if key != "_run"} == {"a": 1, "b": None}
    assert session.data["_run"]["ignored"] == {"log_not_a_text": 1}
    assert session.data["_run"]["foreign_messages"] == 2
    assert "{log_logger} \x1b[1m" in texts(session)
    assert ("info", "run:0 {log_logger} \\x1b[1m") in agent.lines


def test_messages_count_in_the_grace_and_not_after(agent, pump, script):
    agent.start("run", {"script": script("")})
    session = agent.sessions["run"]
    pump(lambda: session.data.get("_run", {}).get("exit_code") is not None)
    assert session.status == "running"
    publish(agent, {"in_time": 1})
    pump(lambda: session.status == "done")
    publish(agent, {"late": 1})
    assert "in_time" in session.data
    assert "late" not in session.data
    assert session.success


def test_session_data_of_one_run_are_not_in_the_next(agent, pump, script):
    agent.start("run", {"script": script("")})
    pump(lambda: agent.sessions["run"].data)
    publish(agent, {"a": 1})
    pump(lambda: agent.sessions["run"].status == "done")
    forget(agent.sessions["run"])
    assert "a" not in run(agent, pump, script=script("")).data


def test_missing_script(agent, pump, tmp_path):
    session = run(agent, pump, script=str(tmp_path / "none.py"))
    assert session.success is False
    assert f"There is no script {tmp_path / 'none.py'}" in texts(session)


def test_log_to_a_file_and_to_nowhere(agent, pump, script, tmp_path):
    log = tmp_path / "out.log"
    path = script("import sys; print('one'); print('two', file=sys.stderr)")
    assert run(agent, pump, script=path, log=str(log)).success
    assert run(agent, pump, script=path, log=str(log)).success
    assert log.read_text() == "one\ntwo\n" * 2
    assert run(agent, pump, script=path, log=False).success
    assert not [line for _, line in agent.lines if "script.py: " in line]
    refused = run(agent, pump, script=path, log=str(tmp_path / "no" / "out.log"))
    assert not refused.success
    assert f"Cannot open the log file {tmp_path / 'no' / 'out.log'}" in " ".join(texts(refused))
    assert run(agent, pump, script=path).success
    assert ("info", "script.py: one") in agent.lines
    assert ("warn", "script.py: two") in agent.lines


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"script": ""},
        {"script": 5},
        {"script": "a\0b"},
        {"script": "a", "args": "x"},
        {"script": "a", "args": [["x"]]},
        {"script": "a", "args": [None]},
        {"script": "a", "args": ["\0"]},
        {"script": "a", "log": 1},
        {"script": "a", "log": ""},
        {"script": "a", "other": 1},
    ],
)
def test_wrong_parameters_are_refused_at_once(agent, params):
    status, _, _ = agent.start("run", params)
    assert status == -1
    assert agent.sessions["run"] is None


def test_one_script_at_a_time(agent, pump, script):
    path = script("import time; time.sleep(100)")
    assert agent.start("run", {"script": path})[0] == 0
    status, message, _ = agent.start("run", {"script": path})
    assert status == -1
    assert "already in progress" in message


def test_close_ends_the_script(agent, pump, script):
    agent.start("run", {"script": script("import time; print('up'); time.sleep(100)")})
    pump(lambda: ("info", "script.py: up") in agent.lines)
    closed = []
    agent.on_shutdown[0]().addCallback(closed.append)
    pump(lambda: closed, 3)
    assert agent.sessions["run"].data["_run"]["exit_code"] == -15


@pytest.mark.parametrize("way", ["aborter", "task"])
def test_abort(agent, pump, script, way):
    agent.start("run", {"script": script("import time; print('up'); time.sleep(100)")})
    session = agent.sessions["run"]
    pump(lambda: ("info", "script.py: up") in agent.lines)
    if way == "aborter":
        assert agent.abort("run")[0] == 0
    else:
        assert agent.start("abort")[0] == 0
        pump(lambda: agent.sessions["abort"].status == "done")
        assert agent.sessions["abort"].success
    pump(lambda: session.status == "done", 3)
    assert session.success is False
    assert "Script was ended by SIGTERM, after it was aborted" in texts(session)
    assert session.data["_run"]["exit_code"] == -15


def test_abort_before_the_script_was_started(agent, pump, script, tmp_path):
    agent.start("run", {"script": script(f"open({str(tmp_path / 'ran')!r}, 'w')")})
    session = agent.sessions["run"]
    pump(lambda: session.status == "running")
    assert session.data["_run"]["pid"] is None
    agent.abort("run")
    pump(lambda: session.status == "done")
    assert session.success is False
    assert "Aborted before the script was started" in texts(session)
    assert not (tmp_path / "ran").exists()


def test_abort_without_a_script(agent, pump):
    agent.start("abort")
    pump(lambda: agent.sessions["abort"].status == "done")
    assert agent.sessions["abort"].success is False
    assert agent.abort("run")[0] == -1


def test_script_roots(monkeypatch, pump, script, tmp_path):
    inside = tmp_path / "scripts"
    inside.mkdir()
    (inside / "good.py").touch()
    args = make_parser().parse_args(["--script-root", str(inside), "--grace", "0"])
    args.instance_id, args.address_root = "controller", "site"
    agent = Agent()
    build(agent, args)
    assert run(agent, pump, script=str(inside / "good.py")).success
    refused = run(agent, pump, script=script(""))
    assert not refused.success
    assert "--script-root" in " ".join(texts(refused))


def test_grace_is_a_time():
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        make_parser().parse_args(["--grace", "-1"])
