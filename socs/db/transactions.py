"""Transactions that are tried again when other clients are in the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from socs.db.engine import AlreadyStored, Database
from socs.errors import StorageUnavailable

ATTEMPTS = 5
PAUSE = 0.05  # s before the second attempt; doubled each time
LONGEST = 5.0  # s after which there is no further attempt: who asks waits for it

T = TypeVar("T")


def in_transaction(database: Database, act: Callable[[sa.Connection], T]) -> T:
    """``act`` in a transaction of its own; again, after a pause, if the database soon refuses.

    Clients that lock rows in different orders are told so by the server, and only have to begin
    anew. As the outcome of a COMMIT that failed is unknown, ``act`` must do no harm when it is
    done twice.

    Raises:
        StorageUnavailable, AlreadyStored: the last attempt failed.
    """
    late = time.monotonic() + LONGEST
    for attempt in range(ATTEMPTS):
        try:
            with database.begin() as connection:
                return act(connection)
        except (StorageUnavailable, AlreadyStored):
            if attempt == ATTEMPTS - 1 or time.monotonic() > late:
                raise
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError("there is a last attempt")
