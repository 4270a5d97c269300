"""Simulated Tango devices do what they are told, and know exactly what they did."""

import json
from collections import Counter
from importlib.util import find_spec

import psutil
import pytest

from socs.errors import OurError
from socs.sim.tango_site import TangoSite
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase

# Not imported here: its threads would stay.
pytestmark = pytest.mark.skipif(find_spec("tango") is None, reason="needs the extra tango")

PUB, SUB = "sim/pub/shared", "sim/sub/1"
KINDS = ("change", "archive", "alarm", "data_ready")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Servers for the tests that leave them running."""
    directory = tmp_path_factory.mktemp("tango")
    with (
        TangoDatabase(directory / "database") as database,
        TangoSite(directory / "site", database.host) as made,
    ):
        for name in ("shared", "own"):
            made.add(f"pub-{name}", publishers={f"sim/pub/{name}": 2})
        made.add("sub", subscribers={SUB: []})
        made.start("pub-shared", "sub")
        yield made


@pytest.fixture
def site(running):
    running.call(SUB, "Init")
    running.call(PUB, "StopPace")
    return running


def pushed(site, device=None):
    return Counter(site.truth(device or PUB)["pushed"])


def received(site):
    return site.truth(SUB)["received"]


def test_what_is_pushed_is_counted_on_both_sides_and_by_tango(site):
    site.burst(PUB, "value0.change", 7)  # before anybody has subscribed
    before = pushed(site)
    events = [f"{PUB}/value0.{kind}" for kind in KINDS] + [f"{PUB}/value1.change"]
    site.call(SUB, "Subscribe", events)
    for number, kind in enumerate(KINDS):
        site.burst(PUB, f"value0.{kind}", 100 + number)
    site.pace(PUB, "value1.change", 1000, 50)
    expected = {f"value0.{kind}": 100 + n for n, kind in enumerate(KINDS)} | {"value1.change": 50}
    wait_until(lambda: received(site) == {f"{PUB}/{event}": n for event, n in expected.items()})
    assert pushed(site) - before == Counter(expected)
    reply = json.loads(site.call(site.admin("pub-shared"), "QueryEventSystem"))
    counted = {
        name.rpartition("/")[2]: number - 1
        for name, number in reply["server"]["event_counters"].items()
    }
    assert counted == expected


def test_a_pace_goes_on_until_it_is_stopped(site):
    before = pushed(site)
    site.call(SUB, "Subscribe", [f"{PUB}/value1.change"])
    site.pace(PUB, "value1.change", 500)
    wait_until(lambda: (pushed(site) - before)["value1.change"] > 50)
    site.call(PUB, "StopPace")
    truth = site.truth(PUB)
    assert not truth["pacing"]
    number = (pushed(site) - before)["value1.change"]
    wait_until(lambda: received(site) == {f"{PUB}/value1.change": number})
    assert site.truth(PUB) == truth


def test_slow_callbacks_are_behind_and_drain(site):
    site.call(SUB, "Subscribe", [f"{PUB}/value0.change"])
    site.call(SUB, "Delay", 0.02)
    site.burst(PUB, "value0.change", 100)
    assert received(site).get(f"{PUB}/value0.change", 0) < 100
    site.call(SUB, "Delay", 0.0)
    wait_until(lambda: received(site) == {f"{PUB}/value0.change": 100})
    site.call(SUB, "UnsubscribeAll")
    site.burst(PUB, "value0.change", 5)
    assert received(site) == {f"{PUB}/value0.change": 100}


def test_counts_outlive_a_restart_of_the_device_but_not_of_the_process(site):
    own = "sim/pub/own"
    site.start("pub-own")
    site.burst(own, "value0.change", 3)
    site.call(site.admin("pub-own"), "DevRestart", own)
    assert pushed(site, own) == {"value0.change": 3}
    pid = site.pid("pub-own")
    site.kill("pub-own")
    assert not psutil.pid_exists(pid)
    assert site.pid("pub-own") is None
    site.start("pub-own")
    assert pushed(site, own) == {}
    site.stop("pub-own")


def test_what_devices_refuse_is_an_error_of_ours(site):
    with pytest.raises(OurError, match=r"Burst: Sim_NoSuchEvent: value9\.change"):
        site.burst(PUB, "value9.change", 1)
    with pytest.raises(OurError, match="no name of an event"):
        site.call(SUB, "Subscribe", ["nonsense"])


def test_frozen_it_answers_nothing_until_it_is_thawed(site):
    truth = site.truth(PUB)
    site.freeze("pub-shared")
    process = psutil.Process(site.pid("pub-shared"))
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    with pytest.raises(OurError, match=r"(?i)timedout"):
        site.call(PUB, "Truth", timeout=0.3)
    site.thaw("pub-shared")
    assert site.truth(PUB) == truth


def test_a_server_that_does_not_start_is_told_with_its_log(site):
    with pytest.raises(OurError, match=r"unknown did not start:\n(.|\n)*not defined in database"):
        site.start("unknown")
