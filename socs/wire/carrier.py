"""Is there a cable: which interfaces of this host hear a network, and do they hear it now."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Callable, Sequence

GET_FLAGS, GET_ADDRESS = 0x8913, 0x8915  # of linux/sockios.h
UP, RUNNING = 0x1, 0x40  # of linux/if.h
NAME_BYTES, REQUEST_BYTES = 16, 40

Belongs = Callable[[int], bool]


def has_carrier(interfaces: Sequence[str] = (), belongs: Belongs | None = None) -> bool:
    """Does any interface that matters hear what passes on its network.

    Args:
        interfaces: the names of those that matter.
        belongs: if none is named: those whose address (IPv4) is such.

    Returns:
        False if all that matter are down, without a carrier, or gone. True if nothing tells which
        ones matter.
    """
    if not interfaces and belongs is None:
        return True
    there = [name for _, name in socket.if_nameindex()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if interfaces:
            return any(_runs(probe, name) for name in interfaces if name in there)
        assert belongs is not None
        those = [name for name in there if _is_of(probe, name, belongs)]
        return not those or any(_runs(probe, name) for name in those)


def _runs(probe: socket.socket, name: str) -> bool:
    return _flags(probe, name) & (UP | RUNNING) == UP | RUNNING


def _is_of(probe: socket.socket, name: str, belongs: Belongs) -> bool:
    answer = _ask(probe, name, GET_ADDRESS)
    return answer is not None and belongs(int.from_bytes(answer[20:24], "big"))


def _flags(probe: socket.socket, name: str) -> int:
    answer = _ask(probe, name, GET_FLAGS)
    return 0 if answer is None else int(struct.unpack_from("=H", answer, NAME_BYTES)[0])


def _ask(probe: socket.socket, name: str, what: int) -> bytes | None:
    """What the kernel says of an interface; None if it is gone, or has no address."""
    request = name.encode()[: NAME_BYTES - 1].ljust(REQUEST_BYTES, b"\0")
    try:
        return fcntl.ioctl(probe, what, request)
    except OSError:
        return None
