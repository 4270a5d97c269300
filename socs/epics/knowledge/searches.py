"""Searches at several gateways: over when all have said what came of them.

A gateway searches by both protocols and tells of each. One that cannot, that does not report any
more, or that takes too long is not waited for; if none is left, nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from socs.epics.knowledge.wishes import Search
from socs.epics.search.searcher import Priority
from socs.epics.summary import Found
from socs.epics.track.events import CA, PVA
from socs.epics.track.pvs import Answer

NAMES_PER_WISH = 1_000


@dataclass(frozen=True)
class Searched:
    """What came of a search.

    Attributes:
        name: that was searched for.
        answers: of all gateways.
        asked, ended: when the first gateway asked, and when the last one was done, UNIX time [s].
        conclusive: every gateway that could tell did.
        gateways: those that told.
    """

    name: bytes
    answers: tuple[Answer, ...]
    asked: float
    ended: float
    conclusive: bool
    gateways: frozenset[str]


@dataclass(slots=True)
class _Open:
    name: bytes
    priority: Priority
    until: float
    awaited: set[tuple[str, int]]  # gateway, protocol
    told: set[tuple[str, int]] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    asked: float = float("inf")
    ended: float = float("-inf")

    def result(self) -> Searched:
        conclusive = bool(self.told) and not self.awaited
        gateways = frozenset(gateway for gateway, _ in self.told)
        answers = tuple(self.answers)
        return Searched(self.name, answers, self.asked, self.ended, conclusive, gateways)


class Searches:
    """All searches that are under way.

    Args:
        timeout: how long a gateway is waited for [s].
        most: names at once.
    """

    def __init__(self, timeout: float, most: int) -> None:
        self._timeout, self._most = timeout, most
        self._open: dict[bytes, _Open] = {}
        self._speaks: dict[str, set[int]] = {}  # protocols of gateways without some of them
        self._wished: dict[tuple[str, Priority], list[bytes]] = {}

    def __len__(self) -> int:
        """Names that are searched for."""
        return len(self._open)

    @property
    def room(self) -> int:
        """For how many more names."""
        return max(self._most - len(self._open), 0)

    def ask(self, name: bytes, priority: Priority, gateways: Iterable[str], now: float) -> bool:
        """Search for ``name`` at these gateways; False if there is no room."""
        known = self._open.get(name)
        if known is None:
            if not self.room:
                return False
            known = self._open[name] = _Open(name, priority, now + self._timeout, set())
            for gateway in gateways:
                protocols = self._speaks.get(gateway) or {CA, PVA}
                known.awaited |= {(gateway, protocol) for protocol in protocols}
        elif priority >= known.priority:
            return True
        known.priority = priority
        for gateway in sorted({gateway for gateway, _ in known.awaited}):
            self._wished.setdefault((gateway, priority), []).append(name)
        return True

    def wishes(self) -> list[Search]:
        """What gateways should search for; the most urgent first. Taken once."""
        found = []
        for (gateway, priority), names in sorted(self._wished.items(), key=lambda each: each[0][1]):
            for start in range(0, len(names), NAMES_PER_WISH):
                some = tuple(names[start : start + NAMES_PER_WISH])
                found.append(Search(gateway, some, priority))
        self._wished.clear()
        return found

    def found(
        self, gateway: str, told: Found, answers: Iterable[Answer], asked: float, ended: float
    ) -> Searched | None:
        """A gateway tells what came of a search, at these times; the result if it was the last one.

        Raises:
            KeyError: nobody asked it.
        """
        search = self._open[told.name]
        key = gateway, told.protocol
        if gateway not in {each for each, _ in search.awaited | search.told}:
            raise KeyError(gateway)
        if gateway in self._speaks:
            self._speaks[gateway].add(told.protocol)
        search.awaited.discard(key)
        search.told.add(key)
        search.answers += answers
        search.asked, search.ended = min(search.asked, asked), max(search.ended, ended)
        return self._result(search)

    def without(self, gateway: str, names: Iterable[bytes] | None = None) -> list[Searched]:
        """A gateway will not tell of ``names`` (None: of any); what is over by that."""
        found = []
        for name in list(self._open) if names is None else names:
            search = self._open.get(name)
            if search is None:
                continue
            search.awaited = {key for key in search.awaited if key[0] != gateway}
            result = self._result(search)
            if result is not None:
                found.append(result)
        if names is None:
            self._wished = {key: each for key, each in self._wished.items() if key[0] != gateway}
        return found

    def tick(self, now: float) -> list[Searched]:
        """Searches that take too long."""
        found = []
        for search in list(self._open.values()):
            if search.until > now:
                break  # the others began later
            told = {gateway for gateway, _ in search.told}
            if {gateway for gateway, _ in search.awaited} <= told:
                # It tells of one protocol only: it does not search by the other one.
                for gateway in told:
                    self._speaks[gateway] = {p for each, p in search.told if each == gateway}
                search.awaited.clear()
            del self._open[search.name]
            found.append(search.result())
        return found

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: no search began later than that."""
        for search in self._open.values():
            search.until = min(search.until, now + self._timeout)

    def _result(self, search: _Open) -> Searched | None:
        if search.awaited:
            return None
        del self._open[search.name]
        return search.result()
