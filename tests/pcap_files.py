"""Capture files by hand: packets of all link types, pcap and pcapng."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.epics_packets import address

ETHERNET, COOKED, COOKED_2, RAW, NULL = 1, 113, 276, 101, 0


def udp(
    contents: bytes,
    *,
    source: str = "10.0.0.1",
    destination: str = "10.0.0.255",
    from_port: int = 40000,
    to_port: int = 5064,
    options: bytes = b"",
    fragment: int = 0,
    size: int | None = None,
    protocol: int = 17,
) -> bytes:
    """An IPv4 packet; ``size`` is what UDP says, if it lies."""
    words = 5 + len(options) // 4
    total = words * 4 + 8 + len(contents)
    head = struct.pack(
        "!BBHHHBBHII",
        0x40 | words,
        0,
        total,
        1,
        fragment,
        64,
        protocol,
        0,
        address(source),
        address(destination),
    )
    told = 8 + len(contents) if size is None else size
    return head + options + struct.pack("!HHHH", from_port, to_port, told, 0) + contents


def framed(packet: bytes, link: int, tags: int = 0, kind: int = 0x0800, way: int = 0) -> bytes:
    """``packet`` as it is captured on ``link``."""
    if link == ETHERNET:
        tagging = b"".join(struct.pack("!HH", 0x8100, 5) for _ in range(tags))
        return b"\xff" * 6 + b"\x02" * 6 + tagging + struct.pack("!H", kind) + packet
    if link == COOKED:
        return struct.pack("!HHH8xH", way, 772, 6, kind) + packet
    if link == COOKED_2:
        return struct.pack("!HHIHBB8x", kind, 0, 1, 772, way, 6) + packet
    if link == NULL:
        return struct.pack("<I", 2) + packet
    return packet


def pcap(
    frames: Sequence[tuple[float, bytes]],
    *,
    link: int = ETHERNET,
    order: str = "<",
    nanoseconds: bool = False,
    snap: int = 65535,
) -> bytes:
    """A pcap file of (time, frame)."""
    magic, parts = (0xA1B23C4D, 10**9) if nanoseconds else (0xA1B2C3D4, 10**6)
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link)
    for time, frame in frames:
        seconds, rest = int(time), round(time % 1 * parts)
        kept = frame[:snap]
        file += struct.pack(order + "IIII", seconds, rest, len(kept), len(frame)) + kept
    return file


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int, order: str = "<", power: int | None = None) -> bytes:
    options = b""
    if power is not None:
        options = struct.pack(order + "HHB3x", 9, 1, power) + struct.pack(order + "HH", 0, 0)
    return block(1, struct.pack(order + "HHI", link, 0, 65535) + options, order)


def enhanced(time: float, frame: bytes, order: str = "<", number: int = 0, power: int = 6) -> bytes:
    ticks = round(time * 10**power)
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, *[len(frame)] * 2)
    return block(6, head + frame, order)
