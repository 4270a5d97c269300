"""Which packets the kernel lets a capturing socket see: a program of the classic packet filter.

Such a program is a list of instructions ``(code, jump if true, jump if false, number)``, see
``<linux/filter.h>``. Ours begins at the IPv4 header, since the socket is of type ``SOCK_DGRAM``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from socs.errors import ConfigError

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
LOAD_HALF_AFTER_HEADER = 0x48
HEADER_LENGTH_TO_INDEX = 0xB1
JUMP_EQUAL, JUMP_ANY_BIT, AND, RETURN = 0x15, 0x45, 0x54, 0x06
# Not of the packet, but what the kernel knows of it.
PROTOCOL, PACKET_TYPE, INTERFACE, HARDWARE = 0xFFFFF000, 0xFFFFF004, 0xFFFFF008, 0xFFFFF01C
IPV4, UDP = 0x0800, 17
OUTGOING = 4  # packet type
LOOPBACK_HARDWARE = 772
FRAGMENT_PLACE = 0x1FFF
WHOLE_PACKET = 0x40000  # bytes
MOST_PORTS, MOST_INTERFACES = 50, 50  # jumps reach 255 instructions

ACCEPT, DROP, NEXT = "accept", "drop", ""


class Instruction(NamedTuple):
    """One step; jumps are how many instructions are passed over."""

    code: int
    if_true: int
    if_false: int
    number: int


def udp_filter(ports: Sequence[int], interfaces: Sequence[int]) -> list[Instruction]:
    """Lets pass UDP datagrams over IPv4 from or to one of ``ports``, of fragments the first.

    On loopback, where the kernel shows each packet when it leaves and when it arrives, only the
    latter pass.

    Args:
        interfaces: numbers of those that are listened to; empty for all.

    Raises:
        ConfigError: there are no ports, or too many of either.
    """
    if not 0 < len(ports) <= MOST_PORTS:
        raise ConfigError(f"ports: {len(ports)} are not from 1 to {MOST_PORTS}")
    if len(interfaces) > MOST_INTERFACES:
        raise ConfigError(f"interfaces: {len(interfaces)} are more than {MOST_INTERFACES}")
    steps: list[tuple[int, str, str, int]] = []

    def load(code: int, place: int) -> None:
        steps.append((code, NEXT, NEXT, place))

    def must_be(number: int) -> None:
        steps.append((JUMP_EQUAL, NEXT, DROP, number))

    def one_of(numbers: Sequence[int], found: str, missing: str) -> None:
        for number in numbers[:-1]:
            steps.append((JUMP_EQUAL, found, NEXT, number))
        steps.append((JUMP_EQUAL, found, missing, numbers[-1]))

    load(LOAD_HALF, PROTOCOL)
    must_be(IPV4)
    if interfaces:
        load(LOAD_WORD, INTERFACE)
        one_of(interfaces, "known", DROP)
    load(LOAD_HALF, HARDWARE)
    known = len(steps) - 1
    steps.append((JUMP_EQUAL, NEXT, "carried", LOOPBACK_HARDWARE))
    load(LOAD_BYTE, PACKET_TYPE)
    steps.append((JUMP_EQUAL, DROP, NEXT, OUTGOING))
    carried = len(steps)
    load(LOAD_BYTE, 0)
    load(AND, 0xF0)
    must_be(0x40)
    load(LOAD_BYTE, 9)
    must_be(UDP)
    load(LOAD_HALF, 6)
    steps.append((JUMP_ANY_BIT, DROP, NEXT, FRAGMENT_PLACE))
    load(HEADER_LENGTH_TO_INDEX, 0)
    load(LOAD_HALF_AFTER_HEADER, 0)
    one_of(ports, ACCEPT, NEXT)
    load(LOAD_HALF_AFTER_HEADER, 2)
    one_of(ports, ACCEPT, DROP)
    end = len(steps)
    places = {DROP: end, ACCEPT: end + 1, "known": known, "carried": carried}
    program = [
        Instruction(
            code,
            places[yes] - at - 1 if yes else 0,
            places[no] - at - 1 if no else 0,
            number,
        )
        for at, (code, yes, no, number) in enumerate(steps)
    ]
    return [*program, Instruction(RETURN, 0, 0, 0), Instruction(RETURN, 0, 0, WHOLE_PACKET)]


def packed(program: Sequence[Instruction]) -> bytes:
    """The program as ``struct sock_filter`` has it."""
    return b"".join(struct.pack("=HBBI", *step) for step in program)
