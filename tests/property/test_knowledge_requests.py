"""Random schedules of gateways: the inventory has what arrived, and what did not is told."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from socs.counters import EPICS_KNOWLEDGE_CONSERVATION, imbalances
from socs.epics.accounts.inventory import InventoryLimits
from socs.epics.knowledge.wishes import Resync
from tests.epics_gateways import FakeGateway, knowledge
from tests.epics_packets import address
from tests.epics_requests import number_of
from tests.epics_servers import T0

NAMES = [b"PV:%d" % n for n in range(60)] + [b"BAD $(P)%d" % n for n in range(5)]
LIMITS = InventoryLimits(names=200, sources=50, requesters=64)
STEPS = 120


@dataclass
class Truth:
    """A plain account of what arrives from one gateway."""

    counts: Counter = field(default_factory=Counter)  # (name, host, port)
    sources: Counter = field(default_factory=Counter)
    unknown: int = 0
    boot: str = ""
    number: int = -1
    old: set = field(default_factory=set)
    missed: Counter = field(default_factory=Counter)
    names: dict = field(default_factory=dict)
    epoch: int = -1

    def take(self, summary, sent):
        """``sent`` has all summaries of each boot."""
        if summary.boot in self.old or (
            summary.boot == self.boot and summary.number <= self.number
        ):
            return
        first = not self.boot
        if summary.boot != self.boot:
            self.old.add(self.boot)
            self.boot, self.number, self.epoch = summary.boot, -1, -1
        if not first:
            for lost in sent[summary.boot][self.number + 1 : summary.number]:
                self.missed["summaries_missed"] += 1
                self.missed["requests_missed"] += int(lost.sources["requests"].sum())
                self.missed["datagrams_missed"] += int(lost.sources["datagrams"].sum())
        if summary.epoch != self.epoch:
            self.names, self.epoch = {}, summary.epoch
        self.number = summary.number
        self.names |= dict(enumerate(summary.names, summary.first_name))
        for number, row, count in summary.requests.tolist():
            host, port = summary.sources[row]["host"], summary.sources[row]["port"]
            self.sources[int(host), int(port)] += count
            if number in self.names:
                self.counts[self.names[number], int(host), int(port)] += count
            else:
                self.unknown += count


def run(seed):
    """What is known at the end, and the truth."""
    rnd = random.Random(seed)
    known = knowledge(limits=LIMITS)
    gateways = [FakeGateway(f"gw{n}", began=T0) for n in range(rnd.randint(1, 3))]
    truths = {gateway.name: Truth() for gateway in gateways}
    sent = {gateway.boot: [] for gateway in gateways}
    joins_at = {gateway.name: rnd.choice([0, 0, rnd.randint(1, 30)]) for gateway in gateways}
    cut = dict.fromkeys(truths, 0)
    late = []
    for step in range(STEPS):
        now = T0 + step + 1.0
        arriving = []
        for place, gateway in enumerate(gateways):
            name = gateway.name
            if rnd.random() < 0.02:
                gateway = gateways[place] = gateway.restart(now - 0.5)
                sent[gateway.boot] = []
            if rnd.random() < 0.02:
                cut[name] = step + rnd.randint(1, 15)
            for _ in range(rnd.randint(0, 4)):
                asked = rnd.choices(NAMES, k=rnd.randint(1, 6))
                host = f"10.{place}.0.{rnd.randint(1, 3)}"
                gateway.ask(asked, host, rnd.randint(1, 3))
            summary = gateway.take(now)
            sent[gateway.boot].append(summary)
            if rnd.random() < 0.02:
                gateway.begin_epoch()
            if step >= joins_at[name] and step >= cut[name] and rnd.random() > 0.03:
                arriving.append(summary)
            if rnd.random() < 0.03:
                late.append((step + rnd.randint(1, 8), summary))
        arriving += [summary for due, summary in late if due == step]
        for summary in arriving:
            truths[summary.gateway].take(summary, sent)
            known.take(summary, now)
        known.tick(now)
        for wish in known.wants():
            assert isinstance(wish, Resync)
            if rnd.random() < 0.7:
                next(each for each in gateways if each.name == wish.gateway).begin_epoch()
    return known, truths


@pytest.mark.parametrize("seeds", [range(12), range(12, 24)], ids=str)
def test_counts_are_what_arrived_and_what_did_not_is_told(seeds):
    seen = Counter()
    for seed in seeds:
        known, truths = run(seed)
        found = {
            (known.inventory.names.name(number), r.host, r.port): r.requests
            for number in range(known.inventory.end)
            for r in known.inventory.requesters.of(number)
        }
        assert found == dict(sum((t.counts for t in truths.values()), Counter())), seed
        numbers = known.numbers()
        for source, count in sum((t.sources for t in truths.values()), Counter()).items():
            number = number_of(known.inventory.sources, *source)
            assert known.inventory.sources.requests[number] == count, seed
        assert numbers["requests_unknown"] == sum(t.unknown for t in truths.values()), seed
        missed = sum((t.missed for t in truths.values()), Counter())
        for name in ("summaries_missed", "requests_missed", "datagrams_missed"):
            assert numbers[name] == missed[name], (seed, name)
        assert imbalances(numbers, EPICS_KNOWLEDGE_CONSERVATION) == {}
        invalid = sum(n for (name, *_), n in found.items() if b"$" in name)
        assert numbers["requests_invalid"] == invalid
        seen.update({name: n for name, n in numbers.items() if n})
    expected = {"summaries_missed", "summaries_repeated", "requests_unknown", "resyncs_wished",
                "summaries_of_old_boot"}  # fmt: skip
    assert expected <= set(seen)


def test_after_a_resync_all_names_are_known_again():
    known = knowledge()
    gateway = FakeGateway()
    gateway.ask(NAMES)
    gateway.take(T0 + 1)  # before we came
    gateway.ask(NAMES)
    known.take(gateway.take(T0 + 2), T0 + 2)
    assert known.numbers()["requests_unknown"] == len(NAMES)
    assert known.wants() == [Resync("gw")]
    assert known.wants() == []
    gateway.ask(NAMES)
    known.take(gateway.take(T0 + 3), T0 + 3)
    assert known.wants() == []  # once in a while
    gateway.begin_epoch()
    gateway.ask(NAMES)
    known.take(gateway.take(T0 + 9), T0 + 9)
    assert known.wants() == []
    assert known.numbers()["requests_unknown"] == 2 * len(NAMES)
    number = known.inventory.names.number(NAMES[0])
    assert known.inventory.requesters.of(number)[0][:3] == (address("10.0.9.9"), 40000, 1)
