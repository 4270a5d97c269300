"""Messages of gateways wait in so many bytes; events of a crash are taken up; locks go round."""

from __future__ import annotations

import threading

import pytest

from socs.counters import EPICS_MONITOR_CONSERVATION, imbalances
from socs.epics.monitor import our_clock
from socs.epics.monitor.summary_queue import LATE, ClockSet, SummaryQueue, size_of
from socs.epics.monitor.turns import Turns
from socs.testing import wait_until


def test_what_comes_first_goes_first_and_all_have_their_place() -> None:
    queue = SummaryQueue(10_000)
    assert queue.put("a", {"x": b"1"}, 1.0)
    assert queue.put("b", {"x": b"2"}, 2.0)
    first = queue.get(0)
    assert (first.gateway, first.message, first.time) == ("a", {"x": b"1"}, 1.0)
    assert queue.numbers()["summaries_queued"] == 2  # until it is told what became of it
    queue.done(first, "summaries_taken")
    second = queue.get(0)
    queue.done(second, "summaries_malformed")
    numbers = queue.numbers()
    assert (numbers["summaries_queued"], numbers["summary_bytes_queued"]) == (0, 0)
    assert imbalances(numbers, EPICS_MONITOR_CONSERVATION) == {}
    assert queue.get(0.001) is None


def test_messages_that_wait_for_long_are_a_trouble() -> None:
    queue = SummaryQueue()
    assert queue.troubles(100.0) == []
    queue.put("a", {}, 100.0)
    assert queue.troubles(100.0 + LATE) == []
    (trouble,) = queue.troubles(130.0)
    assert "wait for 30 s" in trouble
    queue.done(queue.get(0), "summaries_taken")
    assert queue.troubles(130.0) == []


def test_that_our_clock_was_set_is_told_in_its_turn_and_is_no_message() -> None:
    queue = SummaryQueue(10_000)
    queue.put("a", {}, 100.0)
    assert queue.clock_set(-50.0, 51.0)
    queue.put("a", {}, 52.0)
    came = [queue.get(0) for _ in range(3)]
    assert [(each.time, each.message) for each in came] == [
        (100.0, {}),
        (51.0, ClockSet(-50.0)),
        (52.0, {}),
    ]
    for each in came:
        queue.done(each, "summaries_taken")
    numbers = queue.numbers()
    assert (numbers["summaries_received"], numbers["summaries_queued"]) == (2, 0)
    assert imbalances(numbers, EPICS_MONITOR_CONSERVATION) == {}


def test_a_clock_that_is_set_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"time": 1000.0, "monotonic": 5.0}
    monkeypatch.setattr(our_clock.time, "time", lambda: shown["time"])
    monkeypatch.setattr(our_clock.time, "monotonic", lambda: shown["monotonic"])
    clock = our_clock.OurClock()
    shown["time"], shown["monotonic"] = 1010.1, 15.0  # it goes a little too fast
    assert clock.was_set() == 0.0
    shown["time"] += 3600.0
    assert clock.was_set() == pytest.approx(3600.0)
    assert clock.was_set() == 0.0
    shown["time"] -= 7200.0
    assert clock.was_set() == pytest.approx(-7200.0)
    assert clock.was_set() == 0.0


def test_beyond_its_bytes_messages_are_dropped_and_counted() -> None:
    message = {"names": b"x" * 1000}
    queue = SummaryQueue(2 * size_of(message))
    assert [queue.put("a", message, 0.0) for _ in range(4)] == [True, True, False, False]
    queue.done(queue.get(0), "summaries_taken")
    assert queue.put("a", message, 0.0)
    numbers = queue.numbers()
    assert numbers["summaries_dropped_full"] == 2
    assert numbers["summaries_received"] == 5
    assert imbalances(numbers, EPICS_MONITOR_CONSERVATION) == {}


def test_sizes_grow_with_contents_and_depth_has_an_end() -> None:
    assert size_of({"a": b"x" * 5000}) > 5000
    assert size_of([["text" * 100]]) > 400
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert size_of(deep) < 1000
    assert size_of(None) > 0


def test_who_waits_gets_its_turn_before_who_has_just_had_it() -> None:
    turns, order = Turns(), []
    waiting = threading.Event()

    def other() -> None:
        waiting.set()
        with turns:
            order.append("other")

    thread = threading.Thread(target=other)
    with turns:
        thread.start()
        waiting.wait()
        wait_until(turns._next.locked)
        order.append("first")
    with turns:
        order.append("again")
    thread.join()
    assert order == ["first", "other", "again"]
