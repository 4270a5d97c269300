"""Coverage: a host was seen while any gateway that hears it listened."""

import math
import random

from socs.epics.track.coverage import MOST_EARS, Coverage
from tests.epics_packets import address

A, B = address("10.1.0.1"), address("10.2.0.1")
NETS = {"one": ("10.1.0.0/16",), "two": ("10.1.0.0/16", "10.2.0.0/16"), "three": ()}


def test_nobody_listens():
    sight = Coverage()
    assert sight.since(A) == math.inf
    assert not sight.saw(A, 1.0, 2.0)


def test_one_goes_and_comes():
    sight = Coverage()
    sight.listens("one", 10.0, NETS["one"])
    assert (sight.since(A), sight.since(B)) == (10.0, math.inf)
    assert sight.saw(A, 10.0, 15.0)
    assert not sight.saw(A, 9.0, 15.0)
    sight.stopped("one", 20.0)
    assert sight.since(A) == math.inf
    assert sight.saw(A, 12.0, 20.0)
    assert not sight.saw(A, 12.0, 20.5)
    sight.listens("one", 30.0, NETS["one"])
    assert sight.since(A) == 30.0
    assert not sight.saw(A, 12.0, 31.0)


def test_what_was_only_late_was_seen():
    sight = Coverage()
    sight.listens("one", 10.0)
    sight.stopped("one", 20.0)
    sight.listens("one", 20.0)
    assert sight.since(A) == 10.0
    assert sight.saw(A, 11.0, 25.0)


def test_another_one_listens_meanwhile():
    sight = Coverage()
    sight.listens("one", 10.0, NETS["one"])
    sight.listens("three", 15.0)
    sight.stopped("one", 20.0)
    assert (sight.since(A), sight.since(B)) == (10.0, 15.0)
    sight.listens("one", 30.0, NETS["one"])
    sight.stopped("three", 31.0)
    assert (sight.since(A), sight.since(B)) == (10.0, math.inf)
    assert sight.saw(A, 11.0, 40.0)


def test_nothing_is_known_of_the_time_before():
    sight = Coverage(since=12.0)
    sight.listens("one", 10.0)
    assert sight.since(A) == 12.0
    assert not sight.saw(A, 11.0, 13.0)


def test_networks_that_change():
    sight = Coverage()
    sight.listens("one", 10.0, NETS["two"])
    sight.stopped("one", 20.0)
    sight.listens("one", 20.0, NETS["one"])
    assert (sight.since(A), sight.since(B)) == (10.0, math.inf)


def test_against_a_plain_account():
    for seed in range(30):
        rnd = random.Random(seed)
        sight = Coverage()
        heard = {A: [False] * 100, B: [False] * 100}  # second n is from n to n + 1
        for name, nets in NETS.items():
            now = rnd.randint(0, 10)
            while now < 90:
                stop = now + rnd.randint(1, 30)
                sight.listens(name, float(now), nets)
                going = stop >= 100
                if not going:
                    sight.stopped(name, float(stop))
                for host, seen in heard.items():
                    if host == A or len(nets) != 1:
                        for second in range(now, min(stop, 100)):
                            seen[second] = True
                now = stop + rnd.randint(1, 10)
        for host, seen in heard.items():
            for start in range(0, 100, 3):
                for end in range(start + 1, 101, 5):
                    assert sight.saw(host, start, end) == all(seen[start:end]), (seed, start, end)
            begun = 100 - next((n for n, one in enumerate(reversed(seen)) if not one), 100)
            # One that was told to go on for ever hears the last second.
            since = sight.since(host)
            if since < math.inf:
                assert since == begun, seed


def test_a_gateway_that_does_not_say_what_it_hears_hears_what_it_has_heard():
    sight = Coverage()
    sight.listens("three", 10.0)
    sight.listens("four", 12.0)
    assert (sight.since(A), sight.since(B)) == (10.0, 10.0)
    sight.heard("four", B)
    assert (sight.hears("three", A), sight.hears("three", B)) == (True, False)
    assert (sight.since(A), sight.since(B)) == (10.0, 12.0)
    sight.stopped("four", 20.0)
    assert (sight.since(A), sight.since(B)) == (10.0, math.inf)
    sight.heard("three", B)
    assert sight.since(B) == 10.0
    assert not sight.hears("five", A)


def test_a_gateway_that_was_given_other_networks_does_not_hear_the_old_ones():
    sight = Coverage()
    sight.listens("one", 10.0, ["10.1.0.0/16"])
    sight.stopped("one", 20.0)
    sight.listens("one", 21.0, ["10.2.0.0/16"])
    old, new = address("10.1.0.1"), address("10.2.0.1")
    assert (sight.hears("one", old), sight.hears("one", new)) == (False, True)
    sight.stopped("one", 30.0)
    assert (sight.hears("one", old), sight.hears("one", new)) == (False, True)
    sight.listens("one", 31.0, ["10.1.0.0/16"])
    assert (sight.hears("one", old), sight.hears("one", new)) == (True, False)


def test_a_gateway_that_hears_something_else_each_time_fills_no_memory():
    sight = Coverage()
    for turn in range(100):
        sight.listens("one", 10.0 * turn, [f"10.{turn}.0.0/16"])
        sight.stopped("one", 10.0 * turn + 5.0)
        sight.listens("two", 10.0 * turn, NETS["two"])
    last = address("10.99.0.1")
    assert sight.saw(last, 990.0, 995.0)
    assert not sight.saw(address("10.50.0.1"), 500.0, 505.0)  # forgotten
    assert sight.saw(A, 0.0, 995.0)  # of another gateway
    assert len(sight._ears) <= MOST_EARS + 1
