"""Who asks for what in a batch of searches; the same for both protocols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.sources import Keys, keys_of
from socs.epics.accounts.texts import packed
from socs.epics.decode.ca import CaMessages
from socs.epics.decode.pva import PvaMessages
from socs.epics.decode.words import WORD, Datagrams, Positions, Words


@dataclass(eq=False)
class Asked:
    """Requests for names, one row each, in the order of arrival.

    Attributes:
        keys: uint64, shape (n,): whom to answer, for each datagram of the batch; see
            :func:`~socs.epics.accounts.sources.keys_of`.
        rows: shape (r,): in which datagram each request came.
        words, at, counts: where the names stand, see `NameTable.take`.
        channels: uint32, shape (r,): the client's number for each.
    """

    keys: Keys
    rows: NDArray[np.integer]
    words: Words
    at: Positions
    counts: Positions
    channels: NDArray[np.uint32]

    def only(self, wanted: NDArray[np.bool_]) -> Asked:
        """The ``wanted`` requests, bool (r,)."""
        some = (self.rows[wanted], self.words, self.at[wanted], self.counts[wanted])
        return Asked(self.keys, *some, self.channels[wanted])


def asked_ca(datagrams: Datagrams, messages: CaMessages) -> Asked:
    """The requests in ``messages``, which were decoded from ``datagrams``."""
    requests = messages.requests
    return Asked(
        keys_of(datagrams.hosts, datagrams.ports),
        requests["datagram"],
        messages.memory.words,
        requests["offset"] // WORD,
        requests["size"].astype(np.int64) // WORD,
        requests["cid"],
    )


def asked_pva(datagrams: Datagrams, messages: PvaMessages) -> Asked:
    """The same for PV Access, where a search says whom to answer."""
    requests, searches = messages.requests, messages.searches
    hosts, ports = datagrams.hosts.copy(), datagrams.ports.copy()
    named = searches[searches["host"] != 0]
    hosts[named["datagram"]] = named["host"]
    ports[searches["datagram"]] = searches["port"]
    sizes = requests["size"].astype(np.int64)
    names = packed(messages.memory.octets, requests["offset"], sizes)
    return Asked(
        keys_of(hosts, ports),
        requests["datagram"],
        names.words,
        names.at,
        names.counts,
        requests["id"],
    )
