"""What can be asked of a monitor's knowledge: lists, filtered, a page at a time.

Columns of the inventory are read while they change: a page is of a moment, but not of one instant.
What are objects is read in its turn. Errors name the parameter that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from socs.epics import rows
from socs.epics.find import NameFinder
from socs.epics.host_book import host_of, port_of
from socs.epics.inventory import Inventory
from socs.epics.rows import Row
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.events import PROTOCOLS
from socs.epics.track.hosts import STATUS, Hosts
from socs.epics.track.pvs import INVALID, STATES, Pvs
from socs.epics.turns import Turns
from socs.errors import Malformed, NotAllowed

MOST_ROWS = 1_000  # of a page
MOST_STARTING = 1 << 32
_LIVES = ("ALIVE", "LOST", "UNKNOWN")
_PROTOCOLS = {name: number for number, name in PROTOCOLS.items()}

Mask = NDArray[np.bool_]


class Known(Protocol):
    """What is asked: the parts of a monitor's knowledge."""

    @property
    def inventory(self) -> Inventory: ...
    @property
    def pvs(self) -> Pvs: ...
    @property
    def beacons(self) -> Beacons: ...
    @property
    def applications(self) -> Applications: ...
    @property
    def hosts(self) -> Hosts: ...


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


@dataclass(frozen=True)
class Paging:
    """A part of a list: ``most`` rows from the ``start``-th on.

    Raises:
        Malformed: that cannot be meant.
    """

    start: int = 0
    most: int = 25

    def __post_init__(self) -> None:
        if not 0 <= self.start < MOST_STARTING:
            raise Malformed(f"start: {self.start} is not from 0 to {MOST_STARTING}")
        if not 1 <= self.most <= MOST_ROWS:
            raise Malformed(f"most: {self.most} is not from 1 to {MOST_ROWS}")

    def of(self, listed: list[Row]) -> Row:
        """That part, and how many rows there are in all."""
        part = listed[self.start : self.start + self.most]
        return {"total": len(listed), "start": self.start, "rows": part}


class Queries:
    """Answers questions.

    Args:
        known: what is known.
        turns: who has it may change what is known.
    """

    def __init__(self, known: Known, turns: Turns) -> None:
        self._known, self._turns = known, turns
        self._finder = NameFinder(known.inventory.names)
        self._seen = self._size()
        self._forgotten: list[NDArray[np.integer]] = []  # since the finder looked

    # -- process variables ------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Let `search` find new names; False if there are none. Seconds for a million."""
        inventory = self._known.inventory
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
        names = self._known.inventory.names
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
            found = [rows.pv_row(self._known.pvs, number) for number in page.numbers.tolist()]
        return {"total": page.total, "start": paging.start, "rows": found}

    def _wanted(self, filters: PvFilters, now: float) -> Mask:
        """By number, as far as there are any."""
        inventory = self._known.inventory
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
        inventory = self._known.inventory
        states, valid = inventory.state[:end], inventory.names.valid[:end]
        found: Mask = states == (code if code < len(STATES) else STATES.index("NEVER_SEEN"))
        if state == INVALID:
            found &= ~valid
        elif state == "NEVER_SEEN":
            found &= valid
        return found

    def _class(self, name: str) -> int:
        names = self._known.inventory.sources.classes.names
        return names.index(one_of(name, names, "source_class"))

    def number(self, name: str) -> int:
        """The number of a process variable.

        Raises:
            NotAllowed: it is not known.
        """
        number = self._known.inventory.names.number(name.encode("utf-8", "surrogateescape"))
        if number < 0:
            raise NotAllowed(
                f"name: nobody asked for {name!r}, and no server told of it", "unknown"
            )
        return number

    def pv_info(self, name: str) -> Row:
        """All that is known of one, see :func:`socs.epics.rows.pv_info`."""
        with self._turns:
            return rows.pv_info(self._known.pvs, self.number(name))

    def forget(self, names: Iterable[str]) -> list[str]:
        """Forget process variables, all or none; their names.

        Raises:
            NotAllowed: one is not known.
        """
        with self._turns:
            numbers = np.array([self.number(name) for name in names], np.int64)
            inventory = self._known.inventory
            forgotten = [rows.name_text(name) for name in inventory.names.names(numbers)]
            inventory.forget(numbers)
            self._forgotten.append(numbers)
        return forgotten

    def purge(self, idle: Callable[[Inventory], NDArray[np.integer]]) -> int:
        """Forget the process variables that ``idle`` chooses; how many."""
        with self._turns:
            numbers = idle(self._known.inventory)
            if len(numbers):
                self._known.inventory.forget(numbers)
                self._forgotten.append(numbers)
        return len(numbers)

    # -- what serves and what asks ----------------------------------------------------------------

    def servers(
        self,
        paging: Paging,
        *,
        state: str | None = None,
        protocol: str | None = None,
        host: str | None = None,
    ) -> Row:
        """Servers by protocol, host and port, see :func:`socs.epics.rows.server_row`."""
        wanted = state and one_of(state, _LIVES, "state")
        number = None if host is None else host_of(host)
        spoken = None if protocol is None else protocol_of(protocol)
        with self._turns:
            found = [
                rows.server_row(server)
                for key, server in sorted(self._known.beacons.servers.items())
                if (not wanted or server.state == wanted)
                and (number is None or server.host == number)
                and (spoken is None or server.protocol == spoken)
            ]
        return paging.of(found)

    def applications(
        self, paging: Paging, now: float, *, state: str | None = None, host: str | None = None
    ) -> Row:
        """Applications by host and title, see :func:`socs.epics.rows.application_row`."""
        wanted = state and one_of(state, _LIVES, "state")
        number = None if host is None else host_of(host)
        with self._turns:
            chosen = [
                application
                for application in self._known.applications.known.values()
                if (not wanted or application.state == wanted)
                and (number is None or application.beat.host == number)
            ]
            chosen.sort(key=lambda each: (each.beat.host, each.beat.title, each.key))
            return paging.of([rows.application_row(each, now) for each in chosen])

    def hosts(
        self,
        paging: Paging,
        *,
        status: str | None = None,
        among: Sequence[int] | None = None,
    ) -> Row:
        """Hosts by address, see :func:`socs.epics.rows.host_row`; only those ``among`` these."""
        wanted = status and one_of(status, STATUS, "status")
        with self._turns:
            numbers = rows.known_hosts(self._known.hosts)
            if among is not None:
                numbers = sorted(set(among))
            found = [rows.host_row(self._known.hosts, number) for number in numbers]
        return paging.of([row for row in found if not wanted or row["status"] == wanted])

    def clients(
        self, paging: Paging, *, source_class: str | None = None, host: str | None = None
    ) -> Row:
        """Sources of searches, who asked most first, see :func:`socs.epics.rows.client_row`."""
        sources = self._known.inventory.sources
        number = None if host is None else host_of(host)
        with self._turns:
            chosen = np.arange(1, sources.end)
            if number is not None:
                chosen = chosen[(sources.keys[chosen] >> np.uint64(16)) == number]
            if source_class is not None:
                chosen = chosen[sources.classed[chosen] == self._class(source_class)]
            most = np.argsort(sources.requests[chosen].astype(np.int64) * -1, kind="stable")
            part = chosen[most[paging.start : paging.start + paging.most]]
            found = [rows.client_row(sources, each) for each in part.tolist()]
        return {"total": len(chosen), "start": paging.start, "rows": found}


def one_of(value: str, allowed: Iterable[str], parameter: str) -> str:
    """``value`` if it is among those allowed.

    Raises:
        Malformed: it is not; the message has them.
    """
    names = [*allowed]
    if value not in names:
        raise Malformed(f"{parameter}: {value!r} is none of {', '.join(names)}")
    return value


def protocol_of(text: str, parameter: str = "protocol") -> int:
    """The number of ``CA`` or ``PVA``.

    Raises:
        Malformed: it is neither.
    """
    return _PROTOCOLS[one_of(text, _PROTOCOLS, parameter)]


def server_of(text: str, parameter: str = "server") -> tuple[int, int | None]:
    """Host, and port if there is one.

    Raises:
        Malformed: it is no ``10.1.2.3`` or ``10.1.2.3:5064``.
    """
    host, colon, port = text.partition(":")
    return host_of(host, parameter), port_of(f"CA:{port}", parameter)[1] if colon else None
