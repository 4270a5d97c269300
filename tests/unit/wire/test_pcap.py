"""Capture files: every format and link type, what is left out, and what is damaged."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socs.counters import PCAP, PCAP_CONSERVATION, Counters, imbalances
from socs.errors import ConfigError, Malformed, StorageUnavailable
from socs.wire.captured import CapturedBatch
from socs.wire.pcap import PcapFile, PcapWriter
from tests import pcap_files
from tests.epics_packets import address
from tests.pcap_files import COOKED, COOKED_2, ETHERNET, NULL, RAW, framed, pcap, udp

T0 = 1_700_000_000.0
PORTS = (5064, 5065)


def read(path, contents=None, ports=PORTS, **settings):
    """Datagrams as (source, port, destination, port, contents, time), the file, its counters."""
    if contents is not None:
        path.write_bytes(contents)
    counters = Counters(PCAP)
    found = []
    with PcapFile(path, ports, counters=counters, **settings) as file:
        for batch in file.batches():
            times = batch.times.tolist()
            assert batch.received == times[-1]
            found += zip(
                batch.hosts.tolist(),
                batch.ports.tolist(),
                batch.to_hosts.tolist(),
                batch.to_ports.tolist(),
                batch.datagrams(),
                times,
                strict=True,
            )
    counted = {name: n for name, n in counters.snapshot().items() if n}
    assert imbalances(counters.snapshot(), PCAP_CONSERVATION) == {}
    return found, file, counted


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pcap"


@pytest.mark.parametrize("link", [ETHERNET, COOKED, COOKED_2, RAW, NULL, 12, 228])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap_of_each_kind(path, link, order, nanoseconds):
    frames = [
        (T0 + 0.25, framed(udp(b"first"), link)),
        (T0 + 1.5, framed(udp(b"", source="10.0.0.2", from_port=5064, to_port=7), link)),
    ]
    found, file, counted = read(path, pcap(frames, link=link, order=order, nanoseconds=nanoseconds))
    one, two, all_of_them = address("10.0.0.1"), address("10.0.0.2"), address("10.0.0.255")
    assert found == [
        (one, 40000, all_of_them, 5064, b"first", T0 + 0.25),
        (two, 5064, all_of_them, 7, b"", T0 + 1.5),
    ]
    assert file.cut_off == ""
    assert counted == {"pcap_packets": 2, "pcap_datagrams": 2}


@pytest.mark.parametrize("order", "<>")
def test_pcapng(path, order):
    contents = (
        pcap_files.section(order)
        + pcap_files.interface(ETHERNET, order)
        + pcap_files.interface(RAW, order, power=9)
        + pcap_files.block(5, b"statistics", order)
        + pcap_files.enhanced(T0 + 0.25, framed(udp(b"one"), ETHERNET), order)
        + pcap_files.enhanced(T0 + 0.5, udp(b"second"), order, number=1, power=9)
    )
    found, file, counted = read(path, contents + pcap_files.section(order))
    assert [(each[4], each[5]) for each in found] == [(b"one", T0 + 0.25), (b"second", T0 + 0.5)]
    assert file.cut_off == ""
    assert counted == {"pcap_packets": 2, "pcap_datagrams": 2}
    found, file, _ = read(path, contents[:-3])
    assert [each[4] for each in found] == [b"one"]
    assert "the last block is cut off" in file.cut_off
    longer_than_its_block = bytearray(pcap_files.enhanced(T0, bytes(8), order))
    longer_than_its_block[20:24] = (9).to_bytes(4, "little" if order == "<" else "big")
    for bad in (pcap_files.enhanced(T0, b"", order, number=2), bytes(longer_than_its_block)):
        with pytest.raises(Malformed, match=r"block of type 6 .* is damaged"):
            read(path, contents + bad)


def test_what_is_left_out_is_counted_by_cause(path):
    whole = udp(b"whole")
    frames = [
        framed(whole, ETHERNET, tags=2),
        framed(udp(b"options", options=b"\x01" * 8), ETHERNET),
        framed(whole, ETHERNET, kind=0x86DD),
        framed(udp(b"x", protocol=6), ETHERNET),
        framed(udp(b"x", to_port=80), ETHERNET),
        framed(udp(b"x" * 100, fragment=0x2000), ETHERNET),
        framed(udp(b"x" * 100, fragment=0x0010), ETHERNET),
        framed(udp(b"x", size=7), ETHERNET),
        framed(udp(b"x", size=10), ETHERNET),
        framed(whole, ETHERNET) + bytes(13),  # Ethernet fills up what is short
        framed(whole, ETHERNET)[:38],
        b"",
    ]
    found, _, counted = read(path, pcap([(T0, frame) for frame in frames]))
    assert [each[4] for each in found] == [b"whole", b"options", b"whole"]
    assert counted == {
        "pcap_packets": 12,
        "pcap_datagrams": 3,
        "pcap_other": 4,
        "pcap_fragments": 2,
        "pcap_cut": 3,
        "pcap_ip_options": 1,
        "pcap_vlan": 1,
    }


@pytest.mark.parametrize("link", [COOKED, COOKED_2])
def test_what_loopback_shows_twice_is_taken_once(path, link):
    frames = [(T0, framed(udp(b"x"), link, way=4)), (T0, framed(udp(b"x"), link))]
    found, _, counted = read(path, pcap(frames, link=link))
    assert len(found) == 1
    assert counted == {"pcap_packets": 2, "pcap_datagrams": 1, "pcap_doubled": 1}


def test_a_snap_length_cuts(path):
    found, _, counted = read(path, pcap([(T0, framed(udp(b"x" * 100), ETHERNET))], snap=60))
    assert found == []
    assert counted == {"pcap_packets": 1, "pcap_cut": 1}


def test_a_cut_off_end_is_told_and_what_stands_before_is_read(path):
    contents = pcap([(T0, framed(udp(b"x"), ETHERNET)), (T0, framed(udp(b"yy"), ETHERNET))])
    for missing in (1, 40, 59):
        found, file, _ = read(path, contents[:-missing])
        assert [each[4] for each in found] == [b"x"]
        assert file.cut_off.startswith("the last packet is cut off: ")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "0 bytes are no capture file"),
        (b"abc", "3 bytes are no capture file"),
        (b"GIF89a" * 10, "neither pcap nor pcapng: the file begins with 47494638"),
        (pcap([])[:20], "ends within its header"),
        (b"\x0a\x0d\x0d\x0a" + b"\x1c\0\0\0" + b"xxxx" * 5, "no block at byte 0"),
    ],
)
def test_what_is_no_capture_file(path, contents, message):
    with pytest.raises(Malformed, match=message):
        read(path, contents)


def test_damage_within_a_file_is_told_after_what_stands_before(path):
    path.write_bytes(pcap([(T0, framed(udp(b"x"), ETHERNET))]) + b"\xff" * 100)
    with PcapFile(path) as file:
        batches = file.batches()
        assert next(batches).datagrams() == [b"x"]
        with pytest.raises(Malformed, match="a packet of 4294967295 bytes at byte"):
            next(batches)


def test_a_file_that_is_not_there(path):
    with pytest.raises(ConfigError, match=r"cannot read .*No such file"):
        PcapFile(path)
    with pytest.raises(ConfigError, match="is no regular file"):
        PcapFile(path.parent)
    with pytest.raises(ConfigError, match=r"cannot write .*Is a directory"):
        PcapWriter(path.parent)


def test_a_full_disk_is_told():
    writer = PcapWriter("/dev/full")
    writer.write(batch_of([(1, 2, 3, 4, b"x", T0)]))
    with pytest.raises(StorageUnavailable, match="cannot write /dev/full: No space left"):
        writer.flush()
    with pytest.raises(StorageUnavailable):
        writer.close()


def test_batches_are_no_longer_than_asked_for_in_packets_and_in_time(path):
    frames = [(T0 + 0.25 * n, framed(udp(b"%d" % n), ETHERNET)) for n in range(20)]
    path.write_bytes(pcap(frames))
    with PcapFile(path, batch=8) as file:
        assert [len(batch) for batch in file.batches()] == [8, 8, 4]
    with PcapFile(path, batch=8, span=0.5) as file:
        pieces = [batch.datagrams() for batch in file.batches()]
    assert [len(piece) for piece in pieces] == [3, 3, 2, 3, 3, 2, 3, 1]
    assert list(itertools.chain(*pieces)) == [b"%d" % n for n in range(20)]


def batch_of(rows):
    """A batch of (source, port, destination, port, contents, time)."""
    width = max((len(row[4]) for row in rows), default=0) + 1
    data = np.zeros((len(rows), width), np.uint8)
    for line, row in zip(data, rows, strict=True):
        line[: len(row[4])] = np.frombuffer(row[4], np.uint8)
    columns = [np.array([row[n] for row in rows]) for n in (0, 1, 2, 3, 5)]
    return CapturedBatch(
        data,
        np.array([len(row[4]) for row in rows], np.uint32),
        columns[0].astype(np.uint32),
        columns[1].astype(np.uint16),
        T0,
        None,
        columns[2].astype(np.uint32),
        columns[3].astype(np.uint16),
        columns[4].astype(np.float64),
    )


hosts, ports = st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)
times = st.integers(0, 2**32 * 10**6 - 1).map(lambda us: us / 1e6)
row = st.tuples(hosts, ports, hosts, ports, st.binary(max_size=40), times)


@given(st.lists(row, min_size=1, max_size=20))
def test_what_is_written_reads_back_identically(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("pcap") / "written.pcap"
    with PcapWriter(path) as writer:
        writer.write(batch_of(rows))
    found, file, _ = read(path, ports=(), batch=7)
    assert [each[:5] for each in found] == [each[:5] for each in rows]
    assert [each[5] for each in found] == pytest.approx([each[5] for each in rows], abs=1e-6)
    assert file.cut_off == ""
    with path.open("rb") as file:
        words = np.frombuffer(file.read()[40:60], ">u2").astype(int)
    assert (words.sum() % 0xFFFF) == 0  # checksum of IPv4


VALID = pcap(
    [
        (T0, framed(udp(b"x" * n, options=b"\x01" * (4 * (n % 3))), ETHERNET, n % 3))
        for n in range(6)
    ]
)
VALID_NG = (
    pcap_files.section()
    + pcap_files.interface(ETHERNET, power=9)
    + pcap_files.enhanced(T0, framed(udp(b"x"), ETHERNET), power=9)
)


@given(
    st.sampled_from((VALID, VALID_NG, b"")),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    st.binary(max_size=60),
)
def test_any_bytes_are_read_or_are_malformed(tmp_path_factory, start, changes, more):
    contents = bytearray(start + more)
    for place, octet in changes:
        if place < len(contents):
            contents[place] = octet
    path = tmp_path_factory.mktemp("pcap") / "any.pcap"
    try:
        found, _, counted = read(path, bytes(contents), ports=())
    except Malformed:
        return
    assert len(found) == counted.get("pcap_datagrams", 0)
