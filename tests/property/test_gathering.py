"""Whatever is heard: summaries hold it all, by name and source, and what they leave out is counted.

Compared with plain counts of what was sent.
"""

from collections import Counter

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st

from socs.counters import EPICS_GATHERING_CONSERVATION, imbalances
from socs.counters.epics import EPICS_CA, EPICS_HEARTBEATS, EPICS_PVA
from socs.counters.epics_gateway import EPICS_GATHERING
from socs.epics import summary as s
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.gathering_settings import GatheringSettings
from tests import epics_pva
from tests.epics_packets import address, batch, beacon, request, response, version

BEGAN = 1_700_000_000.0
HOSTS = [f"10.0.0.{last}" for last in range(1, 6)]

texts = st.sampled_from([f"PV:{number}".encode() for number in range(12)])
names = (
    texts | texts.map(lambda name: name + b".VAL") | st.sampled_from([b"N" * 480, b"A", b"\xff"])
)
clients = st.tuples(st.sampled_from(HOSTS), st.sampled_from([4000, 4001]))
lists = st.lists(names, max_size=6)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ca"), st.lists(st.tuples(clients, lists), min_size=1, max_size=6)),
        st.tuples(st.just("pva"), st.lists(st.tuples(clients, lists), min_size=1, max_size=6)),
        st.tuples(st.just("take"), st.floats(0.0, 1.5)),
        st.tuples(st.just("epoch"), st.none()),
    ),
    max_size=20,
)
limits = st.builds(
    GatheringSettings,
    names=st.sampled_from([1, 3, 100]),
    new_names=st.sampled_from([1, 4, 1000]),
    sources=st.sampled_from([1, 4, 1000]),
    pairs=st.sampled_from([1, 6, 1 << 20]),
)


class Monitor:
    """What a monitor adds up from messages, in the plainest way."""

    def __init__(self):
        self.pairs, self.requests, self.datagrams = Counter(), Counter(), Counter()
        self.told = {}
        self.totals = {"requests": 0, "datagrams": 0}
        self.number = 0

    def take(self, message):
        summary = s.decode(s.encode(message))
        assert summary.number == self.number
        self.number += 1
        for place, name in enumerate(summary.names):
            assert self.told.setdefault((summary.epoch, summary.first_name + place), name) == name
        keys = [(int(row["host"]), int(row["port"])) for row in summary.sources]
        assert len(set(keys)) == len(keys)
        for row in summary.requests:
            name = self.told[summary.epoch, int(row["name"])]
            self.pairs[name, keys[row["source"]]] += int(row["count"])
        for key, row in zip(keys, summary.sources, strict=True):
            self.requests[key] += int(row["requests"])
            self.datagrams[key] += int(row["datagrams"])
        assert summary.totals == {
            "requests": self.requests.total(),
            "datagrams": self.datagrams.total(),
        }


def sent(kind, datagrams, now):
    """A batch, and the true pairs in it."""
    pairs, packets = Counter(), []
    for (host, port), asked in datagrams:
        for name in asked:
            pairs[name.partition(b".")[0], (address(host), port)] += 1
        if kind == "ca":
            contents = version() + b"".join(request(name, 7) for name in asked)
        else:
            contents = epics_pva.search([(7, name) for name in asked], port=port)
        packets.append((host, port, contents))
    return batch(packets, now), pairs


def counted(gathering):
    tables = (EPICS_CA, EPICS_PVA, EPICS_HEARTBEATS, EPICS_GATHERING)
    values = {counter.name: 0 for table in tables for counter in table}
    assert gathering.tally.counts.keys() <= values.keys()
    return values | gathering.tally.counts


@given(steps, st.just(GatheringSettings()) | limits)
def test_summaries_hold_all_requests(steps, settings):
    gathering = Gathering(settings, gateway="g", boot="b", began=BEGAN, secret=1)
    monitor, pairs, datagrams = Monitor(), Counter(), Counter()
    now = BEGAN
    for kind, what in steps:
        if kind == "take":
            now += what
            for message in gathering.take(now):
                monitor.take(message)
        elif kind == "epoch":
            gathering.begin_epoch()
        else:
            heard, true = sent(kind, what, now)
            getattr(gathering, kind)(heard)
            pairs += true
            datagrams.update((address(host), port) for (host, port), asked in what if asked)
    for message in gathering.take(now):
        monitor.take(message)

    counts = counted(gathering)
    assert not imbalances(counts, EPICS_GATHERING_CONSERVATION)
    requests = Counter()
    for (_, source), amount in pairs.items():
        requests[source] += amount
    assert monitor.requests.total() == requests.total()
    assert monitor.datagrams.total() == datagrams.total()
    assert monitor.requests[0, 0] == counts["requests_sourceless"]
    nameless = counts["requests_nameless_fast"] + counts["requests_nameless_full"]
    assert monitor.pairs.total() == requests.total() - nameless
    event(f"without a name: {bool(nameless)}, without a source: {bool(monitor.requests[0, 0])}")
    if not counts["requests_sourceless"]:
        assert monitor.requests == requests
        assert monitor.datagrams == datagrams
        assert monitor.pairs <= pairs
        if not nameless:
            assert monitor.pairs == pairs


anything = st.lists(
    st.binary(max_size=60)
    | names.map(request)
    | st.integers(0, 9).map(beacon)
    | st.integers(0, 9).map(response)
    | st.integers(0, 9).map(lambda number: epics_pva.response([number]))
    | st.integers(0, 9).map(epics_pva.beacon)
    | st.just(b'{"seq":"7","sp":"5064","up":"1","cur":"1","pid":"1","cwd":"","ver":"2.0",'
              b'"img":"","stcmd":""}'),
    max_size=8,
)  # fmt: skip
ways = st.sampled_from(["ca", "beacons", "pva", "heartbeats", "alive"])


@given(st.lists(st.tuples(ways, anything), max_size=8), st.sampled_from([1, 3, 8192]))
def test_any_bytes_are_told_or_counted(heard, rows):
    settings = GatheringSettings(rows=rows)
    gathering = Gathering(settings, gateway="g", boot="b", began=BEGAN, secret=1)
    for way, datagrams in heard:
        if datagrams:
            getattr(gathering, way)(batch(datagrams, BEGAN))
    (summary,) = gathering.take(BEGAN + 1)
    counts = counted(gathering)
    assert not imbalances(counts, EPICS_GATHERING_CONSERVATION)
    assert counts["ca_datagrams"] + counts["pva_datagrams"] + counts["heartbeat_datagrams"] == sum(
        len(datagrams) for _, datagrams in heard
    )
    s.decode(s.encode(summary))
    assert len(summary.beats) == counts["heartbeat_decoded"] + counts["alive_decoded"]
    told = len(summary.ca_beacons) + len(summary.pva_beacons)
    assert told == counts["beacons_gathered"] <= 2 * rows
    faults = {counter.name for counter in EPICS_CA + EPICS_PVA if counter.action}
    assert faults & {name for name, amount in counts.items() if amount} <= gathering.faults.keys()
    assert np.array_equal(summary.answers, np.zeros(0, s.ANSWERS))
