"""Joining a gateway's feed: what is refused, what was missed, whose numbers, whose clock."""

import math
from dataclasses import replace

import numpy as np
import pytest

from socs.epics.accounts.inventory import UNKNOWN
from socs.epics.knowledge.joining import WINDOW, GatewayClock, Join, Joined
from tests.epics_gateways import FakeGateway
from tests.epics_servers import T0


def numbers(*values):
    return np.array(values, np.int32)


def sent(count, step=1.0):
    """A gateway, and its first summaries; each with as many requests as its number."""
    gateway = FakeGateway()
    told = []
    for number in range(count):
        gateway.ask([b"A"] * number)
        told.append(gateway.take(T0 + step * (number + 1)))
    return gateway, told


def test_one_after_the_other():
    join = Join()
    _, told = sent(3)
    assert [join.take(each, each.ended) for each in told] == [
        Joined(apart=True),
        Joined(),
        Joined(),
    ]
    assert (join.listening, join.began, join.ended, join.live) == (T0, T0 + 2, T0 + 3, True)


def test_what_came_before_is_refused():
    join = Join()
    _, told = sent(3)
    join.take(told[0], T0 + 1)
    join.take(told[2], T0 + 3)
    for each in told:
        assert join.take(each, T0 + 4).refused == "summaries_repeated"
    assert (join.number, join.missed) == (2, 1)


def test_what_is_missing_is_told():
    join = Join()
    _, told = sent(6)
    join.take(told[1], T0 + 2)
    joined = join.take(told[5], T0 + 6)
    assert (joined.missed, joined.requests_missed, joined.datagrams_missed) == (3, 2 + 3 + 4, 3)
    assert (joined.apart, join.listening, join.missed) == (True, T0 + 5, 3)


def test_nothing_is_missing_before_the_first():
    _, told = sent(6)
    assert Join().take(told[4], T0 + 5) == Joined(apart=True)


def test_another_boot():
    join = Join()
    gateway, told = sent(2)
    again = gateway.restart(T0 + 10)
    second = []
    for _ in range(3):
        again.ask([b"A", b"B"])
        second.append(again.take(again.began + 1))
    join.take(told[0], T0 + 1)
    joined = join.take(second[1], T0 + 12)
    assert joined == Joined(missed=1, requests_missed=2, datagrams_missed=1, apart=True)
    assert join.listening == T0 + 11
    assert join.take(told[1], T0 + 12).refused == "summaries_of_old_boot"
    assert join.take(second[2], T0 + 13) == Joined()


@pytest.mark.parametrize("changed", [{"boot": "invented"}, {"number": 1 << 40}])
def test_a_gateway_is_heard_again_after_a_message_that_was_none_of_its(changed):
    join = Join()
    _, told = sent(9)
    join.take(told[0], T0 + 1)
    join.define(0, numbers(7))
    join.take(replace(told[1], **changed), T0 + 2)
    join.define(0, numbers(8))
    for each in told[2:6]:
        assert join.take(each, T0 + 3).refused
    assert join.refused == T0 + 3
    join.live = False  # as nothing came for too long
    assert join.take(told[6], T0 + 9) == Joined(apart=True)
    assert (join.boot, join.number) == (told[0].boot, 6)
    assert join.numbers(np.array([0])).tolist() == [UNKNOWN]
    assert join.take(told[7], T0 + 10) == Joined()
    assert join.take(told[7], T0 + 11).refused == "summaries_repeated"
    assert join.take(told[8], T0 + 11) == Joined()


def test_what_comes_late_while_nothing_else_comes_is_refused():
    join = Join()
    _, told = sent(4)
    join.take(told[3], T0 + 4)
    join.live = False
    assert [join.take(told[n], T0 + 20).refused for n in (0, 2, 1)] == ["summaries_repeated"] * 3
    assert not join.live


def test_the_end():
    join = Join()
    gateway = FakeGateway()
    join.take(gateway.take(T0 + 1, last=True), T0 + 1)
    assert (join.live, join.finished) == (False, True)


def test_numbers_of_names():
    join = Join(most_numbers=3000)
    gateway = FakeGateway()
    join.take(gateway.take(T0 + 1), T0 + 1)
    assert join.define(0, numbers(7, -1)) == 2
    assert join.numbers(np.array([1, 0, 1], np.uint32)).tolist() == [-1, 7, -1]
    assert not join.unknown
    assert join.define(2000, numbers(*range(100, 1200))) == 1000
    assert join.numbers(np.array([2000, 2999], np.uint32)).tolist() == [100, 1099]
    assert not join.unknown
    assert join.numbers(np.array([0, 2, 3000, 1 << 31], np.uint32)).tolist() == [
        7, UNKNOWN, UNKNOWN, UNKNOWN
    ]  # fmt: skip
    assert join.unknown
    assert join.define(3000, numbers(1)) == 0
    gateway.begin_epoch()
    join.take(gateway.take(T0 + 2), T0 + 2)
    assert not join.unknown
    assert join.numbers(np.array([0, 2000], np.uint32)).tolist() == [UNKNOWN, UNKNOWN]


def test_numbers_that_were_forgotten():
    join = Join()
    gateway = FakeGateway()
    join.take(gateway.take(T0 + 1), T0 + 1)
    join.define(0, numbers(5, 6, -1))
    join.forget(np.array([6]))
    # There may be room now for what found none.
    assert join.numbers(np.array([0, 1, 2], np.uint32)).tolist() == [5, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("ahead", [-3600.0, -1.5, 2.5, 1e6])
def test_a_clock_that_is_wrong_is_corrected(ahead):
    join = Join()
    gateway = FakeGateway(clock=ahead)
    for second in range(1, 5):
        join.take(gateway.take(T0 + second), T0 + second + 0.05)
    assert join.clock.behind == pytest.approx(0.05 - ahead, abs=0.001)
    assert join.ended == pytest.approx(T0 + 4.05, abs=0.001)
    row = join.ours(np.array([T0 + 3.5 + ahead, 0.0, math.inf]))
    assert row == pytest.approx([T0 + 3.55, T0 + 3.05, T0 + 4.05], abs=0.001)


def test_a_clock_that_is_nearly_right_is_let_be():
    join = Join()
    gateway = FakeGateway(clock=0.7)
    for second in range(1, 100):
        join.take(gateway.take(T0 + second), T0 + second + 0.05)
    assert join.clock.behind == 0.0
    assert join.clock.measured == pytest.approx(-0.65, abs=0.001)


@pytest.mark.parametrize("step", [-100.0, 100.0])
def test_a_clock_that_is_set(step):
    join = Join()
    gateway = FakeGateway()
    for second in range(1, 4):
        join.take(gateway.take(T0 + second), T0 + second)
    gateway.clock = step
    gateway.began = T0 + 3 - max(step, 0.0)  # as the clock showed it before, if it went on
    joined = join.take(gateway.take(T0 + 4), T0 + 4)
    assert (joined.clock_set, joined.apart) == (step < 0, False)
    assert join.ended == T0 + 4
    join.take(gateway.take(T0 + 5), T0 + 5)
    assert (join.began, join.ended) == (T0 + 4, T0 + 5)


def test_a_backlog_is_not_taken_for_a_wrong_clock():
    clock = GatewayClock(1.0)
    for second in range(100):
        clock.arrived(second, second + 0.1)
    for second in range(100, 400):  # all at once, after a break
        clock.arrived(second, 400.0)
        assert clock.behind == 0.0
    for second in range(401, 600):
        clock.arrived(second, second + 0.1)
        assert clock.behind == 0.0


def test_a_clock_that_falls_behind_is_noticed_within_a_minute():
    clock = GatewayClock(1.0)
    for second in range(100):
        clock.arrived(second, second)
    for second in range(100, 100 + int(WINDOW) + 2):
        clock.arrived(second - 30, second)
    assert clock.behind == 30.0
