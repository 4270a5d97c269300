"""Any bytes from any sender are decoded, or counted: compared with a plain loop."""

import random
import struct
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from socs.counters import EPICS_CONSERVATION
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode import ca
from tests.epics_packets import address, batch, beacon, message, request, response, version
from tests.epics_requests import searched_ca

names = st.binary(max_size=40) | st.sampled_from([b"A", b"PV:ONE", b"PV:ONE.VAL", b"N" * 499])
numbers = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**32 - 1])
shorts = st.integers(0, 2**16 - 1) | st.sampled_from([0, 5, 10, 13, 8, 0xFFFF])
messages = (
    st.builds(request, names, numbers, reply=st.booleans())
    | st.builds(response, numbers, port=shorts, host=numbers, minor=shorts | st.none())
    | st.builds(beacon, numbers, port=shorts, host=numbers)
    | st.builds(version, numbers, known=st.booleans())
    | st.builds(
        message,
        st.sampled_from([0, 6, 11, 13, 14, 17, 24, 25, 999]),
        kind=shorts,
        count=shorts,
        p1=numbers,
        p2=numbers,
        payload=st.binary(max_size=32),
    )
)
whole = st.lists(messages, max_size=8).map(b"".join)


@st.composite
def damaged(draw):
    contents = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3)) if contents else 0):
        at = draw(st.integers(0, len(contents) - 1))
        contents[at : at + 2] = draw(st.binary(min_size=2, max_size=2))
    return bytes(contents[: draw(st.integers(0, len(contents)))])


datagrams = st.lists(whole | damaged() | st.binary(max_size=80), max_size=8)


def expected(contents: bytes):
    """(counter, ...) of each message of a datagram, one after the other, with struct."""
    at = 0
    if not contents:
        yield ("ca_registrations",)
    while at < len(contents):
        if at + 16 > len(contents):
            yield ("ca_header_cut",)
            return
        command, size, kind, count, p1, p2 = struct.unpack_from(">HHHHII", contents, at)
        if size == 0xFFFF and count == 0:
            yield ("ca_extended_header",)
            return
        if size % 8:
            yield ("ca_misaligned",)
            return
        if at + 16 + size > len(contents):
            yield ("ca_payload_cut",)
            return
        payload = contents[at + 16 : at + 16 + size]
        at += 16 + size
        if command == 6:
            yield search(kind, count, p1, p2, payload)
        elif command == 13:
            yield "ca_beacons", p1, p2, count or 5064, kind
        elif command == 0:
            yield ("ca_versions",)
        elif command in (11, 14, 17, 24):
            yield ({11: "ca_errors", 14: "ca_not_found"}.get(command, "ca_repeater"),)
        else:
            yield ("ca_unknown_command",)


def search(kind, count, p1, p2, payload):
    if kind in (5, 10):
        if not payload:
            return ("ca_name_empty",)
        if len(payload) > 508:
            return ("ca_name_too_long",)
        return "ca_requests", payload.partition(b"\0")[0], p1, count, kind == 10
    if count or len(payload) > 8:
        return ("ca_search_unclear",)
    minor = struct.unpack_from(">H", payload)[0] if payload else 0
    named = minor >= 8 and p1 not in (0, 0xFFFFFFFF)
    host = p1 if named else address("10.0.0.1")
    return "ca_responses", p2, host, kind if minor >= 5 and kind else 5064, minor, named


def check(contents: list[bytes]) -> None:
    found = ca.decode(batch(contents))
    outcomes = [(row, *each) for row, c in enumerate(contents) for each in expected(c)]
    counted = Counter(cause for _, cause, *_ in outcomes)
    of_messages = EPICS_CONSERVATION[0].parts
    whole = sum(counted[name] for name in of_messages)
    totals = {"ca_datagrams": len(contents), "ca_messages": whole}
    assert found.tally.counts == {k: n for k, n in (totals | counted).items() if n}
    for cause, row in found.tally.examples.items():
        assert row == min(row for row, each, *_ in outcomes if each == cause)

    def of(*causes):
        return [(row, *rest) for row, cause, *rest in outcomes if cause in causes]

    requests = found.requests
    assert of("ca_requests") == [
        (row, found.name(request), cid, minor, reply)
        for row, request, cid, minor, reply in zip(
            requests["datagram"],
            requests,
            requests["cid"],
            requests["minor"],
            requests["reply"],
            strict=True,
        )
    ]
    assert found.responses.tolist() == of("ca_responses")
    assert found.beacons.tolist() == of("ca_beacons")


@given(datagrams)
def test_any_datagrams(contents):
    check(contents)


@given(datagrams, st.integers(1, 4))
def test_any_names_are_accounted_for(contents, most):
    inventory = Inventory(InventoryLimits(names=most, sources=1, requesters=1), secret=0)
    arrived = batch(contents)
    found = ca.decode(arrived)
    given_numbers = searched_ca(inventory, arrived, found)
    names = [found.name(request).partition(b".")[0] for request in found.requests]
    for name, number in zip(names, given_numbers.tolist(), strict=True):
        if number >= 0 and len(name) % 8 != 0:  # the last byte of a name without NUL is cut off
            assert inventory.names.name(number) == name
    assert sum(inventory.counts.values()) - inventory.counts["names_new"] == len(names)
    assert len(inventory) <= most


def test_random_damage_of_real_traffic():
    rnd = random.Random(3)
    good = [
        version(9) + request(b"LINAC:BPM:01:X", 1) + request(b"RF:PHASE", 2),
        version(9) + response(1, port=45001),
        beacon(12, port=45001),
    ]
    for _ in range(300):
        contents = []
        for _ in range(30):
            datagram = bytearray(rnd.choice(good))
            for _ in range(rnd.randint(0, 4)):
                datagram[rnd.randrange(len(datagram))] = rnd.choice(
                    [0, 6, 8, 255, rnd.randrange(256)]
                )
            contents.append(bytes(datagram[: rnd.randint(0, len(datagram) + 8)]))
        check(contents)
