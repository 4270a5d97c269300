"""PV Access over UDP: all messages of a batch of datagrams as structured arrays.

A datagram is one message after the other, each a header of eight bytes and a payload::

    u8 0xCA | u8 version | u8 flags | u8 command | u32 payload size

The flags say whether numbers are big endian. Nothing is aligned and names have any length, so the
walk goes byte by byte, but over all datagrams at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.epics.decode.cursor import Cursor
from socs.epics.decode.words import Datagrams, Memory, Positions, Tally

MAGIC = 0xCA
HEADER_BYTES = 8
LONGEST_NAME = 500  # bytes
MOST_PROTOCOLS = 16  # in a search; there are two
SERVER_PORT = 5075

CONTROL, SEGMENTED, BIG_ENDIAN = 0x01, 0x30, 0x80  # flags of a header
BEACON, SEARCH, RESPONSE, ORIGIN_TAG = 0x00, 0x03, 0x04, 0x16
REPLY_REQUIRED, UNICAST = 0x01, 0x80  # flags of a search

# host      address of the server that the beacon gives, 0 if it gives none: then it is the sender
# changes   how often its set of names changed; sequence: number of the beacon, after 255 comes 0
PVA_BEACON = np.dtype(
    [
        ("datagram", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("changes", "<u2"),
        ("sequence", "u1"),
        ("guid", "V12"),
    ]
)
# host, port  where to answer; host 0: the sender; names: how many
PVA_SEARCH = np.dtype(
    [
        ("datagram", "<u4"),
        ("search", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("names", "<u2"),
        ("reply", "?"),
        ("unicast", "?"),
    ]
)
# of      row of the search; id: the client's number of the channel
# offset  of the name in the memory of the batch, size: its bytes
PVA_REQUEST = np.dtype(
    [("datagram", "<u4"), ("of", "<u4"), ("id", "<u4"), ("offset", "<i8"), ("size", "<u2")]
)
# search  the number of the search that is answered; ids: how many channels it is about
# host    address of the server that the response gives, the sender's if it gives none
# named   whether it gives one
# found   does the server have them
PVA_RESPONSE = np.dtype(
    [
        ("datagram", "<u4"),
        ("search", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("ids", "<u2"),
        ("found", "?"),
        ("named", "?"),
        ("guid", "V12"),
    ]
)
# of  row of the response; id: a channel that it is about
PVA_ANSWER = np.dtype([("of", "<u4"), ("id", "<u4")])
# host  address at which a search came that was passed on by another server of its host
ORIGIN = np.dtype([("datagram", "<u4"), ("host", "<u4")])


@dataclass(eq=False)
class PvaMessages:
    """The messages of a batch, each kind in the order of arrival.

    Attributes:
        memory: of the batch.
        searches: `PVA_SEARCH`.
        requests: `PVA_REQUEST`, the names in all ``searches``.
        responses: `PVA_RESPONSE`.
        answers: `PVA_ANSWER`, the channels in all ``responses``.
        beacons: `PVA_BEACON`.
        origins: `ORIGIN`.
        tally: how many of what, by counter name (:data:`socs.counters.EPICS_PVA`).
    """

    memory: Memory
    searches: NDArray[np.void]
    requests: NDArray[np.void]
    responses: NDArray[np.void]
    answers: NDArray[np.void]
    beacons: NDArray[np.void]
    origins: NDArray[np.void]
    tally: Tally

    def name(self, request: np.void) -> bytes:
        """A copy of the name in one of ``requests``."""
        offset, size = int(request["offset"]), int(request["size"])
        return self.memory.octets[offset : offset + size].tobytes()


def decode(datagrams: Datagrams) -> PvaMessages:
    """The messages in ``datagrams``, a batch as the receiver hands it over."""
    memory, tally = Memory.of(datagrams), Tally()
    tally.add("pva_datagrams", len(memory.sizes))
    bodies = _walk(memory, tally)
    tally.add("pva_messages", len(bodies.rows))
    known = np.isin(bodies.command, (BEACON, SEARCH, RESPONSE, ORIGIN_TAG))
    control = bodies.flags & CONTROL != 0
    tally.add("pva_control", int(np.count_nonzero(control)))
    tally.fault("pva_unknown_command", bodies.rows[~known & ~control])

    def of(command: int) -> Cursor:
        return bodies.cursor(memory, np.flatnonzero((bodies.command == command) & ~control))

    searches, requests = _searches(of(SEARCH), tally)
    responses, answers = _responses(of(RESPONSE), datagrams.hosts, tally)
    beacons = _beacons(of(BEACON), tally)
    origins = _origins(of(ORIGIN_TAG), tally)
    for name, rows in (
        ("pva_searches", searches),
        ("pva_requests", requests),
        ("pva_responses", responses),
        ("pva_beacons", beacons),
        ("pva_origins", origins),
    ):
        tally.add(name, len(rows))
    return PvaMessages(memory, searches, requests, responses, answers, beacons, origins, tally)


@dataclass(eq=False)
class _Bodies:
    """Payloads of messages: their datagrams, where they begin and end, and what headers say."""

    rows: Positions
    begin: Positions
    end: Positions
    command: NDArray[np.uint8]
    flags: NDArray[np.uint8]

    def cursor(self, memory: Memory, which: Positions) -> Cursor:
        return Cursor(
            memory.octets,
            self.rows[which],
            self.begin[which],
            self.end[which],
            self.flags[which] & BIG_ENDIAN != 0,
        )


def _walk(memory: Memory, tally: Tally) -> _Bodies:
    """All messages with a whole payload, in the order of arrival."""
    octets = memory.octets
    at = memory.starts() * 8
    end = at + memory.sizes
    rows = np.arange(len(at), dtype=np.int64)
    tally.fault("pva_header_cut", rows[memory.sizes == 0])
    parts: list[tuple[Positions, ...]] = []
    going = at < end
    at, end, rows = at[going], end[going], rows[going]
    while len(at):
        short = end - at < HEADER_BYTES
        strange = ~short & (octets[at] != MAGIC)
        tally.fault("pva_header_cut", rows[short])
        tally.fault("pva_not_pva", rows[strange])
        good = ~short & ~strange
        at, end, rows = at[good], end[good], rows[good]
        flags = octets[at + 2].astype(np.int64)
        cursor = Cursor(octets, rows, at + 4, end, flags & BIG_ENDIAN != 0)
        size = np.where(flags & CONTROL != 0, 0, cursor.u32())
        body = at + HEADER_BYTES
        segmented = flags & SEGMENTED != 0
        cut = ~segmented & (size > end - body)
        tally.fault("pva_segmented", rows[segmented])
        tally.fault("pva_payload_cut", rows[cut])
        good = ~segmented & ~cut
        command = octets[at + 3].astype(np.int64)
        parts.append(tuple(c[good] for c in (rows, body, body + size, command, flags)))
        at = (body + size)[good]
        end, rows = end[good], rows[good]
        going = at < end
        at, end, rows = at[going], end[going], rows[going]
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)] or [rows] * 5
    order = np.argsort(columns[1], kind="stable")
    rows, begin, ends, command, flags = (column[order] for column in columns)
    return _Bodies(rows, begin, ends, command.astype(np.uint8), flags.astype(np.uint8))


def _heads(
    cursor: Cursor, tally: Tally, dtype: np.dtype[np.void], columns: dict[str, NDArray[Any]]
) -> NDArray[np.void]:
    """Rows of those that could be read so far; the others are counted."""
    tally.fault("pva_message_cut", cursor.rows[~cursor.fine])
    whole = np.flatnonzero(cursor.fine)
    found = np.empty(len(whole), dtype)
    found["datagram"] = cursor.rows[whole]
    for name, column in columns.items():
        found[name] = column[whole]
    return found


def _searches(cursor: Cursor, tally: Tally) -> tuple[NDArray[np.void], NDArray[np.void]]:
    search, flags = cursor.u32(), cursor.u8()
    cursor.skip(3)
    host, port = cursor.address(), cursor.u16()
    protocols = cursor.size()
    cursor.refuse(protocols > MOST_PROTOCOLS)
    for _, part in cursor.repeat(protocols):
        part.skip_text()
    names = cursor.u16()
    columns = {"search": search, "host": host, "port": port, "names": names}
    columns["reply"], columns["unicast"] = flags & REPLY_REQUIRED != 0, flags & UNICAST != 0
    found = _heads(cursor, tally, PVA_SEARCH, columns)
    tally.add("pva_discoveries", int(np.count_nonzero(found["names"] == 0)))
    place, whole = np.cumsum(cursor.fine) - 1, cursor.fine.copy()
    parts = [np.empty(0, PVA_REQUEST)]
    for which, part in cursor.repeat(names):
        number, size = part.u32(), part.size()
        offset = part.at
        part.skip(size)
        tally.fault("pva_name_empty", part.rows[part.fine & (size == 0)])
        tally.fault("pva_name_too_long", part.rows[part.fine & (size > LONGEST_NAME)])
        read = np.flatnonzero(part.fine & (size > 0) & (size <= LONGEST_NAME))
        rows = np.empty(len(read), PVA_REQUEST)
        rows["datagram"], rows["of"] = part.rows[read], place[which[read]]
        rows["id"], rows["offset"], rows["size"] = number[read], offset[read], size[read]
        parts.append(rows)
    tally.fault("pva_list_cut", cursor.rows[whole & ~cursor.fine])
    requests = np.concatenate(parts)
    return found, requests[np.argsort(requests["offset"], kind="stable")]


def _responses(
    cursor: Cursor, hosts: NDArray[np.uint32], tally: Tally
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    guid, search = cursor.take("V12"), cursor.u32()
    host, port = cursor.address(), cursor.u16()
    cursor.skip_text()
    here, ids = cursor.u8(), cursor.u16()
    columns = {"guid": guid, "search": search, "ids": ids, "found": here != 0, "named": host != 0}
    columns["host"] = np.where(host == 0, hosts[cursor.rows], host)
    columns["port"] = np.where(port == 0, SERVER_PORT, port)
    found = _heads(cursor, tally, PVA_RESPONSE, columns)
    place, whole = np.cumsum(cursor.fine) - 1, cursor.fine.copy()
    parts, order = [np.empty(0, PVA_ANSWER)], [np.empty(0, np.int64)]
    for which, part in cursor.repeat(ids):
        at, number = part.at, part.u32()
        read = np.flatnonzero(part.fine)
        rows = np.empty(len(read), PVA_ANSWER)
        rows["of"], rows["id"] = place[which[read]], number[read]
        parts.append(rows)
        order.append(at[read])
    tally.fault("pva_list_cut", cursor.rows[whole & ~cursor.fine])
    return found, np.concatenate(parts)[np.argsort(np.concatenate(order), kind="stable")]


def _beacons(cursor: Cursor, tally: Tally) -> NDArray[np.void]:
    guid = cursor.take("V12")
    cursor.skip(1)
    sequence, changes = cursor.u8(), cursor.u16()
    host, port = cursor.address(), cursor.u16()
    cursor.skip_text()
    columns = {"guid": guid, "sequence": sequence, "changes": changes, "host": host}
    columns["port"] = np.where(port == 0, SERVER_PORT, port)
    return _heads(cursor, tally, PVA_BEACON, columns)


def _origins(cursor: Cursor, tally: Tally) -> NDArray[np.void]:
    return _heads(cursor, tally, ORIGIN, {"host": cursor.address()})
