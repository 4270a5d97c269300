"""The tables of the EPICS monitor; none of them is ever altered. A change makes a ``_v2``.

Times are UNIX times [s] as DOUBLE, exact to a microsecond. Hosts are IPv4 addresses as numbers.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from socs.db.engine import Database
from socs.errors import StorageUnavailable

LONGEST_NAME = 512  # bytes of the name of a process variable or the key of an application
LONGEST_TEXT = 255  # characters
LONGEST_NOTE = 4000  # characters
LONGEST_GROUP = 64  # characters

_BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER auto-increments there
_Name = sa.LargeBinary(LONGEST_NAME).with_variant(mysql.VARBINARY(LONGEST_NAME), "mysql", "mariadb")
_LongText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

metadata = sa.MetaData()


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(
        f"socs_epics_{name}_v1",
        metadata,
        *parts,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def _id() -> sa.Column[int]:
    return sa.Column("id", _BigKey, primary_key=True, autoincrement=True)


def _text(name: str, length: int = LONGEST_TEXT, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=null)


def _host(*, key: bool = False) -> sa.Column[int]:
    return sa.Column("host", sa.BigInteger, primary_key=key, nullable=False, autoincrement=False)


events = _table(
    "events",
    _id(),
    sa.Column("spool_id", sa.CHAR(32), nullable=False, comment="Spool that the event came through"),
    sa.Column("number", sa.BigInteger, nullable=False, comment="Its number there"),
    sa.Column("time", sa.Double, nullable=False, comment="When it was noticed (UNIX time, s)"),
    sa.Column("subject", sa.String(16), nullable=False, comment="server, pv, application, ..."),
    sa.Column("kind", sa.String(32), nullable=False, comment="What happened: NEW, LOST, ..."),
    sa.Column("host", sa.BigInteger, nullable=False, comment="IPv4 address; 0 if none"),
    sa.Column("port", sa.Integer, nullable=False, comment="TCP port; 0 if none"),
    sa.Column("protocol", sa.SmallInteger, nullable=False, comment="1 CA, 2 PVA; 0 if none"),
    sa.Column("name", _Name, nullable=False, comment="Process variable, or key of application"),
    sa.Column("cause", sa.String(LONGEST_TEXT), nullable=False, comment="The rule that says so"),
    sa.Column("details", _LongText, nullable=False, comment="JSON: evidence, and more"),
    sa.UniqueConstraint("spool_id", "number", name="uq_socs_epics_events_v1"),
    sa.Index("ix_socs_epics_events_v1_time", "time"),
    sa.Index("ix_socs_epics_events_v1_kind", "subject", "kind", "time"),
    sa.Index("ix_socs_epics_events_v1_host", "host", "time"),
    sa.Index("ix_socs_epics_events_v1_name", "name", "time"),
)

logs = _table(
    "logs",
    _id(),
    sa.Column("uid", sa.String(64), nullable=False, comment="The same if it is added again"),
    _host(),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False, comment="NOTE, or kind of the event"),
    sa.Column("author", sa.String(LONGEST_TEXT), nullable=False, comment="Empty for events"),
    sa.Column("text", sa.String(LONGEST_NOTE), nullable=False),
    sa.Column("needs_ack", sa.Boolean, nullable=False),
    sa.Column("acknowledged_at", sa.Double),
    _text("acknowledged_by", null=True),
    sa.UniqueConstraint("uid", name="uq_socs_epics_logs_v1"),
    sa.Index("ix_socs_epics_logs_v1_host", "host", "id"),
    sa.Index("ix_socs_epics_logs_v1_open", "needs_ack", "acknowledged_at", "host"),
    sa.Index("ix_socs_epics_logs_v1_time", "time"),
)

groups = _table(
    "groups",
    _id(),
    _text("name", LONGEST_GROUP),
    _text("description"),
    sa.UniqueConstraint("name", name="uq_socs_epics_groups_v1"),
)

members = _table(
    "members",
    sa.Column("group_id", sa.BigInteger, primary_key=True, autoincrement=False),
    _host(key=True),
    sa.Index("ix_socs_epics_members_v1_host", "host"),
)

expected = _table(
    "expected",
    _host(key=True),
    sa.Column("item", _Name, primary_key=True, comment="Key of an application, or port:1:5064"),
    sa.Column("ignored", sa.Boolean, nullable=False, comment="It may run, but need not"),
    _text("set_by"),
    sa.Column("set_at", sa.Double, nullable=False),
)

hosts = _table(
    "hosts",
    _host(key=True),
    _text("description"),
    sa.Column("maintenance", sa.Boolean, nullable=False, comment="Somebody works on it"),
    _text("set_by"),
    sa.Column("set_at", sa.Double, nullable=False),
)

TABLES = (events, logs, groups, members, expected, hosts)


def ensure_tables(database: Database, *, create: bool = True) -> bool:
    """Make sure that the tables are there; True when one had to be created.

    Raises:
        StorageUnavailable: the server is not there or forbids it, or a table is missing and
            ``create`` is False.
    """
    with database.read() as connection:
        inspector = sa.inspect(connection)
        missing = [table for table in TABLES if not inspector.has_table(table.name)]
    if not missing:
        return False
    if not create:
        names = ", ".join(table.name for table in missing)
        raise StorageUnavailable(
            f"{database.description} lacks {names}: have them created by a user who may"
        )
    with database.begin() as connection:
        metadata.create_all(connection, missing)
    return True
