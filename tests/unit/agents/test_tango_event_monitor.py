"""The Tango event monitor's agent without OCS: what is left when its process fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import txaio

txaio.use_twisted()  # before an agent is imported

from twisted.internet.defer import maybeDeferred  # noqa: E402

import socs.agent  # noqa: E402
from socs.agents.tango_event_monitor import tango_event_monitor as module  # noqa: E402
from socs.counters import TANGO_MONITOR, Counters  # noqa: E402


class Events:
    """A monitor whose status cannot be told."""

    def __init__(self) -> None:
        self.stopped = 0

    def status(self) -> dict[str, Any]:
        raise RuntimeError("unforeseen")

    def stop(self) -> None:
        self.stopped += 1

    def rotate(self) -> bool:
        return False


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> module.TangoEventMonitor:
    for where in (module, socs.agent):
        monkeypatch.setattr(where, "deferToThread", maybeDeferred)
    made = module.TangoEventMonitor.__new__(module.TangoEventMonitor)
    made.events, made._closing = None, False
    made.settings = SimpleNamespace(spool_dir="/spool")
    return made


def test_a_process_that_fails_leaves_no_monitor_behind(
    agent: module.TangoEventMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = Events()
    monkeypatch.setattr(agent, "_start", lambda: setattr(agent, "events", events))
    session = SimpleNamespace(status="running", data={}, degraded=False)
    failures: list[Any] = []
    agent.monitor(session, {}).addErrback(failures.append)
    assert failures[0].check(RuntimeError)
    assert events.stopped == 1
    assert agent.events is None


def test_without_files_there_is_nothing_to_rotate(agent: module.TangoEventMonitor) -> None:
    assert agent.rotate_output(None, {}) == (False, module.NOT_MONITORING)
    agent.events = Events()
    assert agent.rotate_output(None, {}) == (False, "No files are written: see --folder")


def test_polls_without_points_are_counted(agent: module.TangoEventMonitor) -> None:
    agent.events = SimpleNamespace(counters=Counters(TANGO_MONITOR))
    agent._poll_log = SimpleNamespace(poll_over=lambda: None)
    for published in (True, False, False):
        agent.feeds = SimpleNamespace(update=lambda *words, published=published: published)
        agent._poll_over({}, {}, 5.0)
    assert agent.events.counters["polls_unpublished"] == 2
