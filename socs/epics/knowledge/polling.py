"""Polling: from time to time all names are judged, by searches for few of them.

A round takes all valid names that are known when it begins. Those of one server are judged
together, see :mod:`.poll_cache`; those without a server, or with several, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.servers import keys_of_servers, server_of_key
from socs.epics.knowledge.poll_cache import SPOT_SHARE, UNANSWERED, WITNESSES, PollRound, Progress
from socs.epics.track.events import CA, PVA, Event
from socs.epics.track.pvs import STATES, Answer, Pvs
from socs.errors import ConfigError

OTHERWISE = -2  # the key of a name that was found, but not at its server alone
_ONLINE = STATES.index("ONLINE")

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class PollSettings:
    """How to poll.

    Attributes:
        enabled: nothing is polled unless this is set.
        period: from the begin of a round to that of the next one; a round may take longer [s].
        outstanding: names that are searched for at once.
        witnesses, spot_share: see `PollRound`.

    Raises:
        ConfigError: a value is not possible.
    """

    enabled: bool = False
    period: float = 3600.0
    outstanding: int = 2_000
    witnesses: int = WITNESSES
    spot_share: float = SPOT_SHARE

    def __post_init__(self) -> None:
        for name in ("period", "outstanding"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: {getattr(self, name)} is not above 0")
        self.draw(np.empty(0, np.int64), np.random.default_rng(0))

    def draw(self, keys: Numbers, random: np.random.Generator) -> PollRound:
        """A round through names with these keys."""
        return PollRound(keys, random, witnesses=self.witnesses, spot_share=self.spot_share)


class Polling:
    """Rounds of polling, one after the other.

    Args:
        pvs: process variables.
        settings: see there.
        seed: draws the witnesses.

    Attributes:
        enabled: may be changed at any time.
        running: is a round under way.
        rounds: how many are over.
        begun, ended: when the last round began, and when the last one was over, UNIX time [s].
        outstanding: names that are searched for now.
    """

    def __init__(self, pvs: Pvs, settings: PollSettings, seed: int) -> None:
        self.enabled = settings.enabled
        self.running = False
        self.rounds = 0
        self.begun = self.ended = float("-inf")
        self._pvs, self._settings = pvs, settings
        self._random = np.random.default_rng(seed)
        self._round: PollRound | None = None
        self._numbers: Numbers = np.empty(0, np.int64)
        self._keys: Numbers = np.empty(0, np.int64)
        self._row_of: dict[int, int] = {}  # of what is searched for now

    @property
    def outstanding(self) -> int:
        """Names that are searched for now."""
        return len(self._row_of)

    @property
    def progress(self) -> Progress | None:
        """Of the round that is under way, or was last; None before the first."""
        return self._round.progress if self._round is not None else None

    def poll_now(self) -> None:
        """Begin a round, if none is under way, without waiting for its time."""
        if not self.running:
            self.begun = float("-inf")

    def due(self, room: int, now: float) -> Numbers:
        """Names to search for now, at most ``room``."""
        if not self.enabled:
            return np.empty(0, np.int64)
        if not self.running and now - self.begun >= self._settings.period:
            self._begin(now)
        if self._round is None or not self.running:
            return np.empty(0, np.int64)
        rows = self._round.next(min(self._settings.outstanding - self.outstanding, room))
        rows = rows[self._numbers[rows] >= 0]
        numbers: Numbers = self._numbers[rows]
        self._row_of.update(zip(numbers.tolist(), rows.tolist(), strict=True))
        self._end_if_over(now)
        return numbers

    def searched(self, number: int, answers: Iterable[Answer], now: float) -> list[Event]:
        """A search for a name was judged: these servers, within the subnets, have it."""
        row = self._row_of.pop(number, None)
        if row is None or self._round is None:
            return []
        key, places = int(self._keys[row]), {each[:3] for each in answers}
        if not places:
            found = UNANSWERED
        elif server_of_key(key) in places and self._pvs.inventory.state[number] == _ONLINE:
            found = key
        else:
            found = OTHERWISE
        judged = self._round.answered(np.array([row]), np.array([found]))
        events = self._judge(judged, now)
        self._end_if_over(now)
        return events

    def unknown(self, number: int, now: float) -> None:
        """A search for a name said nothing."""
        if self._row_of.pop(number, None) is not None:
            self._end_if_over(now)

    def forget(self, numbers: NDArray[np.integer]) -> None:
        """These numbers stand for other names from now on."""
        self._numbers[np.isin(self._numbers, numbers)] = -1
        for number in numbers.tolist():
            self._row_of.pop(number, None)

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: no round began or ended later than that."""
        self.begun, self.ended = min(self.begun, now), min(self.ended, now)

    def _begin(self, now: float) -> None:
        known = self._pvs.inventory
        end = known.end
        self._numbers = np.flatnonzero(known.names.known[:end] & known.names.valid[:end])
        self._keys = only_servers(self._pvs, self._numbers)
        self._round = self._settings.draw(self._keys, self._random)
        self._row_of.clear()
        self.begun, self.running = now, True

    def _end_if_over(self, now: float) -> None:
        if self.running and not self._row_of and self._round and not self._round.progress.left:
            self.ended, self.running = now, False
            self.rounds += 1

    def _judge(self, rows: Numbers, now: float) -> list[Event]:
        """Followers go the way of their witnesses, unless something else is known meanwhile."""
        numbers = self._numbers[rows]
        rows, numbers = rows[numbers >= 0], numbers[numbers >= 0]
        same = only_servers(self._pvs, numbers) == self._keys[rows]
        keys, numbers = self._keys[rows][same], numbers[same]
        events: list[Event] = []
        for key in np.unique(keys).tolist():
            protocol, host, port = server_of_key(key)
            answer = Answer(protocol, host, port, host)
            events += self._pvs.judge_all(numbers[keys == key], answer, now)
        return events


def only_servers(pvs: Pvs, numbers: Numbers) -> Numbers:
    """The server of each name that has one and no other, by Channel Access if by both protocols.

    `UNANSWERED` for all others.
    """
    known = pvs.inventory
    hosts, ports = known.host_of[numbers], known.port_of[numbers]
    column = np.where(hosts[:, 0] != 0, 0, 1)
    rows = np.arange(len(numbers))
    host, port = hosts[rows, column], ports[rows, column]
    protocol = np.where(column == 0, CA, PVA)
    served = (known.state[numbers] == _ONLINE) & (host != 0)
    keys = keys_of_servers(protocol, host, port).view(np.int64)
    return np.where(served, keys, UNANSWERED)
