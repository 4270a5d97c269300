"""Who asked for each process variable last, and how often: a few sources for each, the latest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.sources import Keys


class Requester(NamedTuple):
    """A source that asked for a name: how often since it is remembered, and when last (UNIX)."""

    host: int
    port: int
    requests: int
    last: float


class Requesters:
    """The last few sources that asked for each name.

    Args:
        most: numbers of names are below.
        kept: how many sources are kept for each. Who asked longest ago makes room.

    Attributes:
        keys: uint64, shape (most, kept): host and port, 0 where nothing is.
        counts: uint32: how often each asked since it is there.
        last: uint32: when it asked last, whole seconds of UNIX time.
        displaced: uint32, shape (most,): how many made room.
    """

    def __init__(self, most: int, kept: int) -> None:
        self.keys = np.zeros((most, kept), np.uint64)
        self.counts = np.zeros((most, kept), np.uint32)
        self.last = np.zeros((most, kept), np.uint32)
        self.displaced = np.zeros(most, np.uint32)

    @property
    def kept(self) -> int:
        """How many sources are kept for each name."""
        return self.keys.shape[1]

    def add(
        self,
        names: NDArray[np.int64],
        keys: Keys,
        amounts: NDArray[np.int64],
        now: float,
    ) -> None:
        """Each of ``names``, ascending, was asked for by the source beside it, so often.

        No pair of name and source is there twice.
        """
        there = np.flatnonzero((self.keys.take(names, axis=0) == keys[:, None]).reshape(-1))
        pair = there // self.kept
        places = names[pair] * self.kept + there % self.kept
        second = np.uint32(int(now) & 0xFFFFFFFF)
        self.counts.reshape(-1)[places] += amounts[pair].astype(np.uint32)
        self.last.reshape(-1)[places] = second
        unknown = np.ones(len(names), np.bool_)
        unknown[pair] = False
        new = np.flatnonzero(unknown)
        while len(new):
            # One new source for each name at a time, so that each finds its own place.
            first = np.ones(len(new), np.bool_)
            first[1:] = names[new[1:]] != names[new[:-1]]
            now_in = new[first]
            self._put(names[now_in], keys[now_in], amounts[now_in], second)
            new = new[~first]

    def _put(
        self, names: NDArray[np.int64], keys: Keys, amounts: NDArray[np.int64], second: np.uint32
    ) -> None:
        places = names * self.kept + self.last.take(names, axis=0).argmin(axis=1)
        of_keys = self.keys.reshape(-1)
        self.displaced[names] += (of_keys[places] != 0).astype(np.uint32)
        of_keys[places] = keys
        self.counts.reshape(-1)[places] = amounts
        self.last.reshape(-1)[places] = second

    def of(self, name: int) -> list[Requester]:
        """Who asked for the name with this number, the latest first."""
        found = [
            Requester(key >> 16, key & 0xFFFF, count, float(last))
            for key, count, last in zip(
                self.keys[name].tolist(),
                self.counts[name].tolist(),
                self.last[name].tolist(),
                strict=True,
            )
            if key
        ]
        return sorted(found, key=lambda requester: -requester.last)

    def asked_by(self, host: int, end: int, port: int | None = None) -> NDArray[np.int64]:
        """Numbers below ``end`` of the names that this host, or its ``port``, asked for last."""
        keys = self.keys[:end]
        if port is None:
            found = (keys >> np.uint64(16)) == host
        else:
            found = keys == np.uint64(host << 16 | port)
        return np.flatnonzero(found.any(axis=1))

    def forget(self, names: NDArray[np.integer]) -> None:
        """Forget who asked for these."""
        for column in (self.keys, self.counts, self.last, self.displaced):
            column[names] = 0
