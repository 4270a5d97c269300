"""After a crash: the snapshot and the events since then are what was known."""

from __future__ import annotations

import copy

import msgspec
import numpy as np

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode.ca import CA_BEACON
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.monitor.catch_up import ToldBefore, catch_up
from socs.epics.store.event_rows import event_of, row_of
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.events import CA, Event
from socs.epics.track.hosts import Expected, Hosts
from socs.epics.track.pvs import Answer, Pvs
from socs.epics.track.settings import TrackSettings
from tests.one_gateway import OneGateway

T = 1_700_000_000.0
ONE, TWO = 0x0A000001, 0x0A000002
SETTINGS = TrackSettings(("10.0.0.0/8",))


class Life:
    """Trackers that live through something, and note what they tell as the database does."""

    def __init__(self) -> None:
        self.inventory = Inventory(InventoryLimits(100, 10), secret=1)
        self.sight = OneGateway(T - 1000)
        self.pvs = Pvs(self.inventory, SETTINGS, self.sight)
        self.beacons = Beacons(SETTINGS, self.sight)
        self.applications = Applications(SETTINGS, self.sight)
        self.hosts = Hosts(self.beacons, self.applications, self.sight, SETTINGS)
        self.told: list[Event] = []

    def answered(self, name: bytes, host: int, now: float) -> list[Event]:
        number = self.inventory.names.add(name)
        return self._tell(self.pvs.searched(number, [Answer(CA, host, 5064, host)], now, now))

    def unanswered(self, name: bytes, now: float) -> list[Event]:
        number = self.inventory.names.add(name)
        events = [e for _ in range(2) for e in self.pvs.searched(number, [], now - 1, now)]
        return self._tell(events)

    def beacon(self, number: int, now: float, port: int = 5064) -> list[Event]:
        row = np.array([(0, number, 0, port, 13)], CA_BEACON)
        return self._tell(self.beacons.feed_ca(row, np.array([ONE], np.uint32), now))

    def beat(self, pid: int, sequence: int, uptime: int, now: float) -> list[Event]:
        heartbeat = Heartbeat(sequence, 5064, uptime, int(now), pid, "2.0", "app", "st", "/")
        return self._tell(self.applications.heartbeat(heartbeat, ONE, 9, now))

    def tick(self, now: float) -> list[Event]:
        events = [*self.beacons.tick(now), *self.applications.tick(now), *self.hosts.judge(now)]
        return self._tell(events)

    def _tell(self, events: list[Event]) -> list[Event]:
        self.told += events
        return events

    def after_a_crash(self, events: list[Event]) -> tuple[int, ToldBefore]:
        """What the database has of ``events`` is taken up."""
        stored = [event_of(msgspec.structs.asdict(row_of(event))) for event in events]
        return catch_up(self.pvs, self.hosts, SETTINGS, stored)


def crashed(life: Life) -> Life:
    """As a snapshot would have it now."""
    return copy.deepcopy(life)


def test_states_of_process_variables_come_back_and_are_not_told_again() -> None:
    life = Life()
    life.answered(b"OLD", ONE, T)
    after = crashed(life)
    told = len(life.told)
    life.answered(b"NEW:A", ONE, T + 10)
    life.unanswered(b"OLD", T + 20)
    life.answered(b"NEW:B", ONE, T + 21)
    life.answered(b"NEW:B", TWO, T + 22)  # MOVED
    assert [e.kind for e in life.told] == ["FOUND", "FOUND", "LOST", "FOUND", "MOVED"]
    taken, _ = after.after_a_crash(life.told)
    assert taken == len(life.told) - told
    for name in (b"OLD", b"NEW:A", b"NEW:B"):
        was, now = life.inventory.names.number(name), after.inventory.names.number(name)
        for column in ("state", "host", "port", "protocol", "changed", "misses"):
            assert getattr(after.inventory, column)[now] == getattr(life.inventory, column)[was]
    assert after.answered(b"NEW:A", ONE, T + 100) == []
    assert after.answered(b"NEW:B", TWO, T + 100) == []
    assert after.unanswered(b"OLD", T + 101) == []
    assert [e.kind for e in after.answered(b"OLD", ONE, T + 102)] == ["REAPPEARED"]


def test_many_that_were_judged_together_are_lost_together() -> None:
    life = Life()
    names = [b"N:%d" % n for n in range(30)]
    for name in names:
        life.answered(name, ONE, T)
    after = crashed(life)
    numbers = np.array([life.inventory.names.number(name) for name in names])
    lost = life.pvs.judge_all(numbers, None, T + 50)
    back = life.pvs.judge_all(numbers[:12], Answer(CA, ONE, 5064, ONE), T + 60)
    after.after_a_crash([*lost, *back])
    states = [after.pvs.state(n) for n in numbers]
    assert states[:10] == ["ONLINE"] * 10  # those of which the event has the names
    assert set(states[12:]) == {"LOST"}


def test_servers_go_on_where_they_were() -> None:
    life = Life()
    life.beacon(100, T)
    after = crashed(life)
    life.beacon(0, T + 30)
    life.beacon(1, T + 31)
    life.beacon(0, T + 32, port=5070)
    assert [e.kind for e in life.told] == ["DETECTED", "RESTARTED", "NEW"]
    after.after_a_crash(life.told)
    assert after.beacons.servers[CA, ONE, 5064].restarts == 1
    assert after.beacon(8, T + 40) == []
    assert after.beacon(8, T + 41, port=5070) == []
    assert [e.kind for e in after.beacon(0, T + 100)] == ["RESTARTED"]
    life.tick(T + 500)
    again = crashed(after)
    again.after_a_crash(life.told)
    assert again.beacons.servers[CA, ONE, 5070].state == "LOST"
    assert [e.kind for e in again.beacon(30, T + 501, port=5070)] == ["RESUMED"]


def test_applications_go_on_and_those_that_the_snapshot_lacks_are_not_new_again() -> None:
    life = Life()
    life.beat(1, 5, 150, T)
    known, empty = crashed(life), Life()
    life.beat(2, 1, 0, T + 30)
    told = life.told[:]
    assert [e.kind for e in told] == ["NEW", "RESTARTED"]
    known.after_a_crash(told)
    assert known.beat(2, 2, 30, T + 60) == []
    _, before = empty.after_a_crash(told)
    (again,) = empty.beat(2, 2, 30, T + 60)
    assert before.has(again)
    assert not before.has(again)  # once
    other = Life()
    _, before = other.after_a_crash(told)
    (later,) = other.beat(3, 1, 0, T + 600)
    assert not before.has(later)  # it started anew while nobody listened


def test_a_lost_application_is_told_when_it_is_back() -> None:
    life = Life()
    life.beat(1, 5, 150, T)
    life.tick(T + 200)
    other = Life()
    _, before = other.after_a_crash(life.told)
    (back,) = other.beat(1, 20, 600, T + 450)
    assert not before.has(back)


def test_hosts_that_were_told_to_miss_something_are_not_told_again() -> None:
    life = Life()
    life.hosts.expected[ONE] = Expected(ports=frozenset({(CA, 5064), (CA, 5070)}))
    after = crashed(life)
    life.beacon(3, T)
    assert [e.kind for e in life.tick(T + 1)] == ["MISSING"]
    after.after_a_crash(life.told)
    assert after.hosts.judge(T + 1) == []


def test_what_the_snapshot_has_already_changes_nothing() -> None:
    life = Life()
    life.answered(b"A:ONE", ONE, T)
    life.beacon(100, T)
    life.beacon(0, T + 5)
    life.beat(1, 5, 150, T)
    life.tick(T + 6)
    taken, before = life.after_a_crash(life.told)
    assert (taken, len(before)) == (0, 0)
    assert life.beacons.servers[CA, ONE, 5064].restarts == 1
