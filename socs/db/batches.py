"""Which batches of which spool are committed: what makes registration exactly-once.

A batch is inserted into this table in the same transaction as its rows. Its primary key
``(spool_id, batch)`` then answers the one question that a lost connection leaves open: *was it
committed?* Inserting the same key again settles it. A conflict says that it was; success (a row
with ``files`` = -1, a tombstone) makes sure that it never will be, even if the server still has
the old COMMIT in its hands. Only INSERT and SELECT are needed.
"""

from __future__ import annotations

import sqlalchemy as sa

from socs.db.engine import AlreadyStored, Database

ABANDONED = -1

metadata = sa.MetaData()
table = sa.Table(
    "socs_spool_batches_v1",
    metadata,
    sa.Column("spool_id", sa.CHAR(32), primary_key=True),
    sa.Column("batch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("digest", sa.CHAR(16), nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="ascii",
)


class BatchNumberTaken(Exception):
    """Another batch has this number: the spool is an old copy and needs a new identity."""


def record(connection: sa.Connection, spool_id: str, batch: int, files: int, digest: str) -> None:
    """Mark ``batch`` as committed, inside the transaction that inserts its ``files`` rows."""
    connection.execute(
        table.insert(),
        {"spool_id": spool_id, "batch": batch, "files": files, "digest": digest},
    )


def settle(database: Database, spool_id: str, batch: int, digest: str) -> bool:
    """Was ``batch`` committed? After False it never will be.

    Raises:
        BatchNumberTaken: the number was used for other files.
        StorageUnavailable: ask again later.
    """
    try:
        with database.begin() as connection:
            record(connection, spool_id, batch, ABANDONED, digest)
    except AlreadyStored:
        pass
    else:
        return False
    key = sa.and_(table.c.spool_id == spool_id, table.c.batch == batch)
    with database.begin() as connection:
        row = connection.execute(sa.select(table.c.files, table.c.digest).where(key)).one()
    if row.digest != digest:
        raise BatchNumberTaken(f"spool {spool_id} batch {batch}")
    return bool(row.files != ABANDONED)
