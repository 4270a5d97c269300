"""Events that are in the database, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from socs.db.engine import Database
from socs.epics.store.event_rows import event_of
from socs.epics.store.tables import LONGEST_NAME
from socs.epics.store.tables import events as table
from socs.epics.track.events import SUBJECTS, Event
from socs.errors import Malformed

MOST = 1000  # events of a page


class Place(NamedTuple):
    """Where a page ends: hand it over to get the next one."""

    time: float
    id: int


class StoredEvent(NamedTuple):
    """An event and its number in the table."""

    id: int
    event: Event


@dataclass(frozen=True)
class Wanted:
    """Which events; None takes all.

    Attributes:
        since, until: UNIX times [s]: from the first one on, and before the second one.
        subject: one of :data:`~socs.epics.track.events.SUBJECTS`.
        kinds: what happened.
        host, port: of the server, the application, or the host itself.
        name: of the process variable, or key of the application.
    """

    since: float | None = None
    until: float | None = None
    subject: str | None = None
    kinds: tuple[str, ...] | None = None
    host: int | None = None
    port: int | None = None
    name: bytes | None = None


class EventPage(NamedTuple):
    """Events, newest first; ``next`` is where to go on, None if these were the last ones."""

    events: list[StoredEvent]
    next: Place | None


def select_events(
    database: Database,
    wanted: Wanted | None = None,
    *,
    most: int = 50,
    after: Place | None = None,
) -> EventPage:
    """A page of events, beginning ``after`` the one before it.

    Raises:
        Malformed: there is no such subject, or ``most`` is not within 1 to `MOST`.
        StorageUnavailable: ask again later.
    """
    if not 1 <= most <= MOST:
        raise Malformed(f"most: {most} is not within 1 to {MOST}")
    query = sa.select(table).where(*_conditions(wanted or Wanted()))
    if after is not None:
        earlier = table.c.time < after.time
        query = query.where(earlier | ((table.c.time == after.time) & (table.c.id < after.id)))
        query = query.where(table.c.time <= after.time)  # which an index serves
    query = query.order_by(table.c.time.desc(), table.c.id.desc()).limit(most + 1)
    with database.read() as connection:
        rows = list(connection.execute(query).mappings())
    found = [StoredEvent(row["id"], event_of({**row})) for row in rows[:most]]
    more = len(rows) > most
    return EventPage(found, Place(found[-1].event.time, found[-1].id) if more else None)


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    if wanted.subject is not None and wanted.subject not in SUBJECTS:
        raise Malformed(f"subject: {wanted.subject!r} is none of {', '.join(SUBJECTS)}")
    column = table.c
    found: list[sa.ColumnElement[bool]] = []
    if wanted.since is not None:
        found.append(column.time >= wanted.since)
    if wanted.until is not None:
        found.append(column.time < wanted.until)
    if wanted.kinds is not None:
        found.append(column.kind.in_(wanted.kinds))
        if wanted.subject is None:
            found.append(column.subject.in_(list(SUBJECTS)))  # for the index
    if wanted.name is not None:
        found.append(column.name == wanted.name[:LONGEST_NAME])
    for name in ("subject", "host", "port"):
        if (value := getattr(wanted, name)) is not None:
            found.append(column[name] == value)
    return found
