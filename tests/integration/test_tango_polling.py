"""Real device servers are polled: all at once, by all kinds of names, and with exact numbers."""

from importlib.util import find_spec

import pytest

from socs.errors import ConfigError
from socs.tango.polling.poller import Poller
from socs.tango.polling.settings import PollSettings
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase
from tests.tango_polling import PUBS, SUBS, Watch, build, calm, device, monitored

# Not imported here: its threads would stay.
pytestmark = pytest.mark.skipif(find_spec("tango") is None, reason="needs the extra tango")

ALL = (*PUBS, *SUBS)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tango")
    with TangoDatabase(directory / "db") as database, build(directory, database.host) as site:
        site.start(*ALL)
        yield database, site


@pytest.fixture
def site(running):
    calm(running[1])
    return running[1]


@pytest.fixture
def watch(running, tmp_path):
    return lambda *names, **settings: Watch(
        running[0].host, tmp_path, names or ("dserver/tango_devices/*",), **settings
    )


def test_counts_are_those_of_the_publishers_and_subscribers(site, watch):
    streams = [f"{device(pub)}/value{n}.change" for pub in PUBS for n in range(3)]
    with watch() as watched:
        for sub in SUBS:
            site.call(device(sub), "Subscribe", streams)
        pushed = {pub: site.truth(device(pub))["pushed"] for pub in PUBS}
        watched.poll(2)
        for pub in PUBS:
            site.pace(device(pub), "value0.change", 200.0, 200)
        for number in range(1, 6):
            for pub in PUBS:
                site.burst(device(pub), f"value{number % 3}.change", 100 * number)
            watched.poll()
        wait_until(lambda: not any(site.truth(device(pub))["pacing"] for pub in PUBS))
        expected = sum(
            count - pushed[pub].get(event, 0)
            for pub in PUBS
            for event, count in site.truth(device(pub))["pushed"].items()
        )
        assert expected == 2 * (200 + 100 * 15)
        wait_until(
            lambda: (
                [sum(site.truth(device(sub))["received"].values()) for sub in SUBS]
                == [expected] * 2
            )
        )
        watched.poll(2)
        totals = watched.tracker.totals()
        assert totals["events_published"] == expected
        assert totals["events_received"] == totals["events_expected"] == 2 * expected
        assert totals["events_lost"] == totals["events_behind"] == totals["names_refused"] == 0
        # Polls are milliseconds apart: events may be behind by more than one of them.
        assert {kind for kind, _ in watched.news(0)} <= {"backlog"}
        rows = watched.tracker.reconciliation(100)
        assert len(rows) == len(SUBS) * len(streams)
        assert {row["status"] for row in rows} == {"level"}
        assert watched.poller.troubles() == []


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["sim/pub/1"], ["pub1"]),
        (["SIM/Pub/2", "sim/pub/2"], ["pub2"]),
        (["sim/*/1"], ["pub1", "sub1"]),
        (["dserver/tango_devices/sub1", "tango_devices/pub2"], ["sub1", "pub2"]),
        (["dserver/*/pub*"], ["pub1", "pub2"]),
        (["*"], [*ALL, "2"]),
    ],
)
def test_names_mean_servers(site, watch, names, meant):
    with watch(*names) as watched:
        assert watched.outcomes() == dict.fromkeys(meant, "ok")
        assert watched.poller.status()["unresolved"] == []


def test_names_of_another_database_have_its_authority(site, running, watch, tmp_path):
    with TangoDatabase(tmp_path / "second") as second, build(tmp_path, second.host) as other:
        other.start("pub1")
        first = "tango_devices/sub1"
        with watch(first, f"tango://{second.host}/sim/pub/1") as watched:
            assert watched.poll() == {"sub1": "ok", "pub1": "ok"}
            servers = [
                f"tango://{running[0].host}/dserver/{first}",
                f"tango://{second.host}/dserver/tango_devices/pub1",
            ]
            assert watched.poller.status()["servers"] == servers
            identities = [each.identity.partition("@")[0] for each in watched.polls[-1].values()]
            assert sorted(identities) == sorted([str(site.pid("sub1")), str(other.pid("pub1"))])
        # One that is called as one of ours, but is another one, is not taken for it.
        stream = f"tango://{second.host}/sim/pub/1/value0.change"
        site.call("sim/sub/1", "Subscribe", ["sim/pub/1/value0.change", stream])
        with watch() as watched:
            watched.poll(3)
            rows = watched.tracker.reconciliation(10)
            assert {row["stream"]: row["status"] for row in rows} == {
                stream: "unwatched",
                f"tango://{running[0].host}/sim/pub/1/value0.change": "level",
            }
            assert watched.news(0) == set()
        site.call("sim/sub/1", "Init")


def test_names_are_changed_and_servers_come_and_go(site, watch):
    for number in (3, 4):
        site.add(f"pub{number}", publishers={f"sim/pub/{number}": 1})
    with watch("dserver/tango_devices/pub*", "sim/none/1") as watched:
        assert watched.outcomes() == {"pub1": "ok", "pub2": "ok"}
        assert watched.poller.troubles() == ["nothing is found for sim/none/1"]
        site.start("pub3")
        watched.wait_known("pub1", "pub2", "pub3")
        assert watched.poll()["pub3"] == "ok"
        site.stop("pub3")
        assert watched.poll() == {"pub1": "ok", "pub2": "ok", "pub3": "not_exported"}
        site.start("pub4")
        watched.wait_known("pub1", "pub2", "pub3", "pub4")  # looked again, and pub3 stays
        site.stop("pub4")
        watched.poller.set_names(["dserver/tango_devices/pub*", "sim/sub/1"])
        watched.wait_known("pub1", "pub2", "pub3", "pub4", "sub1")  # nor do other names end it
        assert watched.poll()["pub3"] == "not_exported"
        for name in ("pub3", "pub4"):
            site.call("sys/database/2", "DbDeleteServer", f"tango_devices/{name}")
        watched.wait_known("pub1", "pub2", "sub1")
        watched.poller.set_names(["sim/sub/*"])
        watched.wait_known("sub1", "sub2")
        assert watched.poll() == {"sub1": "ok", "sub2": "ok"}
        assert watched.poller.troubles() == []
        with pytest.raises(ConfigError, match="no name"):
            watched.poller.set_names(["nonsense"])


def test_a_server_that_is_polled_by_two_names_is_told(site, running, watch):
    port = running[0].host.rpartition(":")[2]
    name = "dserver/tango_devices/pub1"
    with watch(name, f"tango://localhost:{port}/{name}") as watched:
        watched.poll()
        (trouble,) = watched.poller.troubles()
        both = f"tango://{running[0].host}/{name} is tango://localhost:{port}/{name}"
        assert "counted twice" in trouble
        assert both in trouble
        watched.poller.set_names([name])
        wait_until(lambda: len(watched.poller.status()["servers"]) == 1)
        watched.poll(2)
        assert watched.poller.troubles() == []


def test_a_cap_on_servers_is_told(site, watch):
    with watch(max_servers=3) as watched:
        assert len(watched.polls[-1]) == 3
        (trouble,) = watched.poller.troubles()
        assert trouble == "1 servers are not polled: there are more than 3"
        watched.poller.set_names(["sim/pub/1"])
        watched.wait_known("pub1")
        assert watched.poller.troubles() == []


def test_polls_go_on_by_themselves(site, watch):
    with watch(period=0.2, timeout=0.1, ping_timeout=0.05) as watched:
        wait_until(lambda: len(watched.polls) > 5)
    done = len(watched.polls)
    assert watched.poller.counters["polls"] == done


def test_performance_monitoring_is_switched_on_and_off(site, watch, tmp_path):
    stream = f"{device('pub1')}/value0.change"
    site.call(device("sub1"), "Subscribe", [stream])
    with watch("sim/*/1", performance=True) as watched:
        watched.poll()
        assert monitored(site) == {"pub1", "sub1"}
        site.burst(device("pub1"), "value0.change", 100)
        wait_until(lambda: site.truth(device("sub1"))["received"] == {stream: 100})
        watched.poll(2)
        samples = [sample for poll in watched.polls for sample in poll.values()]
        pushes, callbacks = (
            sum(len(getattr(sample.snapshot, part) or ()) for sample in samples)
            for part in ("pushes", "callbacks")
        )
        assert pushes == 100
        assert callbacks in (99, 100)  # the last one is told with the next event
        watched.poller.set_performance(False)
        wait_until(lambda: monitored(site) == set())
        watched.poller.set_performance(True)
        wait_until(lambda: monitored(site) == {"pub1", "sub1"})
        for name in ("pub1", "sub1"):  # another monitor ends
            site.call(site.admin(name), "EnableEventSystemPerfMon", False)
        watched.poll(3)
        wait_until(lambda: monitored(site) == {"pub1", "sub1"})
        watched.poller.set_names(["sim/pub/1"])
        wait_until(lambda: monitored(site) == {"pub1"})
        watched.poller.set_performance(False)
        wait_until(lambda: monitored(site) == set())
        watched.poller.set_performance(True)
        watched.poller.set_names(["sim/sub/1"])  # at once: neither undoes the other
        wait_until(lambda: monitored(site) == {"sub1"})
    assert monitored(site) == set()
    assert list(tmp_path.iterdir()) == []


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="period of 1 s is too short"):
        PollSettings(("*",), tmp_path, period=1.0, timeout=0.7, ping_timeout=0.3)
    with pytest.raises(ConfigError, match="'a/b/c/d' is no name"):
        PollSettings(("a/b/c/d",), tmp_path)
    with pytest.raises(ConfigError, match="max_servers"):
        PollSettings(("*",), tmp_path, max_servers=0)


def test_never_started_it_can_be_stopped(tmp_path):
    poller = Poller(PollSettings(("*",), tmp_path), print, print)
    poller.stop(1.0)
    assert poller.troubles() == []
