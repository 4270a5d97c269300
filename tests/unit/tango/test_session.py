"""A run of real device servers, replayed: what is told is what happened."""

import itertools
import json
from pathlib import Path

import pytest

from socs.tango.decode import decode
from socs.tango.server import Sample
from socs.tango.track import EventTracker

SESSION = Path(__file__).parents[2] / "data" / "tango" / "session.jsonl"
PUB, SUB1, SUB2 = (f"dserver/benchdev/{name}" for name in ("pub1", "sub1", "sub2"))


@pytest.fixture(scope="module")
def replayed():
    """What was told in each poll, and the tracker afterwards."""
    tracker, told = EventTracker(), {}
    rows = map(json.loads, SESSION.read_text().splitlines())
    for poll, samples in itertools.groupby(rows, lambda row: row["poll"]):
        events = []
        for row in samples:
            snapshot = decode(json.dumps(row["reply"])) if row["reply"] else None
            sample = Sample(row["server"], row["outcome"], row["begun"], row["ended"], snapshot)
            events += tracker.feed(sample)
        told[poll] = [*events, *tracker.reconcile(row["ended"])]
    return tracker, told


def about(events, path="val.change"):
    """Kind, phase, server or subscriber, and count of the events about servers or one stream."""
    return [
        (event.kind, event.phase, event.server, event.count)
        for event in events
        if not event.stream or event.stream.endswith(path)
    ]


def test_burst(replayed) -> None:
    _, told = replayed
    lost = {SUB1: 0, SUB2: 0}
    for poll in ("burst now", "burst +1", "burst +2"):
        for kind, _, server, count in about(told[poll]):
            if kind == "lost":
                lost[server] += count
            else:
                assert (kind, server) == ("backlog", SUB1)
    # Pushed 50 013; what arrived is known from the callbacks.
    assert lost == {SUB1: 50013 - 34453, SUB2: 50013 - 29718}
    assert told["one after burst"] == []


def test_other_streams_lost_nothing(replayed) -> None:
    tracker, _ = replayed
    others = [row for row in tracker.reconciliation(100) if "val.change" not in row["stream"]]
    assert len(others) == 2
    assert all(row["lost"] == 0 for row in others)


def test_quiet_polls_tell_nothing(replayed) -> None:
    _, told = replayed
    for poll in ("idle", "5 more", "pub back +7", "pub back +16"):
        assert told[poll] == []


def test_subscribing_anew(replayed) -> None:
    _, told = replayed
    assert about(told["s2 stopped"])[0] == ("removed_subscription", "once", SUB2, 1)
    assert about(told["s2 again"]) == [("new_subscription", "once", SUB2, 1)]


def test_connection_that_never_came_about(replayed) -> None:
    _, told = replayed
    (event,) = [event for events in told.values() for event in events if event.phase == "begin"][:1]
    assert (event.kind, event.subscriber) == ("not_connected", SUB2)
    assert event.stream == "tango://127.0.0.1:10377/lab/nowhere/1/val.change"


def test_stopped_subscriber(replayed) -> None:
    _, told = replayed
    assert about(told["sub1 stopped"]) == [("hung", "begin", SUB1, 0)]
    assert about(told["sub1 cont"]) == [("hung", "end", SUB1, 0)]


def test_killed_publisher(replayed) -> None:
    _, told = replayed
    assert about(told["pub dead"]) == [("dead", "begin", PUB, 0)]
    assert told["pub dead 2"] == []
    back = about(told["pub back +1"])
    assert back == [("dead", "end", PUB, 0), ("restarted", "once", PUB, 0)]
    waiting = [("unserved", "begin", SUB1, 0), ("unserved", "begin", SUB2, 0)]
    assert about(told["pub back +2"]) == waiting
    assert {phase for _, phase, _, _ in about(told["pub back +6"])} == {"end"}


def test_killed_subscriber(replayed) -> None:
    _, told = replayed
    assert about(told["sub1 dead"]) == [("dead", "begin", SUB1, 0)]
    assert about(told["sub1 back"]) == [("dead", "end", SUB1, 0), ("restarted", "once", SUB1, 0)]


def test_figures_at_the_end(replayed) -> None:
    tracker, _ = replayed
    (stream,) = [r for r in tracker.streams(100) if r["stream"].endswith("val.change")]
    assert (stream["published"], stream["readers"]) == (50_053 + 22, 1)
    rows = {r["subscriber"]: r for r in tracker.reconciliation(100) if "val.change" in r["stream"]}
    assert rows[SUB1]["received"] + rows[SUB1]["lost"] == stream["published"]
    # sub2 was not subscribed to 7 of them, and got 4 after it was last asked of its old entry
    assert rows[SUB2]["received"] + rows[SUB2]["lost"] == stream["published"] - 7 - 4
