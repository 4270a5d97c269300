"""Datagrams of PV Access by hand."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.epics_packets import address

SERVER_FLAG = 0x40


def message(command: int, payload: bytes, *, big: bool = True, flags: int = 0, size=None) -> bytes:
    """A message with its header."""
    length = len(payload) if size is None else size
    order = ">" if big else "<"
    return (
        struct.pack(f"{order}BBBBI", 0xCA, 2, flags | (0x80 if big else 0), command, length)
        + payload
    )


def text(contents: bytes, *, long: bool = False, big: bool = True) -> bytes:
    """A text with its size, in one byte or in five."""
    if long or len(contents) > 253:
        return struct.pack((">" if big else "<") + "BI", 254, len(contents)) + contents
    return bytes([len(contents)]) + contents


def ipv4(host: str | None) -> bytes:
    """Sixteen bytes."""
    if host is None:
        return bytes(16)
    return bytes(10) + b"\xff\xff" + struct.pack(">I", address(host))


def search(
    names: Sequence[tuple[int, bytes]],
    number: int = 7,
    *,
    reply: bool = False,
    unicast: bool = False,
    host: str | None = None,
    port: int = 40000,
    protocols: Sequence[bytes] = (b"tcp",),
    big: bool = True,
) -> bytes:
    order = ">" if big else "<"
    flags = (1 if reply else 0) | (0x80 if unicast else 0)
    payload = struct.pack(f"{order}IB3x", number, flags) + ipv4(host)
    payload += struct.pack(f"{order}HB", port, len(protocols))
    payload += b"".join(text(protocol, big=big) for protocol in protocols)
    payload += struct.pack(f"{order}H", len(names))
    for cid, name in names:
        payload += struct.pack(f"{order}I", cid) + text(name, big=big)
    return message(3, payload, big=big)


def response(
    ids: Sequence[int],
    number: int = 7,
    *,
    guid: bytes = b"g" * 12,
    host: str | None = None,
    port: int = 5075,
    found: bool = True,
    big: bool = True,
) -> bytes:
    order = ">" if big else "<"
    payload = guid + struct.pack(f"{order}I", number) + ipv4(host) + struct.pack(f"{order}H", port)
    payload += text(b"tcp") + struct.pack(f"{order}BH", found, len(ids))
    payload += struct.pack(f"{order}{len(ids)}I", *ids)
    return message(4, payload, big=big, flags=SERVER_FLAG)


def beacon(
    sequence: int = 0,
    changes: int = 0,
    *,
    guid: bytes = b"g" * 12,
    host: str | None = None,
    port: int = 5075,
    big: bool = True,
) -> bytes:
    order = ">" if big else "<"
    payload = guid + struct.pack(f"{order}BBH", 0, sequence, changes) + ipv4(host)
    payload += struct.pack(f"{order}H", port) + text(b"tcp") + b"\xff"
    return message(0, payload, big=big, flags=SERVER_FLAG)


def origin(host: str) -> bytes:
    return message(0x16, ipv4(host))
