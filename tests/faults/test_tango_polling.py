"""What goes wrong with real device servers is told of the right one within two polls.

And of nobody else: in each test all else is well.
"""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import psutil
import pytest

from socs.sim.tango_site import TangoSite
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase
from tests.tango_polling import PUBS, SUBS, Watch, build, calm, device, freeze, monitored

# Not imported here: its threads would stay.
pytestmark = pytest.mark.skipif(find_spec("tango") is None, reason="needs the extra tango")

ALL = (*PUBS, *SUBS)
HEALTHY = dict.fromkeys(ALL, "ok")
SERVERS = "dserver/tango_devices/*"

BURST = 50_000  # events; sockets hold some 20 000 of them for a subscriber that is slow


@pytest.fixture
def database(tmp_path):
    with TangoDatabase(tmp_path / "db") as made:
        yield made


def subscribe(site):
    """Each subscriber to its publisher."""
    for pub, sub in zip(PUBS, SUBS, strict=True):
        site.call(device(sub), "Subscribe", [f"{device(pub)}/value0.change"])


@pytest.fixture
def site(tmp_path, database):
    """Servers of the test's own, to be killed and started."""
    with build(tmp_path / "site", database.host) as made:
        made.start(*ALL)
        subscribe(made)
        yield made


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tango")
    with TangoDatabase(directory / "db") as database, build(directory, database.host) as made:
        made.start(*ALL)
        yield made


@pytest.fixture
def shared(running):
    """Servers for tests that leave them running."""
    calm(running)
    subscribe(running)
    return running


@pytest.fixture
def watch(tmp_path):
    return lambda site, *names, **settings: Watch(
        site.env["TANGO_HOST"], tmp_path / "state", names or (SERVERS,), **settings
    )


def quiet(watched):
    """How many events there were, all of them good."""
    assert watched.poll(2) == HEALTHY
    assert watched.news(0) == set()
    return len(watched.events)


# -- servers --------------------------------------------------------------------------------------


def test_a_frozen_subscriber_hangs_until_it_is_thawed(shared, watch):
    with watch(shared) as watched:
        since = quiet(watched)
        freeze(shared, "sub1")
        assert watched.poll() == HEALTHY | {"sub1": "hung"}
        shared.burst(device("pub1"), "value0.change", 50)
        shared.burst(device("pub2"), "value0.change", 50)
        assert watched.poll(3) == HEALTHY | {"sub1": "hung"}
        assert watched.news(since) == {("hung", "sub1")}
        # The others had answered before the time-out of this one was over.
        answered = [each for each in watched.polls[-1].values() if each.outcome == "ok"]
        hung = next(each for each in watched.polls[-1].values() if each.outcome == "hung")
        assert max(each.ended for each in answered) < hung.begun + 0.6
        since = len(watched.events)
        shared.thaw("sub1")
        wait_until(lambda: watched.poll() == HEALTHY)
        stream = f"{device('pub1')}/value0.change"
        wait_until(lambda: shared.truth(device("sub1"))["received"] == {stream: 50})
        watched.poll(2)
        assert watched.poller.counters["answers_late"] <= 1  # not asked again while it hung
        assert watched.news(since) <= {("backlog", "sub1")}
        assert watched.tracker.totals()["events_lost"] == 0


def test_an_overloaded_subscriber_loses_just_what_it_did_not_receive(shared, watch):
    with watch(shared) as watched:
        since = quiet(watched)
        shared.call(device("sub1"), "Delay", 0.0002)
        shared.burst(device("pub1"), "value0.change", BURST)
        shared.pace(device("pub2"), "value0.change", 100.0, 100)

        seen = [-1]

        def drained():
            watched.poll()
            seen.append(sum(shared.truth(device("sub1"))["received"].values()))
            return seen[-1] == seen[-2]

        wait_until(drained, 40, period=0.5)
        watched.poll(2)
        received = sum(shared.truth(device("sub1"))["received"].values())
        lost = BURST - received
        assert lost > 0
        assert watched.tracker.totals()["events_lost"] == lost
        told = watched.news(since)
        assert ("lost", "sub1") in told
        assert told <= {(kind, "sub1") for kind in ("lost", "backlog", "stalled")}
        assert sum(event.count for event in watched.events if event.kind == "lost") == lost
        wait_until(lambda: not shared.truth(device("pub2"))["pacing"])


def test_a_publisher_that_is_restarted_between_two_polls(site, watch):
    with watch(site) as watched:
        since = quiet(watched)
        site.kill("pub1")
        site.start("pub1")
        assert watched.poll(2) == HEALTHY
        told = watched.news(since)
        assert ("restarted", "pub1") in told
        # Its subscriber knows of it within ten seconds only, and that is told, too.
        assert told <= {("restarted", "pub1"), ("unserved", "sub1")}
        assert watched.tracker.totals()["server_restarts"] == 1


def test_killed_and_stopped_servers_are_told_apart(site, watch):
    with watch(site) as watched:
        since = quiet(watched)
        site.kill("pub1")
        site.stop("pub2")
        gone = {"pub1": "refused", "pub2": "not_exported"}
        assert watched.poll() == HEALTHY | gone
        assert watched.poll(2) == HEALTHY | gone  # not tried again within a second
        assert watched.news(since) == {("dead", "pub1"), ("not_exported", "pub2")}


def test_a_server_with_a_slow_initialisation_is_busy(shared, watch):
    with watch(shared) as watched:
        since = quiet(watched)
        shared.call(device("pub1"), "StallInit", 2.5)
        with restarting(shared, device("pub1")):
            wait_until(lambda: watched.poll() == HEALTHY | {"pub1": "busy"})
            assert watched.news(since) == {("busy", "pub1")}
            wait_until(lambda: watched.poll() == HEALTHY)
        assert watched.news(since) == {("busy", "pub1")}


def restarting(site, name):
    """Restart a device, from another process: the call takes as long as its initialisation."""
    code = (
        "import os, sys, tango\n"
        "proxy = tango.DeviceProxy(sys.argv[1])\n"
        "proxy.set_timeout_millis(20000)\n"
        "proxy.command_inout('DevRestart', sys.argv[2])\n"
        "os._exit(0)"
    )
    admin = site.admin(name.replace("sim/", "").replace("/", ""))
    return subprocess.Popen([sys.executable, "-c", code, admin, name], env=site.env)


MANY = [f"many{number}" for number in range(40)]


@pytest.mark.slow
def test_of_many_servers_those_that_hang_keep_no_other_one_waiting(tmp_path, database, watch):
    with TangoSite(tmp_path / "site", database.host) as site:
        for number, name in enumerate(MANY):
            site.add(name, publishers={f"many/pub/{number}": 1})
        for first in range(0, len(MANY), 8):
            site.start(*MANY[first : first + 8])
        with watch(site) as watched:
            assert watched.poll(2) == dict.fromkeys(MANY, "ok")
            for hung in (1, 4, 12):  # the last is more than there are threads for all
                for name in MANY[:hung]:
                    freeze(site, name)
                told = dict.fromkeys(MANY, "ok") | dict.fromkeys(MANY[:hung], "hung")
                for _ in range(3):
                    assert watched.poll() == told
                    samples = watched.polls[-1].values()
                    begun = min(each.begun for each in samples if each.outcome == "hung")
                    ended = max(each.ended for each in samples if each.outcome == "ok")
                    assert ended < begun + 0.6  # the time-out
            for name in MANY[:12]:
                site.thaw(name)
            wait_until(lambda: watched.poll() == dict.fromkeys(MANY, "ok"))
            assert watched.news(0) == {("hung", name) for name in MANY[:12]}


# -- the database ---------------------------------------------------------------------------------


def trouble(watched):
    return next(iter(watched.poller.troubles()), "")


def test_without_the_database_servers_are_polled_and_it_is_named(site, watch, database):
    with watch(site) as watched:
        since = quiet(watched)
        for away, back in (("kill", "start"), ("freeze", "thaw")):
            getattr(database, away)()
            assert watched.poll(2) == HEALTHY
            wait_until(lambda: f"database {database.host} has not answered" in trouble(watched))
            assert watched.poll(2) == HEALTHY
            getattr(database, back)()
            wait_until(lambda: not watched.poller.troubles())
        assert watched.poll(2) == HEALTHY
        assert watched.news(since) == set()


def test_a_server_that_is_no_longer_named_goes_without_the_database(site, watch, database):
    with watch(site, "tango_devices/pub1", "tango_devices/sub1") as watched:
        assert watched.poll() == {"pub1": "ok", "sub1": "ok"}
        database.kill()
        watched.poller.set_names(["dserver/*/s*1"])
        watched.wait_known("sub1")
        assert watched.poll(2) == {"sub1": "ok"}


def test_of_several_databases_whichever_is_there_is_asked(tmp_path, database, watch):
    with TangoDatabase(tmp_path / "db") as second, build(tmp_path / "site", database.host) as site:
        site.add("pub3", publishers={"sim/pub/3": 1})
        site.start("pub1", "pub3")
        site.env["TANGO_HOST"] = f"{database.host},{second.host}"
        named_by_both = ["sim/pub/1", f"tango://{second.host}/sim/pub/1"]
        with watch(site, *named_by_both) as watched:
            assert watched.poll() == {"pub1": "ok"}
            second.kill()  # the last one that was started: the device of databases is its own
            watched.poller.set_names(["sim/*/3"])
            watched.wait_known("pub3")
            assert watched.poller.troubles() == []
            second.start()
            database.kill()
            watched.poller.set_names(["sim/*/1"])
            watched.wait_known("pub1")
            assert watched.poll() == {"pub1": "ok"}
            assert watched.poller.troubles() == []
            second.kill()
            hosts = f"database {database.host},{second.host} has not answered"
            wait_until(lambda: hosts in trouble(watched))


@pytest.mark.parametrize(
    ("away", "back"),
    [("kill", "start"), pytest.param("freeze", "thaw", marks=pytest.mark.slow)],
)
def test_a_server_that_ends_while_the_database_is_away_is_dead_all_the_time(
    site, watch, database, away, back
):
    with watch(site) as watched:
        since = quiet(watched)
        getattr(database, away)()
        site.kill("pub1")
        assert watched.poll() == HEALTHY | {"pub1": "refused"}
        assert watched.poll() == HEALTHY | {"pub1": "refused"}
        getattr(database, back)()
        site.start("pub1")
        wait_until(lambda: watched.poll() == HEALTHY, 30)
        told = watched.news(since)
        assert {("dead", "pub1"), ("restarted", "pub1")} <= told
        assert told <= {("dead", "pub1"), ("restarted", "pub1"), ("unserved", "sub1")}


@pytest.mark.parametrize(
    ("away", "back"),
    [("kill", "start"), pytest.param("freeze", "thaw", marks=pytest.mark.slow)],
)
def test_a_database_that_comes_late(site, watch, database, away, back):
    names = [site.admin(name) for name in ALL]
    getattr(database, away)()
    with watch(site, *names) as watched:
        assert watched.poll() == dict.fromkeys(ALL, "unknown")
        wait_until(lambda: f"database {database.host} has not answered" in trouble(watched))
        assert watched.news(0) == set()
        getattr(database, back)()
        wait_until(lambda: watched.poll() == HEALTHY, 30, period=0.3)
        wait_until(lambda: not watched.poller.troubles())
        assert watched.news(0) == set()


# -- the process that asks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)]
)
def test_without_the_child_nothing_is_known_until_there_is_another(shared, watch, how):
    with watch(shared) as watched:
        since = quiet(watched)
        child = watched.poller.status()["child"]
        os.kill(child, how)
        assert watched.poll() == dict.fromkeys(ALL, "unknown")
        wait_until(lambda: watched.poller.status()["child"] not in (child, None))
        wait_until(lambda: watched.poll() == HEALTHY, 20)
        assert watched.news(since) == set()
        assert watched.tracker.totals()["server_restarts"] == 0
        counters = watched.poller.counters
        assert counters["polling_restarts"] == 1
        assert counters["polling_stuck"] == (how == signal.SIGSTOP)
        assert any("process that asks servers" in line for line in watched.told)


# -- performance monitoring -----------------------------------------------------------------------

KILLED = """
import sys, time
from pathlib import Path
from socs.tango.polling.poller import Poller
from socs.tango.polling.settings import PollSettings
settings = PollSettings(("*",), Path(sys.argv[1]), performance=True)
poller = Poller(settings, lambda sample: None, lambda number: print(number, flush=True))
poller.start()
time.sleep(600)
"""


@pytest.fixture
def run(shared, tmp_path):
    """Another run with performance monitoring on, and its child."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "state")]
    with subprocess.Popen(command, env=shared.env, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n"
        (child,) = psutil.Process(process.pid).children()
        assert monitored(shared) == set(ALL)
        yield process, child
        process.kill()


def test_the_child_of_a_run_that_is_killed_switches_monitoring_off(shared, run):
    process, child = run
    process.kill()
    child.wait(60)
    assert monitored(shared) == set()


@pytest.fixture
def killed(shared, run):
    """Run and child were killed at one moment; what the file of the lease says."""
    process, child = run
    process.send_signal(signal.SIGSTOP)  # or it would start another child
    child.kill()
    process.kill()
    process.wait(60)
    assert monitored(shared) == set(ALL)


def test_what_a_killed_run_left_on_is_switched_off_by_the_next_start(
    shared, killed, watch, tmp_path
):
    (lease,) = (tmp_path / "state").iterdir()
    admins = {name.rpartition("/")[2] for name in json.loads(lease.read_text())["servers"]}
    assert admins == {*ALL, "2"}
    freeze(shared, "sub2")
    with watch(shared, "sim/pub/1") as watched:
        wait_until(lambda: monitored(shared, "pub1", "pub2", "sub1") == set())
        assert "a run that was killed left performance monitoring on at 5" in watched.told[0]
        wait_until(lambda: "may still be on at" in trouble(watched))
        assert trouble(watched).endswith("tango_devices/sub2")
        shared.thaw("sub2")

        def all_off():
            watched.poll()  # it is tried again with each poll
            return monitored(shared) == set()

        wait_until(all_off)
        wait_until(lambda: not lease.exists())
        wait_until(lambda: watched.poller.troubles() == [])  # told after the file is gone
        assert watched.poller.counters["performance_cleaned"] == 5


def test_what_a_killed_run_left_on_stays_on_where_it_is_wanted(shared, killed, watch):
    with watch(shared, "sim/*/1", performance=True) as watched:
        wait_until(lambda: monitored(shared) == {"pub1", "sub1"})
        watched.poll(2)
        assert monitored(shared) == {"pub1", "sub1"}
    assert monitored(shared) == set()


def test_a_server_that_is_restarted_is_monitored_again(site, watch):
    with watch(site, performance=True) as watched:
        watched.poll()
        site.kill("pub1")
        site.start("pub1")
        assert watched.poll() == HEALTHY
        assert monitored(site) == set(ALL)
    assert monitored(site) == set()


def test_nothing_is_switched_on_that_could_not_be_written_down(shared, watch, tmp_path):
    (tmp_path / "state").write_text("in the way of the directory")
    with watch(shared, performance=True) as watched:
        assert watched.poll(2) == HEALTHY
        assert monitored(shared) == set()
        assert "performance monitoring is not switched on" in trouble(watched)
