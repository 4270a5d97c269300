"""Datagrams of capture files, in batches as a capture gives them; and such files written.

::

    with PcapFile(path, (5064, 5065)) as file:
        for batch in file.batches():
            ...
        print(file.cut_off)

Formats: pcap in both byte orders with microseconds or nanoseconds, pcapng; link types: Ethernet
with VLANs, raw IPv4, Linux cooked (both versions), BSD loopback.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from socs.closing import Closing
from socs.counters import PCAP, Counters
from socs.errors import ConfigError, StorageUnavailable
from socs.wire.captured import FRAGMENT, IP_BYTES, UDP_BYTES, UDP_PROTOCOL, CapturedBatch
from socs.wire.packet_filter import IPV4, LOOPBACK_HARDWARE, OUTGOING
from socs.wire.pcap_records import (
    FILE_HEADER,
    LONGEST_PACKET,
    MICROSECONDS,
    End,
    Positions,
    Records,
    walk,
)

BATCH = 2048  # packets
NULL, ETHERNET, RAW, LOOP, COOKED, RAW_IPV4, COOKED_2 = 0, 1, 101, 108, 113, 228, 276
RAW_TYPES = (12, 14, RAW, RAW_IPV4)
VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
MOST_TAGS = 4

Flags = NDArray[np.bool_]


class PcapFile(Closing):
    """The UDP datagrams in a capture file.

    Args:
        path: of the file; it must not be made shorter meanwhile.
        ports: those of datagrams that are wanted, of sender or receiver; empty for all.
        batch: most packets that are looked at for one batch.
        span: longest time from the first to the last datagram of a batch [s]; None for any.
        counters: where to count; must have those of `socs.counters.PCAP`.

    Attributes:
        size, read_to: of the file, and how far it was read [bytes].
        cut_off: what is missing at the end, for a person; empty if nothing is. Known when all
            batches are read.

    Raises:
        ConfigError: the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        ports: Sequence[int] = (),
        *,
        batch: int = BATCH,
        span: float | None = None,
        counters: Counters | None = None,
    ) -> None:
        path = Path(path)
        self._ports = np.array(ports, np.uint16)
        self._batch, self._span = batch, span
        self.counters = counters if counters is not None else Counters(PCAP)
        self._end = End()
        self._memory: mmap.mmap | bytes
        try:
            if path.exists() and not path.is_file():  # opening a pipe would wait for ever
                raise ConfigError(f"file: {path} is no regular file")
            with path.open("rb") as file:
                empty = file.seek(0, 2) == 0
                self._memory = b"" if empty else mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise ConfigError(f"file: cannot read {path}: {error}") from error
        self._room = np.zeros(0, np.uint8)
        self.size, self.read_to = len(self._memory), 0

    @property
    def cut_off(self) -> str:
        """See above."""
        return self._end.told

    def batches(self) -> Iterator[CapturedBatch]:
        """All datagrams in the order of the file.

        A batch is valid until the next one is asked for, as those of a receiver are. ``received``
        is the time of its last datagram.

        Raises:
            Malformed: this is no capture file, or it is damaged; what stands before was given.
        """
        for records in walk(self._memory, self._end, self._batch):
            yield from self._batches_of(records)
            self.read_to = int(records.starts[-1] + records.kept[-1])

    def close(self) -> None:
        """Let go of the file. Batches of it may live on."""
        self._memory = b""

    def _batches_of(self, records: Records) -> Iterator[CapturedBatch]:
        packets = _Packets(np.frombuffer(self._memory, np.uint8), records)
        wanted, amounts = packets.wanted(self._ports)
        self.counters.add_all(amounts)
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return
        starts, sizes = packets.udp[rows] + UDP_BYTES, packets.size[rows]
        times = records.times[rows]
        whole = CapturedBatch(
            self._gathered(starts, sizes),
            sizes.astype(np.uint32),
            packets.u32(packets.ip[rows] + 12),
            packets.u16(packets.udp[rows]).astype(np.uint16),
            float(times[-1]),
            None,
            packets.u32(packets.ip[rows] + 16),
            packets.u16(packets.udp[rows] + 2).astype(np.uint16),
            times,
        )
        yield from _split(whole, self._span)

    def _gathered(self, starts: Positions, sizes: Positions) -> NDArray[np.uint8]:
        """Copies of parts of the file, each at the beginning of a row of whole words."""
        width = -(-max(int(sizes.max()), 1) // 8) * 8
        count = len(starts)
        if len(self._room) < count * width:
            self._room = np.zeros(count * width, np.uint8)
        room, file = self._room.data, memoryview(self._memory)
        places = range(0, count * width, width)
        for place, start, size in zip(places, starts.tolist(), sizes.tolist(), strict=True):
            room[place : place + size] = file[start : start + size]
        return self._room[: count * width].reshape(count, width)


def _split(batch: CapturedBatch, span: float | None) -> Iterator[CapturedBatch]:
    """Pieces of ``batch``, none longer in time than ``span``."""
    times = batch.times
    assert times is not None
    begin = 0
    while begin < len(times):
        end = len(times)
        if span is not None:
            late = np.flatnonzero(np.abs(times[begin:] - times[begin]) > span)
            end = begin + int(late[0]) if len(late) else end
        part = slice(begin, end)
        yield CapturedBatch(
            batch.data[part],
            batch.sizes[part],
            batch.hosts[part],
            batch.ports[part],
            float(times[end - 1]),
            None,
            batch.to_hosts[part],
            batch.to_ports[part],
            times[part],
        )
        begin = end


class _Packets:
    """Packets of a file, taken apart; positions are those in the file.

    Attributes:
        ip, udp: where the headers begin, if there are any.
        size: payload of UDP [bytes].
    """

    def __init__(self, octets: NDArray[np.uint8], records: Records) -> None:
        self._octets, self._records = octets, records
        self._last = len(octets) - 1
        self._ends = records.starts + records.kept
        self.tagged = np.zeros(len(records.starts), np.bool_)
        self.doubled = np.zeros(len(records.starts), np.bool_)
        self.ip, self._is_ip = self._network()
        header = (self._u8(self.ip) & 0xF) * 4
        self.options = header > IP_BYTES
        self.udp = self.ip + header
        self.size = self.u16(self.udp + 4).astype(np.int64) - UDP_BYTES

    def _u8(self, at: Positions) -> Positions:
        return self._octets[np.minimum(at, self._last)].astype(np.int64)

    def u16(self, at: Positions) -> Positions:
        """Big-endian numbers; any beyond the end of the file."""
        return self._u8(at) << 8 | self._u8(at + 1)

    def u32(self, at: Positions) -> NDArray[np.uint32]:
        """Big-endian numbers; any beyond the end of the file."""
        return (self.u16(at) << 16 | self.u16(at + 2)).astype(np.uint32)

    def _network(self) -> tuple[Positions, Flags]:
        """Where the network layer begins, and whether it is IPv4."""
        starts, links = self._records.starts, self._records.links
        at, kind = starts.copy(), np.full(len(starts), -1, np.int64)
        for link in np.unique(links).tolist():
            of = links == link
            if link == ETHERNET:
                kind[of], at[of] = self.u16(starts[of] + 12), starts[of] + 14
                self._pass_tags(of, at, kind)
            elif link in RAW_TYPES:
                kind[of] = IPV4
            elif link in (NULL, LOOP):
                kind[of], at[of] = IPV4, starts[of] + 4
            elif link == COOKED:
                kind[of], at[of] = self.u16(starts[of] + 14), starts[of] + 16
                self._find_doubled(of, self.u16(starts), self.u16(starts + 2))
            elif link == COOKED_2:
                kind[of], at[of] = self.u16(starts[of]), starts[of] + 20
                self._find_doubled(of, self._u8(starts + 10), self.u16(starts + 8))
        return at, (kind == IPV4) & (self._u8(at) >> 4 == 4)

    def _pass_tags(self, of: Flags, at: Positions, kind: Positions) -> None:
        for _ in range(MOST_TAGS):
            tagged = of & np.isin(kind, VLAN_TAGS)
            if not tagged.any():
                return
            self.tagged |= tagged
            kind[tagged] = self.u16(at[tagged] + 2)
            at[tagged] += 4

    def _find_doubled(self, of: Flags, packet_type: Positions, hardware: Positions) -> None:
        self.doubled |= of & (packet_type == OUTGOING) & (hardware == LOOPBACK_HARDWARE)

    def wanted(self, ports: NDArray[np.uint16]) -> tuple[Flags, dict[str, int]]:
        """Which are whole datagrams of one of ``ports``, any if none; and what to count."""
        head = self._is_ip & (self.ip + IP_BYTES <= self._ends)
        udp = head & (self._u8(self.ip + 9) == UDP_PROTOCOL)
        doubled = udp & self.doubled
        udp &= ~doubled
        fragments = udp & (self.u16(self.ip + 6) & FRAGMENT != 0)
        udp &= ~fragments
        there = self._ends - self.udp - UDP_BYTES
        short = udp & (there < 0)
        if len(ports):
            meant = np.isin(self.u16(self.udp), ports) | np.isin(self.u16(self.udp + 2), ports)
            udp &= meant | short
        announced = self.ip + self.u16(self.ip + 2) - self.udp - UDP_BYTES
        cut = udp & (short | (self.size < 0) | (self.size > announced) | (self.size > there))
        good = udp & ~cut
        parts = {"datagrams": good, "fragments": fragments, "cut": cut, "doubled": doubled}
        amounts = {f"pcap_{name}": int(np.count_nonzero(part)) for name, part in parts.items()}
        amounts["pcap_packets"] = len(udp)
        amounts["pcap_other"] = len(udp) - sum(int(np.count_nonzero(p)) for p in parts.values())
        amounts["pcap_ip_options"] = int(np.count_nonzero(good & self.options))
        amounts["pcap_vlan"] = int(np.count_nonzero(good & self.tagged))
        return good, amounts


# What is written before each datagram: header of the packet, IPv4, UDP.
_WRITTEN = np.dtype(
    [
        *(("seconds", "<u4"), ("parts", "<u4"), ("kept", "<u4"), ("size", "<u4")),
        *(("version", "u1"), ("service", "u1"), ("total", ">u2"), ("id", ">u2")),
        *(("fragment", ">u2"), ("hops", "u1"), ("protocol", "u1"), ("checksum", ">u2")),
        *(("source", ">u4"), ("destination", ">u4"), ("from_port", ">u2"), ("to_port", ">u2")),
        *(("udp_size", ">u2"), ("udp_checksum", ">u2")),
    ]
)
HOPS = 64


class PcapWriter(Closing):
    """Writes batches to a pcap file of raw IPv4 packets with microseconds.

    Args:
        path: of the file; one that is there is replaced.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        header = struct.pack("<IHHiIII", MICROSECONDS, 2, 4, 0, 0, LONGEST_PACKET, RAW)
        assert len(header) == FILE_HEADER
        try:
            self._file: BinaryIO = self._path.open("wb")
            self._file.write(header)
        except OSError as error:
            raise ConfigError(f"file: cannot write {path}: {error.strerror}") from error

    def write(self, batch: CapturedBatch) -> None:
        """Append all datagrams of ``batch``.

        Raises:
            StorageUnavailable: the disk is full or failed.
        """
        heads = self._heads(batch)
        octets = heads.view(np.uint8).reshape(len(heads), _WRITTEN.itemsize)
        packed = (octets[i].tobytes() + batch.datagram(i) for i in range(len(batch)))
        self._try(lambda: self._file.writelines(packed))

    def _heads(self, batch: CapturedBatch) -> NDArray[np.void]:
        heads = np.zeros(len(batch), _WRITTEN)
        times = batch.times if batch.times is not None else np.full(len(batch), batch.received)
        microseconds = np.rint(times * 1e6).astype(np.int64)
        heads["seconds"], heads["parts"] = np.divmod(microseconds, 1_000_000)
        sizes = batch.sizes.astype(np.int64)
        heads["kept"] = heads["size"] = heads["total"] = sizes + IP_BYTES + UDP_BYTES
        heads["version"], heads["hops"], heads["protocol"] = 0x45, HOPS, UDP_PROTOCOL
        heads["source"], heads["destination"] = batch.hosts, batch.to_hosts
        heads["from_port"], heads["to_port"] = batch.ports, batch.to_ports
        heads["udp_size"] = sizes + UDP_BYTES
        words = heads.view(np.uint8).reshape(len(heads), -1)[:, 16:36].copy().view(">u2")
        sums = words.astype(np.uint32).sum(axis=1)
        for _ in range(2):
            sums = (sums & 0xFFFF) + (sums >> 16)
        heads["checksum"] = ~sums & 0xFFFF
        return heads

    def flush(self) -> None:
        """Have the system write what is there.

        Raises:
            StorageUnavailable: the disk is full or failed.
        """
        self._try(self._file.flush)

    def close(self) -> None:
        """Finish the file."""
        self._try(self._file.close)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            raise StorageUnavailable(f"cannot write {self._path}: {error.strerror}") from error
