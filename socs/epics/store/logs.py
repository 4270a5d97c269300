"""What people must know of a host, or wrote of it: log entries, some to be acknowledged.

Events that somebody must acknowledge come here with the event itself
(:mod:`socs.epics.store.event_writer`); notes are added by people.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

import sqlalchemy as sa

from socs.db.engine import Database
from socs.db.transactions import in_transaction
from socs.epics.networks import HIGHEST_HOST
from socs.epics.store.tables import LONGEST_NOTE, LONGEST_TEXT
from socs.epics.store.tables import logs as table
from socs.errors import Malformed

NOTE = "NOTE"
MOST = 1000  # entries of a page


class LogEntry(NamedTuple):
    """An entry of a log.

    Attributes:
        id: of the entry; later ones have larger ones.
        host: IPv4 address.
        time: UNIX time [s].
        kind: `NOTE`, or kind of the event.
        author: who wrote it; empty for events.
        text: what it says.
        needs_ack: must somebody acknowledge it, or had to.
        acknowledged_at: UNIX time [s], None if nobody did.
        acknowledged_by: who did.
    """

    id: int
    host: int
    time: float
    kind: str
    author: str
    text: str
    needs_ack: bool
    acknowledged_at: float | None
    acknowledged_by: str | None


_COLUMNS = [table.c[name] for name in LogEntry._fields]


def add_note(
    database: Database, host: int, text: str, author: str, now: float, *, needs_ack: bool = False
) -> int:
    """Add a note of ``author`` to the log of ``host``; its id.

    Raises:
        Malformed: host, text or author cannot be taken.
        StorageUnavailable: it was not added, as far as is known.
    """
    row = {
        "uid": uuid.uuid4().hex,  # so that a second attempt finds what the first one did
        "host": checked_host(host),
        "time": now,
        "kind": NOTE,
        "author": checked(author, "author"),
        "text": checked(text, "text", LONGEST_NOTE),
        "needs_ack": needs_ack,
    }
    known = sa.select(table.c.id).where(table.c.uid == row["uid"])

    def act(connection: sa.Connection) -> int:
        if (id := connection.execute(known).scalar()) is None:
            connection.execute(table.insert(), row)
            id = connection.execute(known).scalar_one()
        return int(id)

    return in_transaction(database, act)


def select_logs(
    database: Database, host: int | None = None, *, most: int = 50, before: int | None = None
) -> list[LogEntry]:
    """Entries of one host or of all, newest first; those with ids less than ``before``.

    Raises:
        Malformed: ``most`` is not within 1 to `MOST`.
    """
    conditions = [] if host is None else [table.c.host == host]
    return _select(database, conditions, most, before)


def unacknowledged(
    database: Database, host: int | None = None, *, most: int = 50, before: int | None = None
) -> list[LogEntry]:
    """The same, only those that somebody must acknowledge, and nobody did."""
    conditions = [_is_open()]
    if host is not None:
        conditions.append(table.c.host == host)
    return _select(database, conditions, most, before)


def count_unacknowledged(database: Database) -> dict[int, int]:
    """How many there are of each host that has any."""
    query = sa.select(table.c.host, sa.func.count()).where(_is_open()).group_by(table.c.host)
    with database.read() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}


def acknowledge(
    database: Database,
    by: str,
    now: float,
    *,
    ids: list[int] | None = None,
    host: int | None = None,
) -> int:
    """Acknowledge these entries, or all of ``host`` that are there by ``now``; how many.

    Those that are acknowledged, or need not be, are left as they are.

    Raises:
        Malformed: neither ids nor host are given, or both; or ``by`` is nobody.
    """
    if (ids is None) == (host is None):
        raise Malformed("acknowledge: give either ids or a host")
    if ids is not None and len(ids) > MOST:
        raise Malformed(f"acknowledge: {len(ids)} ids are over {MOST}")
    here_by_now = sa.and_(table.c.host == host, table.c.time <= now)
    which = here_by_now if ids is None else table.c.id.in_(ids)
    done = {"acknowledged_at": now, "acknowledged_by": checked(by, "by")}
    statement = sa.update(table).where(_is_open(), which).values(done)
    return in_transaction(database, lambda c: int(c.execute(statement).rowcount))


def checked(text: str, what: str, most: int = LONGEST_TEXT, *, empty: bool = False) -> str:
    """``text`` without spaces around it.

    Raises:
        Malformed: it is too long, empty, or cannot be stored.
    """
    text = text.strip()
    if not text and not empty:
        raise Malformed(f"{what}: is empty")
    if len(text) > most:
        raise Malformed(f"{what}: {len(text)} characters are over {most}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{what}: is no text: {error}") from error
    return text


def checked_host(host: int) -> int:
    """``host`` if it is the number of an IPv4 address.

    Raises:
        Malformed: it is not.
    """
    if not 0 < host <= HIGHEST_HOST:
        raise Malformed(f"host: {host} is no IPv4 address")
    return host


def _is_open() -> sa.ColumnElement[bool]:
    return sa.and_(table.c.needs_ack.is_(True), table.c.acknowledged_at.is_(None))


def _select(
    database: Database,
    conditions: list[sa.ColumnElement[bool]],
    most: int,
    before: int | None,
) -> list[LogEntry]:
    if not 1 <= most <= MOST:
        raise Malformed(f"most: {most} is not within 1 to {MOST}")
    query = sa.select(*_COLUMNS).where(*conditions).order_by(table.c.id.desc()).limit(most)
    if before is not None:
        query = query.where(table.c.id < before)
    with database.read() as connection:
        return [LogEntry(*row) for row in connection.execute(query)]
