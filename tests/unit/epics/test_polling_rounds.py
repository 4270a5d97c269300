"""Rounds of polling through gateways: few searches judge all names, and what changed is found."""

from collections import Counter

import numpy as np
import pytest

from socs.counters import EPICS_KNOWLEDGE_CONSERVATION, imbalances
from socs.epics.knowledge.own_searches import OwnSearchSettings
from socs.epics.knowledge.polling import PollSettings
from socs.epics.knowledge.wishes import Search
from socs.epics.track.events import CA, PVA
from socs.epics.track.pvs import STATES, Answer
from tests.epics_gateways import FakeGateway, knowledge
from tests.epics_packets import address
from tests.epics_servers import T0

PERIOD = 40.0
RATE = 300  # names that a gateway searches for in a second


class Network:
    """Servers with names, and gateways that each hear one half of the servers."""

    def __init__(self, servers=20, each=100, protocols=(CA,), **poll):
        self.servers = [f"10.{1 + n % 2}.0.{1 + n}" for n in range(servers)]
        self.names = {b"S%d:%d" % (n, i): n for n in range(servers) for i in range(each)}
        self.protocols = protocols
        self.gone, self.deaf = set(), set()
        self.at = dict(enumerate(self.servers))  # where each server's names are now
        settings = PollSettings(enabled=True, period=PERIOD, **poll)
        self.known = knowledge(search=OwnSearchSettings(poll=settings))
        self.gateways = {
            name: FakeGateway(name, (net,))
            for name, net in (("one", "10.1.0.0/16"), ("two", "10.2.0.0/16"))
        }
        self.waiting = {name: [] for name in self.gateways}
        self.searched = Counter()
        self.now, self.events, self.outstanding = T0, [], 0
        self._begin()

    def _begin(self):
        """All names have been answered by their servers."""
        inventory = self.known.inventory
        for number, host in enumerate(self.servers):
            own = [inventory.names.add(name) for name, n in self.names.items() if n == number]
            for protocol in reversed(self.protocols):
                where = Answer(protocol, address(host), 5063 + protocol, address(host))
                self.known.pvs.judge_all(np.array(own), where, T0 - 10.0)

    @property
    def polling(self):
        return self.known.searches.polling

    def second(self):
        """Gateways search and tell; a second goes by."""
        self.now += 1.0
        for name, gateway in self.gateways.items():
            done, self.waiting[name] = self.waiting[name][:RATE], self.waiting[name][RATE:]
            for each in done:
                for protocol in (CA, PVA):
                    found = self._answers(name, each) if protocol in self.protocols else []
                    servers = [(host, 5063 + protocol) for host in found]
                    gateway.search_ended(each, servers, self.now - 0.1, protocol)
            summary = gateway.take(self.now)
            if name not in self.deaf:
                self.events += self.known.take(summary, self.now)
        self.events += self.known.tick(self.now)
        self.outstanding = max(self.outstanding, self.polling.outstanding)
        for wish in self.known.wants():
            assert isinstance(wish, Search)
            if wish.gateway not in self.deaf:
                self.waiting[wish.gateway] += wish.names
            if wish.gateway == "one":
                self.searched.update(wish.names)

    def _answers(self, gateway, name):
        server = self.names[name]
        there = server not in self.gone and name not in self.gone
        heard = self.at[server].startswith("10.1." if gateway == "one" else "10.2.")
        return [self.at[server]] if there and heard else []

    def round(self):
        """Until the next round is over; how many names were searched for."""
        rounds = self.polling.rounds
        self.searched.clear()
        for _ in range(int(10 * PERIOD)):
            self.second()
            if self.polling.rounds > rounds:
                return len(self.searched)
        raise AssertionError("the round does not end")

    def kinds(self):
        """Kinds of events of names, and for how many names each was told; emptied."""
        told = Counter()
        for event in self.events:
            if not event.kind.startswith("GATEWAY"):
                told[event.kind] += getattr(event, "count", 1)
        self.events.clear()
        return told

    def states(self):
        return Counter(self.known.pvs.state(number) for number in range(self.known.inventory.end))


@pytest.mark.parametrize("protocols", [(CA,), (PVA,), (CA, PVA)])
def test_all_names_are_judged_by_few_searches(protocols):
    network = Network(servers=4, each=1000, protocols=protocols)
    begun = network.now
    for _ in range(2):
        assert network.round() < 0.02 * len(network.names)
        assert network.kinds() == {}
        last_seen = network.known.inventory.last_seen[: len(network.names)]
        assert last_seen.min() > begun
        begun = network.now
    assert network.states() == {"ONLINE": len(network.names)}
    assert max(network.searched.values()) == 1
    assert network.now - T0 >= PERIOD
    progress = network.polling.progress
    assert progress.searched + progress.judged == progress.names == len(network.names)
    assert imbalances(network.known.numbers(), EPICS_KNOWLEDGE_CONSERVATION) == {}


def test_all_names_of_a_server_that_is_gone_are_lost_and_no_others():
    network = Network(outstanding=50)
    network.round()
    network.gone.add(3)
    network.round()
    for _ in range(20):  # once more each
        network.second()
    assert network.kinds() == {"LOST": 100}
    assert network.states() == {"ONLINE": 1900, "LOST": 100}
    assert 0 < network.outstanding <= 50
    network.gone.clear()
    network.round()
    assert network.kinds() == {"REAPPEARED": 100}


def test_a_server_that_has_moved_to_another_subnet():
    network = Network()
    network.round()
    network.at[3] = "10.1.0.200" if network.at[3].startswith("10.2") else "10.2.0.200"
    network.round()
    assert network.kinds() == {"MOVED": 100}
    searched = network.round()
    assert searched < 0.1 * len(network.names)
    assert network.kinds() == {}


def test_names_that_nobody_has_are_searched_for_one_by_one():
    network = Network(servers=2)
    for n in range(50):
        network.known.inventory.names.add(b"NOBODY:%d" % n)
        network.names[b"NOBODY:%d" % n] = 99
    network.at[99] = ""
    network.known.inventory.names.add(b"NOT VALID")
    network.round()
    assert {name for name in network.names if name.startswith(b"NOB")} < set(network.searched)
    assert b"NOT VALID" not in network.searched
    assert network.kinds() == {}


def test_nothing_is_lost_while_a_gateway_is_gone():
    network = Network()
    network.round()
    network.gone.update(range(20))
    network.deaf.add("two")
    for _ in range(int(PERIOD) + 100):
        network.second()
    network.round()
    lost = network.kinds()
    assert lost == {"LOST": 1000}  # those that gateway one would hear
    network.deaf.clear()
    for _ in range(3):
        network.round()
    assert network.kinds() == {"LOST": 1000}


def test_a_round_goes_on_when_its_gateways_restart():
    network = Network()
    network.second()
    assert network.polling.outstanding
    for name, gateway in list(network.gateways.items()):
        network.gateways[name] = gateway.restart(network.now)
        network.waiting[name].clear()
    network.round()
    assert network.kinds() == {}
    assert network.polling.outstanding == 0


def test_what_is_known_otherwise_meanwhile_is_not_judged_by_witnesses():
    network = Network(servers=1)
    network.second()
    follower = next(name for name in network.names if name not in network.searched)
    inventory = network.known.inventory
    inventory.state[inventory.names.number(follower)] = STATES.index("LOST")
    network.round()
    assert network.kinds() == {}
    assert network.states() == {"ONLINE": 99, "LOST": 1}


def test_names_that_are_forgotten_in_a_round():
    network = Network(outstanding=10)
    network.second()
    known = network.known
    gone = np.arange(0, known.inventory.end, 2)
    known.forget(gone)
    others = [b"NEW:%d" % n for n in range(len(gone))]
    for name in others:
        known.inventory.names.add(name)
    network.searched.clear()
    network.round()
    assert network.kinds() == {}
    assert not set(others) & set(network.searched)
    assert network.states() == {"ONLINE": 1000, "NEVER_SEEN": 1000}


def test_off_until_it_is_switched_on_and_at_once_if_wished():
    network = Network(servers=2)
    network.polling.enabled = False
    for _ in range(5):
        network.second()
    assert network.searched == {}
    assert network.polling.progress is None
    network.polling.enabled = True
    network.round()
    assert network.now - T0 < PERIOD
    network.polling.poll_now()
    network.round()
    assert network.now - T0 < PERIOD


def test_without_a_gateway_nothing_is_polled():
    network = Network(servers=2)
    network.deaf.update(network.gateways)
    for _ in range(5):
        network.second()
    assert network.polling.progress is None
