"""What is old enough to go."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from socs.db.engine import Database
from socs.db.transactions import in_transaction
from socs.epics.store.tables import events, logs
from socs.errors import ConfigError

DAY = 86_400.0
PIECE = 5000  # rows deleted in one transaction


@dataclass(frozen=True)
class PurgeAges:
    """For how long things are kept [s].

    Attributes:
        events: after they were noticed.
        logs: the same; what nobody acknowledged, though it is needed, stays.
        names: process variables that nobody asked for, and no server answered for.
        sources: hosts that asked for nothing.
    """

    events: float = 365 * DAY
    logs: float = 365 * DAY
    names: float = 365 * DAY
    sources: float = 30 * DAY

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"purge age of {name}: {value} is not above 0")


def purge_tables(database: Database, ages: PurgeAges, now: float) -> dict[str, int]:
    """Delete old rows, a piece at a time; ``{"events": n, "logs": n}``.

    Raises:
        StorageUnavailable: the rest is deleted next time.
    """
    done = logs.c.needs_ack.is_(False) | logs.c.acknowledged_at.is_not(None)
    return {
        "events": _purge(database, events, events.c.time < now - ages.events),
        "logs": _purge(database, logs, sa.and_(logs.c.time < now - ages.logs, done)),
    }


def _purge(database: Database, table: sa.Table, old: sa.ColumnElement[bool]) -> int:
    total = 0
    query = sa.select(table.c.id).where(old).order_by(table.c.time).limit(PIECE)
    while True:
        with database.read() as connection:
            ids = list(connection.execute(query).scalars())
        if not ids:
            return total
        statement = sa.delete(table).where(table.c.id.in_(ids))
        in_transaction(database, lambda c, s=statement: c.execute(s))  # type: ignore[misc]
        total += len(ids)
