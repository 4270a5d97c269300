"""Searches that the monitor wants, and what they say of process variables.

Somebody asks for a name, a server has started or is gone, a round of polling goes on, or a name
that was there was not found: it is searched for once more then, before it is taken for lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from socs.epics.knowledge.polling import Polling, PollSettings
from socs.epics.knowledge.searches import Searched, Searches
from socs.epics.knowledge.wishes import Search
from socs.epics.search.searcher import Priority
from socs.epics.summary import Found
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import CA, PVA, Event
from socs.epics.track.pvs import STATES, Answer, Pvs
from socs.errors import ConfigError

COUNTS = (
    "searches_wished",
    "searches_conclusive",
    "searches_inconclusive",
    "searches_again",
    "searches_no_gateway",
    "searches_no_room",
    "found_told",
    "found_unasked",
)
MOST_AGAIN = 100_000  # names that wait to be searched for once more
_SERVED = tuple(STATES.index(state) for state in ("ONLINE", "DUPLICATE"))

ServerKey = tuple[int, int, int]  # protocol, host, port


@dataclass(frozen=True)
class OwnSearchSettings:
    """When to search.

    Attributes:
        enabled: search for names of servers that have started or are gone.
        names_of_server: for so many of them.
        timeout: how long a gateway may take to tell what came of a search [s].
        again_after: when a name that was not found is searched for once more [s].
        retry_after: how long a gateway that refused to search is not asked again [s].
        most: names that are searched for at once.
        poll: see there; may be on without the above.

    Raises:
        ConfigError: a value is not possible.
    """

    enabled: bool = False
    names_of_server: int = 5
    timeout: float = 60.0
    again_after: float = 10.0
    retry_after: float = 60.0
    most: int = 20_000
    poll: PollSettings = field(default_factory=PollSettings)

    def __post_init__(self) -> None:
        for name in ("names_of_server", "timeout", "again_after", "retry_after", "most"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: {getattr(self, name)} is not above 0")


class OwnSearches:
    """What is searched for, and why.

    Args:
        pvs: process variables.
        settings: see there.
        sight: knows what each gateway hears.
        seed: of what is drawn by lot.

    Attributes:
        polling: rounds of polling.
        gateways: those that can be asked now, by name.
        counts: see `COUNTS`.
    """

    def __init__(
        self, pvs: Pvs, settings: OwnSearchSettings, sight: Coverage, *, seed: int
    ) -> None:
        self.polling = Polling(pvs, settings.poll, seed)
        self.gateways: Sequence[str] = ()
        self.counts = dict.fromkeys(COUNTS, 0)
        self._pvs, self._settings, self._sight = pvs, settings, sight
        self._searches = Searches(settings.timeout, settings.most)
        self._again: deque[tuple[float, bytes]] = deque()
        self._changed: set[ServerKey] = set()
        self._refused: dict[str, float] = {}
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Names that are searched for."""
        return len(self._searches)

    def ask(self, names: Iterable[bytes], priority: Priority, now: float) -> int:
        """Search for ``names``, which are known; for how many."""
        gateways = [each for each in self.gateways if self._refused.get(each, now) <= now]
        asked = 0
        for name in names:
            before = len(self._searches)
            if not gateways:
                self.counts["searches_no_gateway"] += 1
            elif not self._searches.ask(name, priority, gateways, now):
                self.counts["searches_no_room"] += 1
            else:
                self.counts["searches_wished"] += len(self._searches) - before
                asked += 1
        return asked

    def wishes(self) -> list[Search]:
        """What gateways should search for. Taken once."""
        return self._searches.wishes()

    def server_changed(self, server: ServerKey) -> None:
        """A server has started, or is gone; search for some of its names."""
        if self._settings.enabled:
            self._changed.add(server)

    def found(self, gateway: str, told: Found, asked: float, ended: float) -> list[Event]:
        """What a gateway tells of a search, at these times by our clock."""
        self.counts["found_told"] += 1
        answers = [Answer(told.protocol, *server) for server in told.servers]
        try:
            result = self._searches.found(gateway, told, answers, asked, ended)
        except KeyError:
            self.counts["found_unasked"] += 1
            return self._unasked(told.name, answers, ended)
        return self._judge(result, ended) if result is not None else []

    def without(
        self, gateway: str, now: float, names: Iterable[bytes] | None = None
    ) -> list[Event]:
        """A gateway does not tell of ``names`` any more; None: of any."""
        return self._judge_all(self._searches.without(gateway, names), now)

    def refused(self, wish: Search, now: float) -> list[Event]:
        """A gateway did not take a wish; it is not asked for a while."""
        self._refused[wish.gateway] = now + self._settings.retry_after
        return self.without(wish.gateway, now, wish.names)

    def listens_again(self, gateway: str) -> None:
        """A gateway is there again: it may be asked, whatever it refused before."""
        self._refused.pop(gateway, None)

    def tick(self, now: float) -> list[Event]:
        """Search for what is due."""
        events = self._judge_all(self._searches.tick(now), now)
        while self._again and self._again[0][0] <= now:
            _, name = self._again.popleft()
            self.counts["searches_again"] += self.ask([name], Priority.BEACON, now)
        if self._changed:
            names = self._pvs.inventory.names.names(self._some_of_changed())
            self._changed.clear()
            self.ask(names, Priority.BEACON, now)
        if self.gateways:
            self._poll(now)
        return events

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing is due later than from then on."""
        settings = self._settings
        again = now + settings.again_after
        self._again = deque((min(due, again), name) for due, name in self._again)
        until = now + settings.retry_after
        self._refused = {name: min(each, until) for name, each in self._refused.items()}
        self._searches.set_back(now)
        self.polling.set_back(now)

    # -- what came of them ------------------------------------------------------------------------

    def _unasked(self, name: bytes, answers: Sequence[Answer], now: float) -> list[Event]:
        """Somebody else asked the gateway: an answer tells something, none does not."""
        number = self._pvs.inventory.names.add(name) if answers else -1
        if number < 0:
            return []
        return [event for each in answers for event in self._pvs.overheard(number, each, now)]

    def _judge_all(self, results: Iterable[Searched], now: float) -> list[Event]:
        return [event for result in results for event in self._judge(result, now)]

    def _judge(self, result: Searched, now: float) -> list[Event]:
        number = self._pvs.inventory.names.number(result.name)
        says = bool(result.answers) or (result.conclusive and self._hear(result.gateways, number))
        self.counts["searches_conclusive" if says else "searches_inconclusive"] += 1
        if number < 0:
            return []
        if not says:
            self.polling.unknown(number, now)
            return []
        blind = self._pvs.counts["searches_blind"]
        events = self._pvs.searched(number, result.answers, result.asked, result.ended)
        if self._pvs.counts["searches_blind"] > blind:
            self.polling.unknown(number, now)
            return events
        answers = [each for each in result.answers if self._pvs.admits(each)]
        if not answers and self._may_be_there(number) and len(self._again) < MOST_AGAIN:
            self._again.append((now + self._settings.again_after, result.name))
        return events + self.polling.searched(number, answers, result.ended)

    def _hear(self, gateways: Iterable[str], number: int) -> bool:
        """Does one of these hear the server that had this name, if there was one?"""
        host = int(self._pvs.inventory.host[number]) if number >= 0 else 0
        return not host or any(self._sight.hears(gateway, host) for gateway in gateways)

    def _may_be_there(self, number: int) -> bool:
        """It was there, and was not found, but not often enough to say that it is lost."""
        inventory = self._pvs.inventory
        return inventory.state[number] in _SERVED and inventory.misses[number] < self._pvs.misses

    # -- what to search for -----------------------------------------------------------------------

    def _some_of_changed(self) -> NDArray[np.int64]:
        """A few names of each server that has changed, drawn by lot."""
        inventory = self._pvs.inventory
        end = inventory.end
        chosen = [np.empty(0, np.int64)]
        for protocol in (CA, PVA):
            wanted = [host << 16 | port for each, host, port in self._changed if each == protocol]
            hosts = inventory.host_of[:end, protocol - CA].astype(np.int64)
            keys = hosts << 16 | inventory.port_of[:end, protocol - CA]
            served = np.flatnonzero(np.isin(keys, wanted) & inventory.names.known[:end])
            served = self._random.permutation(served)
            served = served[np.argsort(keys[served], kind="stable")]
            first = np.searchsorted(keys[served], keys[served])
            place = np.arange(len(served)) - first
            chosen.append(served[place < self._settings.names_of_server])
        return np.unique(np.concatenate(chosen))

    def _poll(self, now: float) -> None:
        numbers = self.polling.due(self._searches.room, now)
        names = self._pvs.inventory.names.names(numbers)
        for number, name in zip(numbers.tolist(), names, strict=True):
            if not self.ask([name], Priority.POLL, now):
                self.polling.unknown(number, now)
