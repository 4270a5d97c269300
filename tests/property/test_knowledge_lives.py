"""Random histories by way of gateways that are killed, cut off and late: nothing is lost by that.

Everything that happens while a gateway listens is told exactly, at its time; what happens while
nobody does is noticed afterwards, by what it left behind.
"""

import heapq
import math
import random
from collections import defaultdict

import pytest

from socs.counters import EPICS_KNOWLEDGE_CONSERVATION, imbalances
from socs.epics.track.events import CA, PVA, ApplicationEvent, ServerEvent
from tests.epics_gateways import FakeGateway, knowledge
from tests.epics_history import (
    LENGTH,
    SINCE,
    arrivals,
    ca_beacons,
    ca_patience,
    heartbeat_patience,
    heartbeats,
    history,
    life,
    pva_beacons,
    pva_patience,
)
from tests.epics_servers import SETTINGS, T0

GRID = T0 + 0.123  # when summaries end, and truth looks for what is silent
EDGE = 1e-4  # what comes at the end of a summary was heard
ARRIVES = 0.05  # s after the end of a summary
KINDS = {
    "ca": (ca_beacons, ca_patience, 0.0),
    "pva": (pva_beacons, pva_patience, SETTINGS.pva_lost_after),
    "beats": (heartbeats, heartbeat_patience, 0.0),
}


def second_of(time, rounded):
    return int(rounded(time - GRID))


def true_history(seed):
    """As in tests.epics_history, but nobody listens for whole summaries."""
    true = history(seed)
    true.blind = [
        (GRID + second_of(begin, math.floor) + EDGE, GRID + second_of(end, math.ceil))
        for begin, end in true.blind
    ]
    return true


def hear(gateway, kind, arrival):
    """An arrival as the gateway hears it."""
    run, now = arrival.run, arrival.time
    if kind == "ca":
        gateway.ca_beacon(now, arrival.number, run.ioc.host, run.port)
    elif kind == "pva":
        gateway.pva_beacon(now, arrival.number, run.guid, run.ioc.host, run.port)
    else:
        told = {"seq": arrival.number, "sp": run.port, "up": int(now - run.start), "cur": int(now),
                "pid": 100 + run.number, "cwd": "/iocs", "ver": "2.0", "img": "./app",
                "stcmd": f"{run.ioc.number}.cmd"}  # fmt: skip
        gateway.heartbeat(now, run.ioc.host, told)


def key_of(event):
    if isinstance(event, ServerEvent):
        return {CA: "ca", PVA: "pva"}[event.protocol], event.host, event.port
    return "beats", event.evidence["title"].split()[2]


def key_of_run(kind, run):
    return (kind, f"{run.ioc.number}.cmd") if kind == "beats" else (kind, run.ioc.host, run.port)


def expected_of(true, arrived):
    expected = {}
    for kind, (_, patience, sure_after) in KINDS.items():
        for key in {key_of_run(kind, a.run) for a in arrived[kind]}:
            own = [a for a in arrived[kind] if key_of_run(kind, a.run) == key]
            expected[key] = life(own, true, patience, sure_after=sure_after)
    return expected


def lives_of(events):
    lives = defaultdict(list)
    for event in events:
        if isinstance(event, ServerEvent | ApplicationEvent) and event.kind != "MOVED":
            lives[key_of(event)].append((event.kind, event.time))
    return dict(lives)


def in_order(arrived):
    return sorted(
        ((a.time, kind, a) for kind, some in arrived.items() for a in some), key=lambda e: e[0]
    )


def run_one(seed, true, arrived):
    """One gateway: killed or cut off while nobody listens, and late at other times."""
    rnd = random.Random(seed)
    known = knowledge()
    gateway = FakeGateway(began=SINCE)
    killed = [rnd.random() < 0.5 for _ in true.blind]
    held_until = 0.0
    held, events = [], []
    queue = in_order(arrived)
    heapq.heapify(queue := [(time, n, kind, a) for n, (time, kind, a) in enumerate(queue)])
    for second in range(int(LENGTH) + 500):
        now = GRID + second
        while queue and queue[0][0] <= now:
            _, _, kind, arrival = heapq.heappop(queue)
            hear(gateway, kind, arrival)
        if rnd.random() < 0.004:
            held_until = now + rnd.uniform(2, 150)
        blind = next((n for n, (start, end) in enumerate(true.blind) if start < now <= end), None)
        if blind is None:
            held.append(gateway.take(now))
        elif not killed[blind]:
            gateway.take(now)  # into nowhere
        elif now == true.blind[blind][1]:
            gateway = gateway.restart(now)
        if now >= held_until:
            for summary in held:
                events += known.take(summary, now + ARRIVES)
            held.clear()
        events += known.tick(now + ARRIVES)
    return known, events


@pytest.mark.parametrize("seeds", [range(3), range(3, 6)], ids=str)
def test_one_gateway(seeds):
    kinds = defaultdict(int)
    for seed in seeds:
        true = true_history(seed)
        arrived = {kind: arrivals(true, times) for kind, (times, *_) in KINDS.items()}
        known, events = run_one(seed, true, arrived)
        assert lives_of(events) == expected_of(true, arrived), seed
        numbers = known.numbers()
        assert imbalances(numbers, EPICS_KNOWLEDGE_CONSERVATION) == {}
        assert numbers["beacons_told"] == len(arrived["ca"]) + len(arrived["pva"])
        assert numbers["beats_told"] == len(arrived["beats"])
        for event in events:
            kinds[event.kind] += 1
    assert {"NEW", "DETECTED", "LOST", "RESUMED", "RESTARTED"} <= set(kinds)
    assert {"GATEWAY_BLIND", "GATEWAY_LISTENS"} <= set(kinds)


NETWORKS = ("10.0.0.0/24", "10.9.0.0/16")
CLOCKS = (0.0, 0.4, -200.0)  # of gateways, ahead [s]
APART = 8.0  # s; an event may be told later, as one waits for a gateway that is gone, or wrong
OVERLAP = 3.0  # s that two gateways listen until one of them goes


def run_several(seed, true, arrived):
    """Several gateways hear the same; each of them is gone at times, mostly not all at once."""
    rnd = random.Random(seed)
    known = knowledge()
    gateways = [FakeGateway(f"gw{n}", NETWORKS, SINCE, clock) for n, clock in enumerate(CLOCKS)]
    gone_until, held_until = [0.0] * len(gateways), [0.0] * len(gateways)
    held = [[] for _ in gateways]
    events = []
    queue = in_order(arrived)
    for second in range(int(LENGTH) + 500):
        now = GRID + second
        blind = any(start < now <= end for start, end in true.blind)
        hearing = []
        while queue and queue[0][0] <= now:
            _, kind, arrival = queue.pop(0)
            for gateway in gateways:
                hear(gateway, kind, arrival)
        for place in rnd.sample(range(len(gateways)), len(gateways)):
            gateway = gateways[place]
            others = [until for n, until in enumerate(gone_until) if n != place]
            if rnd.random() < 0.01 and min(others) <= now - OVERLAP:
                gone_until[place] = now + rnd.uniform(2, 100)
            if rnd.random() < 0.02:
                held_until[place] = now + rnd.uniform(1, 3)
            if blind or now < gone_until[place]:
                gateway.take(now)
                if rnd.random() < 0.02:
                    gateways[place] = gateway.restart(now)
            else:
                hearing.append(place)
                held[place].append(gateway.take(now))
            if now >= held_until[place]:
                for summary in held[place]:
                    events += known.take(summary, now + ARRIVES)
                held[place].clear()
        events += known.tick(now + ARRIVES)
        assert blind or hearing
    return known, events


@pytest.mark.parametrize("seeds", [range(1), range(1, 2)], ids=str)
def test_several_gateways_that_hear_the_same(seeds):
    for seed in seeds:
        true = true_history(seed)
        arrived = {kind: arrivals(true, times) for kind, (times, *_) in KINDS.items()}
        known, events = run_several(seed, true, arrived)
        told, expected = lives_of(events), expected_of(true, arrived)
        assert told.keys() == expected.keys()
        for key in told:
            mine, due = told[key], expected[key]
            assert [kind for kind, _ in mine] == [kind for kind, _ in due], (seed, key)
            for (_, time), (_, exact) in zip(mine, due, strict=True):
                assert abs(time - exact) < APART, (seed, key)
        numbers = known.numbers()
        assert imbalances(numbers, EPICS_KNOWLEDGE_CONSERVATION) == {}
        assert min(numbers["beacons_twice"], numbers["beats_twice"]) > 0
