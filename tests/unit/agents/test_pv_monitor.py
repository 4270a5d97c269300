"""The PV monitor's agent without OCS: what comes on a feed, what a gateway replies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ocs
import pytest
import txaio

txaio.use_twisted()  # before an agent is imported

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed  # noqa: E402

import socs.agent  # noqa: E402
from socs.agents.pv_monitor import pv_monitor as module  # noqa: E402
from socs.epics.monitor.tasks.answering import NOT_MONITORING  # noqa: E402


class Pvs:
    """A monitor that notes what it is told, and whose status cannot be told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, object]] = []
        self.closed = 0

    def put(self, gateway: str, message: object, now: float) -> None:
        self.got.append((gateway, message))

    def status(self) -> dict[str, Any]:
        raise RuntimeError("unforeseen")

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> module.PVMonitor:
    for where in (module, socs.agent):
        monkeypatch.setattr(where, "deferToThread", maybeDeferred)
    monkeypatch.setattr(module, "sleep", lambda seconds: succeed(None))
    made = module.PVMonitor.__new__(module.PVMonitor)
    made.pvs, made._closing, made._root = None, False, "observatory"
    made._calls = SimpleNamespace(end=lambda: None, troubles=list)
    made.values = SimpleNamespace(close=lambda: None)
    made.settings = SimpleNamespace(store=SimpleNamespace(data_dir="/spool"))
    return made


def test_whatever_is_published_is_handed_over(agent: module.PVMonitor) -> None:
    agent._on_traffic("a", ({"version": 1}, {"feed_name": "traffic"}))  # nobody listens yet
    agent.pvs = pvs = Pvs()
    agent._on_traffic("a", ({"version": 1}, {"feed_name": "traffic"}))
    agent._on_traffic("a")
    agent._on_traffic("a", {"x": 1}, 2, y=3, gateway="b", self=4)
    agent._on_traffic("a", [])
    assert pvs.got == [("a", {"version": 1}), ("a", None), ("a", {"x": 1}), ("a", [])]


def test_a_process_that_fails_leaves_no_monitor_behind(
    agent: module.PVMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pvs = Pvs()
    monkeypatch.setattr(agent, "_start", lambda: setattr(agent, "pvs", pvs))
    session = SimpleNamespace(status="running", data={}, degraded=False)
    failures: list[Any] = []
    agent.monitor(session, {}).addErrback(failures.append)
    assert failures[0].check(RuntimeError)
    assert pvs.closed == 1
    assert agent.pvs is None
    assert agent.search(None, {"pattern": "*"} | dict.fromkeys(FILTERS)) == (False, NOT_MONITORING)


FILTERS = (
    *("state", "protocol", "server", "source_class", "asked_within", "requester", "group"),
    *("start", "most"),
)


def replying(agent: module.PVMonitor, *replies: Any) -> list[tuple[Any, ...]]:
    """Have gateways reply these, one after the other; what was called."""
    called: list[tuple[Any, ...]] = []
    waiting = list(replies)

    def call_op(address: str, task: str, action: str, params: Any = None) -> Deferred[Any]:
        called.append((address, task, action, params))
        reply = waiting.pop(0)
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)

    agent.agent = SimpleNamespace(call_op=call_op)
    return called


SAID = [[0.0, "starting"], [0.0, "running"], [0.0, "Searching for 1 more names"], [0.0, "done"]]


@pytest.mark.parametrize(
    ("replies", "result"),
    [
        (
            [(ocs.OK, "", {}), (ocs.OK, "", {"success": True, "messages": SAID})],
            (True, "Searching for 1 more names"),
        ),
        (
            [(ocs.OK, "", {}), (ocs.OK, "", {"success": False, "messages": SAID})],
            (False, "Searching for 1 more names"),
        ),
        ([(ocs.ERROR, "it runs already", {})], (False, "it runs already")),
        ([(ocs.OK, "", {}), (ocs.TIMEOUT, "too long", {})], (False, "too long")),
        ([False], (False, "it is not there")),
    ],
)
def test_a_gateway_is_called_and_waited_for(agent, replies, result) -> None:
    called = replying(agent, *replies)
    results: list[Any] = []
    agent._call("gateway", "search", {"names": ["A"]}).addCallback(results.append)
    assert results == [result]
    assert called[0] == ("observatory.gateway", "search", "start", {"names": ["A"]})
    assert [call[2] for call in called] == ["start", "wait"][: len(replies)]


def test_a_router_that_is_away_is_a_failure_and_no_more(agent) -> None:
    replying(agent, ConnectionError("no transport"))
    failures: list[Any] = []
    agent._call("gateway", "search", {}).addErrback(failures.append)
    assert failures[0].check(ConnectionError)
