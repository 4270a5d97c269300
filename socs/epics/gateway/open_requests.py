"""Whose name an answer is about, when we only overhear it.

An answer bears no name but the number that the client gave its channel. So the latest requests are
remembered, with their clients and numbers. One object for each protocol.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.sources import Keys

# Odd; keeps clients apart whose channels have equal numbers.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class OpenRequests:
    """The latest requests of all clients.

    Args:
        kept: how many; the oldest make room. An answer comes within a second, if at all.
    """

    def __init__(self, kept: int = 1 << 16) -> None:
        self._keys = np.zeros(kept, np.uint64)
        self._clients = np.zeros(kept, np.uint64)
        self._channels = np.zeros(kept, np.uint32)
        self._names = np.zeros(kept, np.int32)
        self._next = self._filled = 0

    def asked(self, clients: Keys, channels: NDArray[np.uint32], names: NDArray[np.int32]) -> None:
        """Remember requests, in the order in which they came.

        Args:
            clients: who asked, see :func:`~socs.epics.accounts.sources.keys_of`.
            channels: the number of the channel that is asked for.
            names: the number of its name; -1 is not remembered.
        """
        kept = len(self._keys)
        which = np.flatnonzero(names >= 0)[-kept:]
        places = (self._next + np.arange(len(which))) % kept
        self._clients[places], self._channels[places] = clients[which], channels[which]
        self._keys[places] = _joined(clients[which], channels[which])
        self._names[places] = names[which]
        self._next = (self._next + len(which)) % kept
        self._filled = min(self._filled + len(which), kept)

    def answered(self, clients: Keys, channels: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The name that each answer is about; -1 if its request was not seen, or is too old.

        Args:
            clients: to whom each answer goes.
            channels: the number in it.
        """
        names = np.full(len(clients), -1, np.int32)
        if not len(clients) or not self._filled:
            return names
        oldest_first = (self._next - self._filled + np.arange(self._filled)) % len(self._keys)
        keys = self._keys[oldest_first]
        wanted, whose = np.unique(_joined(clients, channels), return_inverse=True)
        place = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
        hits = np.flatnonzero(wanted[place] == keys)
        latest = np.full(len(wanted), -1, np.int64)
        latest[place[hits]] = oldest_first[hits]
        at = latest[whose]
        same = (at >= 0) & (self._clients[at] == clients) & (self._channels[at] == channels)
        names[same] = self._names[at[same]]
        return names


def _joined(clients: Keys, channels: NDArray[np.uint32]) -> Keys:
    joined: Keys = clients * _SPREAD ^ channels.astype(np.uint64)
    return joined
