import argparse
import os
import subprocess
import sys
import threading
import time
from itertools import count
from types import SimpleNamespace

import pytest
import txaio

txaio.use_twisted()  # before an agent is imported

from twisted.application import internet  # noqa: E402
from twisted.internet.defer import Deferred, succeed  # noqa: E402

from socs import agent as agent_module  # noqa: E402
from socs.agent import (  # noqa: E402
    add_message,
    end_soon,
    line_logger,
    parse_args,
    reply_of,
    show_status,
    sleep,
)
from socs.errors import ConfigError, Malformed, StorageUnavailable  # noqa: E402
from socs.options import parse_bool  # noqa: E402

SITE = """
hub:
  wamp_server: ws://127.0.0.1:1/ws
  wamp_http: http://127.0.0.1:1/call
  wamp_realm: realm
  address_root: observatory
hosts:
  localhost:
    agent-instances:
      - {agent-class: Silent, instance-id: silent, arguments: []}
      - {agent-class: Own, instance-id: own, arguments: [[--crossbar-timeout, 7]]}
      - {agent-class: Zero, instance-id: zero, arguments: [--crossbar-timeout, 0]}
"""
HOST_SAYS = SITE.replace("  localhost:\n", "  localhost:\n    crossbar_timeout: 30\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Write a site config."""
    monkeypatch.setenv("OCS_CONFIG_DIR", str(tmp_path))

    def write(text):
        path = tmp_path / "default.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "agent_class", "args", "expected"),
    [
        (SITE, "Silent", [], 0),
        (SITE, "Own", [], 7),
        (SITE, "Silent", ["--crossbar-timeout", "9"], 9),
        (SITE, "Own", ["--crossbar-timeout", "9"], 9),
        (HOST_SAYS, "Silent", [], 30),
        (HOST_SAYS, "Own", [], 7),
        (HOST_SAYS, "Zero", [], 0),
        (HOST_SAYS, "Silent", ["--crossbar-timeout", "0"], 0),
        (SITE.replace("  localhost:\n", "  localhost:\n    crossbar_timeout:\n"), "Silent", [], 0),
    ],
)
def test_crossbar_timeout_is_endless_unless_someone_says_otherwise(
    site, text, agent_class, args, expected
):
    path = site(text)
    where_it_may_be = ([], ["--site", "default"], ["--site-file", str(path)])
    for where in where_it_may_be:
        parsed = parse_args(agent_class, argparse.ArgumentParser(), [*args, *where])
        assert parsed.crossbar_timeout == expected
        assert parsed.address_root == "observatory"


def test_without_a_site_config_file(monkeypatch):
    monkeypatch.delenv("OCS_CONFIG_DIR", raising=False)
    with pytest.raises(ConfigError, match="OCS_CONFIG_DIR"):
        parse_args("Silent", argparse.ArgumentParser(), [])


@pytest.mark.parametrize(
    ("text", "args", "words"),
    [
        (SITE, ["--instance-id", "other"], "other"),
        (SITE.replace("localhost", "elsewhere"), [], "elsewhere|hosts"),
        (SITE.replace("hub:", "nub:"), [], "hub"),
        ("hub: [", [], "not YAML"),
        ("", [], "site config"),
        ("[]", [], "site config"),
        (SITE, ["--site", "other"], "other.yaml"),
        (SITE, ["--site", "a", "--site-file", "b"], "--site"),
    ],
)
def test_wrong_site_configs_are_config_errors(site, text, args, words):
    site(text)
    with pytest.raises(ConfigError, match=words):
        parse_args("Silent", argparse.ArgumentParser(), args)


@pytest.mark.parametrize("text", ["true", "True", "YES", "1", "on", " true "])
def test_true(text):
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["false", "False", "NO", "0", "off"])
def test_false(text):
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "maybe", "2", "None"])
def test_neither_true_nor_false(text):
    with pytest.raises(argparse.ArgumentTypeError, match="true, yes, 1, on"):
        parse_bool(text)


def test_messages_are_no_log_formats():
    lines = []
    log = SimpleNamespace(info=lambda text, /, **values: lines.append(text.format(**values)))
    session = SimpleNamespace(
        messages=[], op_name="run", session_id=3, app=SimpleNamespace(log=log)
    )
    add_message(session, "{a.b} \n{}")
    ((when, text),) = session.messages
    assert text == "{a.b} \n{}"
    assert abs(when - time.time()) < 5
    assert lines == ["run:3 {a.b} \\n{}"]


def test_sleep(pump):
    done = []
    start = time.monotonic()
    sleep(0.05).addCallback(done.append)
    pump(lambda: done)
    assert time.monotonic() - start > 0.04


def test_an_operation_is_told_to_end_by_its_session():
    statuses, replies = [], []
    session = SimpleNamespace(op_name="verify", set_status=statuses.append)
    end_soon(session, {}).addCallback(replies.append)
    assert statuses == ["stopping"]
    assert replies == [(True, "verify will end")]


@pytest.fixture
def show(pump, monkeypatch):
    """Show a status until the session's data are as wanted; returns the session."""
    monkeypatch.setattr(agent_module, "STATUS_PERIOD", 0.01)

    def show(status, shown, then=lambda status: None):
        session = SimpleNamespace(status="starting", data={}, degraded=False)
        ended = []
        show_status(session, status, "/spool", then).addBoth(ended.append)
        try:
            pump(lambda: shown(session), 5)
        finally:
            session.status = "stopping"
            pump(lambda: ended, 5)
        assert ended == [None]
        return session

    return show


def test_a_status_is_shown_each_period_and_given_on(show):
    statuses, told = count(), []
    session = show(
        lambda: {"number": next(statuses), "troubles": []},
        lambda session: len(told) > 2,
        told.append,
    )
    assert told[:3] == [{"number": number, "troubles": []} for number in (0, 1, 2)]
    assert session.data["number"] == told[-1]["number"]
    assert abs(session.data["timestamp"] - time.time()) < 5
    assert session.degraded is False


def test_a_session_is_degraded_while_there_are_troubles(show):
    troubles = [["no disk"], []]
    degraded = []

    def shown(session):
        if session.data and session.degraded not in degraded:
            degraded.append(session.degraded)
        return degraded == [True, False]

    show(lambda: {"troubles": troubles.pop(0) if len(troubles) > 1 else troubles[0]}, shown)


def test_a_status_that_the_disk_refuses_is_a_trouble(show):
    told = []

    def status():
        if told:
            raise StorageUnavailable("no disk")
        return {"number": 1, "troubles": []}

    session = show(status, lambda session: session.degraded, told.append)
    assert session.data["troubles"] == ["no disk"]
    assert session.data["number"] == 1  # what was known before


def test_a_status_that_hangs_is_a_trouble_and_keeps_nobody_from_ending(show, monkeypatch):
    """With a clock of which each look takes a second."""
    real = agent_module.reactor
    clock = SimpleNamespace(seconds=count().__next__, callLater=real.callLater)
    monkeypatch.setattr(agent_module, "reactor", clock)
    go_on = threading.Event()

    def status():
        go_on.wait(10)
        raise ValueError("nobody listens any more")

    try:
        session = show(status, lambda session: session.degraded)
    finally:
        go_on.set()
    assert session.data == {"troubles": ["/spool hangs"]}


@pytest.mark.parametrize("error", [ConfigError("no such cause"), Malformed("no such cause", "x")])
def test_replies_of_tasks(error):
    def refuse(part):
        raise error

    assert reply_of([1, 2], lambda part: f"{len(part)} files", "Not running") == (True, "2 files")
    assert reply_of(0, lambda part: f"{part} files", "Not running") == (True, "0 files")
    assert reply_of([], refuse, "Not running") == (False, "no such cause")
    assert reply_of(None, refuse, "Not running") == (False, "Not running")


def test_lines_are_logged_in_the_reactor_and_are_no_formats(pump):
    lines = []

    def info(text, /, **values):
        lines.append((text.format(**values), threading.current_thread()))

    report = line_logger(SimpleNamespace(info=info))
    thread = threading.Thread(target=report, args=("{a.b}",))
    thread.start()
    thread.join()
    pump(lambda: lines)
    assert lines == [("{a.b}", threading.current_thread())]


def test_tasks_without_aborter_are_aborted_in_a_thread():
    """In the reactor, OCS's call of a missing aborter would break off the shutdown."""
    tasks = {
        name: SimpleNamespace(aborter=aborter, aborter_blocking=False)
        for name, aborter in (("none", None), ("some", print))
    }
    agent_module._run_missing_aborters_in_threads(SimpleNamespace(tasks=tasks))
    assert tasks["none"].aborter_blocking is True
    assert tasks["some"].aborter_blocking is False


@pytest.fixture
def shut_down(pump, monkeypatch):
    """Call what is to be called at the end; returns the lines logged."""
    monkeypatch.setattr(agent_module, "SHUTDOWN_TIMEOUT", 0.1)

    def shut_down(*callables):
        lines, done = [], []
        log = SimpleNamespace(error=lambda text, /, **values: lines.append(text.format(**values)))
        agent_module._shut_down(callables, log).addCallback(done.append)
        agent_module.faulthandler.cancel_dump_traceback_later()
        pump(lambda: done, 2)
        return lines

    return shut_down


def test_shutdown_waits_for_all_and_outlives_errors(shut_down):
    called = []

    def later():
        return sleep(0.05).addCallback(lambda _: called.append("later"))

    def fails():
        raise ValueError("oh no")

    lines = shut_down(fails, later, lambda: succeed(called.append("at once")))
    assert called == ["at once", "later"]
    assert len(lines) == 1
    assert "fails" in lines[0]
    assert "oh no" in lines[0]


def test_shutdown_does_not_wait_for_ever(shut_down):
    def never():
        return Deferred()

    (line,) = shut_down(never)
    assert "never" in line


AGENT = """
import argparse, sys
from socs.agent import run_agent
from socs.errors import ConfigError, StorageUnavailable

def build(agent, args):
    print("building")
    raise {error}

run_agent("Silent", argparse.ArgumentParser, build, sys.argv[1:])
"""


def start(code, *args, **env):
    """Run a program: its exit status, stdout and stderr."""
    result = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("error", "env", "line"),
    [
        ("ConfigError('no\\nsuch port')", {}, "no such port"),
        ("StorageUnavailable('no disk')", {}, "no disk"),
        ("", {"LOGLEVEL": "loud"}, "LOGLEVEL: Invalid log level 'loud'"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(site, error, env, line):
    site(SITE)
    status, _, stderr = start(AGENT.format(error=error), **env)
    assert status == 2
    assert stderr.startswith(f"Silent: {line}")
    assert stderr.count("\n") == 1


def test_a_defect_is_not_taken_for_a_wrong_setting(site):
    site(SITE)
    status, stdout, _ = start(AGENT.format(error="ValueError('oh')"))
    assert status == 1
    assert "Traceback" in stdout  # where Twisted puts what is written to sys.stderr
    assert "ValueError: oh" in stdout


def test_help_needs_no_site_config():
    status, stdout, _ = start(AGENT.format(error=""), "--help", OCS_CONFIG_DIR="/nowhere")
    assert status == 0
    assert "--crossbar-timeout" in stdout


HANGS = """
import argparse, os, signal, sys, threading
from twisted.internet import reactor
from socs import agent
from socs.agent import run_agent
agent.HANG_TIMEOUT = 0.5

def build(agent, args):
    reactor.callInThread(threading.Event().wait)
    reactor.callLater(0.1, os.kill, os.getpid(), signal.SIGTERM)
    return [lambda: print("ending")]

run_agent("Silent", argparse.ArgumentParser, build, sys.argv[1:])
"""


def test_a_thread_that_hangs_does_not_keep_the_process(site):
    site(SITE)
    status, stdout, stderr = start(HANGS)
    assert status == 1
    assert "ending" in stdout
    assert "Timeout" in stderr  # with the traceback of all threads


def test_a_lost_router_is_dialled_every_few_seconds(monkeypatch):
    """As autobahn asks for the policy: by this name, at run time, without arguments."""
    monkeypatch.setattr(internet, "backoffPolicy", internet.backoffPolicy)
    agent_module._retry_often()
    policy = internet.backoffPolicy()
    assert all(policy(attempt) < agent_module.LONGEST_RETRY + 2 for attempt in (1, 10, 1000))
