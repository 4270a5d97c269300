"""Channel Access over UDP: all messages of a batch of datagrams as structured arrays.

A datagram is one message after the other, each a header of 16 bytes and a payload of whole words
(eight bytes), big endian::

    u16 command | u16 payload size | u16 data type | u16 count | u32 parameter 1 | u32 parameter 2

The walk goes from message to message in all datagrams at the same time, so its steps are as many
as the longest datagram has messages. What stands before the first damage in a datagram is taken,
the rest is not, and the damage is counted by its cause.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics.decode.words import WORD, Datagrams, Memory, Positions, Tally, Words

SERVER_PORT = 5064  # stands for 0 in a beacon, and for what servers before 4.5 did not say
SOURCE = 0xFFFFFFFF  # in a response: the server is where it came from
HEADER_WORDS = 2
EXTENDED = 0xFFFF  # size in a header that goes on for eight bytes more, as TCP has them
LONGEST_NAME = 500  # bytes of a name in a request, with its NUL at most a word more
PORT_SINCE, ADDRESS_SINCE = 5, 8  # minor versions from which a response says its port, its address

VERSION, SEARCH, ERROR, BEACON, NOT_FOUND, CONFIRM, REGISTER = 0, 6, 11, 13, 14, 17, 24
DONT_REPLY, DO_REPLY = 5, 10  # data type of a request

# datagram   row of the batch
# offset     of the name in the memory of the batch [bytes], a multiple of 8
# size       bytes there, of which the name ends before the first NUL
# minor      version of the client
# reply      does the client want NOT_FOUND
# cid        number of the channel, chosen by the client
REQUEST = np.dtype(
    [
        ("datagram", "<u4"),
        ("cid", "<u4"),
        ("offset", "<i8"),
        ("size", "<u2"),
        ("minor", "<u2"),
        ("reply", "?"),
    ]
)
# host, port  where the server listens (TCP); named says whether the message gave the host
RESPONSE = np.dtype(
    [
        ("datagram", "<u4"),
        ("cid", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("minor", "<u2"),
        ("named", "?"),
    ]
)
# id     number of the beacon; host is 0 if it did not name one: then it is the sender
CA_BEACON = np.dtype(
    [
        ("datagram", "<u4"),
        ("id", "<u4"),
        ("host", "<u4"),
        ("port", "<u2"),
        ("minor", "<u2"),
    ]
)

_COUNTED = {
    VERSION: "ca_versions",
    ERROR: "ca_errors",
    BEACON: "ca_beacons",
    NOT_FOUND: "ca_not_found",
    CONFIRM: "ca_repeater",
    REGISTER: "ca_repeater",
}
_BEYOND = 32  # all known commands are below
_UNKNOWN = [number for number in range(33) if number not in _COUNTED]
_SIZE_SHIFT, _SIZE_BITS = np.uint64(32), np.uint64(0xFFFF)
_WORD_SHIFT = WORD.bit_length() - 1


@dataclass(eq=False)
class CaMessages:
    """The messages of a batch, each kind in the order of arrival; all others are counted only.

    Valid as long as the batch: names are looked up in its memory.

    Attributes:
        memory: of the batch.
        requests: `REQUEST`, shape (r,): search requests.
        responses: `RESPONSE`: search responses.
        beacons: `CA_BEACON`.
        tally: how many of what, by counter name (:data:`socs.counters.EPICS_CA`).
    """

    memory: Memory
    requests: NDArray[np.void]
    responses: NDArray[np.void]
    beacons: NDArray[np.void]
    tally: Tally

    def name(self, request: NDArray[np.void] | np.void) -> bytes:
        """A copy of the name in one of ``requests``."""
        return self.memory.text(int(request["offset"]), int(request["size"]))


def decode(datagrams: Datagrams, *, server_port: int = SERVER_PORT) -> CaMessages:
    """The messages in ``datagrams``.

    Args:
        datagrams: a batch, as the receiver hands it over.
        server_port: what a server means that does not say its port.
    """
    memory, tally = Memory.of(datagrams), Tally()
    at, rows, first = _walk(memory, tally)
    second = memory.words.view(">u8")[at + 1].astype(np.uint64)
    command = first >> np.uint64(48)
    messages = _Headers(memory.words, datagrams.hosts, at, rows, first, second)
    tally.add("ca_datagrams", len(memory.sizes))
    tally.add("ca_registrations", int(np.count_nonzero(memory.sizes == 0)))
    tally.add("ca_messages", len(at))

    searches = np.flatnonzero(command == SEARCH)
    requests, responses = messages.searches(searches, server_port, tally)
    others = np.flatnonzero(command != SEARCH)
    messages, command = messages.only(others), command[others]
    _count(command, messages.rows, tally)
    return CaMessages(
        memory,
        requests,
        responses,
        messages.only(command == BEACON).beacons(server_port),
        tally,
    )


def _walk(memory: Memory, tally: Tally) -> tuple[Positions, Positions, Words]:
    """Word at which each whole message begins, its datagram, and the first word of its header.

    All of shape (m,), in the order of arrival.
    """
    # Each step is a few calls for some hundred datagrams: the fewer calls, the better.
    words = memory.words.view(">u8")
    begin = memory.starts()
    rows = np.arange(len(begin), dtype=np.int64)
    last = begin - (-memory.sizes // WORD)  # beyond the last word, whole or not
    at, end, whose = begin, begin + memory.sizes // WORD, rows
    found, owners, heads = [at[:0]], [rows[:0]], [words[:0].astype(np.uint64)]
    while len(at):
        going = end - at >= HEADER_WORDS
        if np.count_nonzero(going) < len(at):
            cut = whose[~going & (last[whose] > at)]
            tally.fault("ca_header_cut", cut)
            at, end, whose = at[going], end[going], whose[going]
        head = words[at].astype(np.uint64)
        size = (head >> _SIZE_SHIFT & _SIZE_BITS).view(np.int64)
        following = at + HEADER_WORDS + (size >> _WORD_SHIFT)
        bad = (size & WORD - 1 != 0) | (following > end)
        if np.count_nonzero(bad):
            _count_damage(head[bad], size[bad], whose[bad], tally)
            good = ~bad
            at, end, whose = at[good], end[good], whose[good]
            head, following = head[good], following[good]
        found.append(at)
        owners.append(whose)
        heads.append(head)
        at = following
    order = np.argsort(position := np.concatenate(found))
    return position[order], np.concatenate(owners)[order], np.concatenate(heads)[order]


def _count_damage(head: Words, size: Positions, rows: Positions, tally: Tally) -> None:
    extended = (size == EXTENDED) & (head & np.uint64(0xFFFF) == 0)
    odd = ~extended & (size % WORD != 0)
    tally.fault("ca_extended_header", rows[extended])
    tally.fault("ca_misaligned", rows[odd])
    tally.fault("ca_payload_cut", rows[~extended & ~odd])


def _count(command: Words, rows: Positions, tally: Tally) -> None:
    """Count all messages but searches."""
    known = np.minimum(command, np.uint64(_BEYOND)).view(np.int64)
    amounts = np.bincount(known, minlength=_BEYOND + 1)
    for number, name in _COUNTED.items():
        tally.add(name, int(amounts[number]))
    if amounts[_UNKNOWN].any():
        tally.fault("ca_unknown_command", rows[~np.isin(command, list(_COUNTED))])


@dataclass(eq=False)
class _Headers:
    """Headers of some messages of a batch, and the senders of all its datagrams."""

    words: Words
    hosts: NDArray[np.uint32]
    at: Positions
    rows: Positions
    first: Words
    second: Words

    def only(self, wanted: NDArray[np.bool_] | Positions) -> _Headers:
        return _Headers(
            self.words,
            self.hosts,
            self.at[wanted],
            self.rows[wanted],
            self.first[wanted],
            self.second[wanted],
        )

    @property
    def size(self) -> Positions:
        size: Positions = (self.first >> np.uint64(32) & np.uint64(0xFFFF)).view(np.int64)
        return size

    @property
    def data_type(self) -> Words:
        kind: Words = self.first >> np.uint64(16) & np.uint64(0xFFFF)
        return kind

    @property
    def count(self) -> Words:
        count: Words = self.first & np.uint64(0xFFFF)
        return count

    def searches(
        self, which: Positions, server_port: int, tally: Tally
    ) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Requests and responses among the messages ``which``."""
        these = self.only(which)
        kind, size = these.data_type, these.size
        asks = (kind == DONT_REPLY) | (kind == DO_REPLY)
        if not asks.all():
            answers = ~asks & (these.count == 0) & (size <= WORD)
            tally.fault("ca_search_unclear", these.rows[~asks & ~answers])
            responses = these.only(answers).responses(server_port)
            tally.add("ca_responses", len(responses))
            these, size = these.only(asks), size[asks]
        else:
            responses = np.empty(0, RESPONSE)
        wrong = (size == 0) | (size > LONGEST_NAME + WORD)
        if wrong.any():
            tally.fault("ca_name_empty", these.rows[size == 0])
            tally.fault("ca_name_too_long", these.rows[size > LONGEST_NAME + WORD])
            these = these.only(~wrong)
        tally.add("ca_requests", len(these.at))
        return these.requests(), responses

    def requests(self) -> NDArray[np.void]:
        found = np.empty(len(self.at), REQUEST)
        found["datagram"] = self.rows
        found["cid"] = self.second >> np.uint64(32)
        found["offset"] = (self.at + HEADER_WORDS) * WORD
        found["size"] = self.size
        found["minor"] = self.count
        found["reply"] = self.data_type == DO_REPLY
        return found

    def responses(self, server_port: int) -> NDArray[np.void]:
        found = np.empty(len(self.at), RESPONSE)
        minor = np.zeros(len(self.at), np.uint64)
        told = np.flatnonzero(self.size == WORD)
        payload = self.words.view(">u8")[self.at[told] + HEADER_WORDS]
        minor[told] = payload.astype(np.uint64) >> np.uint64(48)
        host = self.second >> np.uint64(32)
        named = (minor >= ADDRESS_SINCE) & (host != SOURCE) & (host != 0)
        found["datagram"] = self.rows
        found["cid"] = self.second & np.uint64(0xFFFFFFFF)
        found["host"] = np.where(named, host, self.hosts[self.rows])
        says_port = (minor >= PORT_SINCE) & (self.data_type != 0)
        found["port"] = np.where(says_port, self.data_type, server_port)
        found["minor"], found["named"] = minor, named
        return found

    def beacons(self, server_port: int) -> NDArray[np.void]:
        found = np.empty(len(self.at), CA_BEACON)
        found["datagram"] = self.rows
        found["id"] = self.second >> np.uint64(32)
        found["host"] = self.second & np.uint64(0xFFFFFFFF)
        found["port"] = np.where(self.count != 0, self.count, server_port)
        found["minor"] = self.data_type
        return found
