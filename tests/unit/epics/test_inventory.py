"""Accounting: each request counts once for its name, its source and the pair of both."""

import random
from collections import Counter

import numpy as np
import pytest

from socs.counters import EPICS_ACCOUNTS, EPICS_CONSERVATION, EPICS_TRACKS, imbalances
from socs.epics.accounts import inventory as accounts
from socs.epics.accounts.inventory import UNKNOWN, Asking, Inventory, InventoryLimits
from socs.epics.accounts.sources import SourceClasses, Sources, keys_of
from socs.epics.decode import ca
from socs.epics.track import applications, beacons, pvs
from socs.errors import ConfigError
from tests.epics_packets import RECEIVED, address, batch, request, version
from tests.epics_requests import number_of, searched_ca

SMALL = InventoryLimits(names=1000, sources=50, requesters=3)
CLASSES = SourceClasses({"archiver": ["10.1.0.0/16"], "gateway": ["10.1.2.3", "10.2.0.1"]})


def feed(inventory, *datagrams, now=RECEIVED):
    arrived = batch(datagrams, now)
    return searched_ca(inventory, arrived, ca.decode(arrived)).tolist()


def test_counts_by_name_source_and_class():
    inventory = Inventory(SMALL, classes=CLASSES, secret=1)
    client, archiver = ("10.0.0.1", 4000), ("10.1.9.9", 4001)
    numbers = feed(
        inventory,
        (*client, version() + request(b"A") + request(b"B") + request(b"A")),
        (*archiver, request(b"A")),
        (*client, request(b"A.VAL")),
    )
    a, b = numbers[0], numbers[1]
    assert numbers == [a, b, a, a, a]
    assert inventory.asked[[a, b]].tolist() == [[3, 1, 0], [1, 0, 0]]
    found = inventory.requesters.of(a)
    assert {(r.host, r.port): r.requests for r in found} == {
        (address(client[0]), 4000): 3,
        (address(archiver[0]), 4001): 1,
    }
    assert found[0].last == RECEIVED
    number = number_of(inventory.sources, address(client[0]), 4000)
    assert inventory.sources.datagrams[number] == 2
    assert inventory.sources.requests[number] == 4
    assert inventory.sources.classed[number] == 0
    assert inventory.counts == {
        "requests_valid": 5,
        "requests_invalid": 0,
        "requests_not_kept": 0,
        "requests_unknown": 0,
        "names_new": 2,
    }


def test_datagrams_without_requests_do_not_count():
    inventory = Inventory(SMALL, secret=1)
    feed(
        inventory, ("10.0.0.1", 1, request(b"A")), ("10.0.0.1", 1, version()), ("10.0.0.2", 2, b"")
    )
    assert len(inventory.sources) == 1
    assert inventory.sources.datagrams[number_of(inventory.sources, address("10.0.0.1"), 1)] == 1


def test_nobodys_requests_are_those_of_all_others():
    inventory = Inventory(SMALL, secret=1)
    (a,) = feed(inventory, ("0.0.0.0", 0, request(b"A")))
    assert (len(inventory.sources), inventory.requesters.of(a)) == (0, [])
    assert (inventory.sources.requests[0], inventory.asked[a, 0]) == (1, 1)


def summed(inventory, sources, rows, now=RECEIVED):
    """Account for rows of a summary: (host, port, datagrams, requests), (number, row, count)."""
    hosts, ports, datagrams, requests = np.array(sources, np.int64).reshape(-1, 4).T
    keys = keys_of(hosts.astype(np.uint32), ports.astype(np.uint16))
    numbers, whose, amounts = np.array(rows, np.int64).reshape(-1, 3).T
    asking = Asking(keys, datagrams, requests)
    inventory.account(asking, numbers, whose, amounts, now)


def test_requests_that_were_added_up_count_as_often():
    inventory = Inventory(SMALL, secret=1)
    a, b = inventory.names.add(b"A"), inventory.names.add(b"B$")
    one, two = (5, 1, 3, 65_540), (6, 2, 1, 7)
    summed(
        inventory,
        [one, two, one],
        [(a, 0, 65_535), (a, 2, 5), (b, 1, 2), (UNKNOWN, 1, 4), (-1, 1, 1)],
    )
    assert inventory.asked[[a, b], 0].tolist() == [65_540, 2]
    assert [(r.host, r.requests) for r in inventory.requesters.of(a)] == [(5, 65_540)]
    number = number_of(inventory.sources, 5, 1)
    assert inventory.sources.requests[number] == 2 * 65_540
    assert inventory.sources.datagrams[number] == 6
    assert inventory.sources.invalid[number_of(inventory.sources, 6, 2)] == 2
    assert {key: n for key, n in inventory.counts.items() if n} == {
        "requests_valid": 65_540,
        "requests_invalid": 2,
        "requests_unknown": 4,
        "requests_not_kept": 65_540 + 1,
    }
    summed(inventory, [], [])
    summed(inventory, [(7, 7, 1, 3)], [])
    assert inventory.counts["requests_not_kept"] == 65_540 + 1 + 3


def test_first_and_last_time():
    inventory = Inventory(SMALL, secret=1)
    (a,) = feed(inventory, request(b"A"), now=1000.5)
    feed(inventory, request(b"A"), now=1002.25)
    assert (inventory.first_asked[a], inventory.last_asked[a]) == (1000.5, 1002.25)


def test_invalid_names_count_for_their_source():
    inventory = Inventory(SMALL, secret=1)
    feed(inventory, ("10.0.0.1", 4000, request(b"A$(P)") + request(b"B")))
    assert inventory.sources.invalid[number_of(inventory.sources, address("10.0.0.1"), 4000)] == 1
    assert (inventory.counts["requests_valid"], inventory.counts["requests_invalid"]) == (1, 1)


def test_who_asked_longest_ago_makes_room():
    inventory = Inventory(SMALL, secret=1)
    for port, now in ((1, 10), (2, 20), (3, 30), (1, 40), (4, 50)):
        (a,) = feed(inventory, ("10.0.0.1", port, request(b"A")), now=now)
    assert [(r.port, r.requests) for r in inventory.requesters.of(a)] == [(4, 1), (1, 2), (3, 1)]
    assert inventory.requesters.displaced[a] == 1


def test_more_new_sources_than_places_in_one_batch():
    inventory = Inventory(SMALL, secret=1)
    senders = [("10.0.0.1", port, request(b"A") + request(b"B")) for port in range(1, 11)]
    a, b = feed(inventory, *senders)[:2]
    for number in (a, b):
        assert len({r.port for r in inventory.requesters.of(number)}) == 3
        assert inventory.requesters.displaced[number] == 7
    assert inventory.asked[[a, b], 0].tolist() == [10, 10]


def test_what_a_source_asked_for():
    inventory = Inventory(SMALL, secret=1)
    a, b, _ = feed(
        inventory,
        ("10.0.0.1", 1, request(b"A") + request(b"B")),
        ("10.0.0.2", 2, request(b"C")),
    )
    host = address("10.0.0.1")
    assert inventory.requesters.asked_by(host, inventory.end).tolist() == sorted([a, b])
    assert inventory.requesters.asked_by(host, inventory.end, 2).tolist() == []


def test_without_room_nothing_is_lost_but_the_name():
    inventory = Inventory(InventoryLimits(names=5, sources=3, requesters=2), secret=1)
    for port in range(1, 11):
        feed(inventory, ("10.0.0.1", port, request(b"N%d" % port) + request(b"SAME")))
    assert len(inventory) == 5
    assert inventory.counts == {
        "requests_valid": 14,
        "requests_invalid": 0,
        "requests_not_kept": 6,
        "requests_unknown": 0,
        "names_new": 5,
    }
    sources = inventory.sources
    assert len(sources) == 3
    assert sources.requests[: sources.end].tolist() == [14, 2, 2, 2]
    assert sources.datagrams[: sources.end].tolist() == [7, 1, 1, 1]


def test_forgetting():
    inventory = Inventory(SMALL, secret=1)
    a, b = feed(inventory, request(b"A") + request(b"B"), now=100)
    feed(inventory, request(b"B"), now=200)
    assert inventory.idle(150).tolist() == [a]
    inventory.forget(inventory.idle(150))
    assert len(inventory) == 1
    assert inventory.names.number(b"A") == -1
    (again,) = feed(inventory, request(b"C"), now=300)
    assert again == a
    assert (inventory.first_asked[again], int(inventory.asked[again].sum())) == (300, 1)
    assert len(inventory.requesters.of(again)) == 1
    assert inventory.first_asked[b] == 100


def test_what_is_only_asked_for():
    inventory = Inventory(SMALL, secret=1)
    old, served, told, searched, again = feed(
        inventory, b"".join(map(request, (b"A", b"B", b"C", b"D", b"E"))), now=100
    )
    inventory.last_seen[served] = 1
    inventory.host[told] = 1
    inventory.searched[searched] = 200
    feed(inventory, request(b"E"), now=200)
    assert inventory.only_asked(150).tolist() == [old]
    assert inventory.only_asked(250).tolist() == [old, searched, again]
    inventory.forget(np.array([old]))
    assert inventory.only_asked(150).tolist() == []


def test_sources_are_forgotten_when_idle():
    sources = Sources(10, CLASSES)
    hosts = np.array([address("10.0.0.1"), address("10.1.0.1")], np.uint32)
    keys = keys_of(hosts, np.array([1, 2], np.uint16))
    one = np.ones(1, np.int64)
    sources.add(sources.numbers(keys[:1], 100), one, one, one, 100)
    sources.add(sources.numbers(keys[1:], 200), one, 5 * one, one, 200)
    assert sources.forget(150) == 1
    assert number_of(sources, int(hosts[0]), 1) == 0
    kept = number_of(sources, int(hosts[1]), 2)
    assert (kept, int(sources.requests[kept]), int(sources.classed[kept])) == (1, 5, 1)
    assert sources.numbers(keys[:1], 300).tolist() == [2]


def test_against_plain_counting():
    rnd = random.Random(5)
    inventory = Inventory(
        InventoryLimits(names=5000, sources=500, requesters=64), classes=CLASSES, secret=9
    )
    pairs: Counter[tuple[bytes, str, int]] = Counter()
    sources: Counter[tuple[str, int]] = Counter()
    for number in range(30):
        datagrams = []
        for _ in range(rnd.randint(0, 40)):
            host, port = f"10.{rnd.randint(0, 2)}.0.{rnd.randint(1, 4)}", rnd.randint(1, 4)
            asked = [b"PV:%d" % rnd.randint(0, 300) for _ in range(rnd.randint(0, 9))]
            for name in asked:
                pairs[name, host, port] += 1
                sources[host, port] += 1
            fields = [name + rnd.choice([b"", b"", b".VAL"]) for name in asked]
            datagrams.append((host, port, version() + b"".join(map(request, fields))))
        feed(inventory, *datagrams, now=RECEIVED + number)
    found = {
        (inventory.names.name(number), r.host, r.port): r.requests
        for number in range(inventory.end)
        for r in inventory.requesters.of(number)
    }
    assert found == {(name, address(host), port): n for (name, host, port), n in pairs.items()}
    assert not inventory.requesters.displaced.any()
    for (host, port), amount in sources.items():
        assert (
            inventory.sources.requests[number_of(inventory.sources, address(host), port)] == amount
        )
    by_class = [0, 0, 0]
    for (_, host, _), amount in pairs.items():
        by_class[2 if host == "10.2.0.1" else host.startswith("10.1.")] += amount
    assert inventory.asked.sum(axis=0).tolist() == by_class


def test_first_class_that_fits():
    hosts = np.array([address(h) for h in ("10.1.2.3", "10.2.0.1", "10.3.0.1")], np.uint32)
    assert CLASSES.names == ("client", "archiver", "gateway")
    assert CLASSES.of(hosts).tolist() == [1, 2, 0]


@pytest.mark.parametrize("networks", [{"client": ["10.0.0.0/8"]}, {"a": []}, {"a": ["x"]}])
def test_classes_that_are_wrong(networks):
    with pytest.raises(ConfigError):
        SourceClasses(networks)


def test_all_counts_are_counters():
    tables = (EPICS_ACCOUNTS, EPICS_TRACKS)
    counted = {*accounts.COUNTS, *applications.COUNTS, *beacons.COUNTS, *pvs.COUNTS}
    assert {counter.name for table in tables for counter in table} == counted


def test_requests_and_messages_are_conserved():
    inventory = Inventory(SMALL, secret=1)
    arrived = batch(
        [version() + request(b"A") + request(b"B$"), b"\0", request(b"C") + request(b"")]
    )
    found = ca.decode(arrived)
    searched_ca(inventory, arrived, found)
    values = Counter(found.tally.counts) + Counter(inventory.counts)
    held = [equation for equation in EPICS_CONSERVATION if "beacons_taken" not in equation.parts]
    assert imbalances(values, held) == {}
    assert values["ca_requests"] == 4
