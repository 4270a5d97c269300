"""What a monitor makes of summaries: who is told what, and what gateways are asked for."""

import itertools
import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from socs import counters
from socs.counters import EPICS_KNOWLEDGE_CONSERVATION, imbalances
from socs.epics.accounts.inventory import TIMES, InventoryLimits
from socs.epics.applications.interviews import InterviewSettings
from socs.epics.decode import alive
from socs.epics.decode.alive import Alive
from socs.epics.knowledge.knowledge import KnowledgeSettings
from socs.epics.knowledge.own_searches import OwnSearchSettings
from socs.epics.knowledge.wishes import Ask, Resync, Search
from socs.epics.search.searcher import Priority
from socs.epics.summary import AnswerPart, Beat
from socs.epics.track.events import CA, PVA
from socs.epics.track.hosts import Expected
from socs.epics.track.pvs import Answer
from socs.errors import ConfigError
from tests.epics_gateways import FakeGateway, knowledge
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0, schedule

SERVER, OTHER, CLIENT = "10.0.0.2", "10.0.0.3", "10.0.9.9"
SEARCHING = OwnSearchSettings(enabled=True, names_of_server=3)
QUIET = ("RUNNING", "NO_DATA")  # what follows for hosts


class Session:
    """Some gateways and what is known from them; all tell each second."""

    def __init__(self, names=("gw",), **settings):
        self.known = knowledge(search=SEARCHING, **settings)
        self.gateways = {name: FakeGateway(name) for name in names}
        self.now = T0
        self.events = []
        self.wishes = []
        self.deaf = set()

    def __getitem__(self, name):
        return self.gateways[name]

    def go(self, seconds=1):
        """Time goes on; kinds of what happens."""
        before = len(self.events)
        for _ in range(seconds):
            self.now += 1.0
            for name, gateway in self.gateways.items():
                summary = gateway.take(self.now)
                if name not in self.deaf:
                    self.events += self.known.take(summary, self.now)
            self.events += self.known.tick(self.now)
            self.wishes += self.known.wants()
        return self.kinds(before)

    def kinds(self, before=0):
        told = self.events[before:]
        return [e.kind for e in told if not e.kind.startswith("GATEWAY") and e.kind not in QUIET]

    def searched(self):
        """Wishes to search since the last call, as {gateway: names}."""
        found = {wish.gateway: wish.names for wish in self.wishes if isinstance(wish, Search)}
        self.wishes.clear()
        return found

    def outcome(self, gateway, name, servers=(), protocols=(CA, PVA)):
        """A gateway is done with a name; servers answer by Channel Access."""
        for protocol in protocols:
            found = servers if protocol == CA else ()
            self[gateway].search_ended(name, found, self.now + 0.5, protocol)

    def state(self, name):
        number = self.known.inventory.names.number(name)
        return self.known.pvs.state(number) if number >= 0 else None

    def begin(self, name=b"A", servers=((SERVER, 5064),)):
        """A name that a server has."""
        self.go()
        self.known.search([name])
        self.go()
        for gateway in self.gateways:
            self.outcome(gateway, name, servers)
        self.go()
        self.wishes.clear()
        return self.state(name)


def answer(host):
    return Answer(CA, address(host), 5064, address(host))


def test_a_name_is_searched_for_by_all_gateways_and_found_by_one():
    session = Session(("one", "two"))
    session.go()
    assert session.known.search([b"A", b"B"]) == 2
    session.go()
    assert session.searched() == {"one": (b"A", b"B"), "two": (b"A", b"B")}
    session.outcome("one", b"A")
    assert session.go() == []
    session.outcome("two", b"A", [(SERVER, 5064)], [CA])
    assert session.go() == []  # the other protocol is awaited
    session.outcome("two", b"A", [], [PVA])
    assert session.go() == ["FOUND"]
    assert (session.state(b"A"), session.state(b"B")) == ("ONLINE", "NEVER_SEEN")
    assert session.known.numbers()["searches_now"] == 1


def test_servers_that_different_gateways_find_are_duplicates():
    session = Session(("one", "two"))
    session.go()
    session.known.search([b"A"])
    session.outcome("one", b"A", [(SERVER, 5064)])
    session.outcome("two", b"A", [(OTHER, 5064)])
    assert session.go() == ["DUPLICATE"]


def test_lost_after_two_searches_by_all():
    session = Session(("one", "two"))
    assert session.begin() == "ONLINE"
    session.known.search([b"A"])
    session.outcome("one", b"A")
    session.outcome("two", b"A")
    assert session.go() == []
    assert session.state(b"A") == "ONLINE"
    session.wishes.clear()
    assert session.go(int(SEARCHING.again_after)) == []
    assert session.wishes == [Search(name, (b"A",), Priority.BEACON) for name in ("one", "two")]
    session.outcome("one", b"A")
    assert session.go() == []
    session.outcome("two", b"A")
    assert session.go() == ["LOST"]


def test_a_gateway_that_is_gone_is_not_waited_for_and_nothing_is_lost_by_that():
    session = Session(("one", "two"))
    session["one"].networks, session["two"].networks = ("10.0.0.0/24",), ("10.9.0.0/24",)
    assert session.begin() == "ONLINE"
    for _ in range(3):
        session.known.search([b"A"])
        session.outcome("two", b"A")
        session.go()
        session.deaf.add("one")
        assert session.go(6) == []
        assert session.state(b"A") == "ONLINE"
        session.deaf.clear()
        session.go(12)
    assert session.known.numbers()["searches_inconclusive"] == 3
    assert imbalances(session.known.numbers(), EPICS_KNOWLEDGE_CONSERVATION) == {}


def test_what_another_gateway_would_find_is_lost():
    session = Session(("one", "two"))
    session["one"].networks = session["two"].networks = ("10.0.0.0/24",)
    assert session.begin() == "ONLINE"
    session.deaf.add("one")
    session.go(6)
    for _ in range(2):
        session.known.search([b"A"])
        session.outcome("two", b"A")
        session.go(2)
    assert session.state(b"A") == "LOST"


def test_a_gateway_that_searches_by_one_protocol_only():
    session = Session()
    session.go()
    session.known.search([b"A"])
    session.outcome("gw", b"A", [(SERVER, 5064)], [CA])
    assert session.go(int(SEARCHING.timeout) - 1) == []
    assert session.go(2) == ["FOUND"]
    session.known.search([b"B"])
    session.outcome("gw", b"B", [(SERVER, 5064)], [CA])
    assert session.go() == ["FOUND"]


def test_the_other_protocol_is_awaited_for_what_is_asked_meanwhile():
    session = Session()
    session.go()
    session.known.search([b"A"])
    session.outcome("gw", b"A", [], [CA])
    session.go()
    session.known.search([b"B"])
    session.outcome("gw", b"B", [], [CA])
    session.go()
    assert session.known.numbers()["searches_now"] == 2
    session["gw"].search_ended(b"B", [(SERVER, 5075)], session.now, PVA)
    assert session.go() == ["FOUND"]


def test_a_gateway_that_tells_nothing_says_nothing():
    session = Session()
    assert session.begin() == "ONLINE"
    for _ in range(3):
        session.known.search([b"A"])
        assert session.go(int(SEARCHING.timeout) + 2) == []
    assert session.state(b"A") == "ONLINE"
    assert session.known.numbers()["searches_inconclusive"] == 3


def test_a_gateway_that_starts_anew_has_forgotten_what_it_searched_for():
    session = Session()
    assert session.begin() == "ONLINE"
    session.known.search([b"A"])
    session.gateways["gw"] = session["gw"].restart(session.now + 0.5)
    assert session.go() == []
    numbers = session.known.numbers()
    assert (numbers["searches_inconclusive"], numbers["searches_now"]) == (1, 0)


def test_a_gateway_that_refuses_is_not_asked_for_a_while():
    session = Session(("one", "two"))
    session.go()
    session.known.search([b"A"])
    session.go()
    for wish in session.wishes:
        if wish.gateway == "one":
            assert session.known.refused(wish) == []
    session.wishes.clear()
    session.outcome("two", b"A", [(SERVER, 5064)])
    assert session.go() == ["FOUND"]
    session.known.search([b"B"])
    session.go()
    assert session.searched() == {"two": (b"B",)}
    session.known.refused(Search("two", (b"B",), Priority.PAGE))
    session.go()
    assert session.known.search([b"C"]) == 0
    assert session.known.numbers()["searches_no_gateway"] == 1
    session.go(int(SEARCHING.retry_after))
    assert session.known.search([b"C"]) == 1


def test_answers_to_what_somebody_else_searched_for():
    session = Session()
    session.go()
    session.outcome("gw", b"A", [(SERVER, 5064)])
    session.outcome("gw", b"B")
    assert session.go() == ["FOUND"]
    assert (session.state(b"A"), session.state(b"B")) == ("ONLINE", None)
    assert session.known.numbers()["found_unasked"] == 4


def test_some_names_of_a_server_that_restarts_or_is_gone_are_searched_for():
    session = Session()
    names = [b"A:%d" % n for n in range(10)]
    session.go()
    numbers = np.array([session.known.inventory.names.add(name) for name in names])
    session.known.pvs.judge_all(numbers, answer(SERVER), session.now)
    other = session.known.inventory.names.add(b"OTHER")
    session.known.pvs.judge_all(np.array([other]), answer(OTHER), session.now)
    session["gw"].ca_beacon(session.now + 0.5, 0, address(SERVER))
    session.go()
    session["gw"].ca_beacon(session.now + 0.1, 6, address(SERVER))
    assert session.go() == []
    assert session.kinds() == ["NEW"]
    first = session.searched()["gw"]
    session["gw"].ca_beacon(session.now + 0.5, 0, address(SERVER))
    assert session.go() == ["RESTARTED"]
    session.go()
    for name in first:
        session.outcome("gw", name, [(SERVER, 5064)])
    session.wishes.clear()
    assert session.go(61) == ["LOST"]
    last = session.searched()["gw"]
    for chosen in (first, last):
        assert len(set(chosen)) == SEARCHING.names_of_server
        assert set(chosen) <= set(names)


def test_answers_that_are_overheard():
    session = Session()
    session["gw"].ask([b"A", b"B"])
    session.go()
    session["gw"].answer(b"A", session.now + 0.3, SERVER)
    session["gw"].answer(b"B", session.now + 0.4, "192.168.1.1")
    assert session.go() == ["FOUND"]
    session.go(60)
    session["gw"].answer(b"A", session.now + 0.5, OTHER)
    assert session.go() == []
    assert session.go(3) == ["MOVED"]
    assert session.state(b"B") == "NEVER_SEEN"
    assert session.known.numbers()["answers_elsewhere"] == 1


def test_many_answers_are_judged_as_each_one_is():
    """Whether taken together, as from a known server, or one by one."""
    rnd = random.Random(3)
    together, single = Session(), Session()
    names = [b"N:%d" % n for n in range(6)]
    places = [(SERVER, 5064), (OTHER, 5064), (SERVER, 5080), ("192.168.1.1", 5064)]
    for session in (together, single):
        session["gw"].ask(names)
        session.go()
    for _ in range(400):
        time = together.now
        heard = [
            (
                rnd.choice(names),
                time + rnd.random() * 0.9,
                *rnd.choice(places[: rnd.choice([1, 4])]),
            )
            for _ in range(rnd.choice([0, 1, 1, 8]))
        ]
        for name, when, host, port in heard:
            together["gw"].answer(name, when, host, port)
        together.go()
        known = single.known
        for name, when, host, port in sorted(heard, key=lambda each: each[1]):
            where = Answer(CA, address(host), port, address(host))
            single.events += known.pvs.overheard(known.inventory.names.number(name), where, when)
        single.go()
        assert [together.state(name) for name in names] == [single.state(name) for name in names]
    assert Counter(together.kinds()) == Counter(single.kinds())
    assert set(together.kinds()) >= {"FOUND", "MOVED", "DUPLICATE"}
    assert together.known.inventory.last_seen[:6] == pytest.approx(
        single.known.inventory.last_seen[:6], abs=1.0
    )


def test_answers_that_come_late_or_for_unknown_names():
    session = Session(("one", "two"))
    for gateway in session.gateways.values():
        gateway.ask([b"A"])
    session.go()
    session["one"].answer(b"A", session.now + 0.5, SERVER)
    session.go()
    late = session["two"]
    late.answer(b"A", session.now + 0.2, SERVER)
    held = late.take(session.now + 0.5)
    session.deaf.add("two")
    session.go(60)
    session["one"].answer(b"A", session.now + 0.5, OTHER)
    assert session.go(5) == ["MOVED"]
    told = session.known.take(held, session.now)
    assert [event.kind for event in told] == ["GATEWAY_LISTENS"]
    assert session.known.numbers()["answers_late"] == 1
    late.number += 1  # a message is lost
    late.number_of(b"LOST NAME")
    late.new.clear()
    late.answer(b"LOST NAME", session.now, SERVER)
    session.known.take(late.take(session.now + 1), session.now + 1)
    assert session.known.numbers()["answers_unknown"] == 1
    assert session.known.wants() == [Resync("two")]


ASK = InterviewSettings(True)


def beat(sequence, up, **more):
    told = {"seq": sequence, "sp": 5070, "up": up, "cur": int(T0), "pid": 17, "cwd": "/iocs",
            "ver": "2.0", "img": "./app", "stcmd": "st.cmd"}  # fmt: skip
    return told | more


def test_applications_that_start_are_asked_and_their_names_are_known():
    session = Session(ask=ASK)
    session.go(5)
    session["gw"].heartbeat(session.now + 0.5, address(SERVER), beat(1, 1), 41000)
    assert session.go() == ["NEW"]
    expected = [Ask("gw", what, address(SERVER), 41000, 1, 5070) for what in ("names", "lines")]
    assert session.wishes == expected
    told = ("X:1", "X:2", "", "U\xe4")
    session["gw"].told.append(AnswerPart("names", address(SERVER), 41000, told, session.now))
    session["gw"].told.append(
        AnswerPart("lines", address(SERVER), 41000, ("build: 1",), session.now)
    )
    assert session.go() == []
    known = session.known.inventory
    for name in (b"X:1", b"X:2", "U\xe4".encode()):
        number = known.names.number(name)
        assert (known.host[number], known.port[number]) == (address(SERVER), 5070)
    assert session.state(b"X:1") == "NEVER_SEEN"
    assert session.known.interviews.processes.last(address(SERVER)).complete
    session["gw"].told.append(
        AnswerPart("names", address(SERVER), 4, ("Z",), session.now, server=5071)
    )
    session.go()
    assert known.port[known.names.number(b"Z")] == 5071  # who told it has gone meanwhile
    session["gw"].told.append(AnswerPart("names", address(OTHER), 41000, ("Y",), session.now))
    session.go()
    assert known.host[known.names.number(b"Y")] == 0
    assert session.known.numbers()["names_told"] == 6
    # what an application says is not believed when a server answers
    session.outcome("gw", b"X:1", [(SERVER, 5064)])
    assert session.go() == ["FOUND"]


def test_applications_are_asked_for_no_more_than_they_answer():
    for version, kinds in (("1.1", ["names"]), ("3.0", [])):
        session = Session(ask=ASK)
        session.go()
        session["gw"].heartbeat(session.now + 0.5, address(SERVER), beat(1, 1, ver=version))
        session.go()
        assert [wish.what for wish in session.wishes] == kinds
    session = Session()
    session["gw"].heartbeat(session.now + 0.5, address(SERVER), beat(1, 1))
    session.go()
    assert session.wishes == []


def test_what_another_gateway_tells_late_changes_nothing():
    session = Session(("one", "two"))
    late = session["two"]
    session.go(30)
    host = address(SERVER)
    session.deaf.add("two")
    late.began = session.now
    for time, number in itertools.takewhile(lambda each: each[0] < 60, schedule()):
        for gateway in session.gateways.values():  # both hear it start
            gateway.ca_beacon(session.now + 0.01 + time, number, host)
    for gateway in session.gateways.values():
        gateway.pva_beacon(session.now + 0.02, 0, b"first start ", host)
        gateway.heartbeat(session.now + 0.1, host, beat(1, 1))
    began, session.now = session.now, session.now + 60
    held = late.take(session.now)
    kinds = session.go()
    assert sorted(kinds) == ["DETECTED", "NEW", "NEW"]
    session["one"].ca_beacon(session.now + 0.5, 0, host)  # and again, only one is there
    session["one"].pva_beacon(session.now + 0.5, 0, b"second start", host)
    session["one"].heartbeat(session.now + 0.7, host, beat(1, 1, pid=18))
    assert session.go() == ["RESTARTED"] * 3
    assert began < held.ended < session.now
    told = session.known.take(held, session.now)
    assert [event.kind for event in told] == ["GATEWAY_LISTENS"]
    session.deaf.clear()
    assert session.go(20) == []
    numbers = session.known.numbers()
    assert numbers["beacons_twice"] == len(held.ca_beacons) + 1
    assert numbers["beats_twice"] == 1
    assert imbalances(numbers, EPICS_KNOWLEDGE_CONSERVATION) == {}


@pytest.mark.parametrize("told", [True, False])
def test_only_what_a_gateway_hears_is_unknown_while_it_is_gone(told):
    """Also if gateways do not say what they hear: then it is what they have heard."""
    session = Session(("one", "two"))
    hosts = {"one": address("10.1.0.1"), "two": address("10.2.0.1")}
    if told:
        session["one"].networks, session["two"].networks = ("10.1.0.0/16",), ("10.2.0.0/16",)
    session.go(5)
    for _ in range(3):
        for name, host in hosts.items():
            session[name].ca_beacon(session.now + 0.5, 100 + int(session.now - T0) // 15, host)
            session[name].heartbeat(session.now + 0.6, host, beat(int(session.now - T0), 1000))
        session.go(15)
    assert sorted(session.kinds()) == ["DETECTED"] * 4
    session.deaf.add("one")
    assert session.go(150) == ["LOST"] * 2
    assert {e.host for e in session.events if e.kind == "LOST"} == {hosts["two"]}
    session.deaf.clear()
    assert session.go(59) == []
    assert session.go(50) == ["LOST"] * 2  # it is really gone
    assert session.events[-1].host == hosts["one"]


@pytest.mark.parametrize("use", ["beacons", "pva", "heartbeats", "alive"])
@pytest.mark.parametrize("alone", [True, False])
def test_what_a_gateway_does_not_hear_is_not_lost_by_that(use, alone):
    """Its port may belong to another program when it is started anew, such as a repeater.

    The same if a second gateway, which hears all, is away.
    """
    session = Session(("gw",) if alone else ("gw", "all"))
    host, hears = address(SERVER), "gw" if alone else "all"
    if not alone:
        session["gw"].left_out = (use,)
    session.go()

    def say(gateway, without=""):
        number = int(session.now - T0)
        if without != "beacons":
            gateway.ca_beacon(session.now + 0.5, number // 15 + 100, host)
        if without != "pva":
            gateway.pva_beacon(session.now + 0.5, 100 + number // 15, b"guid guid 12", host)
        if without != "heartbeats":
            told = beat(number, number + 1000, cur=int(session.now))
            gateway.heartbeat(session.now + 0.5, host, told)
        if without != "alive":
            times = int(T0) - 5000, int(session.now)
            octets = alive.encode(Alive("ioc", 1, *times, number, 15, 0, 5, 0))
            gateway.beats.append(Beat("alive", session.now + 0.5, host, 5678, octets))

    for _ in range(10):
        say(session[hears])
        session.go(15)
    assert set(session.kinds()) == {"DETECTED"}
    before = len(session.events)
    if alone:
        session.gateways["gw"] = replace(session["gw"].restart(session.now), left_out=(use,))
    else:
        session.deaf.add("all")
    for _ in range(40):
        say(session["gw"], without=use)
        session.go(15)
    assert session.kinds(before) == []
    listens = [e for e in session.events if e.kind == "GATEWAY_LISTENS"]
    assert use in [event.evidence.get("does_not_hear") for event in listens]
    if alone:  # it hears again, and what is silent now is lost
        session.gateways["gw"] = replace(session["gw"].restart(session.now), left_out=())
        assert "LOST" not in session.go(40)
        assert session.go(400).count("LOST") == 4


def test_one_message_that_is_missing_is_a_time_in_which_nobody_listened():
    session = Session()
    session.go(30)
    host = address(SERVER)
    assert session.known.sight.since(host) == T0
    session.deaf.add("gw")
    session.go()
    session.deaf.clear()
    session.go(2)
    assert session.known.sight.since(host) == T0 + 31
    assert not session.known.sight.saw(host, T0 + 29.5, T0 + 32)
    assert session.events[-1].evidence["blind_from"] == T0 + 30


def test_what_a_gateway_tells_some_seconds_late_is_waited_for():
    session = Session(("one",))
    late, host = FakeGateway("late", ("10.0.0.0/24",)), address(SERVER)
    session["one"].networks = ("10.9.0.0/24",)
    waiting = []
    for second in range(200):
        if second % 59 == 0:  # it would be lost after 60 s
            late.ca_beacon(session.now + 0.5, 100 + second // 15, host)
        waiting.append(late.take(session.now + 1.0))
        if second % 8 > 3:  # now and then it has to wait
            for summary in waiting:
                session.events += session.known.take(summary, session.now + 1.0)
            waiting.clear()
        session.go()
    assert session.kinds() == ["DETECTED"]


def test_gateways_come_and_go():
    session = Session(gateways=("gw", "never"))
    session.go(3)
    session.deaf.add("gw")
    session.go(8)
    assert session.known.troubles() == ["gw does not report", "never has not reported yet"]
    assert not any(join.live for join in session.known.joins.values())
    session.deaf.clear()
    session.go()
    session.gateways["gw"] = session["gw"].restart(session.now + 10)
    session.now += 10
    session.go()
    last = session["gw"].take(session.now + 1, last=True)
    session.events += session.known.take(last, session.now + 1)
    told = [(event.kind, event.cause) for event in session.events]
    assert told == [
        ("GATEWAY_LISTENS", "first message"),
        ("GATEWAY_BLIND", "no message for too long"),
        ("GATEWAY_LISTENS", "messages are missing"),
        ("GATEWAY_LISTENS", "it started anew"),
        ("GATEWAY_BLIND", "it said that it ends"),
    ]
    assert session.events[2].evidence["blind_from"] == T0 + 3
    assert session.events[2].evidence["missed"] == 8
    assert session.known.troubles()[0] == "gw has ended"


@pytest.mark.parametrize(("clock", "told"), [(30.0, "30.0 s ahead"), (-30.0, "30.0 s behind")])
def test_a_clock_that_is_wrong_is_told_and_corrected(clock, told):
    session = Session()
    session["gw"].clock = clock
    session["gw"].ca_beacon(T0 + 0.5, 0, address(SERVER))
    session.go()
    assert session.known.troubles() == [f"clock of gw is {told}; corrected"]
    new = next(event for event in session.events if event.kind == "NEW")
    assert new.time == pytest.approx(T0 + 0.5, abs=0.001)


@pytest.mark.parametrize("same_host", [True, False])
@pytest.mark.parametrize("by", [3600.0, -3600.0, 86_400.0, -30.0])
def test_our_clock_is_set_and_nothing_but_what_is_gone_is_lost(by, same_host):
    session = Session()
    gateway, gone, stays = session["gw"], address(OTHER), address(SERVER)

    def beacons(rounds, *hosts):
        for _ in range(rounds):
            number = 100 + int(session.now - session.set - T0) // 15
            for host in hosts:
                gateway.ca_beacon(session.now + 0.5, number, host)
                count = number if host == stays else number + 7
                gateway.heartbeat(
                    session.now + 0.6, host, beat(count, 15 * count, cur=int(session.now))
                )
            gateway.answer(b"A", session.now + 0.5, SERVER)
            session.go(15)

    session.set = 0.0
    session.go()
    beacons(10, stays, gone)
    assert sorted(set(session.kinds())) == ["DETECTED", "FOUND"]
    before = len(session.events)
    session.now += by
    session.set = by
    if same_host:
        gateway.began += min(by, 0.0)  # a time that was, as it was shown before
    else:
        gateway.clock, gateway.began = -by, gateway.began + by
    told = session.known.clock_set(by, session.now)
    assert [(event.kind, event.evidence) for event in told] == [("CLOCK_SET", {"by": by})]
    began = session.now
    beacons(20, stays)
    lost = [event for event in session.events[before:] if event.kind == "LOST"]
    assert session.kinds(before) == ["LOST"] * 2
    assert {event.host for event in lost} == {gone}
    assert all(60 <= event.time - began <= 105 for event in lost)
    (listens,) = [e for e in session.events[before:] if e.kind == "GATEWAY_LISTENS"]
    assert listens.cause == "our clock was set"
    # Answers are taken, and nothing is of a time to come.
    known = session.known
    number = known.inventory.names.number(b"A")
    assert session.now - 20 < known.inventory.last_seen[number] <= session.now
    assert known.numbers()["answers_late"] == 0
    assert max(server.heard for server in known.beacons.servers.values()) <= session.now


def test_what_was_known_of_a_time_to_come_is_of_now():
    """As a snapshot has it that was written while the clock was ahead."""
    session = Session()
    assert session.begin() == "ONLINE"
    session["gw"].ask([b"A"])
    session["gw"].ca_beacon(session.now + 0.5, 3, address(SERVER))
    session["gw"].heartbeat(session.now + 0.5, address(SERVER), beat(1, 1))
    session.go()
    known, now = session.known, T0 - 1000.0
    known.set_back(now)
    inventory = known.inventory
    for name in TIMES:
        assert getattr(inventory, name).max() <= now, name
    assert inventory.servers.last.max() == inventory.requesters.last.max() == now
    (server,), (app,) = known.beacons.servers.values(), known.applications.known.values()
    assert (server.heard, server.numbering.at, math.isnan(server.lost)) == (now, now, True)
    assert (app.heard, app.beat.begun, math.isnan(app.lost)) == (now, now, True)


def test_a_gateway_that_is_not_configured_is_not_listened_to():
    session = Session(("gw", "evil"), gateways=("gw",))
    session["evil"].ca_beacon(T0 + 0.5, 0, address(SERVER))
    assert session.go() == []
    assert session.known.numbers()["summaries_strange"] == 1


def test_hosts_are_judged_and_unknown_while_nobody_listens():
    session = Session()
    host = address(SERVER)
    session.known.hosts.expected[host] = Expected(ports=frozenset({(CA, 5064)}))
    session.go(3)
    assert session.known.hosts.standing[host].status == "WAITING"
    session.deaf.add("gw")
    session.go(6)
    assert session.known.hosts.standing[host].status == "BLIND"
    session.deaf.clear()
    assert session.go(202) == ["MISSING"]


def test_names_that_are_forgotten_are_asked_for_anew():
    session = Session()
    session["gw"].ask([b"A", b"B"])
    session.go()
    known = session.known
    known.forget(np.array([known.inventory.names.number(b"A")]))
    assert known.inventory.names.add(b"NEW") == 0  # has its number now
    session["gw"].ask([b"A", b"B"])
    session.go()
    assert known.inventory.asked[0].sum() == 0
    assert known.numbers()["requests_unknown"] == 1
    assert session.wishes == [Resync("gw")]


def test_beats_that_cannot_be_decoded_are_counted():
    session = Session()
    session["gw"].heartbeat(T0 + 0.5, address(SERVER), {"pvs": 1})
    session.go()
    numbers = session.known.numbers()
    assert (numbers["beats_told"], numbers["beats_refused"]) == (1, 1)


def test_without_room_for_names_nothing_is_searched_for():
    session = Session(limits=InventoryLimits(names=2))
    session.go()
    assert session.known.search([b"A", b"B", b"C"]) == 2


def test_all_numbers_are_counters_that_are_explained():
    tables = [table for name, table in vars(counters).items() if name.startswith("EPICS_")]
    explained = {entry.name for table in tables for entry in table if hasattr(entry, "meaning")}
    numbers = knowledge().numbers()
    assert numbers.keys() <= explained
    own = counters.EPICS_KNOWLEDGE + counters.EPICS_SEARCHES + counters.EPICS_SEARCHES_NOW
    assert {entry.name for entry in own} <= numbers.keys()


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (KnowledgeSettings(SETTINGS), {"gateway_patience": 0.0}),
        (KnowledgeSettings(SETTINGS), {"tick_period": -1.0}),
        (SEARCHING, {"timeout": 0.0}),
        (SEARCHING, {"most": 0}),
        (SEARCHING.poll, {"period": -math.inf}),
        (SEARCHING.poll, {"witnesses": 0}),
        (SEARCHING.poll, {"spot_share": 2.0}),
    ],
)
def test_settings_that_cannot_be_meant(settings, change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(settings, **change)
