"""Search traffic of Channel Access clients, made up: who sends which datagram.

Each datagram is a VERSION message with the client's sequence number and 1 to 40 search requests, as
libca sends them. Names are drawn from a set, a few of them with a field or a forbidden character.
"""

from __future__ import annotations

import random
import struct
from typing import NamedTuple

import numpy as np

from socs.wire.batch import Batch

HEADER = struct.Struct("!HHHHII")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MINOR = 13
MOST_REQUESTS = 40
WITH_FIELD, INVALID = 0.01, 0.005
SPACING = 1 / 2000  # s from one datagram to the next
BEGINS = 1_700_000_000.0


class Datagram(NamedTuple):
    """Sender and contents."""

    host: int
    port: int
    contents: bytes


def random_name(rnd: random.Random) -> str:
    """10 to 40 characters, in parts as EPICS names are."""
    parts = [random_part(rnd)]
    wanted = rnd.randint(10, 40)
    while sum(map(len, parts)) < wanted:
        parts.append(rnd.choice(":-_") + random_part(rnd))
    return "".join(parts)[:wanted].rstrip(":-_").ljust(10, "0")


def random_part(rnd: random.Random) -> str:
    return "".join(rnd.choices(LETTERS, k=rnd.randint(3, 7)))


def request(name: bytes, cid: int) -> bytes:
    """One search request."""
    size = len(name) // 8 * 8 + 8
    return HEADER.pack(6, size, 5, MINOR, cid, cid) + name.ljust(size, b"\0")


def capture(
    count: int, *, names: int = 100_000, hosts: int = 200, longest: int = 1024, seed: int = 1
) -> tuple[list[Datagram], int]:
    """``count`` datagrams of at most ``longest`` bytes, and how many requests are in them."""
    rnd = random.Random(seed)
    known: set[str] = set()
    while len(known) < names:
        known.add(random_name(rnd))
    pool = [name.encode() for name in sorted(known)]
    addresses = [0x0A330000 | rnd.randrange(1, 1 << 10) for _ in range(hosts)]
    sources = [(h, rnd.randint(32768, 60999)) for h in addresses for _ in range(rnd.randint(1, 4))]
    sequences = dict.fromkeys(sources, 0)
    datagrams, requests, cid = [], 0, 0
    for _ in range(count):
        source = rnd.choice(sources)
        sequences[source] += 1
        contents = HEADER.pack(0, 0, 1, MINOR, sequences[source], 0)
        for name in rnd.choices(pool, k=rnd.randint(1, MOST_REQUESTS)):
            draw = rnd.random()
            if draw < WITH_FIELD:
                name += b".VAL"
            elif draw < WITH_FIELD + INVALID:
                name = name[:5] + b"$(" + name[7:]
            cid = (cid + 1) & 0x7FFFFFFF
            message = request(name, cid)
            if len(contents) + len(message) > longest:
                break
            contents += message
            requests += 1
        datagrams.append(Datagram(*source, contents))
    return datagrams, requests


def batch(datagrams: list[Datagram], width: int, received: float = BEGINS) -> Batch:
    """What the receiver would hand over."""
    data = np.frombuffer(b"".join(d.contents.ljust(width, b"\0") for d in datagrams), np.uint8)
    return Batch(
        data.reshape(len(datagrams), width),
        np.array([len(d.contents) for d in datagrams], np.uint32),
        np.array([d.host for d in datagrams], np.uint32),
        np.array([d.port for d in datagrams], np.uint16),
        received,
    )


def batches(datagrams: list[Datagram], rows: int) -> list[Batch]:
    """Batches of ``rows`` datagrams, one after the other in time."""
    width = -(-max(len(d.contents) for d in datagrams) // 8) * 8
    return [
        batch(datagrams[start : start + rows], width, BEGINS + start * SPACING)
        for start in range(0, len(datagrams), rows)
    ]
