"""Heartbeats of the ``alive`` record of EPICS, protocol version 5, on UDP port 5678.

Big endian::

    u32 magic | u16 version | u32 incarnation | u32 time | u32 heartbeat | u16 period |
    u16 flags | u16 port | u32 message | name of the IOC, NUL

The incarnation is the time at which the IOC started, so it is another one after each start. Times
are seconds since 1990. The IOC answers questions by TCP at the port, unless the flags say that it
does not. These come some per second at most, so each is an object here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from socs.errors import Malformed, TooLarge

VERSION = 5
EPICS_EPOCH = 631_152_000  # UNIX time of 1990 [s]
READ_ENVIRONMENT, NO_QUESTIONS = 0x1, 0x2  # flags
MOST_BYTES = 1_500  # of a datagram
LONGEST_NAME = 255  # bytes

_HEAD = struct.Struct("!IHIIIHHHI")


@dataclass(frozen=True)
class Alive:
    """One heartbeat.

    Attributes:
        name: of the IOC.
        magic: by which sites tell their own IOCs.
        started: UNIX time at which the IOC started, by its clock [s].
        clock: its time, UNIX time [s].
        count: number of the heartbeat.
        period: from one to the next [s].
        flags: see the constants.
        port: where it answers questions, TCP.
        message: a number that the site defines.
    """

    name: str
    magic: int
    started: int
    clock: int
    count: int
    period: int
    flags: int
    port: int
    message: int


def decode(datagram: bytes, *, magic: int | None = None) -> Alive:
    """What is in ``datagram``.

    Args:
        datagram: as received.
        magic: refuse all others; None takes any.

    Raises:
        Malformed: it is no such heartbeat; the cause is the name of a counter.
        TooLarge: beyond a limit of this module.
    """
    if len(datagram) > MOST_BYTES:
        raise TooLarge(f"{len(datagram)} bytes", "alive_too_large")
    if len(datagram) < _HEAD.size + 2:
        raise Malformed(f"only {len(datagram)} bytes", "alive_cut")
    found, version, started, clock, count, period, flags, port, message = _HEAD.unpack_from(
        datagram
    )
    if magic is not None and found != magic:
        raise Malformed(f"magic number {found:#x}", "alive_other_magic")
    if version != VERSION:
        raise Malformed(f"version {version}", "alive_other_version")
    name, end, _ = datagram[_HEAD.size :].partition(b"\0")
    if not end or not name:
        raise Malformed("no name, or one without an end", "alive_cut")
    if len(name) > LONGEST_NAME:
        raise TooLarge(f"a name of {len(name)} bytes", "alive_too_large")
    return Alive(
        name.decode("utf-8", "backslashreplace"),
        found,
        started + EPICS_EPOCH,
        clock + EPICS_EPOCH,
        count,
        period,
        flags,
        port,
        message,
    )


def encode(alive: Alive) -> bytes:
    """The datagram of a heartbeat; for simulated IOCs."""
    return (
        _HEAD.pack(
            alive.magic,
            VERSION,
            alive.started - EPICS_EPOCH,
            alive.clock - EPICS_EPOCH,
            alive.count,
            alive.period,
            alive.flags,
            alive.port,
            alive.message,
        )
        + alive.name.encode()
        + b"\0"
    )
