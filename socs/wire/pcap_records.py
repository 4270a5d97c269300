"""Where the packets of a capture file are: the formats pcap and pcapng, walked in chunks.

A pcap file is a header of 24 bytes, then for each packet a header of 16 bytes and what was kept of
it. A pcapng file is a row of blocks, each with its size at both ends. Both are written in the byte
order of the machine that captured.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from socs.errors import Malformed

MICROSECONDS, NANOSECONDS, PCAPNG = 0xA1B2C3D4, 0xA1B23C4D, 0x0A0D0D0A
FILE_HEADER = 24
PACKET_HEADER = 16
LONGEST_PACKET = 1 << 18  # bytes; what tcpdump keeps at most
SECTION, INTERFACE, SIMPLE, ENHANCED = PCAPNG, 1, 3, 6  # types of blocks
RESOLUTION, OFFSET = 9, 14  # options of an interface
LINK_MASK = 0xFFFF

Memory = mmap.mmap | bytes
Positions = NDArray[np.int64]


@dataclass(eq=False)
class Records:
    """Some packets of a file.

    Attributes:
        starts: int64, shape (n,), where each begins in the file [bytes].
        kept: int64 (n,), bytes of it that are in the file.
        sizes: int64 (n,), bytes that it had.
        times: float64 (n,), UNIX time [s].
        links: int64 (n,), link type, see https://www.tcpdump.org/linktypes.html.
    """

    starts: Positions
    kept: Positions
    sizes: Positions
    times: NDArray[np.float64]
    links: Positions


@dataclass
class End:
    """How a walk ended: ``told`` is empty if the file ends with a whole packet."""

    told: str = ""


def walk(memory: Memory, end: End, chunk: int) -> Iterator[Records]:
    """All packets, at most ``chunk`` at a time. A packet that is cut off by the end is told.

    Raises:
        Malformed: this is no capture file, or it is damaged; what stands before was walked.
    """
    if len(memory) < 4:
        raise Malformed(f"only {len(memory)} bytes are no capture file", "pcap_malformed")
    if struct.unpack_from("<I", memory)[0] == PCAPNG:
        return walk_pcapng(memory, end, chunk)
    for order in "<>":
        magic = struct.unpack_from(order + "I", memory)[0]
        if magic in (MICROSECONDS, NANOSECONDS):
            return walk_pcap(memory, end, chunk, order, 1e-6 if magic == MICROSECONDS else 1e-9)
    start = bytes(memory[:4]).hex()
    raise Malformed(f"neither pcap nor pcapng: the file begins with {start}", "pcap_malformed")


def walk_pcap(
    memory: Memory, end: End, chunk: int, order: str, resolution: float
) -> Iterator[Records]:
    """The packets of a pcap file in byte order ``<`` or ``>``."""
    size = len(memory)
    if size < FILE_HEADER:
        raise Malformed("the file ends within its header", "pcap_malformed")
    link = struct.unpack_from(order + "I", memory, 20)[0] & LINK_MASK
    kept_at = struct.Struct(order + "I").unpack_from
    octets: NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
    at, found, damage = FILE_HEADER, [], ""
    while at + PACKET_HEADER <= size:
        (kept,) = kept_at(memory, at + 8)
        following = at + PACKET_HEADER + kept
        if kept > LONGEST_PACKET:
            damage = f"a packet of {kept} bytes at byte {at}: the file is damaged"
            break
        if following > size:
            break
        found.append(at)
        at = following
        if len(found) == chunk:
            yield _read(octets, found, order, resolution, link)
            found = []
    if found:
        yield _read(octets, found, order, resolution, link)
    if damage:
        raise Malformed(damage, "pcap_malformed")
    if at < size:
        end.told = f"the last packet is cut off: {size - at} bytes from byte {at} are not read"


def _read(
    octets: NDArray[np.uint8], found: list[int], order: str, resolution: float, link: int
) -> Records:
    """What the headers say that begin at ``found``."""
    at = np.array(found, np.int64)
    raw = octets[at[:, None] + np.arange(PACKET_HEADER)]
    fields = raw.view(order + "u4").astype(np.int64)
    seconds, parts, kept, sizes = fields.T
    times = seconds + parts * resolution
    return Records(at + PACKET_HEADER, kept, sizes, times, np.full(len(at), link, np.int64))


@dataclass
class _Section:
    """What applies to the blocks that follow in a pcapng file."""

    order: str
    links: list[int] = field(default_factory=list)
    resolutions: list[float] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def add_interface(self, body: bytes) -> None:
        link, _, _ = struct.unpack_from(self.order + "HHI", body)
        resolution, offset, at = 1e-6, 0, 8
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self.order + "HH", body, at)
            value = body[at + 4 : at + 4 + length]
            if code == RESOLUTION and length == 1:
                power = value[0] & 0x7F
                resolution = 2.0**-power if value[0] & 0x80 else 10.0**-power
            elif code == OFFSET and length == 8:
                (offset,) = struct.unpack(self.order + "q", value)
            elif code == 0:
                break
            at += 4 + -(-length // 4) * 4
        self.links.append(link)
        self.resolutions.append(resolution)
        self.offsets.append(offset)


def walk_pcapng(memory: Memory, end: End, chunk: int) -> Iterator[Records]:
    """The packets of a pcapng file."""
    section = _Section("<")
    found: list[tuple[int, int, int, float, int]] = []
    at, size, damage = 0, len(memory), ""
    while at + 12 <= size:
        (kind,) = struct.unpack_from(section.order + "I", memory, at)
        if kind == SECTION:
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
            section = _Section(order.get(bytes(memory[at + 8 : at + 12]), ""))
        length = struct.unpack_from((section.order or "<") + "I", memory, at + 4)[0]
        if not section.order or length < 12 or length % 4:
            damage = f"no block at byte {at}: the file is damaged"
            break
        if at + length > size:
            break
        try:
            packet = _block(memory, at, kind, length, section)
        except (struct.error, IndexError):
            damage = f"a block of type {kind} at byte {at} is damaged"
            break
        if packet is not None:
            found.append(packet)
        at += length
        if len(found) == chunk:
            yield _collected(found)
            found = []
    if found:
        yield _collected(found)
    if damage:
        raise Malformed(damage, "pcap_malformed")
    if at < size:
        end.told = f"the last block is cut off: {size - at} bytes from byte {at} are not read"


def _block(
    memory: Memory, at: int, kind: int, length: int, section: _Section
) -> tuple[int, int, int, float, int] | None:
    """Start, bytes kept, size, time and link type, if the block has a packet."""
    order = section.order
    if kind == INTERFACE:
        section.add_interface(bytes(memory[at + 8 : at + length - 4]))
    elif kind == ENHANCED:
        number, high, low, kept, size = struct.unpack_from(order + "IIIII", memory, at + 8)
        if kept > length - 32:
            raise IndexError
        time = (high << 32 | low) * section.resolutions[number] + section.offsets[number]
        return at + 28, kept, size, time, section.links[number]
    elif kind == SIMPLE:
        (size,) = struct.unpack_from(order + "I", memory, at + 8)
        return at + 12, min(size, length - 16), size, 0.0, section.links[0]
    return None


def _collected(found: list[tuple[int, int, int, float, int]]) -> Records:
    starts, kept, sizes, times, links = zip(*found, strict=True)
    whole = [np.array(column, np.int64) for column in (starts, kept, sizes, links)]
    return Records(whole[0], whole[1], whole[2], np.array(times, np.float64), whole[3])
