"""All names judged by few searches: those of one server stand and fall together.

In a round some names of each server, drawn anew each time, are its witnesses. If all of them are
still answered by that server, so are the others, its followers, without a search. If one is not,
the followers are searched one by one. Besides, a share of the followers is searched in each round,
so that a name that is gone from a server that lives is found after some rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError

UNANSWERED = -1  # the key of names that no server answers
WITNESSES = 3
SPOT_SHARE = 0.01

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Progress:
    """Where a round stands [names]."""

    names: int
    searched: int  # handed out by `PollRound.next`
    judged: int  # answered for by witnesses
    left: int  # to be handed out, as known now


class PollRound:
    """One round through all names.

    Args:
        keys: int64, shape (n,): a number for the server, or the set of servers, that each name was
            last answered by; `UNANSWERED` for none.
        random: draws the witnesses.
        witnesses: of each server.
        spot_share: of the followers that are searched nevertheless, 0 to 1.

    Raises:
        ConfigError: ``witnesses`` or ``spot_share`` are not possible.
    """

    def __init__(
        self,
        keys: NDArray[np.int64],
        random: np.random.Generator,
        *,
        witnesses: int = WITNESSES,
        spot_share: float = SPOT_SHARE,
    ) -> None:
        if witnesses < 1:
            raise ConfigError(f"witnesses: {witnesses} is less than 1")
        if not 0 <= spot_share <= 1:
            raise ConfigError(f"spot_share: {spot_share} is not between 0 and 1")
        self._keys = np.array(keys, np.int64)
        drawn = random.permutation(len(self._keys))
        order = drawn[np.argsort(self._keys[drawn], kind="stable")]
        sorted_keys = self._keys[order]
        begins = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]][: len(order)])
        ends = np.r_[begins[1:], len(order)].astype(np.int64)[: len(begins)]
        self._order, self._begins, self._ends = order, begins, ends
        self._group = np.empty(len(order), np.int64)
        self._group[order] = np.repeat(np.arange(len(begins)), ends - begins)
        place = np.arange(len(order)) - np.repeat(begins, ends - begins)
        witness = (place < witnesses) | (sorted_keys == UNANSWERED)
        spot = ~witness & (random.random(len(order)) < spot_share)
        self._is_witness = np.zeros(len(order), np.bool_)
        self._is_witness[order] = witness
        self._open = np.bincount(self._group[order[witness]], minlength=len(begins))
        self._follows = np.zeros(len(order), np.bool_)
        self._follows[order] = ~(witness | spot)
        self._broken = np.zeros(len(begins), np.bool_)
        self._settled = np.zeros(len(begins), np.bool_)
        self._answered = np.zeros(len(order), np.bool_)
        self._queue: list[Rows] = [random.permutation(order[witness | spot])]
        self._searched = self._judged = 0

    def next(self, most: int) -> Rows:
        """At most so many names to search now; int64 (m,), rows of ``keys``."""
        taken: list[Rows] = []
        while most > 0 and self._queue:
            head = self._queue[0]
            taken.append(head[:most])
            if len(head) > most:
                self._queue[0] = head[most:]
            else:
                self._queue.pop(0)
            most -= len(taken[-1])
        rows = np.concatenate([np.empty(0, np.int64), *taken])
        self._searched += len(rows)
        return rows

    def answered(self, rows: Rows, keys: NDArray[np.int64]) -> Rows:
        """Take over what came of searches; the followers that are judged by it.

        Those are as they were: answered by the server of their key. If a witness has changed its
        server, followers are to be searched instead, also those that were judged before.

        Args:
            rows: names that were handed out, each once.
            keys: int64, of the same shape; who answers them now, or `UNANSWERED`.
        """
        fresh = ~self._answered[rows]
        rows, keys = rows[fresh], np.asarray(keys, np.int64)[fresh]
        self._answered[rows] = True
        before = self._keys[rows]
        groups = self._group[rows]
        witnesses = self._is_witness[rows]
        np.subtract.at(self._open, groups[witnesses], 1)
        for group in np.unique(groups[(keys != before) & (before != UNANSWERED)]).tolist():
            self._break(group)
        settled = np.unique(groups[witnesses & (before != UNANSWERED)])
        settled = settled[self._open[settled] == 0]
        self._settled[settled] = True
        kept = [self._followers(group) for group in settled.tolist()]
        judged = np.concatenate([np.empty(0, np.int64), *kept])
        self._judged += len(judged)
        return judged

    def _followers(self, group: int) -> Rows:
        members = self._order[self._begins[group] : self._ends[group]]
        return members[self._follows[members]]

    def _break(self, group: int) -> None:
        """Have all followers of a server searched."""
        if self._broken[group]:
            return
        self._broken[group] = True
        suspects = self._followers(group)
        if self._settled[group]:
            self._judged -= len(suspects)
        if len(suspects):
            self._follows[suspects] = False
            self._queue.append(suspects)

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        left = sum(map(len, self._queue))
        return Progress(len(self._keys), self._searched, self._judged, left)
