"""Channel Access datagrams: each message is found once, each damage is counted by its cause."""

import numpy as np
import pytest

from socs.epics.decode import ca
from tests.epics_packets import (
    CLIENT,
    SERVER,
    address,
    batch,
    beacon,
    message,
    request,
    response,
    version,
)


def decoded(*datagrams, **how):
    return ca.decode(batch(datagrams, **how))


def names(messages):
    return [messages.name(row) for row in messages.requests]


def test_several_messages_in_several_datagrams_in_the_order_of_arrival():
    found = decoded(
        version(7) + request(b"A", 1) + request(b"LONGER:NAME", 2, reply=True),
        request(b"B:12345", 3, minor=11),
    )
    assert names(found) == [b"A", b"LONGER:NAME", b"B:12345"]
    assert found.requests["datagram"].tolist() == [0, 0, 1]
    assert found.requests["cid"].tolist() == [1, 2, 3]
    assert found.requests["reply"].tolist() == [False, True, False]
    assert found.requests["minor"].tolist() == [13, 13, 11]
    assert found.requests["size"].tolist() == [8, 16, 8]
    assert found.tally.counts == {
        "ca_datagrams": 2,
        "ca_messages": 4,
        "ca_requests": 3,
        "ca_versions": 1,
    }
    assert found.tally.examples == {}


def test_request_of_one_word_is_told_from_a_response():
    found = decoded(request(b"SEVEN:7") + response(9, port=5064))
    assert names(found) == [b"SEVEN:7"]
    assert found.responses["cid"].tolist() == [9]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (response(1, port=5070), (SERVER, 5070, False)),
        (response(1, port=5070, host=address("10.9.9.9")), ("10.9.9.9", 5070, True)),
        (response(1, port=5070, host=0), (SERVER, 5070, False)),
        (response(1, port=5070, host=address("10.9.9.9"), minor=7), (SERVER, 5070, False)),
        (response(1, port=5070, host=address("10.9.9.9"), minor=4), (SERVER, 5064, False)),
        (response(1, port=5070, minor=None), (SERVER, 5064, False)),
    ],
)
def test_where_a_response_says_the_server_is(sent, expected):
    found = decoded((SERVER, 5064, version() + sent)).responses
    host, port, named = expected
    assert found[["host", "port", "named"]].tolist() == [(address(host), port, named)]
    assert found["cid"].tolist() == [1]


def test_beacons():
    found = decoded(
        (SERVER, 5064, beacon(0)),
        (SERVER, 5064, beacon(2**32 - 1, port=0, host=address("10.9.9.9"))),
    ).beacons
    assert found.tolist() == [(0, 0, 0, 5064, 13), (1, 2**32 - 1, address("10.9.9.9"), 5064, 13)]


def test_what_says_only_that_it_was_there():
    found = decoded(
        b"",
        message(24, p2=address(CLIENT)),
        message(17, p2=address(CLIENT)) + message(14, kind=10, count=13, p1=5, p2=5),
        message(11, p1=5, payload=bytes(24)),
    )
    assert found.tally.counts == {
        "ca_datagrams": 4,
        "ca_registrations": 1,
        "ca_messages": 4,
        "ca_repeater": 2,
        "ca_not_found": 1,
        "ca_errors": 1,
    }


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (b"\0", "ca_header_cut"),
        (bytes(8), "ca_header_cut"),
        (bytes(15), "ca_header_cut"),
        (message(6, kind=5, count=13, payload=b"A" * 12), "ca_misaligned"),
        (request(b"CUT:HERE")[:-8], "ca_payload_cut"),
        (request(b"CUT:HERE")[:-1], "ca_payload_cut"),
        (b"\0\x06\xff\xff\0\x05\0\0" + bytes(8) + bytes(8), "ca_extended_header"),
        (b"\0\x06\xff\xf8\0\x05\0\x0d" + bytes(8), "ca_payload_cut"),
    ],
)
def test_what_stands_before_the_damage_is_taken(damage, cause):
    found = decoded(request(b"FIRST"), version() + request(b"BEFORE") + damage, request(b"LAST"))
    assert names(found) == [b"FIRST", b"BEFORE", b"LAST"]
    assert found.tally.counts[cause] == 1
    assert found.tally.examples == {cause: 1}
    assert sum(found.tally.counts.values()) == 3 + 4 + 3 + 1 + 1


def test_names_that_are_none():
    empty = message(6, kind=5, count=13)
    longest = request(b"N" * 500)
    found = decoded(empty, longest, request(b"N" * 508), message(6, kind=77, count=3))
    assert names(found) == [b"N" * 500]
    counts = found.tally.counts
    assert counts["ca_name_empty"] == counts["ca_name_too_long"] == counts["ca_search_unclear"] == 1
    assert found.tally.examples == {
        "ca_name_empty": 0,
        "ca_name_too_long": 2,
        "ca_search_unclear": 3,
    }


def test_unknown_commands_are_passed_over():
    found = decoded(message(999, payload=bytes(16)) + request(b"AFTER"))
    assert names(found) == [b"AFTER"]
    assert found.tally.counts["ca_unknown_command"] == 1


@pytest.mark.parametrize("width", [64, 65, 71, 1500])
def test_rows_of_any_width(width):
    found = decoded(version() + request(b"A:NAME"), request(b"ANOTHER:ONE"), width=width)
    assert names(found) == [b"A:NAME", b"ANOTHER:ONE"]


def test_rows_that_are_not_in_a_row():
    whole = batch([request(b"ONE"), request(b"TWO"), request(b"THREE")])
    whole.data, whole.sizes = whole.data[::2], whole.sizes[::2]
    whole.hosts, whole.ports = whole.hosts[::2], whole.ports[::2]
    found = ca.decode(whole)
    assert names(found) == [b"ONE", b"THREE"]


def test_size_beyond_the_row_is_not_believed():
    cut = batch([request(b"A" * 40)])
    cut.data = np.ascontiguousarray(cut.data[:, :32])
    assert ca.decode(cut).tally.counts["ca_payload_cut"] == 1


def test_no_datagram_at_all():
    found = ca.decode(batch([], width=16))
    assert (len(found.requests), found.tally.counts) == (0, {})
