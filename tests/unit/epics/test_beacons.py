"""Servers by their beacons: one start is one event, silence is a loss, a blind time is neither."""

import dataclasses
import math

import numpy as np
import pytest

from socs.epics.decode.pva import PVA_BEACON
from socs.epics.track.beacon_ids import uptime
from socs.epics.track.beacons import COUNTS
from socs.epics.track.events import CA, PVA
from socs.epics.track.life import EVENTS, LIFE, NOTICED
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, SUBNETS, T0, Watch, schedule, single_schedule

HOST = address("10.0.0.2")


# Times of the first beacons of an IOC of EPICS 7.0.10, by its numbers [s].
MEASURED = {
    1: 0.06,
    2: 0.14,
    3: 0.30,
    4: 0.62,
    5: 1.26,
    6: 2.54,
    7: 5.10,
    8: 10.22,
    9: 20.46,
    10: 35.46,
}


@pytest.mark.parametrize(("number", "time"), MEASURED.items())
def test_uptime_is_as_measured(number, time):
    assert uptime(number, 15.0) == pytest.approx(time, abs=0.005)


def test_uptime_with_other_periods():
    assert uptime(3, 0.1) == pytest.approx(0.02 * 7 + 0.1)
    assert uptime(5, 0.02) == pytest.approx(0.02 * 6)
    assert uptime(12, math.inf) == pytest.approx(0.02 * (2**13 - 1))


@pytest.mark.parametrize("beacons", [schedule, single_schedule])
def test_a_start_is_one_event(beacons):
    watch = Watch()
    watch.run(T0 + 30, T0 + 300, beacons())
    assert watch.kinds == ["NEW"]
    server = watch.beacons.servers[CA, HOST, 5064]
    assert server.started == pytest.approx(T0 + 30, abs=0.05)
    assert watch.beacons.counts["beacons_repeated"] == (1 if beacons is schedule else 0)


def test_who_was_there_before_is_detected():
    watch = Watch(since=T0)
    watch.run(T0 - 100, T0, [])
    watch.run(T0 - 100, T0 + 60, ((t, n) for t, n in schedule() if t > 100))
    assert watch.kinds == ["DETECTED"]
    assert watch.beacons.servers[CA, HOST, 5064].started == pytest.approx(T0 - 100, abs=0.1)


def test_a_restart_is_one_event():
    watch = Watch()
    watch.run(T0 + 1, T0 + 100)
    watch.run(T0 + 105, T0 + 300)
    assert watch.kinds == ["NEW", "RESTARTED"]
    assert watch.last().cause == "beacon number began at 0"
    assert watch.last().evidence["id"] == 14
    assert watch.beacons.servers[CA, HOST, 5064].restarts == 1


def test_each_restart_of_a_server_that_keeps_failing():
    watch = Watch()
    for start in range(1, 61, 3):
        watch.run(T0 + start, T0 + start + 2)
    assert watch.kinds == ["NEW"] + ["RESTARTED"] * 19


def test_restart_of_which_the_first_beacons_are_missing():
    watch = Watch()
    watch.run(T0, T0 + 100)
    watch.run(T0 + 110, T0 + 130, ((t, n) for t, n in schedule() if n > 3))
    assert watch.kinds == ["NEW", "RESTARTED"]
    assert watch.last().cause == "beacon number went back"


def test_loss_and_return():
    watch = Watch()
    watch.run(T0, T0 + 100)
    last = watch.beacons.servers[CA, HOST, 5064].heard
    watch.silence(T0 + 100, T0 + 400)
    assert watch.kinds == ["NEW", "LOST"]
    assert watch.last().time == pytest.approx(last + SETTINGS.ca_lost_after, abs=1.0)
    watch.run(T0, T0 + 420, ((t, n) for t, n in schedule() if t > 400))
    assert watch.kinds == ["NEW", "LOST", "RESUMED"]
    assert watch.last().evidence["lost"] == watch.told[1].time


def test_lost_and_started_again():
    watch = Watch()
    watch.run(T0, T0 + 100)
    watch.silence(T0 + 100, T0 + 400)
    watch.run(T0 + 400, T0 + 500)
    assert watch.kinds == ["NEW", "LOST", "RESTARTED"]


def test_started_again_long_ago_with_a_higher_number():
    watch = Watch()
    watch.run(T0, T0 + 30)  # the last number is 9
    watch.silence(T0 + 30, T0 + 4000)
    watch.run(T0 + 1000, T0 + 4015, ((t, n) for t, n in schedule() if t > 3000))
    assert watch.kinds == ["NEW", "LOST", "RESTARTED"]
    assert watch.last().cause == "beacon number is too low for the time since the last one"


def test_beacons_by_two_ways():
    watch = Watch()
    for time, number in schedule():
        if time > 200:
            break
        watch.beacon(number, T0 + time)
        watch.beacon(number, T0 + time + 0.001)
    assert watch.kinds == ["NEW"]


def test_beacons_in_another_order():
    watch = Watch()
    for number, time in ((100, 0.0), (102, 15.0), (101, 15.1), (103, 30.0)):
        watch.beacon(number, T0 + time)
    assert watch.kinds == ["DETECTED"]
    assert watch.beacons.counts["beacons_late"] == 1
    assert watch.beacons.counts["beacons_missing"] == 1


def test_the_number_wraps():
    watch = Watch()
    for step in range(10):
        watch.beacon((2**32 - 3 + step) % 2**32, T0 + 15 * step)
    assert watch.kinds == ["DETECTED"]


def test_the_time_in_which_a_server_was_away_is_not_its_period():
    watch = Watch()
    watch.run(T0, T0 + 200)
    watch.silence(T0 + 200, T0 + 2000)
    number = watch.beacons.servers[CA, HOST, 5064].numbering.last
    for step in range(1, 20):
        watch.beacon(number + step, T0 + 2000 + 15 * step)
        watch.tick(T0 + 2000 + 15 * step)
    watch.silence(T0 + 2285, T0 + 2285 + 70)
    assert watch.kinds == ["NEW", "LOST", "RESUMED", "LOST"]


def test_a_server_that_sends_rarely_is_taken_for_lost_twice_and_known_then():
    watch = Watch()
    watch.run(T0, T0 + 6000, ((300.0 * n, 500 + n) for n in range(20)))
    lost = [kind for kind in watch.kinds if kind in {"LOST", "RESUMED"}]
    assert lost == ["LOST", "RESUMED"] * 2
    assert watch.beacons.servers[CA, HOST, 5064].period == pytest.approx(300, rel=0.01)


def test_server_without_numbers():
    watch = Watch()
    watch.beacon(0, T0 + 5)
    for step in range(1, 20):
        watch.beacon(0, T0 + 5 + 15 * step)
        watch.tick(T0 + 5 + 15 * step)
    assert watch.kinds == ["NEW"]
    watch.silence(T0 + 300, T0 + 400)
    watch.beacon(0, T0 + 400)
    assert watch.kinds == ["NEW", "LOST", "RESUMED"]


@pytest.mark.parametrize("period", [5.0, 60.0, 300.0])
def test_another_period_is_told_once_and_nothing_else(period):
    watch = Watch(TrackSettings(SUBNETS, ca_lost_after=2000.0))
    changed = 12 * max(period, 15.0)
    watch.run(T0, T0 + changed, schedule(period))
    assert watch.kinds == ["NEW", "INTERVAL_WRONG"]
    usual = ((changed + 15.0 * n, 500 + n) for n in range(100))
    watch.run(T0, T0 + changed + 1500, usual)
    assert watch.kinds == ["NEW", "INTERVAL_WRONG", "INTERVAL_RIGHT"]


def test_who_sends_rarely_is_waited_for_longer():
    watch = Watch()
    watch.run(T0, T0 + 400, schedule(50.0))
    server = watch.beacons.servers[CA, HOST, 5064]
    assert watch.beacons.patience(server) == pytest.approx(4 * server.period)
    assert server.period > 40


def test_beacons_from_elsewhere_change_nothing():
    watch = Watch()
    watch.beacon(0, T0 + 1)
    for step in range(5):
        watch.beacon(step, T0 + step, host="192.168.0.2")
    assert watch.kinds == ["NEW", "WRONG_INTERFACE"]
    assert watch.beacons.counts["beacons_elsewhere"] == 5
    assert len(watch.beacons.servers) == 1
    assert watch.told[-1].host == address("192.168.0.2")
    watch.tick(T0 + 100)
    watch.beacon(9, T0 + 101, host="192.168.0.2")
    assert watch.kinds[-1] == "WRONG_INTERFACE"


def test_another_address_named():
    watch = Watch()
    for step in range(9):
        watch.beacon(step, T0 + step, named="10.0.0.99" if step > 2 else "10.0.0.2")
    assert watch.kinds == ["NEW", "ADDRESS_MISMATCH"]
    assert watch.last().evidence == {"named": address("10.0.0.99")}


def test_no_loss_while_nobody_listens():
    watch = Watch()
    watch.run(T0, T0 + 100)
    watch.sight.blind(T0 + 100)
    watch.silence(T0 + 100, T0 + 1000)
    watch.sight.blind(T0 + 100, T0 + 1000)
    watch.silence(T0 + 1000, T0 + 1059)
    assert watch.kinds == ["NEW"]
    watch.silence(T0 + 1059, T0 + 1062)
    assert watch.kinds == ["NEW", "LOST"]
    assert watch.last().evidence["silent"] > 900


def test_what_happened_meanwhile_is_seen_afterwards():
    watch = Watch()
    watch.run(T0, T0 + 100)
    watch.run(T0, T0 + 100, host="10.0.0.4")
    watch.sight.blind(T0 + 100, T0 + 1000)
    watch.run(T0 + 500, T0 + 1050, ((t, n) for t, n in schedule() if t > 500))
    watch.run(T0, T0 + 1050, ((t, n) for t, n in schedule() if t > 1000), host="10.0.0.4")
    watch.beacon(40, T0 + 1010, host="10.0.0.3")
    assert watch.kinds == ["NEW", "NEW", "RESTARTED", "DETECTED"]
    assert [event.host for event in watch.told[2:]] == [HOST, HOST + 1]
    assert watch.beacons.counts["beacons_missing"] == 0


def test_only_the_hosts_that_were_not_heard_are_spared():
    watch = Watch()
    watch.beacon(100, T0 + 1, host="10.1.0.1")
    watch.beacon(100, T0 + 1, host="10.2.0.1")
    watch.sight.listens("other", watch.since, ["10.2.0.0/16"])
    watch.sight.blind(T0 + 2, T0 + 50)
    watch.silence(T0 + 2, T0 + 70)
    assert [event.host for event in watch.told[2:]] == [address("10.2.0.1")]


def test_no_more_servers_than_allowed():
    watch = Watch(dataclasses.replace(SETTINGS, most_servers=3))
    for port in range(10):
        watch.beacon(0, T0 + 1, port=port + 1)
    assert len(watch.beacons.servers) == 3
    assert watch.beacons.counts["beacons_no_room"] == 7


def test_ports_of_earlier_starts_do_not_take_all_room():
    """Each start of a second server on a host has a port of its own, for years."""
    watch = Watch(dataclasses.replace(SETTINGS, most_servers=40))
    for start in range(200):
        watch.beacon(100 + start, T0 + 100 * start, port=5064)
        assert "NEW" in watch.beacon(0, T0 + 100 * start + 1, port=10_000 + start)
        watch.tick(T0 + 100 * start + 70)
    servers = watch.beacons.servers
    assert 38 <= len(servers) <= 40
    assert {10_000 + start for start in range(170, 200)} <= {port for _, _, port in servers}
    assert watch.beacons.counts["servers_displaced"] == 201 - len(servers)
    assert watch.beacons.counts["beacons_no_room"] == 0


def test_forgetting():
    watch = Watch()
    watch.beacon(0, T0 + 1)
    key = (CA, HOST, 5064)
    assert not watch.beacons.forget(key)
    watch.tick(T0 + 100)
    assert watch.beacons.forget(key)
    assert not watch.beacons.forget(key)
    assert watch.beacon(50, T0 + 101) == ["DETECTED"]


# -- PV Access ------------------------------------------------------------------------------------


def pva(watch, guid, now, sequence=0, changes=0, port=5075, host=HOST, named=0):
    row = np.zeros(1, PVA_BEACON)
    row["host"] = named
    row["guid"], row["sequence"], row["changes"], row["port"] = guid * 12, sequence, changes, port
    events = watch.beacons.feed_pva(row, np.array([host], np.uint32), now)
    watch.told += events
    return [event.kind for event in events]


LONG_BEFORE = T0 - 1000


def test_guid_tells_a_restart():
    watch = Watch(since=LONG_BEFORE)
    assert pva(watch, b"a", T0 + 1) == ["NEW"]
    assert pva(watch, b"a", T0 + 16, 1, 5) == []
    assert pva(watch, b"b", T0 + 20) == ["RESTARTED"]
    assert watch.beacons.servers[PVA, HOST, 5075].changes == 0
    assert pva(watch, b"c", T0 + 25, port=5076) == ["NEW"]


def test_what_is_wrong_with_rare_beacons_is_told_once():
    """PV Access servers send each 180 s; some servers of Channel Access are set to send rarely."""
    watch = Watch(since=LONG_BEFORE)
    times = [15 * n for n in range(10)] + [135 + 180 * n for n in range(1, 20)]
    for sequence, time in enumerate(times):
        pva(watch, b"a", T0 + time, sequence, named=address("10.0.0.99"))
        pva(watch, b"b", T0 + time, sequence, host=address("192.168.0.2"))
        watch.tick(T0 + time)
    for number in range(20, 30):
        watch.beacon(number, T0 + 4000 + 50 * number, "10.0.0.7", named="10.0.0.99")
        watch.tick(T0 + 4000 + 50 * number)
    assert sorted(watch.kinds) == [
        *("ADDRESS_MISMATCH", "ADDRESS_MISMATCH", "INTERVAL_WRONG", "LOST"),
        *("NEW", "NEW", "WRONG_INTERFACE"),
    ]
    watch.tick(T0 + 10_000)
    again = pva(watch, b"a", T0 + 10_000, named=address("10.0.0.99"))
    assert "ADDRESS_MISMATCH" in again


def test_pva_sequence_of_one_byte_is_not_trusted():
    watch = Watch(since=T0)
    assert pva(watch, b"a", T0 + 100, sequence=2) == ["DETECTED"]  # of a start, or after 256 more
    watch.silence(T0 + 100, T0 + 459)
    assert watch.kinds == ["DETECTED"]
    watch = Watch(since=LONG_BEFORE)
    assert pva(watch, b"a", T0 + 100, sequence=200) == ["DETECTED"]
    for step in range(1, 100):
        pva(watch, b"a", T0 + 100 + 180 * step, (200 + step) % 256)
        watch.tick(T0 + 100 + 180 * step + 179)
    assert watch.kinds == ["DETECTED"]


def test_pva_servers_may_be_silent_for_longer():
    watch = Watch(since=LONG_BEFORE)
    pva(watch, b"a", T0 + 1)
    pva(watch, b"z", T0 + 1, sequence=200, host=HOST + 1)
    for step in range(1, 10):
        pva(watch, b"a", T0 + 1 + 15 * step, step)
    heard = T0 + 136
    watch.silence(heard, heard + 359)
    assert watch.kinds == ["NEW", "DETECTED", "LOST"]
    assert watch.last().host == HOST + 1
    watch.silence(heard + 359, heard + 362)
    assert watch.kinds[3:] == ["LOST"]
    assert pva(watch, b"a", heard + 400, 11) == ["RESUMED"]


def test_pva_server_that_just_started_is_missed_sooner():
    watch = Watch(since=LONG_BEFORE)
    pva(watch, b"a", T0 + 1)
    pva(watch, b"a", T0 + 16, 1)
    watch.silence(T0 + 16, T0 + 80)
    assert watch.kinds == ["NEW", "LOST"]
    assert watch.last().evidence["limit"] == 60.0
    assert pva(watch, b"b", T0 + 100) == ["RESTARTED"]
    assert watch.last().evidence["lost"] == pytest.approx(T0 + 76, abs=1)


def test_pva_server_whose_slow_down_was_not_seen():
    watch = Watch(since=LONG_BEFORE)
    pva(watch, b"a", T0 + 1)
    pva(watch, b"a", T0 + 16, 1)
    watch.sight.blind(T0 + 20, T0 + 500)
    pva(watch, b"a", T0 + 501, 11)
    watch.silence(T0 + 502, T0 + 680)
    assert watch.kinds == ["NEW"]


# -- the table ------------------------------------------------------------------------------------


def test_every_state_is_reached_and_left():
    assert {into for into, _ in LIFE.values()} == {state for state, _ in LIFE}
    assert {noticed for _, noticed in LIFE} == set(NOTICED)
    assert {kind for _, kind in LIFE.values()} - {""} == set(EVENTS)
    assert set(Watch().beacons.counts) == set(COUNTS)


@pytest.mark.parametrize("wrong", [{"subnets": ()}, {"misses": 0}, {"pva_start_lost_after": 500.0}])
def test_settings_that_cannot_be_meant(wrong):
    with pytest.raises(ConfigError):
        TrackSettings(**({"subnets": SUBNETS} | wrong))
