"""Who asks: every (host, port) that sent a search, and to which class of sources it belongs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from socs.epics.networks import Networks
from socs.errors import ConfigError

CLIENT = "client"  # the class of all sources that are in no other
MOST_CLASSES = 8

Keys = NDArray[np.uint64]


def keys_of(hosts: NDArray[np.uint32], ports: NDArray[np.uint16]) -> Keys:
    """One number for each source: host and port."""
    keys: Keys = hosts.astype(np.uint64) << np.uint64(16) | ports.astype(np.uint64)
    return keys


class SourceClasses:
    """Classes of sources by their networks, such as ``{"archiver": ["10.1.2.3"]}``.

    A source is in the first class that has its address, in `CLIENT` if none has it.

    Raises:
        ConfigError: a network is none, or there are too many classes, or one is called `CLIENT`.
    """

    def __init__(self, networks: Mapping[str, Sequence[str]] | None = None) -> None:
        networks = networks or {}
        if CLIENT in networks or len(networks) >= MOST_CLASSES:
            raise ConfigError(
                f"source classes: at most {MOST_CLASSES - 1}, none of them called {CLIENT!r}"
            )
        for name, members in networks.items():
            if not members:
                raise ConfigError(f"source class {name}: give its addresses or networks")
        self.names = (CLIENT, *networks)
        self._networks = [
            Networks(members, f"source class {name}") for name, members in networks.items()
        ]

    def of(self, hosts: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """The class of each of ``hosts`` (n,), as its place in `names`."""
        classes = np.zeros(len(hosts), np.uint8)
        for number in range(len(self._networks), 0, -1):
            classes[self._networks[number - 1].holds(hosts)] = number
        return classes


class Sources:
    """Counts for each source. Number 0 stands for all for which there was no room.

    Args:
        most: how many sources are told apart.
        classes: what to class them by.

    Attributes:
        keys: uint64, shape (end,): host and port.
        classed: uint8: class of each.
        first, last: when it sent its first and last search, UNIX time [s].
        datagrams, requests, invalid: how many it sent; ``invalid`` is the requests for names that
            are not valid.
    """

    def __init__(self, most: int, classes: SourceClasses | None = None) -> None:
        self.classes = classes or SourceClasses()
        self._most = most
        self._clear(1)

    def _clear(self, end: int) -> None:
        self.end = end
        room = self._most + 1
        self.keys = np.zeros(room, np.uint64)
        self.classed = np.zeros(room, np.uint8)
        self.first, self.last = np.zeros(room), np.zeros(room)
        self.datagrams = np.zeros(room, np.uint64)
        self.requests = np.zeros(room, np.uint64)
        self.invalid = np.zeros(room, np.uint64)
        self._sorted = np.zeros(0, np.uint64)
        self._numbers = np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Sources that are told apart."""
        return self.end - 1

    def numbers(self, keys: Keys, now: float) -> NDArray[np.int64]:
        """The number of each of ``keys``, distinct; new ones come in while there is room.

        Nobody's key, 0, has the number 0.
        """
        numbers = self._find(keys)
        new = np.flatnonzero((numbers == 0) & (keys != 0))[: self._most + 1 - self.end]
        if len(new):
            fresh = np.arange(self.end, self.end + len(new))
            self.end += len(new)
            self.keys[fresh], self.first[fresh] = keys[new], now
            self.classed[fresh] = self.classes.of((keys[new] >> np.uint64(16)).astype(np.uint32))
            self._sort()
            numbers[new] = fresh
        return numbers

    def add(
        self,
        numbers: NDArray[np.int64],
        datagrams: NDArray[np.int64],
        requests: NDArray[np.int64],
        invalid: NDArray[np.int64],
        now: float,
    ) -> None:
        """Add what the sources ``numbers`` sent; of these only 0 may be there more than once."""
        self.last[numbers] = now
        for column, amounts in (
            (self.datagrams, datagrams),
            (self.requests, requests),
            (self.invalid, invalid),
        ):
            np.add.at(column, numbers, amounts.astype(np.uint64))

    def forget(self, before: float) -> int:
        """Forget sources that sent nothing since ``before``; how many. Numbers change."""
        kept = np.flatnonzero(self.last[1 : self.end] >= before) + 1
        gone = len(self) - len(kept)
        if gone:
            places = np.concatenate([[0], kept])
            old = {name: getattr(self, name)[places] for name in _COLUMNS}
            self._clear(len(places))
            for name, values in old.items():
                getattr(self, name)[: len(places)] = values
            self._sort()
        return gone

    def _find(self, keys: Keys) -> NDArray[np.int64]:
        if not len(self._sorted):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[place] == keys, self._numbers[place], 0)

    def _sort(self) -> None:
        keys = self.keys[1 : self.end]
        order = np.argsort(keys)
        self._sorted, self._numbers = keys[order], order + 1


_COLUMNS = ("keys", "classed", "first", "last", "datagrams", "requests", "invalid")
