"""From datagrams to the inventory by way of summaries: the same as straight into it."""

import random

import numpy as np

from socs.counters import EPICS_KNOWLEDGE_CONSERVATION, imbalances
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode import ca
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.knowledge.wishes import Resync
from socs.epics.summary import decode, encode
from tests.epics_gateways import knowledge
from tests.epics_packets import batch, request, version
from tests.epics_requests import searched_ca
from tests.epics_servers import T0

LIMITS = InventoryLimits(names=400, sources=30, requesters=64)
COLUMNS = ("asked", "first_asked", "last_asked")


def some_datagrams(rnd):
    datagrams = []
    for _ in range(rnd.randint(0, 20)):
        names = [b"PV:%d" % rnd.randint(0, 300) for _ in range(rnd.randint(0, 9))]
        names = [name + rnd.choice([b"", b"", b".VAL", b"$"]) for name in names]
        sender = f"10.0.0.{rnd.randint(1, 5)}", rnd.randint(1, 5)
        datagrams.append((*sender, version() + b"".join(map(request, names))))
    return datagrams


def test_requests_are_the_same():
    for seed in range(8):
        rnd = random.Random(seed)
        known = knowledge(limits=LIMITS)
        straight = Inventory(LIMITS, secret=2)
        settings = GatheringSettings(names=rnd.choice([100, 100_000]))
        gathering = Gathering(settings, gateway="gw", boot="b", began=T0, secret=3)
        for second in range(40):
            now = T0 + 1.0 + second
            arrived = batch(some_datagrams(rnd), now)
            searched_ca(straight, arrived, ca.decode(arrived))
            gathering.ca(arrived)
            if rnd.random() < 0.1:
                gathering.begin_epoch()
            for summary in gathering.take(now):
                known.take(decode(encode(summary)), now)
            assert not any(isinstance(wish, Resync) for wish in known.wants())
        numbers = known.numbers()
        assert imbalances(numbers, EPICS_KNOWLEDGE_CONSERVATION) == {}
        requests = int(straight.sources.requests.sum())
        assert int(known.inventory.sources.requests.sum()) == requests == numbers["requests_told"]
        if settings.names > 1000:  # no name had to do without a number
            assert_same(known.inventory, straight)


def assert_same(one, other):
    names = other.names.names(np.arange(other.end))
    numbers = np.array([one.names.number(name) for name in names])
    for column in COLUMNS:
        mine, theirs = getattr(one, column)[numbers], getattr(other, column)[: other.end]
        assert np.array_equal(mine, theirs), column
    for number, place in enumerate(numbers.tolist()):
        assert set(one.requesters.of(place)) == set(other.requesters.of(number))
    for name, count in other.counts.items():
        assert one.counts[name] == count, name
