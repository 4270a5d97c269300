"""Tango's multicast events for real: Debian's packages on two hosts, and PGM on the wire."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from socs.errors import OurError
from socs.sim.lan import Lan
from socs.sim.leash import Leash
from socs.sim.tango_site import DATABASE, TangoSite
from socs.tango.decode import decode
from socs.tango.endpoints import endpoints_of
from socs.tango.multicast import EVENT, OBJECT, Configuration, disagreement, transport_of
from socs.tango.server import Sample
from socs.tango.track import EventTracker
from socs.tango.transports import way_of
from socs.testing import wait_until
from tests import pgm_packets
from tests.tango_chroot import inside, tango_root

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PUB, SUB = "sim/pub/1", "sim/sub/1"
DATABASE_PORT = 10000
PLAIN, READY, CHANGE = "value0.change", "value1.data_ready", "value2.change"
GROUPS = {READY: ("226.20.21.22", 5022), CHANGE: ("226.20.21.23", 5023)}
PROPERTY = [
    word for event, (group, port) in GROUPS.items() for word in (group, str(port), f"{PUB}/{event}")
]
START_TIMEOUT = 60.0


class PgmSite(TangoSite):
    """The servers ``pub`` and ``sub`` of Debian's Tango, each on a host of its own."""

    def __init__(self, directory, lan, root):
        self.lan, self._root = lan, root
        super().__init__(directory, f"{lan.address('pub')}:{DATABASE_PORT}")

    def command(self, instance, module, *words):
        host = instance or "sub"
        return self.lan.command(host, inside(self._root, host, module, *words))

    def address(self, instance):
        return self.lan.address(instance)


@pytest.fixture(scope="module")
def root():
    return tango_root()


@pytest.fixture
def lan():
    try:
        made = Lan(["pub", "sub"])
    except OurError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with made:
        for host in ("pub", "sub"):
            route = ["ip", "route", "add", "224.0.0.0/4", "dev", "eth0"]
            subprocess.run(made.command(host, route), check=True)
        yield made


@pytest.fixture
def leash():
    made = Leash()
    yield made
    made.close()


@pytest.fixture
def site(root, lan, leash, tmp_path):
    """A publisher and a subscriber, subscribed to three streams, two of them set to multicast."""
    with PgmSite(tmp_path / "site", lan, root) as made:
        words = ["--host", lan.address("pub"), "--port", str(DATABASE_PORT), "2"]
        command = made.command("pub", "tango.databaseds.database", *words)
        log = tmp_path / "database.log"
        database = leash.start(command, log=log, env=made.env)
        wait_until(
            lambda: "Ready to accept request" in database.output() or not database.alive,
            START_TIMEOUT,
        )
        assert database.alive, database.output()
        made.add("pub", publishers={PUB: 3})
        made.add("sub", subscribers={SUB: []})
        put_multicast(made, PROPERTY)
        made.start("pub", "sub")
        # The one by unicast first: the publisher would crash at its next heartbeat without it.
        made.call(SUB, "Subscribe", [f"{PUB}/{event}" for event in (PLAIN, READY, CHANGE)])
        yield made


@pytest.fixture
def wire(lan, leash, tmp_path):
    """PGM packets that have arrived at the subscriber's host so far."""
    command = lan.command("sub", [sys.executable, "-m", pgm_packets.__name__])
    env = {"PYTHONPATH": str(ROOT)}
    child = leash.start(command, log=tmp_path / "packets.log", env=env)
    wait_until(lambda: pgm_packets.LISTENING in child.output())
    return lambda: pgm_packets.parse(child.output())


def put_multicast(site, values):
    words = [OBJECT, "1", EVENT, str(len(values)), *values]
    site.call(DATABASE, "DbPutProperty", words)


def configuration(site):
    """What the database has, as cppTango reads it."""
    words = site.call(DATABASE, "DbGetProperty", [OBJECT, EVENT])
    return Configuration.of({EVENT: words[4:]})  # object, number of names, name, number of values


def endpoint(site, event):
    """Where the server tells a subscriber on the other host to expect an event."""
    attribute, _, kind = event.partition(".")
    words = [PUB, attribute, "subscribe", kind, "6"]
    _, texts = site.call(site.admin("pub"), "ZmqEventSubscriptionChange", words)
    return texts[1]


def received(site, event):
    return site.truth(SUB)["received"].get(f"{PUB}/{event}", 0)


# -- a kind that Tango can multicast --------------------------------------------------------------


def test_data_ready_events_arrive_by_pgm_and_we_say_so(site, wire):
    group, port = GROUPS[READY]
    for number in range(1, 21):  # one by one: each in a packet of its own
        site.burst(PUB, READY, 1)
        wait_until(lambda number=number: received(site, READY) == number)

    def carried():
        data = [packet for packet in wire() if packet.kind == "ODATA" and packet.group == group]
        return [stream for packet in data for stream in packet.streams]

    wait_until(lambda: len(carried()) >= 20)
    assert {stream.partition(f":{DATABASE_PORT}/")[2] for stream in carried()} == {f"{PUB}/{READY}"}
    packets = [packet for packet in wire() if packet.group == group]
    ways = {(packet.source, packet.port, packet.ttl) for packet in packets}
    found = configuration(site)
    way = transport_of(f"{PUB}/{READY}", found)
    assert ways == {(site.address("pub"), port, way.hops)}
    assert way.hops == 5

    assert str(way) == f"multicast to {group}:{port}"
    assert way.endpoint == endpoint(site, READY)
    assert disagreement(f"{PUB}/{READY}", found, endpoint(site, READY)) is None
    assert not transport_of(f"{PUB}/{PLAIN}", found).multicast
    assert disagreement(f"{PUB}/{PLAIN}", found, endpoint(site, PLAIN)) is None

    put_multicast(site, ["226.20.21.99", "5099", f"{PUB}/{READY}"])
    told = disagreement(f"{PUB}/{READY}", configuration(site), endpoint(site, READY))
    assert told == (
        f"travels by multicast to {group}:{port}, and the properties say multicast to "
        "226.20.21.99:5099: the server was started before that was written"
    )


def test_the_server_tells_of_its_multicast_what_the_monitor_expects(site):
    _, texts = site.call(site.admin("pub"), "ZmqEventSubscriptionChange", ["info"])
    streams = [f"{PUB}/{event}" for event in (PLAIN, READY, CHANGE)]
    ways = [way_of(each, streams, configuration(site), endpoints_of(texts)) for each in streams]
    assert [way.transport for way in ways] == [
        "unicast",
        "multicast to {}:{}".format(*GROUPS[READY]),
        "multicast to {}:{}".format(*GROUPS[CHANGE]),
    ]
    assert {way.doubt for way in ways} == {""}
    assert {way.endpoint for way in ways} == {endpoint(site, PLAIN)}


# -- a kind that it loses -------------------------------------------------------------------------


def poll(site, tracker):
    """What the tracker tells of one sample of both servers."""
    told = []
    for instance in ("sub", "pub"):
        begun = time.monotonic()
        reply = site.call(site.admin(instance), "QueryEventSystem")
        sample = Sample(site.admin(instance), "ok", begun, time.monotonic(), decode(reply))
        told += tracker.feed(sample)
    return told + tracker.reconcile(time.monotonic())


def push(site, count):
    """Push so many of each stream; those that can arrive have arrived."""
    expected = {event: received(site, event) + count for event in (PLAIN, READY)}
    for event in (PLAIN, READY, CHANGE):
        site.burst(PUB, event, count)
    for event, number in expected.items():
        wait_until(lambda event=event, number=number: received(site, event) == number)


def test_the_subscriber_of_lost_change_events_is_named_and_nothing_else(site, wire):
    assert endpoint(site, CHANGE) == "epgm://{}:{}".format(*GROUPS[CHANGE])
    tracker = EventTracker()
    told = poll(site, tracker)
    for count in (3, 4, 5):
        push(site, count)
        told += poll(site, tracker)
    bad = [event for event in told if event.severity != "info"]
    assert [(event.kind, event.phase) for event in bad] == [("stalled", "begin")]
    host = f"tango://{site.address('pub')}:{DATABASE_PORT}/"
    stalled = bad[0]
    assert (stalled.subscriber, stalled.publisher) == (site.admin("sub"), site.admin("pub"))
    assert stalled.stream == f"{host}{PUB}/{CHANGE}"
    assert "gets nothing of sim/pub/1's value2.change" in stalled.text

    # Nothing more is pushed: what is missing is lost, all of it and nothing else.
    told = poll(site, tracker) + poll(site, tracker) + poll(site, tracker)
    pushed = site.truth(PUB)["pushed"][CHANGE]
    assert [(event.kind, event.stream, event.count) for event in told] == [
        ("lost", f"{host}{PUB}/{CHANGE}", pushed)
    ]
    rows = {row["stream"]: (row["status"], row["lost"]) for row in tracker.reconciliation(10)}
    assert rows == {
        f"{host}{PUB}/{PLAIN}": ("level", 0),
        f"{host}{PUB}/{READY}": ("level", 0),
        f"{host}{PUB}/{CHANGE}": ("stalled", pushed),
    }

    # Tango itself is silent about it, and sends none of them to the group.
    assert site.truth(SUB)["errors"] == {}
    reply = json.loads(site.call(site.admin("sub"), "QueryEventSystem"))
    entries = reply["client"]["event_callbacks"]
    assert {entry["missed_event_count"] for entry in entries.values()} == {0}
    assert reply["client"]["not_connected"] == []
    assert not [packet for packet in wire() if packet.streams and packet.group == GROUPS[CHANGE][0]]
