"""What real servers and clients sent on loopback, recorded once.

EPICS 7.0.10 by softioc 4.7.2 (TST, two starts) and caproto 1.3.0 as servers; libca by pyepics 3.5,
caproto and p4p 4.3 as clients. Each line of the file is a datagram: seconds, sender, receiver, hex.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode import ca, pva
from socs.epics.track.beacons import Beacons
from socs.epics.track.events import CA, PVA
from socs.epics.track.settings import TrackSettings
from tests.epics_packets import address, batch
from tests.epics_requests import searched_ca, searched_pva
from tests.one_gateway import OneGateway

FILE = Path(__file__).parents[2] / "captures" / "epics_loopback.jsonl"
LINES = [json.loads(line) for line in FILE.read_text().splitlines()]
CA_PORTS, PVA_PORTS = {5064, 5065}, {5076}
T0 = 1_700_000_000.0


def recorded(ports):
    return [
        (line["t"], (line["src"], line["sport"], bytes.fromhex(line["hex"])))
        for line in LINES
        if ports & {line["sport"], line["dport"]}
    ]


def arrived(ports):
    return batch([datagram for _, datagram in recorded(ports)])


def test_channel_access():
    datagrams = arrived(CA_PORTS)
    found = ca.decode(datagrams)
    assert not found.tally.examples
    asked = Counter(found.name(row) for row in found.requests)
    assert asked == {b"TST:PV00001": 1, b"TST:PV00002": 1, b"TST:NOPE": 10}
    assert found.responses[["host", "port"]].tolist() == [(address("127.0.0.1"), 5064)] * 2
    cids = found.requests["cid"][[0, 8]].tolist()
    assert found.responses["cid"].tolist() == cids
    assert found.tally.counts["ca_repeater"] == 2
    assert found.tally.counts["ca_versions"] == 14


def test_pv_access():
    found = pva.decode(arrived(PVA_PORTS))
    assert not found.tally.examples
    names = [found.name(row) for row in found.requests]
    assert names == [b"TST:PV00001"] + [b"TST:NOPE", b"TST:NOPE:LONGER.VAL"] * 3
    assert found.responses[["port", "ids", "found"]].tolist() == [(5075, 1, True)]
    assert found.answers["id"].tolist() == found.requests["id"][:1].tolist()
    assert found.beacons["sequence"].tolist() == [0, 1, 0, 1]
    assert len(set(found.beacons["guid"].tolist())) == 2


def test_accounting():
    inventory = Inventory(InventoryLimits(names=10), secret=1)
    searched_ca(inventory, arrived(CA_PORTS), ca.decode(arrived(CA_PORTS)))
    searched_pva(inventory, arrived(PVA_PORTS), pva.decode(arrived(PVA_PORTS)))
    asked = {
        name: int(inventory.asked[inventory.names.number(name)].sum())
        for name in (b"TST:PV00001", b"TST:PV00002", b"TST:NOPE", b"TST:NOPE:LONGER")
    }
    assert list(asked.values()) == [2, 1, 13, 3]
    clients = inventory.requesters.of(inventory.names.number(b"TST:NOPE"))
    assert sorted(r.requests for r in clients) == [3, 3, 7]


@pytest.mark.parametrize("protocol", [CA, PVA])
def test_each_start_is_one_event(protocol):
    beacons = Beacons(TrackSettings(("127.0.0.0/8",)), OneGateway(T0 - 1000))
    told = []
    for time, datagram in recorded(CA_PORTS if protocol == CA else PVA_PORTS):
        one = batch([datagram])
        if protocol == CA:
            told += beacons.feed_ca(ca.decode(one).beacons, one.hosts, T0 + time)
        else:
            told += beacons.feed_pva(pva.decode(one).beacons, one.hosts, T0 + time)
        told += beacons.tick(T0 + time)
    if protocol == CA:
        (other,) = {port for _, _, port in beacons.servers} - {5064}
        expected = [("NEW", 5064), ("RESTARTED", 5064), ("NEW", other)]
    else:
        expected = [("NEW", 5075), ("RESTARTED", 5075)]
    assert [(event.kind, event.port) for event in told] == expected
