"""What several gateways have seen together: a host was seen while any that hears it listened.

A gateway hears the hosts of its networks. One that does not say which these are hears the hosts
that it has heard, and those that no gateway has heard. Not every one hears all that they say: a
port may belong to another program of its host; what is said at a port is a *use* of
:class:`socs.epics.ports.EpicsPorts`. Silence says nothing about the time in which nobody listened.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from socs.epics.networks import Networks

MOST_INTERVALS = 64  # of one gateway; of what was before, nothing is said
MOST_HOSTS = 65_536  # that are remembered
MOST_EARS = 16  # sets of networks of one gateway, which are others after each change of its options

Interval = tuple[float, float]  # from, to; to is infinite while it lasts


class _Key(NamedTuple):
    gateway: str
    networks: tuple[str, ...]
    left_out: frozenset[str]


@dataclass(eq=False)
class _Ear:
    """What one gateway hears, if it is known, and when it listened, in order."""

    networks: Networks | None
    left_out: frozenset[str] = frozenset()
    intervals: deque[Interval] = field(default_factory=lambda: deque(maxlen=MOST_INTERVALS))


class Coverage:
    """What we have seen since when, told by when each gateway listened.

    Args:
        since: nobody listened before.
    """

    def __init__(self, since: float = -math.inf) -> None:
        self._since = since
        self._ears: dict[_Key, _Ear] = {}
        self._since_of: dict[tuple[int, str], float] = {}
        self._heard_by: dict[int, frozenset[str]] = {}

    def heard(self, gateway: str, host: int) -> None:
        """A gateway hears this host."""
        known = self._heard_by.get(host, frozenset())
        if gateway in known or (not known and len(self._heard_by) >= MOST_HOSTS):
            return
        self._heard_by[host] = known | {gateway}
        self._since_of.clear()

    def hears(self, gateway: str, host: int) -> bool:
        """Does a gateway hear this host now, or when it listened last?"""
        ears = [ear for key, ear in self._ears.items() if key.gateway == gateway]
        last = max(ears, key=lambda ear: ear.intervals[-1][::-1], default=None)
        return last is not None and self._hears(gateway, last, host)

    def listens(
        self,
        gateway: str,
        start: float,
        networks: Sequence[str] = (),
        left_out: Iterable[str] = (),
    ) -> None:
        """From ``start`` on a gateway listens to ``networks``; to all if none is given.

        Uses that are ``left_out`` it does not hear.
        """
        key = _Key(gateway, tuple(sorted(networks)), frozenset(left_out))
        ear = self._ears.get(key)
        if ear is None:
            self._drop_oldest(gateway)
            ear = self._ears[key] = _Ear(Networks(networks) if networks else None, key.left_out)
        while ear.intervals and ear.intervals[-1][1] >= start:
            start = min(start, ear.intervals.pop()[0])
        ear.intervals.append((start, math.inf))
        self._since_of.clear()

    def _drop_oldest(self, gateway: str) -> None:
        """Keep a gateway that changes its networks again and again from filling the memory."""
        mine = [key for key in self._ears if key.gateway == gateway]
        if len(mine) >= MOST_EARS:
            del self._ears[min(mine, key=lambda key: self._ears[key].intervals[-1][1])]

    def stopped(self, gateway: str, end: float) -> None:
        """What a gateway heard after ``end`` is not known.

        Tell it before the next `tick`: what was taken for lost is not taken back.
        """
        for key, ear in list(self._ears.items()):
            if key.gateway != gateway or not ear.intervals or ear.intervals[-1][1] <= end:
                continue
            start, _ = ear.intervals.pop()
            if start < end:
                ear.intervals.append((start, end))
            if not ear.intervals:
                del self._ears[key]
        self._since_of.clear()

    def since(self, host: int, use: str = "") -> float:
        """From when on all that this host sent was seen; infinite while it is not.

        Of one ``use``; of any, if none is given.
        """
        key = host, use
        found = self._since_of.get(key)
        if found is None:
            if len(self._since_of) >= MOST_HOSTS:
                self._since_of.clear()
            found = self._since_of[key] = self._reach(host, use)
        return found

    def saw(self, host: int, start: float, end: float, use: str = "") -> bool:
        """Was all seen that this host sent from ``start`` to ``end``; see `since`."""
        if start >= self.since(host, use):
            return True
        if start < self._since:
            return False
        for begun, ended in sorted(self._heard(host, use)):
            if begun > start:
                break
            start = max(start, ended)
        return start >= end

    def _reach(self, host: int, use: str) -> float:
        since = math.inf
        for start, end in sorted(self._heard(host, use), key=lambda each: each[::-1], reverse=True):
            if end < since and end < math.inf:
                break
            since = min(since, start)
        return max(self._since, since)

    def _heard(self, host: int, use: str) -> Iterator[Interval]:
        """All times in which it was heard."""
        for key, ear in self._ears.items():
            if use not in ear.left_out and self._hears(key.gateway, ear, host):
                yield from ear.intervals

    def _hears(self, gateway: str, ear: _Ear, host: int) -> bool:
        if ear.networks is not None:
            return host in ear.networks
        known = self._heard_by.get(host)
        return known is None or gateway in known
