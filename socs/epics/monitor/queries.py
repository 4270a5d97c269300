"""What can be asked of a PV monitor: lists, filtered, a page at a time.

What is known is read in its turn; the database is asked after that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from socs.db.engine import Database
from socs.epics import rows
from socs.epics.applications import api_lists
from socs.epics.applications.host_processes import HostProcesses
from socs.epics.applications.interviews import Interviews
from socs.epics.monitor.asked_values import (
    Paging,
    host_of,
    octets_of,
    one_of,
    protocol_of,
    texts_of,
)
from socs.epics.monitor.host_book import HostBook
from socs.epics.monitor.measures import Measured
from socs.epics.monitor.pv_search import PvFilters, PvSearch
from socs.epics.monitor.turns import Turns
from socs.epics.rows import Row
from socs.epics.store.history import Place, Wanted, select_events
from socs.epics.track.hosts import STATUS, Hosts
from socs.errors import Malformed, StorageUnavailable

HISTORY = 20  # events shown with a process variable
API_LISTS = ("heartbeats", "beacons")
LIVES = ("ALIVE", "LOST", "UNKNOWN")


class Known(Measured, Protocol):
    """What is asked: the parts of a monitor's knowledge."""

    @property
    def hosts(self) -> Hosts: ...
    @property
    def interviews(self) -> Interviews: ...


class Queries:
    """Answers questions. Any thread may ask.

    Args:
        known: what is known.
        turns: who has it may change what is known.
        search: finds process variables.
        database: has events.
        book: has groups, and what is noted of hosts.

    All methods raise `Malformed` for a value that cannot be meant, with its name; those that need
    the database raise `StorageUnavailable` while it is away.
    """

    def __init__(
        self, known: Known, turns: Turns, search: PvSearch, database: Database, book: HostBook
    ) -> None:
        self._known, self._turns = known, turns
        self._search, self._database, self._book = search, database, book

    def search(
        self,
        pattern: str,
        filters: PvFilters,
        paging: Paging,
        now: float,
        group: str | None = None,
    ) -> Row:
        """Process variables by name, see :func:`socs.epics.rows.pv_row`; of a group of hosts."""
        if group is not None:
            filters = replace(filters, hosts=self._book.group_hosts(group))
        return self._search.search(pattern, filters, paging, now)

    def pv_info(self, name: str) -> Row:
        """All that is known of one, see :func:`socs.epics.rows.pv_info`, and its last events."""
        with self._turns:
            number = self._search.number(name)
            row = rows.pv_info(self._known.pvs, number, self._processes)
            full = self._known.inventory.names.name(number)
        try:
            page = select_events(self._database, Wanted(name=full), most=HISTORY)
        except StorageUnavailable as error:
            return {**row, "events": [], "events_missing": str(error)}
        return {**row, "events": [rows.event_row(each.event) for each in page.events]}

    @property
    def _processes(self) -> HostProcesses:
        return self._known.interviews.processes

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
        wanted = state and one_of(state, LIVES, "state")
        number = None if host is None else host_of(host)
        spoken = None if protocol is None else protocol_of(protocol)
        with self._turns:
            chosen = [
                server
                for _, server in sorted(self._known.beacons.servers.items())
                if (not wanted or server.state == wanted)
                and (number is None or server.host == number)
                and (spoken is None or server.protocol == spoken)
            ]
            mapped = self._processes.of((each.host, each.port) for each in paging.part(chosen))
            return paging.of(
                chosen, lambda each: rows.server_row(each, mapped.get((each.host, each.port)))
            )

    def applications(
        self, paging: Paging, now: float, *, state: str | None = None, host: str | None = None
    ) -> Row:
        """Applications by host and title, see :func:`socs.epics.rows.application_row`."""
        wanted = state and one_of(state, LIVES, "state")
        number = None if host is None else host_of(host)
        with self._turns:
            chosen = [
                application
                for application in self._known.applications.known.values()
                if (not wanted or application.state == wanted)
                and (number is None or application.beat.host == number)
            ]
            chosen.sort(key=lambda each: (each.beat.host, each.beat.title, each.key))
            names = self._known.interviews.names
            return paging.of(
                chosen, lambda each: rows.application_row(each, now, names.get(each.key))
            )

    def hosts(self, paging: Paging, *, status: str | None = None, group: str | None = None) -> Row:
        """Hosts by address, see :func:`socs.epics.rows.host_row`, with what people noted of them.

        If the database is away, ``notes_missing`` says why they are not there.
        """
        wanted = status and one_of(status, STATUS, "status")
        among = None if group is None else self._book.group_hosts(group)
        hosts = self._known.hosts
        with self._turns:
            numbers = rows.known_hosts(hosts) if among is None else among
            if wanted:
                numbers = [n for n in numbers if rows.standing_of(hosts, n).status == wanted]
            found = paging.of(numbers, lambda number: rows.host_row(hosts, number, self._processes))
        shown = paging.part(numbers)
        try:
            noted, waiting = self._book.noted(), self._book.open_entries()
        except StorageUnavailable as error:
            return {**found, "notes_missing": str(error)}
        for number, row in zip(shown, found["rows"], strict=True):
            notes = noted.get(number, {})
            row["description"] = notes.get("description", "")
            row["groups"] = notes.get("groups", [])
            row["unacknowledged"] = waiting.get(number, 0)
        return found

    def api_list(
        self,
        which: str,
        now: float,
        *,
        host: str | None = None,
        lost: bool = False,
        raw: bool = False,
        handle: int | None = None,
    ) -> Row:
        """A list of :mod:`socs.epics.applications.api_lists`: ``heartbeats`` or ``beacons``."""
        one_of(which, API_LISTS, "which")
        number = None if host is None else host_of(host)
        known = self._known
        with self._turns:
            if which == "heartbeats":
                asked = known.interviews.names.items()
                names = {key: each.texts for key, each in asked if not math.isnan(each.told)}
                return api_lists.heartbeats(
                    *(known.applications, now),
                    names=names,
                    host=number,
                    lost=lost,
                    raw=raw,
                    handle=handle,
                )
            places = [(host, port) for _, host, port in known.beacons.servers]
            mapped = self._processes.of(places)
            return api_lists.beacons(known.beacons, mapped=mapped, host=number, handle=handle)

    def clients(
        self, paging: Paging, *, source_class: str | None = None, host: str | None = None
    ) -> Row:
        """Sources of searches, who asked most first, see :func:`socs.epics.rows.client_row`."""
        sources = self._known.inventory.sources
        number = None if host is None else host_of(host)
        names = sources.classes.names
        classed = source_class and names.index(one_of(source_class, names, "source_class"))
        with self._turns:
            chosen = np.arange(1, sources.end)
            if number is not None:
                chosen = chosen[(sources.keys[chosen] >> np.uint64(16)) == number]
            if classed is not None:
                chosen = chosen[sources.classed[chosen] == classed]
            most = np.argsort(sources.requests[chosen].astype(np.int64) * -1, kind="stable")
            part = chosen[most[paging.start : paging.start + paging.most]]
            found = [rows.client_row(sources, each) for each in part.tolist()]
        return {"total": len(chosen), "start": paging.start, "rows": found}

    # -- what happened ----------------------------------------------------------------------------

    def events(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        subject: str | None = None,
        kinds: Sequence[str] | None = None,
        host: str | None = None,
        port: int | None = None,
        name: str | None = None,
        most: int = 50,
        after: Sequence[float] | None = None,
    ) -> Row:
        """Events, newest first: ``{"rows": [...], "next": [time, id] or None}``.

        Args:
            since, until: UNIX times [s].
            subject: ``pv``, ``pvs``, ``server``, ``application`` or ``host``.
            kinds: what happened.
            host, port, name: to whom; a name of a process variable, or a key of an application.
            most: rows of the page.
            after: ``next`` of the page before.
        """
        wanted = Wanted(
            since=since,
            until=until,
            subject=subject,
            kinds=None if kinds is None else tuple(texts_of(kinds, "kinds")),
            host=None if host is None else host_of(host),
            port=port,
            name=None if name is None else octets_of(name),
        )
        place = None if after is None else place_of(after)
        page = select_events(self._database, wanted, most=most, after=place)
        found = [{"id": each.id, **rows.event_row(each.event)} for each in page.events]
        return {"rows": found, "next": None if page.next is None else [*page.next]}


def place_of(values: Sequence[float]) -> Place:
    """Where a page of events begins.

    Raises:
        Malformed: it is no time and number.
    """
    try:
        moment, number = values
        return Place(float(moment), int(number))
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"after: {values!r} is no time and number") from error
