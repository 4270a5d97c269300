"""What tests of the table of the copies need: announced files, claims, and rows as they are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database

NOW = 1_700_000_000.25  # UNIX time [s]
LEASE = 300.0
MAX_ATTEMPTS = 5
ANNOUNCED = bytes(16)  # MD5


def add(database: Database, count: int = 1, **values: Any) -> list[int]:
    """Announce files; their ids."""
    common = {
        "timestamp": files.utc_text(NOW),
        "instance_id": "monitor",
        "copied": False,
        "failed_copy_attempts": 0,
        "md5sum": ANNOUNCED,
    }
    with database.begin() as connection:
        last = connection.execute(sa.select(sa.func.max(files.table.c.id))).scalar() or 0
        rows = [{"path": f"/data/{last + n + 1}"} | common | values for n in range(count)]
        files.add_entries(connection, [files.row_of(row) for row in rows])
        query = sa.select(files.table.c.id).where(files.table.c.id > last)
        return sorted(connection.execute(query).scalars())


def claim(
    database: Database,
    owner: str = "a",
    limit: int = 100,
    *,
    now: float = NOW,
    until: float | None = None,
    instances: Collection[str] = ("monitor",),
    max_attempts: int = MAX_ATTEMPTS,
    only: sa.ColumnElement[bool] | None = None,
) -> list[int]:
    """Ids of the files claimed, in their order."""
    with database.begin() as connection:
        rows = claims.claim(
            connection,
            owner,
            list(instances),
            limit=limit,
            now=now,
            until=now + LEASE if until is None else until,
            max_attempts=max_attempts,
            only=only,
        )
    return [row["id"] for row in rows]


def rows(database: Database, *conditions: sa.ColumnElement[bool]) -> dict[int, dict[str, Any]]:
    """Rows of the files table by id, with what is known of their copies."""
    with database.read() as connection:
        query = copies.with_state(*conditions).add_columns(copies.table.c.owner)
        return {row["id"]: dict(row) for row in connection.execute(query).mappings()}


def row(database: Database, number: int) -> dict[str, Any]:
    """A row of the files table, with what is known of its copy."""
    return rows(database, files.table.c.id == number)[number]
