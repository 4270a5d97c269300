"""Calls of agents end, whatever the router does: clients over real sockets, routers made for it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ocs
import pytest
import yaml
from ocs.client_http import ControlClientError

from socs.agent_client import AgentClient, NoAnswer, TimedControlClient
from socs.cli.main import main

AGENT = "pvs"
SHORT, LONG = 0.1, 60.0  # s
API = {
    "agent_class": "PVMonitor",
    "tasks": [["search", None, {"docstring": "search()"}]],
    "processes": [],
}
IDLE = [ocs.OK, "idle", {"status": "done"}]
RUNS = [ocs.TIMEOUT, "still running", {"status": "running"}]

Called = dict[str, Any]  # what came: "procedure", "args", "kwargs"


@pytest.fixture
def silent() -> Iterator[int]:
    """Port of a router that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def router(answer: Callable[[Called], Any], status: int = 200) -> Iterator[int]:
    """Port of a router that answers calls as the real one does, with what ``answer`` gives."""

    class Bridge(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            called = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = answer(called)
            if not (isinstance(found, dict) and "error" in found):
                found = {"args": [found], "kwargs": {}}
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Bridge)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}/call"


def site_file(directory: Path, port: int) -> str:
    """A site config with a monitor, for clients of the router at ``port``."""
    hub = {
        "wamp_server": f"ws://127.0.0.1:{port}/ws",
        "wamp_http": url_of(port),
        "wamp_realm": "test_realm",
        "address_root": "observatory",
    }
    instance = {"agent-class": "PVMonitor", "instance-id": AGENT, "arguments": []}
    hosts = {"localhost": {"agent-instances": [instance]}}
    path = directory / "default.yaml"
    path.write_text(yaml.safe_dump({"hub": hub, "hosts": hosts}))
    return str(path)


def client(directory: Path, port: int, timeout: float = LONG) -> AgentClient:
    options = ["--site-file", site_file(directory, port), "--site-host", "localhost"]
    return AgentClient(AGENT, options, timeout)


@pytest.mark.timeout(60)
def test_a_router_that_hangs_is_told_with_its_address(silent: int, tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match=f"no answer within 0.1 s by {url_of(silent)}"):
        client(tmp_path, silent, SHORT)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("words", [["who", "X"], ["watch"], ["events", "--follow"]])
def test_commands_give_a_router_up_that_hangs(
    silent: int, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--site-file", site_file(tmp_path, silent), "--router-timeout", str(SHORT)]
    assert main(["epics", *words, *options]) == 1
    said = capsys.readouterr().err
    assert url_of(silent) in said
    assert "--router-timeout" in said


def test_the_end_of_an_operation_is_waited_for_in_turns(tmp_path: Path) -> None:
    replies = [API, RUNS, RUNS, IDLE, IDLE, IDLE]
    calls: list[Called] = []

    def answer(called: Called) -> Any:
        calls.append(called)
        return replies[len(calls) - 1]

    with router(answer) as port:
        agent = client(tmp_path, port)
        assert agent.search.wait() == tuple(IDLE)
        assert agent.search.wait(timeout=LONG) == tuple(IDLE)
        assert agent.search.wait(timeout=1.0).session == {"status": "done"}
    asked, *waited = calls
    assert (asked["procedure"], asked["args"]) == (f"observatory.{AGENT}", ["get_api"])
    for each in waited:
        assert each["procedure"] == f"observatory.{AGENT}.ops"
        assert each["args"] == ["wait", "search", {}]
    given = [each["kwargs"]["timeout"] for each in waited]
    assert given[:4] == [LONG / 2] * 4
    assert given[4] <= 1.0


def test_who_does_not_want_to_wait_any_longer_does_not(tmp_path: Path) -> None:
    with router(lambda called: API if called["args"] == ["get_api"] else RUNS) as port:
        agent = client(tmp_path, port)
        assert agent.search.wait(timeout=0) == tuple(RUNS)
        assert agent.search.wait(timeout=0.01).status == ocs.TIMEOUT


@pytest.mark.timeout(60)
def test_a_router_that_begins_to_hang_while_it_is_waited_is_told() -> None:
    ending, waits = threading.Event(), list[Called]()

    def answer(called: Called) -> Any:
        waits.append(called)
        if len(waits) > 2:
            ending.wait()
        return RUNS

    with router(answer) as port:
        url = url_of(port)
        agent = TimedControlClient("observatory.pvs", url=url, realm="test_realm", timeout=0.4)
        try:
            with pytest.raises(NoAnswer, match=url):
                agent.request("wait", "search")
        finally:
            ending.set()


def test_other_failures_are_those_of_ocs(tmp_path: Path) -> None:
    refused = {"error": "wamp.error.no_such_procedure", "args": ["not here"], "kwargs": {}}
    with router(lambda called: refused) as port, pytest.raises(ControlClientError) as caught:
        client(tmp_path, port)
    assert caught.value.args[0][4:] == ["wamp.error.no_such_procedure", ["not here"], {}]
    with (
        router(lambda called: API, status=500) as port,
        pytest.raises(ControlClientError) as caught,
    ):
        client(tmp_path, port)
    assert "code 500" in str(caught.value)
    with pytest.raises(ControlClientError, match="connection_error") as caught:
        client(tmp_path, port)  # nobody is there any more
    assert not isinstance(caught.value, NoAnswer)
