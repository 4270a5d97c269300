"""The feeds of the PV monitor: in order, kept while the router is away, with a limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ocs.ocs_feed import Feed

from socs.counters import EPICS_MONITOR, Counters
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.monitor import measures
from socs.epics.monitor.feeds import (
    AT_ONCE,
    COUNTERS_FEED,
    EVENTS_FEED,
    FEED,
    MAX_KEPT,
    MonitorFeeds,
)
from socs.epics.track.events import Event, PvEvent
from socs.epics.track.settings import TrackSettings


class Agent:
    """Notes what is published."""

    def __init__(self) -> None:
        self.attached = True
        self.feeds: dict[str, bool] = {}
        self.published: list[tuple[str, dict[str, Any]]] = []

    def register_feed(self, name: str, record: bool = False) -> None:
        self.feeds[name] = record

    def is_attached(self) -> bool:
        return self.attached

    def publish_to_feed(self, feed: str, message: dict[str, Any]) -> None:
        self.published.append((feed, message))


def at_once(seconds: float, function: Callable[[], None]) -> None:
    function()


def events(*numbers: int) -> list[Event]:
    return [PvEvent(float(n), "FOUND", "c", {}, n, b"N:%d" % n) for n in numbers]


def told(agent: Agent) -> list[str]:
    return [message["name"] for feed, message in agent.published if feed == EVENTS_FEED]


def test_events_are_published_in_their_order_and_kept_while_the_router_is_away() -> None:
    agent, counters = Agent(), Counters(EPICS_MONITOR)
    feeds = MonitorFeeds(agent, at_once)
    assert agent.feeds == {FEED: True, COUNTERS_FEED: True, EVENTS_FEED: False}
    feeds.tell(events(1), counters)
    agent.attached = False
    feeds.tell(events(2, 3), counters)
    assert told(agent) == ["N:1"]
    agent.attached = True
    feeds.tell(events(4), counters)
    assert told(agent) == ["N:1", "N:2", "N:3", "N:4"]
    assert counters["ioc_events_unpublished"] == 0


def test_what_was_kept_is_published_when_the_router_is_back_and_nothing_happens() -> None:
    agent, counters = Agent(), Counters(EPICS_MONITOR)
    feeds = MonitorFeeds(agent, at_once)
    agent.attached = False
    feeds.tell(events(1, 2), counters)
    feeds.update({}, {}, 10.0)
    assert not agent.published
    agent.attached = True
    feeds.update({}, {}, 11.0)
    assert told(agent) == ["N:1", "N:2"]


def test_of_too_many_the_oldest_go_and_are_counted() -> None:
    agent, counters = Agent(), Counters(EPICS_MONITOR)
    feeds = MonitorFeeds(agent, at_once)
    agent.attached = False
    feeds.tell(events(*range(MAX_KEPT + 5)), counters)
    assert counters["ioc_events_unpublished"] == 5
    agent.attached = True
    feeds.tell([], counters)
    assert told(agent) == [f"N:{n}" for n in range(5, MAX_KEPT + 5)]


def test_between_some_events_and_the_next_others_have_their_turn() -> None:
    agent, counters = Agent(), Counters(EPICS_MONITOR)
    waiting: list[Callable[[], None]] = []
    feeds = MonitorFeeds(agent, lambda seconds, function: waiting.append(function))
    many = 2 * AT_ONCE + 5
    feeds.tell(events(*range(many)), counters)
    assert len(told(agent)) == AT_ONCE
    feeds.tell(events(many), counters)
    assert (len(told(agent)), len(waiting)) == (AT_ONCE, 1)
    waiting.pop()()
    assert len(told(agent)) == 2 * AT_ONCE
    waiting.pop()()
    assert told(agent) == [f"N:{n}" for n in range(many + 1)]
    assert not waiting
    feeds.tell(events(many + 1), counters)
    assert told(agent)[-1] == f"N:{many + 1}"


def test_what_is_recorded_is_what_ocs_takes() -> None:
    agent = Agent()
    feeds = MonitorFeeds(agent, at_once)
    known = Knowledge(
        KnowledgeSettings(TrackSettings(("10.0.0.0/8",)), classes={"archiver": ["10.0.0.9"]}),
        secret=1,
    )
    values = {**measures.totals(known), **measures.Rates().of(measures.counts(known), 1.0)}
    agent.attached = False
    feeds.update(values, {"summaries_taken": 3}, 5.0)
    assert agent.published == []
    agent.attached = True
    feeds.update(values, {"summaries_taken": 3}, 5.0)
    for feed, message in agent.published:
        assert message["timestamp"] == 5.0
        for name, value in message["data"].items():
            assert Feed.verify_data_field_string(name)
            assert isinstance(value, float)
        assert message["block_name"] == feed
    assert "requests_archiver_rate" in agent.published[0][1]["data"]


def test_rates_are_per_second_and_never_below_0() -> None:
    rates = measures.Rates()
    assert rates.of({"a": 100}, 10.0) == {"a_rate": 0.0}
    assert rates.of({"a": 130}, 12.0) == {"a_rate": 15.0}
    assert rates.of({"a": 20}, 13.0) == {"a_rate": 0.0}
    assert rates.of({"a": 20}, 13.0) == {"a_rate": 0.0}
