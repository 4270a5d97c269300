"""Seconds of the builder on their way to feeds, with the router there and away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from socs.counters import SLOW_SIGNAL_STREAM, Counters
from socs.slow_signal.feeds import FEED, MAX_KEPT, PREVIEW_FEED, SENT_TOGETHER, SlowSignalFeeds
from socs.slow_signal.seconds import Amplitudes, Second


class Agent:
    """An OCS agent with a router that is there or not."""

    def __init__(self) -> None:
        self.attached = True
        self.feeds: dict[str, SimpleNamespace] = {}
        self.published: list[tuple[str, dict[str, Any]]] = []

    def register_feed(self, name: str, **settings: Any) -> None:
        self.feeds[name] = SimpleNamespace(flush_buffer=lambda: None, **settings)

    def is_attached(self) -> bool:
        return self.attached

    def publish_to_feed(self, name: str, message: dict[str, Any]) -> None:
        self.published.append((name, message))

    def times(self) -> list[float]:
        """Of the seconds published, in order."""
        blocks = [message for name, message in self.published if name == FEED]
        return [block["timestamp"] for block in blocks if block["block_name"] == "readouts"]


@pytest.fixture
def agent() -> Agent:
    return Agent()


def second(time: float, present: int = 32) -> Second:
    values = np.where(np.arange(32) < present, 7.04, np.nan)
    picture = np.repeat(values[:, None], 16, axis=1)
    amplitudes = Amplitudes(10, values, values - 1, values + 1, values)
    return Second(time, 1.0, 10, 9, amplitudes, picture, {"parts_late": 3, "readouts_out": 10})


def test_losses_have_all_causes_each_second_and_nothing_else(agent: Agent) -> None:
    SlowSignalFeeds(agent).take(second(1.0), Counters(SLOW_SIGNAL_STREAM))
    (losses,) = [m["data"] for _, m in agent.published if m.get("block_name") == "losses"]
    assert losses["parts_late"] == 3.0
    assert {"kernel_drops", "packet_bad_size", "publisher_overflows"} <= losses.keys()
    assert "readouts_out" not in losses
    assert sum(losses.values()) == 3.0


def test_absent_modules_have_no_block_and_no_picture(agent: Agent) -> None:
    SlowSignalFeeds(agent).take(second(1.0, present=2), Counters(SLOW_SIGNAL_STREAM))
    names = {m["block_name"] for name, m in agent.published if name == FEED}
    assert names == {"readouts", "losses", "module_00", "module_01"}
    (picture,) = [m for name, m in agent.published if name == PREVIEW_FEED]
    assert picture["modules"] == [[7.0] * 16] * 2 + [None] * 30


def test_field_names_are_those_that_ocs_accepts_and_different(agent: Agent) -> None:
    SlowSignalFeeds(agent).take(second(1.0), Counters(SLOW_SIGNAL_STREAM))
    names = [field for name, m in agent.published if name == FEED for field in m["data"]]
    assert len(names) == len(set(names))
    assert all(name.replace("_", "").isalnum() and name[0].isalpha() for name in names)


def test_seconds_wait_for_the_router_and_come_in_order(agent: Agent) -> None:
    feeds, counters = SlowSignalFeeds(agent), Counters(SLOW_SIGNAL_STREAM)
    agent.attached = False
    for time in range(SENT_TOGETHER + 10):
        feeds.take(second(time), counters)
    feeds.publish_counters({"readouts_out": 1}, 0.0)
    assert agent.published == []
    agent.attached = True
    feeds.take(second(SENT_TOGETHER + 10), counters)
    assert agent.times() == [*range(SENT_TOGETHER)]  # not all at once: the reactor has other work
    feeds.take(second(SENT_TOGETHER + 11), counters)
    assert agent.times() == [*range(SENT_TOGETHER + 12)]
    assert counters["seconds_unpublished"] == 0


def test_of_too_many_seconds_the_oldest_are_dropped_and_counted(agent: Agent) -> None:
    feeds, counters = SlowSignalFeeds(agent), Counters(SLOW_SIGNAL_STREAM)
    agent.attached = False
    for time in range(MAX_KEPT + 2):
        feeds.take(second(time), counters)
    agent.attached = True
    feeds.take(second(MAX_KEPT + 2), counters)
    assert agent.times()[0] == 2
    assert counters["seconds_unpublished"] == 2
