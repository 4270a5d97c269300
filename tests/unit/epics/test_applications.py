"""Applications by their heartbeats, and how their hosts stand."""

from dataclasses import replace

import pytest

from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.track.applications import COUNTS, Applications
from socs.epics.track.events import CA, PVA
from socs.epics.track.hosts import STATUS, Expected, Hosts
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0, Watch
from tests.one_gateway import GATEWAY

HOST, OTHER = address("10.0.0.2"), address("10.0.0.3")
PERIOD = 30.0


class World(Watch):
    """Servers, applications and hosts."""

    def __post_init__(self):
        super().__post_init__()
        self.apps = Applications(self.settings, self.sight)
        self.hosts = Hosts(self.beacons, self.apps, self.sight, self.settings)

    def beat(
        self, now, sequence=1, *, host=HOST, up=None, pid=100, port=5064, name="st.cmd", **how
    ):
        """A JSON heartbeat; by default of an application that sends each 30 s from its start on."""
        uptime = int(PERIOD * sequence if up is None else up)
        clock = int(how.pop("clock", now))
        beat = Heartbeat(sequence, port, uptime, clock, pid, "2.0", "./bin/app", name, "/iocs")
        return self.keep(self.apps.heartbeat(beat, host, 40000, now))

    def alive(self, now, count=1, *, host=HOST, started=T0 + 1, name="ioc1", period=15, clock=None):
        beat = Alive(
            name, 1, int(started), int(now if clock is None else clock), count, period, 0, 5, 0
        )
        return self.keep(self.apps.alive(beat, host, 40000, now))

    def keep(self, events):
        self.told += events
        return [event.kind for event in events]

    def tick(self, now):
        return self.keep([*self.beacons.tick(now), *self.apps.tick(now)])

    def expect(self, applications=(), ports=(), ignored=(), **more):
        """These should be on the host."""
        sets = map(frozenset, (applications, ports, ignored))
        self.hosts.expected[HOST] = Expected(*sets, **more)

    def judge(self, now):
        return self.keep(self.hosts.judge(now))


def run(world, start, stop, first=1, **how):
    """Heartbeats each 30 s and ticks each 10 s; the kinds of events."""
    before = len(world.told)
    for step in range(int((stop - start) // 10)):
        now = start + 10 * step
        if step % 3 == 0:
            world.beat(now, first + step // 3, **how)
        world.tick(now)
    return world.kinds[before:]


def test_life_of_an_application():
    world = World()
    assert run(world, T0 + 30, T0 + 300) == ["NEW"]
    world.silence(T0 + 300, T0 + 500)
    assert world.kinds[1:] == ["LOST"]
    assert world.last().evidence["limit"] == 100.0
    assert run(world, T0 + 510, T0 + 600, first=17) == ["RESUMED"]
    assert run(world, T0 + 630, T0 + 900, pid=200) == ["RESTARTED"]
    (app,) = world.apps.known.values()
    assert (app.restarts, app.missing, app.beat.begun) == (1, 7, T0 + 600)
    assert app.uptime(T0 + 900) == 300


def test_who_was_there_before_is_detected():
    world = World()
    assert world.beat(T0 + 5, 50) == ["DETECTED"]
    assert world.last().evidence["uptime"] == 1500


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        ({"sequence": 1, "up": 2, "pid": 7}, "another process"),
        ({"sequence": 500, "up": 2, "pid": 7}, "another process"),
        ({"sequence": 1, "up": 2}, "same process number, but a later start"),
    ],
)
def test_restarts(second, cause):
    world = World()
    world.beat(T0 + 300, 10)
    assert world.beat(T0 + 330, **second) == ["RESTARTED"]
    assert world.last().cause == cause


def test_the_same_heartbeat_again_and_late_ones():
    world = World()
    for sequence, time in ((1, 30), (2, 60), (2, 60.1), (4, 120), (3, 120.2), (5, 150)):
        world.beat(T0 + time, sequence, up=time)
    assert world.kinds == ["NEW"]
    assert world.apps.counts == dict.fromkeys(COUNTS, 0) | {
        "heartbeats_taken": 6,
        "heartbeats_repeated": 2,
        "heartbeats_missing": 1,
    }


def test_a_slow_clock_is_no_restart():
    world = World()
    for sequence in range(1, 200):
        world.beat(T0 + 30 * sequence, sequence, up=27 * sequence)
    assert world.kinds == ["NEW"]


def test_two_processes_of_one_identity():
    world = World()
    world.beat(T0 + 30, 1, pid=1)
    assert world.beat(T0 + 100, 1, up=5, pid=2) == ["RESTARTED"]
    told = []
    for step in range(2, 10):
        told += world.beat(T0 + 30 * step + 60, step + 2, pid=1, up=30 * step + 60)
        told += world.beat(T0 + 30 * step + 70, step, pid=2, up=30 * step - 25)
        world.tick(T0 + 30 * step + 70)
    assert told == ["DUPLICATE"]
    assert world.last().cause == "an earlier start still sends heartbeats"


@pytest.mark.parametrize("kind", ["json", "alive"])
def test_an_earlier_start_that_outlives_a_later_one(kind):
    """Somebody starts an application a second time by mistake, and ends that one again."""
    world = World()

    def one(now, process):
        begun = T0 + 1 if process == 1 else T0 + 61
        count = int(now - begun) // 30 + 1
        if kind == "alive":
            return world.alive(now, count, started=begun)
        return world.beat(now, count, up=now - begun, pid=process)

    told = one(T0 + 30, 1)
    for second in range(60, 1000, 10):
        told += one(T0 + second, 1) if second % 30 == 0 else []
        told += one(T0 + second, 2) if second % 30 == 10 and second < 200 else []
        told += world.tick(T0 + second)
    assert told == ["NEW", "RESTARTED", "DUPLICATE", "LOST", "RESUMED"]
    assert world.told[-1].cause == "the later start is silent, and an earlier one still runs"
    (app,) = world.apps.known.values()
    assert (app.state, app.missing, world.apps.counts["heartbeats_missing"]) == ("ALIVE", 0, 0)


@pytest.mark.parametrize("by", [-3600.0, 3600.0])
def test_restarts_are_seen_also_if_our_clock_was_set(by):
    world = World()
    run(world, T0 + 30, T0 + 300)
    world.apps.clock_set(by)
    world.apps.set_back(T0 + 273 + by)
    assert world.beat(T0 + 274 + by, 9) == []  # the same again, another way
    assert world.beat(T0 + 310 + by, 1, up=2, pid=200) == ["RESTARTED"]
    (app,) = world.apps.known.values()
    assert app.beat.begun == T0 + 308 + by


def test_a_new_port_is_a_move_of_the_same_application():
    world = World()
    world.beat(T0 + 30, 1)
    assert world.beat(T0 + 100, 1, up=5, pid=2, port=41234) == ["RESTARTED", "MOVED"]
    assert world.last().evidence["from"] == "10.0.0.2:5064"
    assert world.last().port == 41234
    assert len(world.apps.known) == 1


def test_other_start_up_file_is_another_application():
    world = World()
    assert world.beat(T0 + 30) == world.beat(T0 + 30, name="other.cmd") == ["NEW"]


def test_clock():
    world = World()
    assert world.beat(T0 + 30, 1, clock=T0 + 130) == ["NEW"]
    assert world.beat(T0 + 60, 2, clock=T0 + 260) == ["CLOCK_WRONG"]
    assert world.last().evidence["offset"] == pytest.approx(200)
    assert world.beat(T0 + 90, 3, clock=T0 + 290) == []


def test_no_loss_while_nobody_listens():
    world = World()
    run(world, T0 + 30, T0 + 60)
    world.sight.blind(T0 + 60)
    world.silence(T0 + 60, T0 + 900)
    world.sight.blind(T0 + 60, T0 + 900)
    world.silence(T0 + 900, T0 + 995)
    assert world.kinds == ["NEW"]
    world.beat(T0 + 990, 33)
    assert world.apps.counts["heartbeats_missing"] == 0
    world.silence(T0 + 995, T0 + 1100)
    assert world.kinds == ["NEW", "LOST"]


def test_heartbeats_from_elsewhere_change_nothing():
    world = World()
    assert world.beat(T0 + 30, host=address("192.168.0.1")) == []
    assert world.alive(T0 + 30, host=address("192.168.0.1")) == []
    assert (world.apps.known, world.apps.counts["heartbeats_elsewhere"]) == ({}, 2)


def test_no_more_applications_than_allowed():
    world = World(replace(SETTINGS, most_applications=2))
    for n in range(5):
        world.beat(T0 + 30, name=f"{n}.cmd")
    assert (len(world.apps.known), world.apps.counts["heartbeats_no_room"]) == (2, 3)


def test_who_is_lost_for_longest_makes_room():
    world = World(replace(SETTINGS, most_applications=3))
    for n in range(3):
        world.beat(T0 + 30 + n, name=f"{n}.cmd")
    world.beat(T0 + 120, 4, name="2.cmd")
    assert world.tick(T0 + 132) == ["LOST"] * 2
    assert world.beat(T0 + 140, name="3.cmd") == ["NEW"]
    assert world.beat(T0 + 140, name="4.cmd") == ["NEW"]
    assert world.beat(T0 + 140, name="5.cmd") == []
    assert sorted(app.told.command for app in world.apps.known.values()) == [
        *("2.cmd", "3.cmd", "4.cmd")
    ]
    counts = world.apps.counts
    assert (counts["applications_displaced"], counts["heartbeats_no_room"]) == (2, 1)


def test_forgetting():
    world = World()
    world.beat(T0 + 30)
    (key,) = world.apps.known
    assert not world.apps.forget(key)
    world.tick(T0 + 200)
    assert world.apps.forget(key)
    assert not world.apps.forget(key)


# -- alive records --------------------------------------------------------------------------------


def test_life_by_an_alive_record():
    world = World()
    assert world.alive(T0 + 16) == ["NEW"]
    assert world.alive(T0 + 31, 2) == []
    world.silence(T0 + 31, T0 + 90)
    assert world.kinds == ["NEW"]
    world.silence(T0 + 90, T0 + 95)
    assert world.kinds == ["NEW", "LOST"]
    assert world.alive(T0 + 121, 8) == ["RESUMED"]
    assert world.alive(T0 + 140, 1, started=T0 + 130) == ["RESTARTED"]
    assert world.alive(T0 + 141, 9) == ["DUPLICATE"]
    assert world.alive(T0 + 155, 2, started=T0 + 130) == []


def test_alive_record_on_another_host():
    world = World()
    world.alive(T0 + 16)
    assert world.alive(T0 + 20, 1, host=OTHER, started=T0 + 19) == ["RESTARTED", "MOVED"]
    assert world.last().host == OTHER


def test_two_addresses_of_one_run_are_no_move():
    world = World()
    world.alive(T0 + 16)
    assert world.alive(T0 + 16, host=OTHER) == []
    assert world.alive(T0 + 31, 2, host=OTHER) == []
    assert world.alive(T0 + 46, 3) == []


def test_alive_record_with_another_clock():
    world = World()
    assert world.alive(T0 + 16, started=T0 - 999, clock=T0 - 984) == ["NEW", "CLOCK_WRONG"]


def test_silly_periods_are_not_believed():
    world = World()
    world.alive(T0 + 16, period=65535)
    world.alive(T0 + 16, name="zero", period=0)
    limits = {app.beat.title: app.beat.limit for app in world.apps.known.values()}
    assert limits == {"ioc1": 4 * 3600.0, "zero": 4.0}


# -- hosts ----------------------------------------------------------------------------------------


def test_a_host_of_which_nothing_is_expected():
    world = World()
    assert world.judge(T0 + 1) == []
    world.beacon(0, T0 + 2)
    assert world.judge(T0 + 3) == ["RUNNING"]
    world.silence(T0 + 60, T0 + 65)
    assert world.judge(T0 + 66) == ["NO_DATA"]
    assert world.judge(T0 + 67) == []


def test_expected_and_unexpected():
    world = World()
    world.beat(T0 + 1)
    (key,) = world.apps.known
    world.expect([key, "alive:other"], [(CA, 5064), (PVA, 5075)])
    assert world.judge(T0 + 2) == []
    assert world.hosts.standing[HOST].status == "WAITING"
    assert world.judge(T0 + 201) == ["MISSING"]
    assert world.last().evidence == {"missing": "alive:other, CA port 5064, PVA port 5075"}
    world.expect([key], [(CA, 5064)])
    world.beacon(9, T0 + 4)
    assert world.judge(T0 + 4) == ["RUNNING"]
    world.beacon(9, T0 + 5, port=5070)
    world.beat(T0 + 5, name="new.cmd")
    assert world.judge(T0 + 5) == ["UNEXPECTED"]
    unexpected = world.last().evidence["unexpected"]
    assert unexpected == "10.0.0.2 ./bin/app new.cmd in /iocs, CA port 5070"
    new = next(other for other in world.apps.known if other != key)
    world.expect([key], [(CA, 5064)], [new, (CA, 5070)])
    assert world.judge(T0 + 6) == ["RUNNING"]


def test_a_host_of_which_nothing_is_known_any_more_takes_no_room():
    world = World()
    world.beacon(100, T0)
    world.beat(T0, host=OTHER)
    world.hosts.expected[address("10.0.0.4")] = Expected(ports=frozenset({(CA, 5064)}))
    assert len(world.judge(T0 + 1)) == 2
    world.tick(T0 + 200)
    assert world.beacons.forget((CA, HOST, 5064))
    assert world.apps.forget(next(iter(world.apps.known)))
    world.judge(T0 + 201)
    assert world.hosts.standing.keys() == {address("10.0.0.4")}
    assert world.hosts.told.keys() == {address("10.0.0.4")}


def test_what_is_expected_is_not_missing_where_nothing_can_be_heard_of_it():
    world = World()
    world.sight.stopped(GATEWAY, T0)
    world.sight.listens(GATEWAY, T0, (), ["heartbeats"])
    world.beacon(100, T0 + 1)
    world.hosts.expected[HOST] = Expected(frozenset({"json:1"}))
    world.hosts.expected[OTHER] = Expected(frozenset({"alive:a"}))
    assert world.judge(T0 + 1000) == ["MISSING"]
    assert world.last().host == OTHER
    assert world.hosts.standing[HOST].status == "WAITING"


def test_maintenance_is_told():
    world = World(since=T0 - 1000)
    world.expect(ports=[(CA, 5064)], maintenance=True)
    assert world.judge(T0 + 1) == ["MISSING"]
    assert world.last().evidence["maintenance"] == 1


def test_blind_hosts_stand_as_before():
    world = World(since=T0 - 1000)
    world.expect(ports=[(CA, 5064)])
    world.beacon(9, T0 + 1)
    assert world.judge(T0 + 2) == ["RUNNING"]
    world.sight.blind(T0 + 3)
    world.silence(T0 + 3, T0 + 300)
    assert world.judge(T0 + 300) == []
    assert world.hosts.standing[HOST].status == "BLIND"
    world.sight.blind(T0 + 3, T0 + 300)
    assert world.judge(T0 + 301) == []
    assert world.hosts.standing[HOST].status == "RUNNING"
    world.silence(T0 + 301, T0 + 362)
    assert world.judge(T0 + 362) == []
    assert world.judge(T0 + 501) == ["MISSING"]
    assert {s.status for s in world.hosts.standing.values()} <= set(STATUS)
