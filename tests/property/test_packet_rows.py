"""Captured packets in rows: what is made of any of them is what a plain reading makes of it."""

import socket
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from socs.counters import CAPTURE, Counters
from socs.wire.captured import HEAD_BYTES
from socs.wire.packet_socket import PacketReader
from socs.wire.recvmmsg import DatagramMemory
from tests.pcap_files import udp

ROWS, WIDTH = 8, 64


def plain(packet: bytes):
    """("datagram", source, port, destination, port, payload), or the cause why it is none."""
    total, _, fragment = struct.unpack_from("!HHH", packet, 2)
    if fragment & 0x3FFF:
        return ("fragments",)
    begin = (packet[0] & 0xF) * 4
    if len(packet) < begin + 8:
        return ("cut",)
    source, destination = struct.unpack_from("!II", packet, 12)
    from_port, to_port, size = struct.unpack_from("!HHH", packet, begin)
    if size < 8 or begin + size > total or total > len(packet):
        return ("cut",)
    return ("datagram", source, from_port, destination, to_port, packet[begin + 8 : begin + size])


def rows_of(reader, packets):
    """As the kernel leaves them, behind what was there before."""
    reader._heads.view(np.uint8)[:] = 0x5A
    reader.buffers.data[:] = 0x5A
    for row, packet in enumerate(packets):
        head, rest = packet[:HEAD_BYTES], packet[HEAD_BYTES:]
        octets = reader._heads[row : row + 1].view(np.uint8)
        octets[: len(head)] = np.frombuffer(head, np.uint8)
        reader.buffers.data[row, : len(rest)] = np.frombuffer(rest, np.uint8)
        reader.buffers.headers[row]["length"] = len(packet)
        reader.buffers.headers[row]["flags"] = 0


@st.composite
def packets(draw):
    words = draw(st.sampled_from((0, 0, 0, 1, 2, 5)))
    contents = draw(st.binary(max_size=WIDTH - 24))
    packet = bytearray(
        udp(
            contents,
            options=bytes(4 * words),
            fragment=draw(st.sampled_from((0, 0, 0, 0x4000, 0x2000, 1))),
            from_port=draw(st.integers(0, 65535)),
            size=draw(st.none() | st.integers(0, 80)),
        )
    )
    if draw(st.booleans()):
        packet[2:4] = draw(st.integers(0, 120)).to_bytes(2, "big")
    packet += bytes(draw(st.integers(0, 8)))
    shortest = 20 + 4 * words + 4  # the filter has seen the ports
    return bytes(packet[: draw(st.integers(shortest, len(packet)))])


@given(st.lists(packets(), min_size=1, max_size=ROWS))
def test_rows_are_as_read_plainly(given_packets):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        counters = Counters(CAPTURE)
        reader = PacketReader(sock, DatagramMemory(ROWS, WIDTH), counters)
        rows_of(reader, given_packets)
        kept = reader._keep_whole(len(given_packets))
    expected = [plain(packet) for packet in given_packets]
    buffers = reader.buffers
    found = [
        (
            "datagram",
            int(buffers.names["host"][row]),
            int(buffers.names["port"][row]),
            int(reader.to_hosts[row]),
            int(reader.to_ports[row]),
            buffers.data[row, : buffers.headers["length"][row]].tobytes(),
        )
        for row in range(kept)
    ]
    assert found == [each for each in expected if each[0] == "datagram"]
    for cause in ("fragments", "cut"):
        assert counters[f"capture_{cause}"] == sum(each == (cause,) for each in expected)
