"""From messages to feeds, with an agent that only writes down what it is told."""

from __future__ import annotations

from typing import Any

import pytest

from socs.counters import PYSMURF, Counters
from socs.problems import Problems
from socs.pysmurf import publish
from socs.pysmurf.decode import Message, Metadata
from socs.pysmurf.publish import MAX_KEPT, FeedPublisher


class Agent:
    """Keeps what is published; ``attached`` says whether there is a router."""

    def __init__(self) -> None:
        self.attached = False
        self.feeds: dict[str, Any] = {}
        self.published: list[tuple[str, Any]] = []

    def register_feed(self, name: str, **options: object) -> None:
        self.feeds[name] = self

    def flush_buffer(self) -> None:
        pass

    def is_attached(self) -> bool:
        return self.attached

    def publish_to_feed(self, name: str, message: Any) -> None:
        self.published.append((name, message))


@pytest.fixture
def counters() -> Counters:
    return Counters(PYSMURF)


def register(number: int, id: str = "STREAMER:a") -> Message:
    return Message("h", id, "s", 1.0, number, "metadata", Metadata(f"register{number}", 1.0))


def session(number: int) -> Message:
    return Message("h", "i", "s", 1.0, number, "session_data", {"n": number})


def test_newest_session_messages_are_sent_when_the_router_is_back(counters: Counters) -> None:
    agent = Agent()
    feeds = FeedPublisher(agent, problems=Problems())
    feeds.publish([session(number) for number in range(MAX_KEPT + 5)], counters)
    assert agent.published == []
    assert counters["feed_not_published"] == 5
    agent.attached = True
    feeds.flush({})
    sent = [message["seq_no"] for name, message in agent.published if "session" in name]
    assert sent == list(range(5, MAX_KEPT + 5))


def test_flood_of_registers_on_many_feeds_is_bounded(counters: Counters, monkeypatch) -> None:
    monkeypatch.setattr(publish, "MAX_ALL_FIELDS", 50)
    agent = Agent()
    feeds = FeedPublisher(agent, problems=Problems(lambda text: None))
    messages = [register(n, f"STREAMER:{n % 10}") for n in range(200)]
    feeds.publish(messages, counters)
    assert counters["metadata_refused"] == 150
    feeds.publish(messages[:50], counters)  # known ones go on
    assert len(agent.published) == 100


def test_samples_kept_for_all_feeds_are_bounded(counters: Counters, monkeypatch) -> None:
    monkeypatch.setattr(publish, "MAX_ALL_SAMPLES", 30)
    agent = Agent()
    feeds = FeedPublisher(agent, problems=Problems())
    feeds.publish([register(n, f"STREAMER:{n % 10}") for n in range(40)], counters)
    assert len(agent.published) == 30
    assert counters["feed_not_published"] == 10
    agent.attached = True
    feeds.flush({})
    feeds.publish([register(1, "STREAMER:1")], counters)
    assert counters["feed_not_published"] == 10


def test_messages_waiting_for_a_busy_reactor_are_bounded(counters: Counters, monkeypatch) -> None:
    monkeypatch.setattr(publish, "MAX_UNDER_WAY", 10)
    feeds = FeedPublisher(Agent(), problems=Problems())
    messages = [register(n) for n in range(10)]
    assert feeds.admit(messages, counters)
    assert not feeds.admit(messages, counters)
    assert counters["feed_not_published"] == 10
    feeds.publish(messages, counters)
    assert feeds.admit(messages, counters)
