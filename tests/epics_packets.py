"""Datagrams of EPICS by hand, and batches of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address

import numpy as np

from socs.wire.batch import Batch

HEADER = struct.Struct("!HHHHII")
RECEIVED = 1_700_000_000.0
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"

Sent = tuple[str, int, bytes]  # address and port of the sender, contents


def address(text: str) -> int:
    """An IPv4 address as a number."""
    return int(IPv4Address(text))


def message(
    command: int, *, kind: int = 0, count: int = 0, p1: int = 0, p2: int = 0, payload: bytes = b""
) -> bytes:
    """A message of Channel Access."""
    return HEADER.pack(command, len(payload), kind, count, p1, p2) + payload


def version(sequence: int = 1, *, known: bool = True, minor: int = 13) -> bytes:
    return message(0, kind=int(known), count=minor, p1=sequence)


def request(name: bytes, cid: int = 1, *, reply: bool = False, minor: int = 13) -> bytes:
    """A search request as libca writes it: at least one NUL."""
    payload = name.ljust(len(name) // 8 * 8 + 8, b"\0")
    return message(6, kind=10 if reply else 5, count=minor, p1=cid, p2=cid, payload=payload)


def response(
    cid: int = 1, *, port: int = 5064, host: int = 0xFFFFFFFF, minor: int | None = 13
) -> bytes:
    payload = b"" if minor is None else struct.pack("!H6x", minor)
    return message(6, kind=port, p1=host, p2=cid, payload=payload)


def beacon(number: int, *, port: int = 5064, host: int = 0, minor: int = 13) -> bytes:
    return message(13, kind=minor, count=port, p1=number, p2=host)


def batch(
    datagrams: Sequence[bytes | Sent], received: float = RECEIVED, width: int | None = None
) -> Batch:
    """What the receiver would hand over. Those without a sender come from `CLIENT`."""
    sent = [d if isinstance(d, tuple) else (CLIENT, 40000, d) for d in datagrams]
    longest = max((len(contents) for _, _, contents in sent), default=0)
    width = width or max(-(-longest // 8) * 8, 8)
    data = np.full((len(sent), width), 0xAA, np.uint8)
    for row, (_, _, contents) in zip(data, sent, strict=True):
        row[: len(contents)] = np.frombuffer(contents, np.uint8)
    return Batch(
        data,
        np.array([len(contents) for _, _, contents in sent], np.uint32),
        np.array([address(host) for host, _, _ in sent], np.uint32),
        np.array([port for _, port, _ in sent], np.uint16),
        received,
    )
