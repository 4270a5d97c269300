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
from socs.epics.gateway.under_way import UnderWay  # noqa: E402
from socs.epics.summary import Summary, decode  # noqa: E402
from socs.testing import wait_until  # noqa: E402


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

    def answers_later(self) -> list[Deferred[Any]]:
        """What is to be answered, as it is published."""
        waiting: list[Deferred[Any]] = []

        def later() -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        self.answer = later
        return waiting

    def publish_to_feed(self, name: str, block: dict[str, Any]) -> None:
        assert name == "pv_gateway"
        self.recorded.append(block)


class Feeds:
    """Feeds of an `Agent`, with a reactor that does all at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        at_once = SimpleNamespace(callFromThread=lambda call, *args: call(*args))
        monkeypatch.setattr(module, "reactor", at_once)
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("socs.epics.gateway.under_way.time", clock)
        self.agent, self.under_way = Agent(), UnderWay(Counters(EPICS_GATEWAY))
        self.feeds = module.GatewayFeeds(self.agent)
        self.made = 0

    def offer(self, times: int = 1, **how: Any) -> None:
        for _ in range(times):
            summary = Summary("g", "b", self.made, 0, 1.0, 2.0)
            self.made += 1
            self.under_way.begin(summary.number)
            self.feeds.offer(summary, self.under_way, **how)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Published, unpublished, unacknowledged, under way: together all that were made."""
        numbers = self.under_way.numbers()
        assert numbers["summaries_made"] == self.made
        assert not imbalances(numbers, EPICS_GATEWAY_CONSERVATION)
        (equation,) = EPICS_GATEWAY_CONSERVATION
        published, unpublished, unacknowledged, under_way = map(numbers.get, equation.parts)
        return published, unpublished, unacknowledged, under_way


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> Feeds:
    return Feeds(monkeypatch)


def test_summaries_are_published_as_they_are(feeds: Feeds) -> None:
    feeds.offer(2)
    assert feeds.counts == (2, 0, 0, 0)
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
    assert feeds.counts == (1, 3, 0, 0)


def test_a_router_that_takes_nothing_is_not_sent_more_than_some(feeds: Feeds) -> None:
    most, waiting = module.MOST_WAITING, feeds.agent.answers_later()
    feeds.offer(most + 5)
    assert feeds.counts == (0, 5, 0, most)
    waiting[0].callback(None)
    waiting[1].errback(RuntimeError("not authorized"))
    assert feeds.counts == (1, 6, 0, most - 2)
    feeds.offer(3)
    assert feeds.counts == (1, 7, 0, most)
    feeds.now += module.LONGEST_WAIT + 1  # given up
    feeds.offer()
    assert feeds.counts == (1, 7, most, 1)
    for each in waiting[2:-1]:
        each.callback(None)  # too late: it is counted already
    assert feeds.counts == (1, 7, most, 1)
    waiting[-1].callback(None)
    assert feeds.counts == (2, 7, most, 0)


def test_what_cannot_be_sent_is_counted(feeds: Feeds) -> None:
    def lost() -> Any:
        raise RuntimeError("transport lost")

    feeds.agent.answer = lost
    feeds.offer()
    assert feeds.counts == (0, 1, 0, 0)


def test_a_summary_that_is_being_sent_is_under_way(feeds: Feeds) -> None:
    seen = []

    def look() -> Deferred[None]:
        seen.append(feeds.counts)
        return succeed(None)

    feeds.agent.answer = look
    feeds.offer(2)
    assert seen == [(0, 0, 0, 1), (1, 0, 0, 1)]


def test_who_replays_waits_until_there_is_room(feeds: Feeds) -> None:
    most, waiting = module.MOST_WAITING, feeds.agent.answers_later()
    feeds.offer(most)
    patient = threading.Thread(target=lambda: feeds.offer(patient=True))
    patient.start()
    wait_until(lambda: feeds.under_way.numbers()["summaries_under_way"] > most, 10)
    assert feeds.counts == (0, 0, 0, most + 1)
    waiting[0].callback(None)
    patient.join(60)
    assert not patient.is_alive()
    assert feeds.counts == (1, 0, 0, most)
    assert len(waiting) == most + 1


def test_at_the_end_the_router_has_time_to_acknowledge(feeds: Feeds) -> None:
    waiting = feeds.agent.answers_later()
    feeds.offer(3)
    end = threading.Thread(target=lambda: feeds.under_way.finish(60))
    end.start()
    for each in waiting:
        each.callback(None)
    end.join(60)
    assert feeds.counts == (3, 0, 0, 0)


def test_what_is_not_acknowledged_by_the_end_has_a_cause_of_its_own(feeds: Feeds) -> None:
    waiting = feeds.agent.answers_later()
    feeds.offer(3)
    waiting[1].callback(None)
    feeds.under_way.finish(0.0)
    assert feeds.counts == (1, 0, 2, 0)
    waiting[0].callback(None)  # too late
    assert feeds.counts == (1, 0, 2, 0)


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
