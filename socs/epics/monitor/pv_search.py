"""Process variables by pattern and filters: a page of a million in some ten milliseconds.

Columns of the inventory are read while they change: a page is of a moment, but not of one instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics import rows
from socs.epics.accounts.find import NameFinder
from socs.epics.monitor.asked_values import (
    Paging,
    host_of,
    octets_of,
    one_of,
    protocol_of,
    server_of,
)
from socs.epics.monitor.turns import Turns
from socs.epics.rows import Row
from socs.epics.track.pvs import INVALID, STATES, Pvs
from socs.errors import NotAllowed

Numbers = NDArray[np.integer]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PvFilters:
    """Which process variables; None takes all.

    Attributes:
        state: one of the states, or ``INVALID``.
        protocol: ``CA`` or ``PVA``, of the server that answered last.
        server: its host, with a port or without: ``10.1.2.3``, ``10.1.2.3:5064``.
        source_class: somebody of this class asked for it.
        asked_within: somebody asked in the last so many seconds.
        requester: this host asked lately.
        hosts: its server is on one of these, by their numbers.
    """

    state: str | None = None
    protocol: str | None = None
    server: str | None = None
    source_class: str | None = None
    asked_within: float | None = None
    requester: str | None = None
    hosts: Sequence[int] | None = None


class PvSearch:
    """Finds process variables.

    Args:
        pvs: what is known of them.
        turns: who has it may change what is known.
        forget: forgets those with these numbers; called in its turn.
    """

    def __init__(self, pvs: Pvs, turns: Turns, forget: Callable[[Numbers], object]) -> None:
        self._pvs, self._inventory = pvs, pvs.inventory
        self._turns, self._forget = turns, forget
        self._finder = NameFinder(self._inventory.names)
        self._seen = self._size()
        self._forgotten: list[Numbers] = []  # since the finder looked

    def refresh(self) -> bool:
        """Let `search` find new names; False if there are none. Seconds for a million."""
        inventory = self._inventory
        with self._turns:
            seen = self._size()
            if seen == self._seen and not self._forgotten:
                return False
            still = inventory.names.still()
            forgotten = len(self._forgotten)
        self._finder.refresh(still)
        with self._turns:
            del self._forgotten[:forgotten]
        self._seen = seen
        return True

    def _size(self) -> tuple[int, int, int]:
        """Another one when names come, or go for good."""
        names = self._inventory.names
        return names.count, names.spellings, names.end

    def search(self, pattern: str, filters: PvFilters, paging: Paging, now: float) -> Row:
        """Process variables in the order of their names.

        Args:
            pattern: ``*`` stands for any characters, ``?`` for one; letters of any case.
            filters: which.
            paging: which part of them.
            now: UNIX time [s].

        Returns:
            ``{"total": n, "start": s, "rows": [...]}``, see :func:`socs.epics.rows.pv_row`.
        """
        wanted = self._wanted(filters, now)
        page = self._finder.page(pattern, wanted, start=paging.start, most=paging.most)
        with self._turns:
            found = [rows.pv_row(self._pvs, number) for number in page.numbers.tolist()]
        return {"total": page.total, "start": paging.start, "rows": found}

    def _wanted(self, filters: PvFilters, now: float) -> Mask:
        """By number, as far as there are any."""
        inventory = self._inventory
        end = inventory.end
        wanted: Mask = inventory.names.known[:end].copy()
        for numbers in self._forgotten[:]:
            wanted[numbers] = False  # may stand for other names by now
        if filters.state is not None:
            wanted &= self._in_state(filters.state, end)
        if filters.protocol is not None:
            wanted &= inventory.protocol[:end] == protocol_of(filters.protocol)
        if filters.server is not None:
            host, port = server_of(filters.server)
            wanted &= inventory.host[:end] == host
            if port is not None:
                wanted &= inventory.port[:end] == port
        if filters.hosts is not None:
            wanted &= np.isin(inventory.host[:end], np.array(filters.hosts, np.uint32))
        if filters.source_class is not None:
            wanted &= inventory.asked[:end, self._class(filters.source_class)] > 0
        if filters.asked_within is not None:
            wanted &= inventory.last_asked[:end] >= now - filters.asked_within
        if filters.requester is not None:
            host = host_of(filters.requester, "requester")
            asked = np.zeros(end, np.bool_)
            asked[inventory.requesters.asked_by(host, end)] = True
            wanted &= asked
        return wanted

    def _in_state(self, state: str, end: int) -> Mask:
        names = [*STATES, INVALID]
        code = names.index(one_of(state, names, "state"))
        inventory = self._inventory
        states, valid = inventory.state[:end], inventory.names.valid[:end]
        found: Mask = states == (code if code < len(STATES) else STATES.index("NEVER_SEEN"))
        if state == INVALID:
            found &= ~valid
        elif state == "NEVER_SEEN":
            found &= valid
        return found

    def _class(self, name: str) -> int:
        names = self._inventory.sources.classes.names
        return names.index(one_of(name, names, "source_class"))

    def number(self, name: str) -> int:
        """The number of a process variable.

        Raises:
            Malformed: it can be none.
            NotAllowed: it is not known.
        """
        number = self._inventory.names.number(octets_of(name))
        if number < 0:
            raise NotAllowed(f"name: {name!r} is not known: nobody asked for it", "unknown")
        return number

    def pv_info(self, name: str) -> Row:
        """All that is known of one, see :func:`socs.epics.rows.pv_info`."""
        with self._turns:
            return rows.pv_info(self._pvs, self.number(name))

    def server(self, name: str) -> tuple[int, str] | None:
        """Protocol and ``host:port`` of the server that answered last; None if none is there."""
        inventory = self._inventory
        number = inventory.names.number(octets_of(name))
        if number < 0 or STATES[inventory.state[number]] not in ("ONLINE", "DUPLICATE"):
            return None
        place = rows.place_text(int(inventory.host[number]), int(inventory.port[number]))
        return None if place is None else (int(inventory.protocol[number]), place)

    def forget(self, names: Iterable[str]) -> list[str]:
        """Forget process variables, all or none; their names.

        Raises:
            NotAllowed: one is not known.
        """
        with self._turns:
            numbers = np.unique(np.array([self.number(name) for name in names], np.int64))
            forgotten = [rows.name_text(name) for name in self._inventory.names.names(numbers)]
            self._leave_out(numbers)
        return forgotten

    def purge(self, choose: Callable[[], Numbers]) -> int:
        """Forget the process variables that ``choose`` tells; how many."""
        with self._turns:
            numbers = choose()
            if len(numbers):
                self._leave_out(numbers)
        return len(numbers)

    def _leave_out(self, numbers: Numbers) -> None:
        self._forget(numbers)
        self._forgotten.append(numbers)
