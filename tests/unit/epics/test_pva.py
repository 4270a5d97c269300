"""PV Access datagrams: each message and each name is found once, each damage is counted."""

import struct

import numpy as np
import pytest

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode import pva
from tests import epics_pva as made
from tests.epics_packets import CLIENT, SERVER, address, batch
from tests.epics_requests import number_of, searched_pva


def decoded(*datagrams, **how):
    return pva.decode(batch(datagrams, **how))


def names(messages):
    return [messages.name(row) for row in messages.requests]


@pytest.mark.parametrize("big", [True, False])
def test_searches(big):
    long = b"L" * 300
    found = decoded(
        made.search([(1, b"A"), (2, b"SECOND:NAME"), (3, long)], 9, reply=True, big=big),
        made.search([], 10, host="10.0.0.9", port=5, unicast=True, big=big, protocols=[]),
        made.search([(4, b"FOUR")], big=big, protocols=[b"tls", b"tcp"]),
    )
    assert names(found) == [b"A", b"SECOND:NAME", long, b"FOUR"]
    assert found.requests["id"].tolist() == [1, 2, 3, 4]
    assert found.requests["of"].tolist() == [0, 0, 0, 2]
    assert found.requests["datagram"].tolist() == [0, 0, 0, 2]
    assert found.searches.tolist() == [
        (0, 9, 0, 40000, 3, True, False),
        (1, 10, address("10.0.0.9"), 5, 0, False, True),
        (2, 7, 0, 40000, 1, False, False),
    ]
    assert found.tally.counts == {
        "pva_datagrams": 3,
        "pva_messages": 3,
        "pva_searches": 3,
        "pva_discoveries": 1,
        "pva_requests": 4,
    }


@pytest.mark.parametrize("big", [True, False])
def test_responses(big):
    found = decoded(
        (SERVER, 5076, made.response([5, 6], 9, port=5070, big=big)),
        (SERVER, 5076, made.response([7], host="10.0.0.9", guid=b"h" * 12, found=False, big=big)),
    )
    assert found.responses["guid"].tolist() == [b"g" * 12, b"h" * 12]
    fields = ["search", "host", "port", "ids", "found", "named"]
    assert found.responses[fields].tolist() == [
        (9, address(SERVER), 5070, 2, True, False),
        (7, address("10.0.0.9"), 5075, 1, False, True),
    ]
    assert found.answers.tolist() == [(0, 5), (0, 6), (1, 7)]


@pytest.mark.parametrize("big", [True, False])
def test_beacons(big):
    found = decoded(
        (SERVER, 4, made.beacon(3, 700, port=5070, big=big)),
        (SERVER, 4, made.beacon(255, 1, host="10.0.0.9", port=0, guid=b"\xff" * 12, big=big)),
    ).beacons
    assert found["guid"].tolist() == [b"g" * 12, b"\xff" * 12]
    assert found[["datagram", "host", "port", "changes", "sequence"]].tolist() == [
        (0, 0, 5070, 700, 3),
        (1, address("10.0.0.9"), 5075, 1, 255),
    ]


def test_search_that_was_passed_on():
    found = decoded(made.origin("10.0.0.7") + made.search([(1, b"PV")], host="10.0.0.9"))
    assert found.origins.tolist() == [(0, address("10.0.0.7"))]
    assert names(found) == [b"PV"]


def test_an_address_of_ipv6_is_none():
    other = struct.pack(">2Q", 0x2001_0DB8_0000_0000, 0x0A00_0001)
    sent = made.search([(1, b"PV")], host="10.0.0.9").replace(made.ipv4("10.0.0.9"), other)
    assert decoded(sent).searches["host"].tolist() == [0]


GOOD = made.search([(1, b"GOOD")])


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (b"\xca\x02\x80", "pva_header_cut"),
        (b"\x00" * 8, "pva_not_pva"),
        (made.message(3, bytes(4), size=5), "pva_payload_cut"),
        (made.message(3, bytes(4), size=2**32 - 1), "pva_payload_cut"),
        (made.message(3, bytes(4), flags=0x10), "pva_segmented"),
    ],
)
def test_what_stands_before_the_damage_is_taken(damage, cause):
    found = decoded(GOOD, GOOD + damage, GOOD)
    assert names(found) == [b"GOOD"] * 3
    assert found.tally.counts[cause] == 1
    assert found.tally.examples == {cause: 1}


TWO = made.search([(1, b"FIRST"), (2, b"LAST")])


@pytest.mark.parametrize(
    ("damaged", "kept", "cause"),
    [
        (made.message(0, bytes(10)), [], "pva_message_cut"),
        (made.message(4, bytes(30)), [], "pva_message_cut"),
        (made.message(22, bytes(15)), [], "pva_message_cut"),
        (made.message(3, GOOD[8:30]), [], "pva_message_cut"),
        (made.search([(1, b"X")], protocols=[b"tcp"] * 17), [], "pva_message_cut"),
        (made.search([(1, b"X")]).replace(b"\x03tcp", b"\xfe\xff\xff\xff"), [], "pva_message_cut"),
        (made.message(3, GOOD[8:-1]), [], "pva_list_cut"),
        (made.message(3, TWO[8:-1]), [b"FIRST"], "pva_list_cut"),
        (made.message(4, made.response([1, 2])[8:-1]), [], "pva_list_cut"),
    ],
)
def test_message_that_does_not_fit_leaves_the_next_one_alone(damaged, kept, cause):
    found = decoded(damaged + GOOD)
    assert names(found) == [*kept, b"GOOD"]
    assert found.tally.counts[cause] == 1
    assert found.tally.counts["pva_messages"] == 2


def test_names_that_are_none():
    found = decoded(made.search([(1, b""), (2, b"N" * 500), (3, b"N" * 501), (4, b"LAST")]))
    assert names(found) == [b"N" * 500, b"LAST"]
    assert found.tally.counts["pva_name_empty"] == found.tally.counts["pva_name_too_long"] == 1


def test_a_size_may_be_none():
    sent = made.search([(1, b"X" * 5), (2, b"LAST")]).replace(b"\x01\x03tcp", b"\xff")
    sent = sent.replace(b"\x05XXXXX", b"\xff")
    found = decoded(sent[:7] + bytes([len(sent) - 8]) + sent[8:])
    assert names(found) == [b"LAST"]
    assert found.tally.counts["pva_name_empty"] == 1
    assert found.tally.examples == {"pva_name_empty": 0}


def test_control_and_unknown_messages_are_passed_over():
    control = made.message(2, b"", flags=1, size=0xFFFFFFFF)
    found = decoded(control + made.message(0x50, b"what") + GOOD)
    assert names(found) == [b"GOOD"]
    assert found.tally.counts["pva_control"] == found.tally.counts["pva_unknown_command"] == 1


def test_no_datagram_and_empty_ones():
    assert decoded(width=16).tally.counts == {}
    assert decoded(b"", GOOD).tally.counts["pva_header_cut"] == 1


def test_names_of_both_protocols_are_the_same():
    inventory = Inventory(InventoryLimits(names=10), secret=1)
    texts = [b"1234567", b"12345678", b"A.VAL", b"A", b"A" * 16]
    arrived = batch([(CLIENT, 9, made.search(list(enumerate(texts)), port=40001))])
    numbers = searched_pva(inventory, arrived, pva.decode(arrived)).tolist()
    assert inventory.names.names(np.array(numbers)) == [t.partition(b".")[0] for t in texts]
    assert inventory.names.number(b"12345678") == numbers[1]
    assert number_of(inventory.sources, address(CLIENT), 40001) == 1


def test_who_asks_is_whom_to_answer():
    inventory = Inventory(InventoryLimits(names=10), secret=1)
    passed_on = made.origin("127.0.0.1") + made.search([(1, b"PV")], host="10.0.0.9", port=7)
    arrived = batch([("127.0.0.1", 5076, passed_on)])
    searched_pva(inventory, arrived, pva.decode(arrived))
    assert inventory.requesters.of(0)[0][:2] == (address("10.0.0.9"), 7)
