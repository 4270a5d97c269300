"""Who served each process variable last: a few servers for each, the latest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_PROTOCOL, _HOST = 48, 16  # bits below


def key_of(protocol: int, host: int, port: int) -> int:
    """One number for a server."""
    return protocol << _PROTOCOL | host << _HOST | port


def keys_of_servers(
    protocols: NDArray[np.integer], hosts: NDArray[np.integer], ports: NDArray[np.integer]
) -> NDArray[np.uint64]:
    """The same for many."""
    shifted = protocols.astype(np.uint64) << np.uint64(_PROTOCOL)
    keys: NDArray[np.uint64] = shifted | hosts.astype(np.uint64) << np.uint64(_HOST)
    return keys | ports.astype(np.uint64)


def server_of_key(key: int) -> tuple[int, int, int]:
    """Protocol, host and port of the server with this number."""
    return key >> _PROTOCOL, key >> _HOST & 0xFFFFFFFF, key & 0xFFFF


class Sighting(NamedTuple):
    """A server that answered for a name, and when first and last, UNIX time [s]."""

    protocol: int
    host: int
    port: int
    first: float
    last: float


class Servers:
    """The last few servers that answered for each name.

    Args:
        most: numbers of names are below.
        kept: how many servers are kept for each. Who answered longest ago makes room.

    Attributes:
        keys: uint64, shape (most, kept): protocol, host and port, 0 where nothing is.
        first: uint32: when each answered first, whole seconds of UNIX time.
        last: float64: when it answered last, UNIX time [s].
    """

    def __init__(self, most: int, kept: int) -> None:
        self.keys = np.zeros((most, kept), np.uint64)
        self.first = np.zeros((most, kept), np.uint32)
        self.last = np.zeros((most, kept))

    def add(
        self, names: NDArray[np.integer], protocol: int, host: int, port: int, now: float
    ) -> None:
        """This server answered for all of ``names``, distinct."""
        key = np.uint64(key_of(protocol, host, port))
        there = self.keys[names] == key
        known = there.any(axis=1)
        place = np.where(known, there.argmax(axis=1), self.last[names].argmin(axis=1))
        self.keys[names, place] = key
        self.last[names, place] = now
        new = ~known
        self.first[names[new], place[new]] = int(now)

    def of(self, name: int) -> list[Sighting]:
        """Who answered for the name with this number, the latest first."""
        columns = (self.keys[name].tolist(), self.first[name].tolist(), self.last[name].tolist())
        found = [
            Sighting(*server_of_key(key), float(first), last)
            for key, first, last in zip(*columns, strict=True)
            if key
        ]
        return sorted(found, key=lambda sighting: -sighting.last)

    def forget(self, names: NDArray[np.integer]) -> None:
        """Forget who answered for these."""
        for column in (self.keys, self.first, self.last):
            column[names] = 0
