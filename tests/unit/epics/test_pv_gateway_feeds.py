"""Feeds of a gateway: what the router does not take is dropped and counted."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import txaio

txaio.use_twisted()  # before feeds are imported

from twisted.internet.defer import Deferred, succeed  # noqa: E402

from socs.counters import (  # noqa: E402
    EPICS_GATEWAY,
    EPICS_GATEWAY_CONSERVATION,
    Counters,
    imbalances,
)
from socs.epics.gateway import feeds as module  # noqa: E402
from socs.epics.gateway.gateway import LOSSES, TABLES  # noqa: E402
from socs.epics.summary import Summary, decode  # noqa: E402


class Agent:
    """Stands for an OCS agent, connected or not."""

    def __init__(self) -> None:
        self.attached = True
        self.feeds: dict[str, Any] = {}
        self.published: list[Any] = []
        self.recorded: list[dict[str, Any]] = []
        self.answer: Any = lambda: succeed(None)

    def register_feed(self, name: str, **options: Any) -> None:
        self.feeds[name] = SimpleNamespace(address=f"x.{name}", encoded=dict, options=options)

    def is_attached(self) -> bool:
        return self.attached

    def publish(self, topic: str, content: Any, options: Any) -> Deferred[Any]:
        assert options.acknowledge
        self.published.append((topic, content))
        return self.answer()

    def publish_to_feed(self, name: str, block: dict[str, Any]) -> None:
        assert name == "pv_gateway"
        self.recorded.append(block)


class Feeds:
    """Feeds of an `Agent`, with a reactor that does all at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        at_once = SimpleNamespace(callFromThread=lambda call, *args: call(*args))
        monkeypatch.setattr(module, "reactor", at_once)
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.agent, self.counters = Agent(), Counters(EPICS_GATEWAY)
        self.feeds = module.GatewayFeeds(self.agent)

    def offer(self, times: int = 1, **how: Any) -> None:
        for number in range(times):
            self.counters.add("summaries_made")
            self.feeds.offer(Summary("g", "b", number, 0, 1.0, 2.0), self.counters, **how)

    @property
    def counts(self) -> tuple[int, int]:
        return self.counters["summaries_published"], self.counters["summaries_unpublished"]

    def is_balanced(self) -> bool:
        return not imbalances(self.counters.snapshot(), EPICS_GATEWAY_CONSERVATION)


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> Feeds:
    return Feeds(monkeypatch)


def test_summaries_are_published_as_they_are(feeds: Feeds) -> None:
    feeds.offer(2)
    assert feeds.counts == (2, 0)
    (topic, content), (_, second) = feeds.agent.published
    assert topic == "x.traffic"
    assert decode(content[0]).gateway == "g"
    assert decode(second[0]).number == 1
    assert not feeds.agent.feeds["traffic"].options.get("record")
    assert feeds.agent.feeds["pv_gateway"].options["record"]


def test_without_a_connection_they_are_dropped(feeds: Feeds) -> None:
    feeds.agent.attached = False
    feeds.offer(3)
    feeds.agent.attached = True
    feeds.offer()
    assert feeds.counts == (1, 3)
    assert feeds.is_balanced()


def test_a_router_that_takes_nothing_is_not_sent_more_than_some(feeds: Feeds) -> None:
    waiting: list[Deferred[Any]] = []

    def later() -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    feeds.agent.answer = later
    feeds.offer(module.MOST_WAITING + 5)
    assert feeds.counts == (0, 5)
    waiting[0].callback(None)
    waiting[1].errback(RuntimeError("lost"))
    assert feeds.counts == (1, 6)
    feeds.offer(3)
    assert feeds.counts == (1, 7)
    feeds.now += module.LONGEST_WAIT + 1  # given up
    feeds.offer()
    assert feeds.counts == (1, 7 + module.MOST_WAITING)
    for each in waiting[2:-1]:
        each.callback(None)  # too late: it is counted already
    assert feeds.counts == (1, 7 + module.MOST_WAITING)
    waiting[-1].callback(None)
    assert feeds.is_balanced()


def test_what_cannot_be_sent_is_counted(feeds: Feeds) -> None:
    def lost() -> Any:
        raise RuntimeError("transport lost")

    feeds.agent.answer = lost
    feeds.offer()
    assert feeds.counts == (0, 1)


def test_who_replays_waits_until_there_is_room(feeds: Feeds) -> None:
    waiting: list[Deferred[Any]] = []

    def later() -> Deferred[Any]:
        waiting.append(Deferred())
        return waiting[-1]

    feeds.agent.answer = later
    feeds.offer(module.MOST_WAITING)
    patient = threading.Thread(target=lambda: feeds.offer(patient=True))
    patient.start()
    waiting[0].callback(None)
    patient.join(60)
    assert not patient.is_alive()
    assert feeds.counts == (1, 0)
    assert len(waiting) == module.MOST_WAITING + 1


def test_rates_and_losses_are_those_since_the_last_time(feeds: Feeds) -> None:
    numbers = Counters(*TABLES).snapshot()
    feeds.feeds.update(numbers, 100.0)
    assert feeds.agent.recorded == []
    later = numbers | {"ca_requests": 30, "pva_requests": 10, "kernel_drops": 3}
    feeds.feeds.update(later, 102.0)
    rates, losses = feeds.agent.recorded
    assert rates["data"]["requests"] == 20.0
    assert rates["data"].keys() == module.RATES.keys()
    assert losses["data"]["kernel_drops"] == 3.0
    assert losses["data"].keys() == set(LOSSES)
    assert all(isinstance(value, float) for value in losses["data"].values())
    feeds.agent.attached = False
    feeds.feeds.update(later, 103.0)
    feeds.agent.attached = True
    feeds.feeds.update(later | {"kernel_drops": 5}, 104.0)
    assert feeds.agent.recorded[-1]["data"]["kernel_drops"] == 2.0
    feeds.feeds.begin()  # of another gateway
    told = len(feeds.agent.recorded)
    feeds.feeds.update(numbers, 105.0)
    assert len(feeds.agent.recorded) == told


def test_fields_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "feeds.rst").read_text()
    table = page.partition("Fields of ``rates``")[2].partition("The fields of ``losses``")[0]
    assert re.findall(r"(?m)^   \* - ``(\w+)``", table) == list(module.RATES)
