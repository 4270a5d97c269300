"""What people are told after each poll of the recorded run."""

import pytest

from socs.tango.names import ServerName, parse_event
from socs.tango.server import Sample
from socs.tango.snapshot import Snapshot, Subscription
from socs.tango.summary import Summary
from socs.tango.track import EventTracker
from tests.tango_session import followed, polls

SUB1, SUB2 = "dserver/benchdev/sub1", "dserver/benchdev/sub2"
VAL = "lab/pub/1/val.change"


def by_poll(**options):
    """The rows of each section, by poll and title."""
    tracker, told = EventTracker(), {}
    summary = Summary(tracker, **options)
    for name, samples in polls():
        events = followed(tracker, samples)
        told[name] = {section.title: section for section in summary.sections(events)}
        tracker.clear_performance()
    return tracker, told


@pytest.fixture(scope="module")
def told():
    return by_poll()[1]


def received(sections):
    return {
        (row["subscriber"], row["stream"]): (row["received"], row["lost"])
        for row in sections["received"].rows
    }


def test_what_is_new_is_shown_once(told):
    assert "published" not in told["idle"]
    assert {row["stream"] for row in told["subscribed"]["published"].rows} >= {VAL}
    assert {row["published"] for row in told["subscribed"]["published"].rows} == {0}


def test_only_what_changed_is_shown_and_by_how_much(told):
    lost = {SUB1: 0, SUB2: 0}
    for name in ("burst now", "burst +1", "burst +2"):
        for (subscriber, stream), (_, count) in received(told[name]).items():
            assert stream == VAL
            lost[subscriber] += count
    assert lost == {SUB1: 50013 - 34453, SUB2: 50013 - 29718}
    (row,) = told["burst now"]["published"].rows
    assert (row["stream"], row["published"]) == (VAL, 50_003)  # 3 errors before it
    assert "published" not in told["burst +2"]


def test_events_are_told_in_words(told):
    texts = [
        row["text"]
        for name in ("burst now", "burst +1", "burst +2")
        for row in (told[name]["events"].rows if "events" in told[name] else ())
    ]
    for subscriber in (SUB1, SUB2):
        start = f"subscriber {subscriber} lost "
        assert any(t.startswith(start) and t.endswith("lab/pub/1's val.change") for t in texts)


def test_who_does_not_answer_is_shown_in_each_poll(told):
    away = [
        (row["server"], row["state"])
        for sections in told.values()
        for row in (sections["not answering"].rows if "not answering" in sections else ())
    ]
    assert ("dserver/benchdev/pub1", "dead") in away
    assert len(away) >= 2


def test_times_are_those_of_the_poll(told):
    counts = [
        row["count"]
        for sections in told.values()
        for row in (sections["times [us]"].rows if "times [us]" in sections else ())
        if row["times"] == "push" and row["attribute"] == "(all)"
    ]
    assert len(counts) > 2
    assert all(0 < count < 20 for count in counts)


def test_rows_beyond_the_limit_are_counted():
    _, told = by_poll(most_rows=1)
    section = told["subscribed"]["published"]
    assert (len(section.rows), section.left_out) == (1, 2)


def test_all_rows_have_numbers_since_the_beginning():
    tracker, _ = by_poll()
    sections = {s.title: s for s in Summary(tracker).sections((), all_rows=True, over=100.0)}
    streams = {row["stream"]: row for row in sections["published"].rows}
    assert streams[VAL]["published"] > 50_000
    assert streams[VAL]["rate"] == streams[VAL]["published"] / 100.0
    assert len(sections["received"].rows) == len(tracker.reconciliation(100))


def test_servers_of_one_name_in_two_databases_are_told_apart():
    tracker, alone = EventTracker(), "tango://a:1/dserver/other/1"
    for host in "ab":
        name = parse_event(f"tango://{host}:1/{VAL}")
        entry = Subscription(name, ServerName(f"{host}:1", "dserver/pub/1"), 1, 3, 3, 0)
        told = Snapshot("1", {name: 4}, {name: entry})
        tracker.feed(Sample(f"tango://{host}:1/dserver/pub/1", "ok", 1.0, 1.1, told))
    tracker.feed(Sample(alone, "hung", 1.0, 1.1))
    shown = {each.title: each.rows for each in Summary(tracker).sections(())}
    assert {(row["subscriber"], row["stream"]) for row in shown["received"]} == {
        (f"tango://{host}:1/dserver/pub/1", f"tango://{host}:1/{VAL}") for host in "ab"
    }
    assert {row["stream"] for row in shown["published"]} == {
        f"tango://{host}:1/{VAL}" for host in "ab"
    }
    assert [row["server"] for row in shown["not answering"]] == ["dserver/other/1"]
