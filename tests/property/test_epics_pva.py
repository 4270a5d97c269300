"""Any bytes are decoded as PV Access, or counted: compared with a plain loop."""

import random
import struct
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.decode import pva
from tests import epics_pva as made
from tests.epics_packets import address, batch
from tests.epics_requests import searched_pva

numbers = st.integers(0, 2**32 - 1)
ports = st.integers(0, 2**16 - 1)
hosts = st.sampled_from([None, "10.0.0.9", "0.0.0.0", "255.255.255.255"])
names = st.binary(max_size=20) | st.sampled_from([b"PV:ONE", b"N" * 253, b"N" * 254, b"N" * 501])
guids = st.binary(min_size=12, max_size=12)
big = st.booleans()
messages = (
    st.builds(
        made.search,
        st.lists(st.tuples(numbers, names), max_size=5),
        numbers,
        reply=st.booleans(),
        unicast=st.booleans(),
        host=hosts,
        port=ports,
        protocols=st.lists(st.sampled_from([b"tcp", b"tls", b""]), max_size=3),
        big=big,
    )
    | st.builds(
        made.response,
        st.lists(numbers, max_size=5),
        numbers,
        guid=guids,
        host=hosts,
        port=ports,
        found=st.booleans(),
        big=big,
    )
    | st.builds(
        made.beacon, st.integers(0, 255), ports, guid=guids, host=hosts, port=ports, big=big
    )
    | st.builds(made.origin, st.sampled_from(["10.0.0.9", "0.0.0.0"]))
    | st.builds(
        made.message,
        st.sampled_from([0, 1, 3, 4, 0x16, 0x50]),
        st.binary(max_size=60),
        big=big,
        flags=st.sampled_from([0, 1, 0x10, 0x20, 0x40]),
    )
)
whole = st.lists(messages, max_size=4).map(b"".join)


@st.composite
def damaged(draw):
    contents = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3)) if contents else 0):
        at = draw(st.integers(0, len(contents) - 1))
        contents[at] = draw(st.sampled_from([0, 1, 0xCA, 254, 255]) | st.integers(0, 255))
    return bytes(contents[: draw(st.integers(0, len(contents)))])


datagrams = st.lists(whole | damaged() | st.binary(max_size=60), max_size=6)


class Short(Exception):
    """There is not enough."""


class Reader:
    """One message, field by field."""

    def __init__(self, contents: bytes, order: str) -> None:
        self.rest, self.order = contents, order

    def take(self, count: int) -> bytes:
        if count > len(self.rest):
            raise Short
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def number(self, code: str) -> int:
        return struct.unpack(self.order + code, self.take(struct.calcsize("=" + code)))[0]

    def size(self) -> int:
        first = self.number("B")
        return self.number("I") if first == 254 else 0 if first == 255 else first

    def host(self) -> int:
        octets = self.take(16)
        mapped = octets[:12] in {bytes(12), bytes(10) + b"\xff\xff"}
        return int.from_bytes(octets[12:], "big") if mapped else 0


def expected(contents: bytes):
    """(counter, ...) of everything in a datagram."""
    if not contents:
        yield ("pva_header_cut",)
    while contents:
        if len(contents) < 8:
            yield ("pva_header_cut",)
            return
        magic, _, flags, command = contents[:4]
        if magic != 0xCA:
            yield ("pva_not_pva",)
            return
        order = ">" if flags & 0x80 else "<"
        (size,) = struct.unpack(order + "I", contents[4:8])
        if flags & 0x30:
            yield ("pva_segmented",)
            return
        size = 0 if flags & 1 else size
        if size > len(contents) - 8:
            yield ("pva_payload_cut",)
            return
        yield ("pva_messages",)
        reader, contents = Reader(contents[8 : 8 + size], order), contents[8 + size :]
        read = {0: beacon, 3: search, 4: response, 0x16: origin}.get(command)
        if flags & 1:
            yield ("pva_control",)
        elif read is None:
            yield ("pva_unknown_command",)
        else:
            try:
                yield from read(reader)
            except Short:
                yield ("pva_message_cut",)


def beacon(reader):
    guid, _, sequence, changes = (
        reader.take(12),
        reader.take(1),
        reader.number("B"),
        reader.number("H"),
    )
    host, port = reader.host(), reader.number("H")
    reader.take(reader.size())
    yield "pva_beacons", host, port or 5075, changes, sequence, guid


def search(reader):
    number, flags, _, host = reader.number("I"), reader.number("B"), reader.take(3), reader.host()
    port, protocols = reader.number("H"), reader.size()
    if protocols > 16:
        raise Short
    for _ in range(protocols):
        reader.take(reader.size())
    count = reader.number("H")
    yield "pva_searches", number, host, port, count, bool(flags & 1), bool(flags & 0x80)
    if not count:
        yield ("pva_discoveries",)
    for _ in range(count):
        try:
            cid = reader.number("I")
            name = reader.take(reader.size())
        except Short:
            yield ("pva_list_cut",)
            return
        if not name:
            yield ("pva_name_empty",)
        elif len(name) > 500:
            yield ("pva_name_too_long",)
        else:
            yield "pva_requests", cid, name


def response(reader):
    guid, number, host, port = (
        reader.take(12),
        reader.number("I"),
        reader.host(),
        reader.number("H"),
    )
    reader.take(reader.size())
    found, count = reader.number("B"), reader.number("H")
    yield (
        "pva_responses",
        number,
        host or address("10.0.0.1"),
        port or 5075,
        count,
        bool(found),
        bool(host),
        guid,
    )
    for _ in range(count):
        if len(reader.rest) < 4:
            yield ("pva_list_cut",)
            return
        yield "answer", reader.number("I")


def origin(reader):
    yield "pva_origins", reader.host()


def check(contents: list[bytes]) -> None:
    found = pva.decode(batch(contents))
    outcomes = [(row, *each) for row, c in enumerate(contents) for each in expected(c)]
    counted = Counter(cause for _, cause, *_ in outcomes if cause != "answer")
    totals = {"pva_datagrams": len(contents)} if contents else {}
    assert found.tally.counts == totals | counted
    for cause, row in found.tally.examples.items():
        assert row == min(row for row, each, *_ in outcomes if each == cause)

    def of(wanted):
        return [(row, *rest) for row, cause, *rest in outcomes if cause == wanted]

    assert found.searches.tolist() == of("pva_searches")
    assert found.responses.tolist() == of("pva_responses")
    assert found.beacons.tolist() == of("pva_beacons")
    assert found.origins.tolist() == of("pva_origins")
    assert found.answers["id"].tolist() == [number for _, number in of("answer")]
    requests = found.requests
    rows = zip(requests["datagram"], requests["id"], requests, strict=True)
    assert [(row, cid, found.name(r)) for row, cid, r in rows] == of("pva_requests")
    assert (np_sorted := requests["of"].tolist()) == sorted(np_sorted)
    assert found.answers["of"].tolist() == sorted(found.answers["of"].tolist())


@given(datagrams)
def test_any_datagrams(contents):
    check(contents)


@given(datagrams)
def test_any_names_are_accounted_for(contents):
    inventory = Inventory(InventoryLimits(names=4, sources=1, requesters=1), secret=0)
    arrived = batch(contents)
    found = pva.decode(arrived)
    given_numbers = searched_pva(inventory, arrived, found).tolist()
    for request, number in zip(found.requests, given_numbers, strict=True):
        name = found.name(request).partition(b"\0")[0].partition(b".")[0]
        assert number < 0 or inventory.names.name(number) == name


def test_random_damage_of_real_traffic():
    rnd = random.Random(3)
    good = [
        made.search([(0x12345678, b"TST:PV00001"), (0x12345679, b"TST:NOPE")]),
        made.origin("127.0.0.1") + made.search([(1, b"A")], big=False),
        made.response([0x12345678]),
        made.beacon(7, 2),
    ]
    for _ in range(300):
        contents = []
        for _ in range(30):
            datagram = bytearray(rnd.choice(good))
            for _ in range(rnd.randint(0, 3)):
                datagram[rnd.randrange(len(datagram))] = rnd.choice([0, 1, 254, rnd.randrange(256)])
            contents.append(bytes(datagram[: rnd.randint(0, len(datagram) + 8)]))
        check(contents)
