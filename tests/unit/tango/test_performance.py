"""Statistics of times."""

import random

import pytest

from socs.tango.counting import Room
from socs.tango.performance import OTHERS, Histogram, Performance
from socs.tango.server import Sample
from socs.tango.snapshot import Callback, Push, Snapshot
from socs.tango.track import EventTracker


def snapshot(pushes=None, callbacks=None) -> Snapshot:
    return Snapshot("1", {}, {}, pushes=pushes, callbacks=callbacks)


def callback(attribute="val", process=10, latency=100, discarded=False, sleep=90) -> Callback:
    return Callback(attribute, None, sleep, 1, process, latency, 1, discarded)


def test_percentiles_are_of_the_nearest_rank_within_their_bin() -> None:
    random.seed(1)
    values = [int(random.lognormvariate(6, 2)) for _ in range(2000)]
    values += [-value for value in values[:300]]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    values.sort()
    for percent in (1, 10, 50, 90, 99, 100):
        true = values[max(1, -(-percent * len(values) // 100)) - 1]
        assert histogram.percentile(percent) == pytest.approx(true, rel=0.045)
    row = histogram.row()
    assert (row["min"], row["max"], row["count"]) == (values[0], values[-1], len(values))
    assert row["mean"] == pytest.approx(sum(values) / len(values))


def test_histogram_is_bounded_whatever_comes() -> None:
    histogram = Histogram()
    for exponent in range(64):
        for value in range(100):
            histogram.add(2**exponent // 100 * value)
            histogram.add(-(2**exponent) // 100 * value)
    assert len(histogram._bins) <= 2 * 8 * 64 + 1


def test_no_values() -> None:
    assert Histogram().row()["p50"] is None
    assert Histogram().row()["mean"] is None


def test_zero_and_one() -> None:
    histogram = Histogram()
    for value in (0, 0, 1):
        histogram.add(value)
    assert (histogram.percentile(50), histogram.percentile(100)) == (0, 1)


def test_copies_and_unknown_values_are_left_out() -> None:
    times = Performance(Room(10))
    samples = (callback(), callback(discarded=True), callback(latency=None), callback(""))
    times.feed(snapshot(callbacks=samples), 0, 0)
    assert (times.process.count, times.latency.count) == (2, 1)
    assert times.attributes["val"].process.count == 2
    assert times.utilisation == pytest.approx(0.1)


def test_coverage_counts_while_monitoring_is_on() -> None:
    times = Performance(Room(10))
    pushes = (Push(None, 1),) * 5
    times.feed(snapshot(), 1000, 0)
    times.feed(snapshot(pushes), 1000, 0)  # switched on somewhere in between
    assert times.pushing.fraction is None
    times.feed(snapshot(pushes), 20, 0)
    times.feed(snapshot(pushes), 5, 0)
    assert times.pushing.fraction == pytest.approx(10 / 25)
    times.feed(snapshot(), 1000, 0)
    assert times.pushing.fraction == pytest.approx(10 / 25)


def test_attributes_beyond_the_limit_are_together() -> None:
    room = Room(3)
    one, other = Performance(room), Performance(room)
    one.feed(snapshot(callbacks=tuple(callback(f"a{n}") for n in range(10))), 0, 0)
    other.feed(snapshot(callbacks=(callback("a0"),)), 0, 0)
    assert list(one.attributes) == ["a0", "a1", "a2", OTHERS]
    assert one.attributes[OTHERS].process.count == 7
    assert list(other.attributes) == [OTHERS]
    one.clear()
    assert room.used == 0


def test_no_sample_counts_twice() -> None:
    tracker = EventTracker()
    sample = Sample("p/i", "ok", 1, 2, snapshot(callbacks=(callback(),) * 3))
    tracker.feed(sample)
    tracker.feed(sample)
    whole, attribute = tracker.performance(10)
    assert whole["process"]["count"] == attribute["process"]["count"] == 3
    assert (whole["server"], attribute["attribute"]) == ("dserver/p/i", "val")
    tracker.clear_performance()
    assert tracker.performance(10) == []


def test_the_latest_are_of_one_reply_and_of_none_without_an_answer() -> None:
    tracker = EventTracker()
    for number, process in enumerate((1000, 10, 10)):
        samples = (callback(process=process),) * 3
        tracker.feed(Sample("p/i", "ok", number, number + 0.1, snapshot((Push(None, 7),), samples)))
    row = tracker.performance(1)[0]
    assert (row["process"]["count"], row["process"]["max"]) == (9, 1000)
    latest = row["latest"]
    assert (latest["process"]["count"], latest["process"]["p99"]) == (3, 10)
    assert (latest["push"]["p50"], latest["latency"]["max"]) == (7, 100)
    tracker.feed(Sample("p/i", "hung", 4, 5))
    assert {each["count"] for each in tracker.performance(1)[0]["latest"].values()} == {0}
