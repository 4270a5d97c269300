"""What the monitor's feeds get, with the router there and away, and with more names than room."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
from ocs.ocs_feed import Feed

from socs.counters import TANGO_MONITOR, Counters
from socs.tango.events import event
from socs.tango.feeds import EVENTS_FEED, FEED, MAX_KEPT, TOTALS, NameTable, TangoFeeds
from socs.tango.names import parse_event
from socs.tango.server import Sample
from socs.tango.snapshot import Snapshot
from socs.tango.track import EventTracker


class Agent:
    """An OCS agent with a router that is there or not; checks messages as OCS does."""

    def __init__(self) -> None:
        self.attached = True
        self.feeds: dict[str, SimpleNamespace] = {}
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.fields: set[str] = set()

    def register_feed(self, name: str, **settings: Any) -> None:
        self.feeds[name] = SimpleNamespace(flush_buffer=lambda: None, **settings)

    def is_attached(self) -> bool:
        return self.attached

    def publish_to_feed(self, name: str, message: dict[str, Any]) -> None:
        if name == FEED:
            for field, value in message["data"].items():
                Feed.verify_data_field_string(field)
                Feed.verify_message_data_type(value)
            Feed.verify_influxdb_tags(message)
            self.fields |= message["data"].keys()
        self.published.append((name, message))

    def block(self, name: str) -> dict[str, Any]:
        (found,) = [m for feed, m in self.published if m.get("block_name") == name]
        return found


@pytest.fixture
def agent() -> Agent:
    return Agent()


NUMBERS = dict.fromkeys(TOTALS, 3)
STREAM = "tango://h:1/lab/pub/1/val.change"


def view(streams: list[str], subscriber: str = "tango://h:1/dserver/sub/1") -> dict[str, Any]:
    publisher = "tango://h:1/dserver/pub/1"
    numbers = {"rate": 2.0, "published": 9, "received": 7, "lost": 2, "behind": 0, "missed": 1}
    publishers = {"publisher": publisher, "publisher_state": "up"}
    rows = [{"stream": name, **publishers, **numbers} for name in streams]
    links = [{**row, "subscriber": subscriber, "subscriber_state": "up"} for row in rows]
    left_out = {"streams": 2, "reconciliation": 3, "performance": 0}
    return {
        "streams": rows,
        "reconciliation": links,
        "performance": [],
        "rows_left_out": left_out,
    }


def test_streams_and_subscribers_have_fields_and_tags(agent: Agent) -> None:
    TangoFeeds(agent, 10).update(view([STREAM]), NUMBERS, 5.0)
    stream = agent.block("lab_pub_1_val_change")
    assert stream["data"] == {
        "lab_pub_1_val_change_rate": 2.0,
        "lab_pub_1_val_change_published": 9.0,
    }
    link = agent.block("lab_pub_1_val_change_to_dserver_sub_1")
    assert link["data"]["lab_pub_1_val_change_to_dserver_sub_1_lost"] == 2.0
    assert link["influxdb_tags"]["lab_pub_1_val_change_to_dserver_sub_1_lost"] == {
        "stream": "lab/pub/1/val.change",
        "subscriber": "dserver/sub/1",
        "_field": "lost",
    }
    assert agent.block("totals")["data"]["events_lost"] == 3.0
    assert agent.block("totals")["data"]["rows_left_out"] == 5.0


def test_times_are_those_of_the_last_poll_as_far_as_they_are_measured(agent: Agent) -> None:
    times, none = {"count": 4, "p50": 1.0, "p90": 2.0, "p99": 3.0}, {"count": 0}
    row = {"server": "tango://h:1/dserver/pub/1", "attribute": ""}
    latest = {"push": times, "process": none, "latency": none}
    shown = view([]) | {"performance": [{**row, "latest": latest}, {**row, "attribute": "val"}]}
    TangoFeeds(agent, 10).update(shown, NUMBERS, 5.0)
    push = agent.block("times_of_dserver_pub_1_push")
    assert push["data"] == {
        "times_of_dserver_pub_1_push_p50": 1.0,
        "times_of_dserver_pub_1_push_p90": 2.0,
        "times_of_dserver_pub_1_push_p99": 3.0,
    }
    assert push["influxdb_tags"]["times_of_dserver_pub_1_push_p50"] == {
        "server": "dserver/pub/1",
        "_field": "push_p50",
    }
    blocks = [m["block_name"] for feed, m in agent.published if feed == FEED]
    assert blocks == ["totals", "times_of_dserver_pub_1_push"]


def test_streams_of_one_name_in_two_databases_are_told_apart(agent: Agent) -> None:
    other = STREAM.replace("//h:1/", "//g:1/")
    TangoFeeds(agent, 10).update(view([STREAM, other]), NUMBERS, 5.0)
    blocks = [m for feed, m in agent.published if feed == FEED and m["block_name"] != "totals"]
    assert len({m["block_name"] for m in blocks}) == 4
    tags = [next(iter(m["influxdb_tags"].values()))["stream"] for m in blocks]
    assert sorted(tags) == sorted(["lab/pub/1/val.change", STREAM] * 2)


def test_which_of_two_alike_gets_digits_is_the_same_after_a_restart(agent: Agent) -> None:
    other = STREAM.replace("//h:1/", "//g:1/")
    one, two = NameTable(10), NameTable(10)
    one.take([(STREAM,), (other,)])  # by then this one was faster
    two.take([(other,), (STREAM,)])
    for stream in (STREAM, other):
        assert one.name(stream) == two.name(stream)


def test_streams_leave_room_for_subscribers_and_servers(agent: Agent) -> None:
    names = [f"tango://h:1/lab/pub/{n}/val.change" for n in range(100)]
    times = {"count": 1, "p50": 1.0, "p90": 2.0, "p99": 3.0}
    latest = dict.fromkeys(("push", "process", "latency"), times)
    row = {"server": "tango://h:1/dserver/pub/1", "attribute": "", "latest": latest}
    TangoFeeds(agent, 11).update(view(names) | {"performance": [row]}, NUMBERS, 5.0)
    kinds = [field.rpartition("_")[2] for field in agent.fields - {*TOTALS}]
    assert (kinds.count("published"), kinds.count("lost"), kinds.count("p50")) == (5, 5, 3)


def test_of_whom_nothing_is_known_there_is_no_point(agent: Agent) -> None:
    feeds, shown = TangoFeeds(agent, 10), view([STREAM])
    for state, points in (("up", 2), ("hung", 0), ("unknown", 0), ("dead", 2)):
        shown["streams"][0]["publisher_state"] = state
        shown["reconciliation"][0]["subscriber_state"] = state
        agent.published.clear()
        feeds.update(shown, NUMBERS, 5.0)
        assert [feed for feed, _ in agent.published] == [FEED] * (1 + points) + ["counters"]


def test_ten_thousand_names_get_no_more_fields_than_there_is_room_for(agent: Agent) -> None:
    feeds = TangoFeeds(agent, 100)
    for start in range(0, 10_000, 1000):
        names = [f"tango://h:1/lab/pub/{n}/val.change" for n in range(start, start + 1000)]
        feeds.update(view(names), NUMBERS, float(start))
    assert feeds.names_refused == 100  # counted as far as there was room for names
    assert len(agent.fields) <= 100 * 5 + len(TOTALS) + 2
    last = [m for _, m in agent.published if m.get("block_name") == "totals"][-1]
    assert last["data"]["fieldless_names"] > 0


def test_that_no_name_gets_fields_is_told_too(agent: Agent) -> None:
    feeds = TangoFeeds(agent, 0)
    feeds.update(view([STREAM]), NUMBERS, 5.0)
    assert [message["block_name"] for _, message in agent.published] == ["totals", "counters"]
    assert feeds.names_refused == 1


def test_a_thousand_subscriptions_among_ten_thousand_names_take_little_memory() -> None:
    """The limit is that of names; what is beyond is counted and told."""
    tracker = EventTracker(max_names=1000)
    tracemalloc.start()
    try:
        names = [parse_event(f"tango://h:1/lab/pub/{n}/val.change") for n in range(10_000)]
        before, _ = tracemalloc.get_traced_memory()
        told = []
        for poll in range(3):
            published = dict.fromkeys(names, 10 + poll)
            snapshot = Snapshot("1", published, {}, (), {}, None, None, 0, 0, 0, {})
            now = float(poll)
            told += tracker.feed(
                Sample("tango://h:1/dserver/pub/1", "ok", now, now + 0.1, snapshot, "1@2")
            )
            told += tracker.reconcile(now + 0.2)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    totals = tracker.totals()
    assert totals["names_followed"] == 1000
    assert totals["names_refused"] == 9000
    assert [e.text for e in told if e.kind == "too_many_names"] == [
        "9000 names are not followed: there is no room for more"
    ]
    assert after - before < 8e6  # 3 kB for each name that is followed, and some


def test_names_that_look_alike_stay_different() -> None:
    table = NameTable(10)
    texts = ("a/b.c", "a.b/c", "1/2", "x" * 300, "é")
    table.take([(text,) for text in texts])
    names = [table.name(text) for text in texts]
    assert "a_b_c" in names[:2]
    assert len(set(names)) == 5
    for name in names:
        Feed.verify_data_field_string(f"{name}_published")


def test_what_is_told_waits_for_the_router_and_the_oldest_go_first(agent: Agent) -> None:
    feeds, counters = TangoFeeds(agent, 10), Counters(TANGO_MONITOR)
    agent.attached = False
    for number in range(MAX_KEPT + 3):
        told = [event("restarted", "once", float(number), server="dserver/pub/1")]
        feeds.tell(told, 1000.0, counters)
    assert agent.published == []
    agent.attached = True
    feeds.tell([], 1000.0, counters)
    times = [message["timestamp"] for name, message in agent.published if name == EVENTS_FEED]
    assert times == [1000.0 + number for number in range(3, MAX_KEPT + 3)]
    assert counters["tells_unpublished"] == 3


def test_a_poll_without_the_router_is_told(agent: Agent) -> None:
    feeds = TangoFeeds(agent, 10)
    assert feeds.update(view([STREAM]), NUMBERS, 5.0)
    agent.attached = False
    assert not feeds.update(view([STREAM]), NUMBERS, 6.0)
