"""Random histories of IOCs: the trackers tell exactly what happened, and nothing else."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode.ca import CA_BEACON
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.decode.pva import PVA_BEACON
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.events import CA, PVA
from socs.epics.track.pvs import Answer, Pvs
from tests.epics_history import (
    LENGTH,
    SEARCH_EVERY,
    SINCE,
    arrivals,
    ca_beacons,
    ca_patience,
    heartbeat_patience,
    heartbeats,
    history,
    life,
    pv_told,
    pva_beacons,
    pva_patience,
    serving,
    ticks,
)
from tests.epics_servers import SETTINGS, T0
from tests.one_gateway import OneGateway

SEEDS = range(100)


def replay(true, arrived, feed, tick):
    """All events, in order; the tracker learns of a blind time as it begins and ends."""
    sight = OneGateway(SINCE)
    steps = [(a.time, 1, a) for a in arrived] + [(t, 2, None) for t in ticks()]
    steps += [(begin, 0, (begin,)) for begin, _ in true.blind]
    steps += [(end, 0, (begin, end)) for begin, end in true.blind]
    told = []
    tracker = feed.tracker(sight)
    for now, kind, what in sorted(steps, key=lambda step: step[:2]):
        if kind == 0:
            sight.blind(*what)
        elif kind == 1:
            told += feed(tracker, what, now)
        else:
            told += tick(tracker, now)
    return told


class CaFeed:
    @staticmethod
    def tracker(sight):
        return Beacons(SETTINGS, sight)

    def __call__(self, tracker, arrival, now):
        row = np.array([(0, arrival.number, 0, arrival.run.port, 13)], CA_BEACON)
        return tracker.feed_ca(row, np.array([arrival.run.ioc.host], np.uint32), now)

    @staticmethod
    def key(event):
        return event.host, event.port

    @staticmethod
    def of(run):
        return run.ioc.host, run.port


class PvaFeed(CaFeed):
    def __call__(self, tracker, arrival, now):
        row = np.zeros(1, PVA_BEACON)
        row["guid"], row["sequence"] = arrival.run.guid, arrival.number % 256
        row["port"] = arrival.run.port
        return tracker.feed_pva(row, np.array([arrival.run.ioc.host], np.uint32), now)


class BeatFeed(CaFeed):
    @staticmethod
    def tracker(sight):
        return Applications(SETTINGS, sight)

    def __call__(self, tracker, arrival, now):
        run = arrival.run
        beat = Heartbeat(
            arrival.number, run.port, int(now - run.start), int(now), 100 + run.number, "2.0",
            "./bin/app", f"{run.ioc.number}.cmd", "/iocs",
        )  # fmt: skip
        return tracker.heartbeat(beat, run.ioc.host, 40000, now)

    @staticmethod
    def key(event):
        return event.evidence["title"].split()[2]

    @staticmethod
    def of(run):
        return f"{run.ioc.number}.cmd"


@pytest.mark.parametrize(
    ("feed", "times", "patience", "sure_after"),
    [
        (CaFeed(), ca_beacons, ca_patience, 0.0),
        (PvaFeed(), pva_beacons, pva_patience, SETTINGS.pva_lost_after),
        (BeatFeed(), heartbeats, heartbeat_patience, 0.0),
    ],
    ids=["ca", "pva", "heartbeats"],
)
def test_life_of_servers_and_applications(feed, times, patience, sure_after):
    kinds = defaultdict(int)
    for seed in SEEDS:
        true = history(seed)
        arrived = arrivals(true, times)
        told = replay(true, arrived, feed, lambda tracker, now: tracker.tick(now))
        by_key = defaultdict(list)
        for event in told:
            if event.kind != "MOVED":
                by_key[feed.key(event)].append((event.kind, event.time))
            kinds[event.kind] += 1
        keys = {feed.of(a.run) for a in arrived}
        expected = {
            key: life(
                [a for a in arrived if feed.of(a.run) == key], true, patience, sure_after=sure_after
            )
            for key in keys
        }
        assert dict(by_key) == expected, seed
    assert {"NEW", "DETECTED", "LOST", "RESUMED", "RESTARTED"} <= set(kinds)


def test_moves_of_applications():
    moves = 0
    for seed in SEEDS:
        true = history(seed)
        arrived = arrivals(true, heartbeats)
        feed = BeatFeed()
        told = replay(true, arrived, feed, lambda tracker, now: tracker.tick(now))
        expected = 0
        for ioc in true.iocs:
            ports = [a.run.port for a in arrived if a.run.ioc is ioc]
            expected += sum(one != other for one, other in pairwise(ports))
        assert sum(event.kind == "MOVED" for event in told) == expected
        moves += expected
    assert moves


def answers_of(true, name, now):
    """Of both protocols, in any order."""
    runs = serving(true, name, now) if true.heard(now) else []
    found = [Answer(CA, run.ioc.host, run.port, run.ioc.host) for run in runs]
    found += [Answer(PVA, run.ioc.host, run.port, run.ioc.host, run.guid) for run in runs]
    true.random.shuffle(found)
    return found


def test_states_of_process_variables():
    kinds = defaultdict(int)
    for seed in SEEDS:
        true = history(seed)
        sight = OneGateway(SINCE)
        pvs = Pvs(Inventory(InventoryLimits(names=100), secret=seed), SETTINGS, sight)
        searches = [T0 + n * SEARCH_EVERY + 0.4 for n in range(int(LENGTH / SEARCH_EVERY))]
        numbers = [pvs.inventory.names.add(b"PV:%d" % name) for name in range(8)]
        told = defaultdict(list)
        edges = [(time, blind) for blind in true.blind for time in blind]
        for now in searches:
            for time, (begin, end) in [edge for edge in edges if edge[0] <= now]:
                sight.blind(*((begin,) if time == begin else (begin, end)))
            edges = [edge for edge in edges if edge[0] > now]
            for name, number in enumerate(numbers):
                found = answers_of(true, name, now)
                for event in pvs.searched(number, found, now - 0.01, now):
                    told[name].append((event.kind, event.time))
                    kinds[event.kind] += 1
        for name in range(8):
            assert told[name] == pv_told(true, name, searches), (seed, name)
    assert set(kinds) == {"FOUND", "LOST", "REAPPEARED", "DUPLICATE", "SINGLE_AGAIN", "MOVED"}
