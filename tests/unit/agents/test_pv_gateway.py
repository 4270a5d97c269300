"""The agent of the gateway without OCS: what is left when its process fails, or has ended."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest
import txaio

txaio.use_twisted()  # before an agent is imported

from twisted.internet.defer import maybeDeferred, succeed  # noqa: E402

import socs.agent  # noqa: E402
from socs.agents.pv_gateway import pv_gateway as module  # noqa: E402
from socs.errors import ConfigError  # noqa: E402


class Gateway:
    """One whose status can be told, or not."""

    def __init__(self, fails: bool = False) -> None:
        self.fails, self.finished, self.stopped = fails, False, 0
        self.under_way, self.waited = self, 0

    def status(self) -> dict[str, Any]:
        if self.fails:
            raise RuntimeError("unforeseen")
        self.finished = True
        return {"counters": {"waited": self.waited}, "troubles": ["one"]}

    def stop(self) -> None:
        self.stopped += 1

    def finish(self, timeout: float) -> None:
        """Of the summaries under way."""
        assert self.stopped, "the last summary comes before"
        assert timeout > 0
        self.waited += 1


class Session:
    """An OCS session that runs."""

    def __init__(self) -> None:
        self.status, self.data, self.degraded = "running", {}, False

    def set_status(self, status: str) -> None:
        self.status = status


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> module.PVGateway:
    for where in (module, socs.agent):
        monkeypatch.setattr(where, "deferToThread", maybeDeferred)
    monkeypatch.setattr(socs.agent, "sleep", lambda seconds: succeed(None))
    made = module.PVGateway.__new__(module.PVGateway)
    made.gateway = None
    made.settings = SimpleNamespace(source="traffic.pcap")
    made.recorded = []
    made.feeds = SimpleNamespace(update=lambda numbers, now: made.recorded.append(numbers))
    return made


def started(
    agent: module.PVGateway, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> tuple[Session, list[Any]]:
    """Run the process until it ends."""

    def start() -> Gateway:
        agent.gateway = gateway
        return gateway

    monkeypatch.setattr(agent, "_start", start)
    session, results = Session(), list[Any]()
    agent.listen(session, {}).addBoth(results.append)
    return session, results


def test_a_process_that_fails_leaves_no_gateway_behind(agent, monkeypatch) -> None:
    gateway = Gateway(fails=True)
    _, (failure,) = started(agent, gateway, monkeypatch)
    assert failure.check(RuntimeError)
    assert gateway.stopped == 1
    assert agent.gateway is None


def test_it_ends_when_a_file_is_at_its_end(agent, monkeypatch) -> None:
    gateway = Gateway()
    session, (result,) = started(agent, gateway, monkeypatch)
    assert result == (True, "traffic.pcap is at its end")
    assert (session.status, session.degraded) == ("stopping", True)
    assert gateway.stopped == 1


def test_the_last_data_tell_what_became_of_the_last_summaries(agent, monkeypatch) -> None:
    session, _ = started(agent, Gateway(), monkeypatch)
    assert session.data["counters"] == {"waited": 1}
    assert [numbers["waited"] for numbers in agent.recorded] == [0, 1]


def test_what_cannot_start_is_told(agent, monkeypatch) -> None:
    def start() -> None:
        raise ConfigError("listen: no port can be heard")

    monkeypatch.setattr(agent, "_start", start)
    results: list[Any] = []
    agent.listen(Session(), {}).addBoth(results.append)
    assert results == [(False, "listen: no port can be heard")]
    assert agent.resync(None, {}) == (False, module.NOT_LISTENING)


def test_an_option_that_is_wrong_is_refused_at_once() -> None:
    args = module.make_parser().parse_args(["--interval", "100"])
    args = argparse.Namespace(**vars(args), instance_id="gw")
    with pytest.raises(ConfigError, match="gw: interval"):
        module.PVGateway(SimpleNamespace(log=None), args)
