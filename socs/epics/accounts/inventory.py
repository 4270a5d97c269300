"""Everything known of each process variable, in columns: who asks how often, and who serves it.

A million of them take some 400 MB, so there is no Python object for any. Whole batches of search
requests are accounted for at once: each request for its name, its source, and the pair of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.name_rule import NameRule
from socs.epics.accounts.names import NameTable
from socs.epics.accounts.requesters import Requesters
from socs.epics.accounts.servers import Servers
from socs.epics.accounts.sources import Keys, SourceClasses, Sources
from socs.epics.decode.words import Positions, Words

UNKNOWN = -2  # instead of the number of a name: it was not told which one it is
# A name, a source of the batch, and how often it asked, in one word.
_AMOUNT_BITS, _SOURCE_BITS = 16, 24
_NAME_SHIFT = _AMOUNT_BITS + _SOURCE_BITS


@dataclass(frozen=True)
class InventoryLimits:
    """How much is remembered.

    Attributes:
        names: process variables; further names are counted and not kept.
        sources: hosts and ports that ask; further ones are counted together.
        requesters: sources kept for each process variable.
        servers: servers kept for each process variable.
    """

    names: int = 1_500_000
    sources: int = 65_536
    requesters: int = 8
    servers: int = 4


class Asking(NamedTuple):
    """Who asks, a row for each; a source may have several.

    Attributes:
        keys: of the sources, see `keys_of`.
        datagrams: with requests that each sent.
        requests: in them, those that are not counted by name among them.
    """

    keys: Keys
    datagrams: NDArray[np.integer]
    requests: NDArray[np.integer]


class Inventory:
    """All process variables by number, as arrays of which only the part below ``end`` is in use.

    Args:
        limits: how much is remembered.
        rule: which names are valid.
        classes: classes of sources.
        secret: see `socs.epics.accounts.texts.Seed`.

    Attributes:
        names: names and their numbers.
        sources: who asks.
        requesters: who asked for each name last.
        asked: uint64, shape (names, classes): requests by class of source.
        first_asked, last_asked: UNIX time [s], 0 if nobody asked.
        state: uint8: see `socs.epics.track.pvs`.
        host, port, protocol: the server that answered last; 0 if none did.
        first_seen, last_seen: when a server answered first and last, UNIX time [s], 0 if none did.
        searched: when it was last searched for by ourselves, UNIX time [s].
        changed: when ``state`` changed last.
        answers: uint32: how many answers came.
        misses: uint8: searches in a row that no server answered.
        host_of, port_of: shape (names, 2): the server that answered last by each protocol.
        servers: who answered for each name last.
    """

    def __init__(
        self,
        limits: InventoryLimits | None = None,
        rule: NameRule | None = None,
        classes: SourceClasses | None = None,
        *,
        secret: int,
    ) -> None:
        self.limits = limits or InventoryLimits()
        most = self.limits.names
        self.names = NameTable(most, rule, secret=secret)
        self.sources = Sources(self.limits.sources, classes)
        self.requesters = Requesters(most, self.limits.requesters)
        self.classes = len(self.sources.classes.names)
        # Pages that nobody wrote to take no memory.
        self.asked = np.zeros((most, self.classes), np.uint64)
        self.first_asked, self.last_asked = np.zeros(most), np.zeros(most)
        self.state = np.zeros(most, np.uint8)
        self.host, self.port = np.zeros(most, np.uint32), np.zeros(most, np.uint16)
        self.protocol = np.zeros(most, np.uint8)
        self.first_seen, self.last_seen = np.zeros(most), np.zeros(most)
        self.searched, self.changed = np.zeros(most), np.zeros(most)
        self.answers = np.zeros(most, np.uint32)
        self.misses = np.zeros(most, np.uint8)
        self.host_of, self.port_of = np.zeros((most, 2), np.uint32), np.zeros((most, 2), np.uint16)
        self.servers = Servers(most, self.limits.servers)
        self.counts = dict.fromkeys(COUNTS, 0)

    def __len__(self) -> int:
        """How many process variables are known."""
        return self.names.count

    @property
    def end(self) -> int:
        """All numbers are below."""
        return self.names.end

    def take(self, words: Words, at: Positions, counts: Positions) -> NDArray[np.int32]:
        """The number of each name, known or new, see `NameTable.take`."""
        before = self.names.count
        numbers = self.names.take(words, at, counts)
        self.counts["names_new"] += self.names.count - before
        return numbers

    def account(
        self,
        asking: Asking,
        numbers: NDArray[np.integer],
        rows: NDArray[np.integer],
        amounts: NDArray[np.integer],
        now: float,
    ) -> None:
        """Account for requests that were added up.

        Args:
            asking: who asks.
            numbers: shape (r,): of names; -1 if there was no room, `UNKNOWN` if nobody knows it.
            rows: shape (r,): who of ``asking`` asked for each.
            amounts: shape (r,): how often, 1 to 65535.
            now: UNIX time [s].
        """
        keys, place = np.unique(asking.keys, return_inverse=True)
        names, asker, often = numbers.astype(np.int64), place[rows], amounts.astype(np.int64)
        numbered = names >= 0
        unknown = int(often[names == UNKNOWN].sum())
        if not numbered.all():
            names, asker, often = names[numbered], asker[numbered], often[numbered]
        invalid = np.flatnonzero(~self.names.valid[names])
        invalid_of = _summed(asker[invalid], often[invalid], len(keys))
        requests_of = _summed(place, asking.requests, len(keys))
        kept, wrong = int(often.sum()), int(invalid_of.sum())
        self.counts["requests_valid"] += kept - wrong
        self.counts["requests_invalid"] += wrong
        self.counts["requests_unknown"] += unknown
        self.counts["requests_not_kept"] += int(requests_of.sum()) - kept - unknown
        datagrams_of = _summed(place, asking.datagrams, len(keys))
        those = np.flatnonzero(requests_of)
        sources = self.sources.numbers(keys[those], now)
        self.sources.add(sources, datagrams_of[those], requests_of[those], invalid_of[those], now)
        self.last_asked[names] = now
        fresh = names[self.first_asked[names] == 0]
        self.first_asked[fresh] = now
        self._account_pairs(names, asker, often, keys, now)

    def _account_pairs(
        self, names: Positions, asker: Positions, amounts: Positions, keys: Keys, now: float
    ) -> None:
        """Add to the counts of each name, and of each pair of name and source."""
        rows = (names << _NAME_SHIFT | asker << _AMOUNT_BITS | amounts).view(np.uint64)
        rows.sort()
        pairs = rows >> np.uint64(_AMOUNT_BITS)
        first = np.ones(len(pairs), np.bool_)
        first[1:] = pairs[1:] != pairs[:-1]
        starts = np.flatnonzero(first)
        if not len(starts):
            return
        summed = np.add.reduceat(rows & np.uint64((1 << _AMOUNT_BITS) - 1), starts)
        pairs = pairs[starts]
        names = (pairs >> np.uint64(_SOURCE_BITS)).view(np.int64)
        asker = (pairs & np.uint64((1 << _SOURCE_BITS) - 1)).view(np.int64)
        classed = self.sources.classes.of((keys >> np.uint64(16)).astype(np.uint32))
        places = names * self.classes + classed[asker]
        np.add.at(self.asked.reshape(-1), places, summed)
        named = keys[asker] != 0  # 0.0.0.0:0 is nobody
        self.requesters.add(names[named], keys[asker][named], summed.view(np.int64)[named], now)

    def forget(self, numbers: NDArray[np.integer]) -> None:
        """Forget these process variables; their numbers will be given to others."""
        self.names.forget(numbers)
        self.requesters.forget(numbers)
        self.servers.forget(numbers)
        for column in self._columns():
            column[numbers] = 0

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing happened later than that."""
        columns: list[NDArray[Any]] = [getattr(self, name) for name in TIMES]
        columns += [self.requesters.last, self.servers.first, self.servers.last]
        known = [column[: self.end] for column in columns]
        asked = [column[: self.sources.end] for column in (self.sources.first, self.sources.last)]
        for times in [*known, *asked]:
            times[times > now] = now

    def idle(self, before: float) -> NDArray[np.int64]:
        """Those that nobody asked for and no server answered for since ``before``."""
        end = self.end
        late = (self.last_asked[:end] < before) & (self.last_seen[:end] < before)
        return np.flatnonzero(late & self.names.known[:end])

    def only_asked(self, before: float) -> NDArray[np.int64]:
        """Those of which nothing is known but that somebody asked, last before ``before``."""
        end = self.end
        late = (self.last_asked[:end] < before) & (self.searched[:end] < before)
        unserved = (self.host[:end] == 0) & (self.last_seen[:end] == 0)
        return np.flatnonzero(late & unserved & self.names.known[:end])

    def _columns(self) -> list[NDArray[np.generic]]:
        return [getattr(self, name) for name in COLUMNS]


COLUMNS = (
    "asked",
    "first_asked",
    "last_asked",
    "state",
    "host",
    "port",
    "protocol",
    "first_seen",
    "last_seen",
    "searched",
    "changed",
    "answers",
    "misses",
    "host_of",
    "port_of",
)
TIMES = ("first_asked", "last_asked", "first_seen", "last_seen", "searched", "changed")
COUNTS = (
    "requests_valid",
    "requests_invalid",
    "requests_not_kept",
    "requests_unknown",
    "names_new",
)


def _summed(places: Positions, amounts: NDArray[np.integer], end: int) -> NDArray[np.int64]:
    """The sum of ``amounts`` for each place below ``end``."""
    sums: NDArray[np.int64] = np.bincount(places, amounts, minlength=end).astype(np.int64)
    return sums
