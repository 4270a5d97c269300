"""Adding up: how often each source asked for each name, and rows of which there may be too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.sources import Sources
from socs.epics.decode.words import Positions
from socs.epics.summary import MOST_REQUESTS, REQUESTS, SOURCES, Rows
from socs.wire.batch import Batch
from socs.wire.captured import CapturedBatch

SOURCE_BITS = 24  # of a pair; the others are those of the name
AT_ONCE = 1 << 19  # pairs that are kept as they came
MOST_COUNT = 0xFFFF  # in one row


class Pairs:
    """Pairs of a name and a source, and how often each came.

    Args:
        most: different pairs; once there are so many, none is taken any more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clear()

    def _clear(self) -> None:
        self._raw: list[Positions] = []
        self._waiting = 0
        self._pairs: Positions = np.zeros(0, np.int64)
        self._amounts: Positions = np.zeros(0, np.int64)

    @property
    def full(self) -> bool:
        """Is none taken any more."""
        return len(self._pairs) >= self._most

    def add(self, names: NDArray[np.integer], sources: NDArray[np.integer]) -> None:
        """Each of ``names`` was asked for by the source beside it."""
        self._raw.append(names.astype(np.int64) << SOURCE_BITS | sources)
        self._waiting += len(names)
        if self._waiting >= AT_ONCE:
            self._add_up()

    def take(self) -> tuple[Positions, Positions, Positions]:
        """Names ascending, their sources and amounts; begins anew.

        An amount beyond 16 bits is in several rows.
        """
        self._add_up()
        pairs, amounts = self._pairs, self._amounts
        self._clear()
        if int(amounts.max(initial=0)) > MOST_COUNT:
            whole = amounts // MOST_COUNT
            rest = amounts % MOST_COUNT
            pairs = np.concatenate([np.repeat(pairs, whole), pairs[rest > 0]])
            amounts = np.concatenate([np.full(int(whole.sum()), MOST_COUNT), rest[rest > 0]])
            order = np.argsort(pairs, kind="stable")
            pairs, amounts = pairs[order], amounts[order]
        return pairs >> SOURCE_BITS, pairs & (1 << SOURCE_BITS) - 1, amounts

    def _add_up(self) -> None:
        if not self._waiting:
            return
        fresh = np.sort(np.concatenate(self._raw))
        first = np.ones(len(fresh), np.bool_)
        first[1:] = fresh[1:] != fresh[:-1]
        starts = np.flatnonzero(first)
        pairs, amounts = fresh[starts], np.diff(starts, append=len(fresh))
        if len(self._pairs):
            together = np.concatenate([self._pairs, pairs])
            both = np.concatenate([self._amounts, amounts])
            pairs, place = np.unique(together, return_inverse=True)
            amounts = np.zeros(len(pairs), np.int64)
            np.add.at(amounts, place, both)
        self._raw, self._waiting = [], 0
        self._pairs, self._amounts = pairs, amounts


class FewRows:
    """Rows of a table that are kept until they are taken, while there is room.

    Args:
        dtype: of the rows.
        most: rows.
        same: fields by which rows are the same; of these the last one stays. None: all are kept.
    """

    def __init__(self, dtype: np.dtype[Any], most: int, same: tuple[str, ...] | None = None):
        self._dtype, self._most, self._same = dtype, most, same
        self._kept: list[Rows] = []
        self._count = 0

    def add(self, rows: Rows) -> int:
        """Keep ``rows``; of how many there was no room for."""
        if not len(rows):
            return 0
        self._kept.append(rows)
        self._count += len(rows)
        if self._count <= self._most:
            return 0
        kept = self._together()
        left = len(kept) - self._most
        self._kept, self._count = [kept[: self._most]], min(len(kept), self._most)
        return max(left, 0)

    def take(self) -> Rows:
        """All of them; begins anew."""
        rows = self._together()
        self._kept, self._count = [], 0
        return rows

    def _together(self) -> Rows:
        rows = np.concatenate([np.zeros(0, self._dtype), *self._kept])
        if self._same is None or len(rows) < 2:
            return rows
        # The last of each is the first from behind.
        behind = rows[::-1]
        key = np.concatenate(
            [
                np.ascontiguousarray(behind[name]).view(np.uint8).reshape(len(rows), -1)
                for name in self._same
            ],
            axis=1,
        )
        whole = np.ascontiguousarray(key).view(f"V{key.shape[1]}").reshape(-1)
        _, first = np.unique(whole, return_index=True)
        kept: Rows = behind[np.sort(first)][::-1]
        return kept


class Divided:
    """Requests in parts that fit one summary each, with the sources in each.

    A source's datagrams are in the first part in which it is, its requests without a name in the
    first of all.
    """

    def __init__(
        self, names: Positions, sources: Positions, amounts: Positions, senders: Sources
    ) -> None:
        self._names, self._sources, self._amounts = names, sources, amounts
        end = senders.end
        self._keys = senders.keys[:end]
        self._datagrams = senders.datagrams[:end].astype(np.int64)
        named = np.bincount(sources, amounts, minlength=end).astype(np.int64)
        self._nameless = senders.requests[:end].astype(np.int64) - named
        self.parts = max(-(-len(names) // MOST_REQUESTS), 1)

    def part(self, number: int) -> tuple[Rows, Rows]:
        """`REQUESTS` and `SOURCES` of one part, to be asked for in their order; before: none."""
        if number < 0:
            return np.zeros(0, REQUESTS), np.zeros(0, SOURCES)
        part = slice(number * MOST_REQUESTS, (number + 1) * MOST_REQUESTS)
        amounts = self._amounts[part]
        sums = np.bincount(self._sources[part], amounts, minlength=len(self._keys))
        sums = sums.astype(np.int64) + self._nameless
        self._nameless = np.zeros_like(sums)
        there = np.flatnonzero(sums)
        senders = np.zeros(len(there), SOURCES)
        senders["host"] = self._keys[there] >> np.uint64(16)
        senders["port"] = self._keys[there] & np.uint64(0xFFFF)
        senders["datagrams"], senders["requests"] = self._datagrams[there], sums[there]
        self._datagrams[there] = 0
        place = np.zeros(len(self._keys), np.int64)
        place[there] = np.arange(len(there))
        requests = np.zeros(len(amounts), REQUESTS)
        requests["name"], requests["count"] = self._names[part], amounts
        requests["source"] = place[self._sources[part]]
        return requests, senders


def times_of(batch: Batch) -> NDArray[np.float64]:
    """When each datagram came."""
    if isinstance(batch, CapturedBatch) and batch.times is not None:
        return batch.times
    return np.full(len(batch), batch.received)


def rows_of(
    dtype: np.dtype[Any], found: Rows, batch: Batch, at: NDArray[np.integer], more: Sequence[str]
) -> Rows:
    """Rows of ``dtype`` for messages in the datagrams ``at``, with ``more`` of their fields."""
    rows = np.zeros(len(found), dtype)
    for name in ("host", "port", *more):
        rows[name] = found[name]
    rows["time"], rows["sender"] = times_of(batch)[at], batch.hosts[at]
    return rows
