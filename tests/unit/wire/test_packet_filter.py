"""The filter's program, run by a small interpreter, lets pass what its sentence says."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socs.errors import ConfigError
from socs.wire import packet_filter
from socs.wire.packet_filter import (
    HARDWARE,
    INTERFACE,
    MOST_INTERFACES,
    MOST_PORTS,
    PACKET_TYPE,
    PROTOCOL,
    packed,
    udp_filter,
)


def run(program, packet, known):
    """What the kernel does with such a program: bytes of the packet that pass."""
    a = x = 0
    at = 0
    sizes = {0x20: 4, 0x28: 2, 0x30: 1}
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code in sizes or code == 0x48:
            place = k + (x if code == 0x48 else 0)
            size = sizes.get(code, 2)
            if k in known:
                a = known[k]
            elif place + size > len(packet):
                return 0  # as the kernel: a load beyond the end drops
            else:
                a = int.from_bytes(packet[place : place + size], "big")
        elif code == 0xB1:
            x = 4 * (packet[k] & 0xF)
        elif code == 0x54:
            a &= k
        elif code in (0x15, 0x45):
            at += yes if (a == k if code == 0x15 else a & k) else no
        elif code == 0x06:
            return k


def packet(source, destination, *, version=4, words=5, protocol=17, fragment=0):
    head = bytearray(
        struct.pack("!BBHHHBBH8x", version << 4 | words, 0, 0, 0, fragment, 64, protocol, 0)
    )
    head += bytes((words - 5) * 4)
    return bytes(head) + struct.pack("!HHHH", source, destination, 8, 0)


PORTS = (5064, 5065, 5076)
some_port = st.sampled_from((*PORTS, 5063, 0, 65535, 1000))


@given(
    some_port,
    some_port,
    st.sampled_from((4, 6)),
    st.integers(5, 15),
    st.sampled_from((17, 6)),
    st.sampled_from((0, 0x2000, 0x4000, 1, 0x2001)),
    st.sampled_from((0x0800, 0x86DD)),
    st.sampled_from((1, 2, 3)),
    st.sampled_from((772, 1)),
    st.sampled_from((0, 1, 4)),
    st.sampled_from(((), (2,), (1, 3))),
)
def test_what_passes(
    source, destination, version, words, protocol, fragment, kind, interface, hardware, way, chosen
):
    program = udp_filter(PORTS, chosen)
    known = {PROTOCOL: kind, INTERFACE: interface, HARDWARE: hardware, PACKET_TYPE: way}
    data = packet(
        source, destination, version=version, words=words, protocol=protocol, fragment=fragment
    )
    expected = (
        kind == 0x0800
        and version == 4
        and protocol == 17
        and not fragment & 0x1FFF
        and (source in PORTS or destination in PORTS)
        and not (hardware == 772 and way == 4)
        and (not chosen or interface in chosen)
    )
    assert bool(run(program, data, known)) == expected


def test_as_many_ports_and_interfaces_as_are_allowed_can_be_reached_by_jumps():
    ports, interfaces = range(1000, 1000 + MOST_PORTS), range(1, MOST_INTERFACES + 1)
    program = udp_filter(ports, interfaces)
    assert max(max(step.if_true, step.if_false) for step in program) < 256
    assert len(packed(program)) == 8 * len(program)
    known = {PROTOCOL: 0x0800, INTERFACE: 1, HARDWARE: 1, PACKET_TYPE: 0}
    assert run(program, packet(1, ports[-1]), known) == packet_filter.WHOLE_PACKET


def test_too_many_or_none():
    with pytest.raises(ConfigError, match="ports: 0 are not"):
        udp_filter((), ())
    with pytest.raises(ConfigError, match="ports: 51 are not"):
        udp_filter(range(51), ())
    with pytest.raises(ConfigError, match="interfaces: 51 are more"):
        udp_filter((1,), range(51))
