"""States of process variables by the answers to searches."""

import numpy as np
import pytest

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.track.events import CA, PVA, PvsEvent
from socs.epics.track.pvs import CAUSES, STATES, TRANSITIONS, Answer, Pvs
from socs.epics.track.settings import TrackSettings
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0
from tests.one_gateway import OneGateway

A, B, C = (address(f"10.0.0.{n}") for n in (1, 2, 3))
OUTSIDE = address("192.168.0.1")


class World:
    """An inventory with one name, searched for each second."""

    def __init__(self, settings: TrackSettings = SETTINGS, *names: bytes):
        self.sight = OneGateway(T0)
        self.inventory = Inventory(InventoryLimits(names=100), secret=1)
        self.pvs = Pvs(self.inventory, settings, self.sight)
        self.numbers = np.array([self.inventory.names.add(n) for n in names or (b"PV",)])
        self.number, self.now = int(self.numbers[0]), T0

    def search(self, *answers):
        self.now += 1
        found = [a if isinstance(a, Answer) else answer(a) for a in answers]
        return self.kinds(self.pvs.searched(self.number, found, self.now - 0.5, self.now))

    def hear(self, host, **how):
        return self.kinds(self.pvs.overheard(self.number, answer(host, **how), self.now))

    def pass_by(self, seconds):
        """Time goes by, and nothing is heard."""
        self.now += seconds
        return self.kinds(self.pvs.tick(self.now))

    def kinds(self, events):
        self.events = events
        return [event.kind for event in events]

    @property
    def state(self):
        return self.pvs.state(self.number)


def answer(host, port=5064, protocol=CA, sender=None, guid=b""):
    return Answer(protocol, host, port, host if sender is None else sender, guid)


def test_life_of_a_process_variable():
    world = World()
    assert (world.search(), world.state) == ([], "NEVER_SEEN")
    assert (world.search(A), world.state) == (["FOUND"], "ONLINE")
    assert (world.search(A), world.state) == ([], "ONLINE")
    assert (world.search(), world.state) == ([], "ONLINE")  # one answer may get lost
    assert (world.search(), world.state) == (["LOST"], "LOST")
    assert (world.search(), world.state) == ([], "LOST")
    assert (world.search(A), world.state) == (["REAPPEARED"], "ONLINE")
    assert (world.search(A, B), world.state) == (["DUPLICATE"], "DUPLICATE")
    assert (world.search(A, B), world.state) == ([], "DUPLICATE")
    assert (world.search(B), world.state) == (["SINGLE_AGAIN"], "ONLINE")
    assert (world.search(), world.search(), world.state) == ([], ["LOST"], "LOST")


def test_evidence():
    world = World()
    world.search(A)
    world.search(B, A)
    (event,) = world.events
    assert event.name == b"PV"
    assert event.cause == CAUSES["DUPLICATE"]
    assert event.evidence == {"servers": "10.0.0.1:5064, 10.0.0.2:5064", "before": "ONLINE"}
    assert (event.host, event.port) == (A, 5064)
    world.search()
    world.search()
    assert world.events[0].evidence["misses"] == 2


def test_misses_in_a_row():
    world = World()
    world.search(A)
    for _ in range(10):
        assert world.search() == []
        assert world.search(A) == []
    assert World(TrackSettings(SETTINGS.subnets, misses=1)).search() == []


def test_moving():
    world = World()
    world.search(A)
    assert world.search(B) == ["MOVED"]
    assert world.events[0].evidence == {"from": "10.0.0.1:5064", "to": "10.0.0.2:5064"}
    assert world.search(answer(B, 5070)) == ["MOVED"]
    world.search()
    world.search()
    assert world.search(A) == ["REAPPEARED", "MOVED"]
    sightings = world.inventory.servers.of(world.number)
    assert [(s.host, s.port) for s in sightings] == [(A, 5064), (B, 5070), (B, 5064)]
    assert world.inventory.first_seen[world.number] == T0 + 1
    assert world.inventory.answers[world.number] == 4


def test_both_protocols_of_one_server_are_no_duplicate():
    world = World()
    assert world.search(answer(A), answer(A, 5075, PVA, guid=b"g" * 12)) == ["FOUND"]
    assert world.search(answer(A, 5075, PVA, guid=b"g" * 12)) == []
    assert world.search(answer(A)) == []
    assert world.state == "ONLINE"
    assert world.search(
        answer(B, 5075, PVA, guid=b"h" * 12), answer(A, 5075, PVA, guid=b"g" * 12)
    ) == ["DUPLICATE"]


def test_one_pva_server_by_two_ways_is_no_duplicate():
    world = World()
    world.search(answer(A, 5075, PVA, guid=b"g" * 12), answer(B, 5075, PVA, guid=b"g" * 12))
    assert world.state == "ONLINE"


@pytest.mark.parametrize(
    "spoofed", [answer(OUTSIDE), answer(A, sender=OUTSIDE), answer(OUTSIDE, sender=A)]
)
def test_answers_from_elsewhere_change_nothing(spoofed):
    world = World()
    assert world.search(spoofed) == []
    assert world.hear(spoofed.host, sender=spoofed.sender) == []
    assert world.state == "NEVER_SEEN"
    world.search(B)
    assert world.search(B, spoofed) == []
    assert world.kinds(world.pvs.judge_all(world.numbers, spoofed, world.now)) == []
    assert (world.state, int(world.inventory.host[world.number])) == ("ONLINE", B)
    assert world.pvs.counts["answers_elsewhere"] == 4
    world.search(spoofed)
    assert world.search(spoofed) == ["LOST"]


def test_no_loss_while_nobody_listens():
    world = World()
    world.search(A)
    world.sight.blind(T0 + 1)
    for _ in range(10):
        assert world.search() == []
    world.sight.blind(T0 + 1, world.now)
    assert world.pvs.counts["searches_blind"] == 10
    assert (world.search(), world.search()) == ([], ["LOST"])


def test_overheard_answers():
    world = World()
    assert world.hear(A) == ["FOUND"]
    assert world.pass_by(60) == []
    assert world.hear(B) == []  # another may answer, too
    assert world.pass_by(1) == []
    assert world.pass_by(1.1) == ["MOVED"]
    assert world.events[0].evidence == {"from": "10.0.0.1:5064", "to": "10.0.0.2:5064"}
    assert world.inventory.last_seen[world.number] == T0 + 60
    assert world.hear(B) == []
    assert world.pass_by(10) == []


@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_overheard_duplicates_are_that_and_nothing_else_in_any_order(order):
    world = World()
    world.hear(A)
    world.pass_by(60)
    kinds = []
    for host in order:
        kinds += world.hear(host)
        world.now += 0.1
    assert kinds == ["DUPLICATE"]
    # However long nobody asked: both answer again.
    for _ in range(5):
        assert world.pass_by(1000) == []
        for host in order:
            assert world.hear(host) == []
            world.now += 0.1
    assert world.pass_by(10) == []
    assert world.state == "DUPLICATE"
    # One is gone.
    world.hear(A)
    assert world.pass_by(200) == []
    world.hear(A)
    assert world.pass_by(90) == []
    assert world.pass_by(100) == []
    world.hear(A)
    assert world.pass_by(3) == ["SINGLE_AGAIN"]
    assert (world.state, int(world.inventory.host[world.number])) == ("ONLINE", A)


def test_overheard_duplicates_of_one_protocol_are_not_single_by_the_other():
    world = World()
    pva = {"port": 5075, "protocol": PVA}
    assert world.hear(A) == ["FOUND"]
    assert world.hear(A, **pva) == []
    assert world.hear(B, **pva) == ["DUPLICATE"]
    for _ in range(3):
        assert world.pass_by(1000) == []
        assert world.hear(A) == []
    assert world.pass_by(10) == []
    assert world.state == "DUPLICATE"
    world.hear(A, **pva)
    assert world.pass_by(10) == ["SINGLE_AGAIN"]


def test_what_an_own_search_says_goes_before_what_is_overheard():
    world = World()
    world.search(A)
    world.pass_by(60)
    world.hear(B)
    assert world.search(A, B) == ["DUPLICATE"]
    assert world.pass_by(10) == []
    world.search(A)
    world.pass_by(60)
    world.hear(B)
    world.pvs.forget(world.numbers)
    assert world.pass_by(10) == []


def test_each_move_tells_its_own_server():
    world = World()
    world.search(A, answer(A, 5075, PVA, guid=b"g" * 12))
    assert world.search(B, answer(B, 5075, PVA, guid=b"h" * 12)) == ["MOVED", "MOVED"]
    told = [(event.protocol, event.host, event.port) for event in world.events]
    assert told == [(CA, B, 5064), (PVA, B, 5075)]


def test_invalid_until_it_is_served():
    world = World(SETTINGS, b"A B", b"X")
    assert world.pvs.totals() == {
        "NEVER_SEEN": 1,
        "ONLINE": 0,
        "LOST": 0,
        "DUPLICATE": 0,
        "INVALID": 1,
    }
    assert world.state == "INVALID"
    world.search(A)
    assert world.state == "ONLINE"
    assert world.pvs.totals()["INVALID"] == 0


def test_many_at_once():
    names = [b"N%02d" % n for n in range(20)]
    world = World(SETTINGS, *names)
    judge = world.pvs.judge_all
    assert world.kinds(judge(world.numbers, answer(A), T0 + 1)) == ["FOUND"]
    assert world.kinds(judge(world.numbers, answer(A), T0 + 2)) == []
    world.search(A, B)
    assert world.kinds(judge(world.numbers, None, T0 + 3)) == ["LOST", "LOST"]  # by former state
    assert sorted(event.count for event in world.events) == [1, 19]
    assert isinstance(world.events[0], PvsEvent)
    assert set(world.events[0].examples) <= set(names)
    assert (world.events[0].host, world.events[0].port) == (A, 5064)
    assert world.kinds(judge(world.numbers, answer(C), T0 + 4)) == ["REAPPEARED", "MOVED"]
    assert world.events[1].count == 20
    world.search(A, B)
    assert world.kinds(judge(world.numbers, answer(C), T0 + 5)) == []
    assert world.state == "DUPLICATE"
    assert world.pvs.totals() == {
        "NEVER_SEEN": 0,
        "ONLINE": 19,
        "LOST": 0,
        "DUPLICATE": 1,
        "INVALID": 0,
    }


def test_table_is_complete():
    assert set(TRANSITIONS) == {(state, n) for state in STATES for n in ("one", "several", "none")}
    assert {kind for _, kind in TRANSITIONS.values()} - {""} <= set(CAUSES)


def test_who_served_longest_ago_makes_room():
    world = World()
    for n in range(1, 8):
        world.search(answer(A, n))
    assert [s.port for s in world.inventory.servers.of(world.number)] == [7, 6, 5, 4]
    world.inventory.forget(np.array([world.number]))
    assert world.inventory.servers.of(world.number) == []
