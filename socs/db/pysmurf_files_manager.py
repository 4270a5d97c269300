"""The files table ``pysmurf_files_v1``: one row per announced file.

Run as a script it creates, updates or drops the table, as ``socs files`` does::

    python3 socs/db/pysmurf_files_manager.py create|drop|update|test [--password PASSWORD]

The connection is the one that the environment describes (see :mod:`socs.db.engine`). When a user
is set but no password, it asks for the password.

``_v1`` is never altered. A change of columns makes ``_v2``.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from socs._version import __version__
from socs.db import batches
from socs.db.engine import Database, mariadb_settings
from socs.errors import ConfigError, SocsError, StorageUnavailable

TABLE_VERSION = 1
PATH_LENGTH = 1024
TEXT_LENGTH = 255
MAX_COPY_ATTEMPTS = 5  # the archiver's default; rows beyond it are listed as given up

_BigKey = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # only INTEGER auto-increments there
_MicrosecondTime = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
_Md5 = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")


def _text(length: int = TEXT_LENGTH) -> sa.String:
    return sa.String(length)


metadata = sa.MetaData()
table = sa.Table(
    f"pysmurf_files_v{TABLE_VERSION}",
    metadata,
    sa.Column("id", _BigKey, primary_key=True, autoincrement=True),
    sa.Column(
        "path",
        _text(PATH_LENGTH),
        nullable=False,
        comment="Where the file is: first on the machine that wrote it, once copied in storage",
    ),
    sa.Column("action", _text(), comment="What made the file; files of one action stay together"),
    sa.Column("timestamp", _MicrosecondTime, comment="When the file was written (UTC)"),
    sa.Column("action_timestamp", sa.BigInteger, comment="Start of the action (UNIX time, s)"),
    sa.Column("format", _text(32), comment="File format, e.g. npy or txt"),
    sa.Column("plot", sa.Boolean, comment="True if the file is a plot"),
    sa.Column("site", _text(), comment="Site name"),
    sa.Column("pub_id", _text(), comment="Publisher id (SMURFPUB_ID)"),
    sa.Column("instance_id", _text(), comment="Agent that registered the file"),
    sa.Column("copied", sa.Boolean, comment="True once the archiver has a verified copy"),
    sa.Column("failed_copy_attempts", sa.Integer, comment="Copies that failed"),
    sa.Column("md5sum", _Md5, nullable=False, comment="MD5 of the contents, 16 bytes"),
    sa.Column("pysmurf_version", _text(), comment="Version of pysmurf that wrote the file"),
    sa.Column("socs_version", _text(), comment="Version of socs that registered the file"),
    sa.Index("ix_pysmurf_files_v1_copy", "copied", "instance_id", "failed_copy_attempts"),
    sa.Index("ix_pysmurf_files_v1_timestamp", "timestamp"),
    sa.Index("ix_pysmurf_files_v1_path", "path", mysql_length=255),
    sa.Index("ix_pysmurf_files_v1_md5sum", "md5sum"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
    mysql_row_format="DYNAMIC",
)
COLUMNS = tuple(column.name for column in table.columns if column.name != "id")
Row = tuple[Any, ...]


def create_table(database: Database) -> bool:
    """Create the tables that are missing; True when any was. Existing ones are left as they are.

    Raises:
        ConfigError: a table of this name is there, but lacks columns.
        StorageUnavailable: the server cannot be reached, or forbids it (the message names it).
    """
    with database.begin() as connection:
        inspector = sa.inspect(connection)
        missing = [t for t in _tables() if not inspector.has_table(t.name)]
        for absent in missing:
            absent.create(connection)
        if table not in missing:
            present = {column["name"] for column in inspector.get_columns(table.name)}
            lacking = [name for name in COLUMNS if name not in present]
            if lacking:
                raise ConfigError(
                    f"{database.description}: table {table.name} lacks the columns "
                    f"{', '.join(lacking)}; it was made by something else. Rename it and create "
                    "the table again (`socs files create`)"
                )
    return bool(missing)


def ensure_table(database: Database, *, create: bool) -> bool:
    """Make sure that the tables are there; True when they had to be created.

    Raises:
        ConfigError: as :func:`create_table`.
        StorageUnavailable: as :func:`create_table`, or one is missing and ``create`` is False.
    """
    if create:
        return create_table(database)
    need_tables(database, _tables())
    return False


def drop_table(database: Database) -> None:
    """Drop the files table, and with it the record of the committed batches."""
    with database.begin() as connection:
        for present in reversed(_tables()):
            present.drop(connection, checkfirst=True)


def missing_tables(database: Database) -> list[str]:
    """Names of the tables that :func:`create_table` would create."""
    return _missing(database, _tables())


def need_tables(database: Database, tables: Iterable[sa.Table]) -> None:
    """Make sure that ``tables`` are there.

    Raises:
        StorageUnavailable: one is missing (the message names it), or the server is not there.
    """
    if missing := _missing(database, tables):
        raise StorageUnavailable(
            f"{database.description} lacks {', '.join(missing)}: "
            "run `socs files create`, or set --create-table true"
        )


def _missing(database: Database, tables: Iterable[sa.Table]) -> list[str]:
    with database.read() as connection:
        inspector = sa.inspect(connection)
        return [t.name for t in tables if not inspector.has_table(t.name)]


def _tables() -> list[sa.Table]:
    return [table, batches.table]


def row_of(values: Mapping[str, Any]) -> Row:
    """``values`` by column name as a row for :func:`add_entries`.

    Raises:
        KeyError: a name is not a column of the table.
    """
    unknown = values.keys() - set(COLUMNS)
    if unknown:
        raise KeyError(f"not columns of {table.name}: {', '.join(sorted(unknown))}")
    return tuple(values.get(name) for name in COLUMNS)


def utc_text(timestamp: float) -> str:
    """UNIX time [s] as the text that both databases store: ``YYYY-MM-DD HH:MM:SS.ffffff`` (UTC).

    Raises:
        ValueError, OverflowError: beyond the years that both databases hold.
    """
    moment = datetime.fromtimestamp(timestamp, timezone.utc).replace(tzinfo=None)
    if moment.year < 1970:
        raise ValueError(f"{timestamp} is before 1970")
    return moment.isoformat(" ", "microseconds")


def add_entries(connection: sa.Connection, rows: Sequence[Row]) -> None:
    """Insert ``rows`` (values in the order of :data:`COLUMNS`) with as few statements as possible.

    Goes past SQLAlchemy's per-row processing, so values must be what drivers take: text from
    :func:`utc_text` for the timestamp, 16 bytes for ``md5sum``.
    """
    marker = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    markers = ", ".join([marker] * len(COLUMNS))
    names = ", ".join(f"`{name}`" for name in COLUMNS)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) VALUES ({markers})",
        list(rows),
    )


def known_paths(connection: sa.Connection, paths: Iterable[str]) -> set[str]:
    """Those of ``paths`` that are in the table."""
    query = sa.select(table.c.path).where(table.c.path.in_(list(paths)))
    return set(connection.execute(query).scalars())


def known_contents(connection: sa.Connection, md5sums: Iterable[bytes]) -> dict[bytes, set[str]]:
    """``{md5sum: base names}`` of the rows that have one of ``md5sums`` (16 bytes each)."""
    query = sa.select(table.c.md5sum, table.c.path).where(table.c.md5sum.in_(list(md5sums)))
    found: dict[bytes, set[str]] = {}
    for md5sum, path in connection.execute(query):
        found.setdefault(bytes(md5sum), set()).add(os.path.basename(path))
    return found


def path_matches(connection: sa.Connection, pattern: str) -> sa.ColumnElement[bool]:
    """Condition: whole paths like ``pattern``, in which only ``*`` is special; case matters."""
    path = table.c.path
    if connection.dialect.name == "sqlite":  # whose LIKE does not see the case
        special = str.maketrans({"[": "[[]", "?": "[?]"})
        return path.op("GLOB", is_comparison=True)(pattern.translate(special))
    special = str.maketrans({"%": "|%", "_": "|_", "|": "||", "*": "%"})
    return path.like(pattern.translate(special), escape="|")


def select_files(
    connection: sa.Connection,
    *conditions: sa.ColumnElement[bool],
    limit: int = 50,
    after_id: int | None = None,
    **equal: Any,
) -> list[sa.RowMapping]:
    """Rows, newest first (oldest first when ``after_id`` is given, for following the table).

    Args:
        connection: open connection.
        *conditions: what must hold for the columns of :data:`table`.
        limit: at most this many.
        after_id: only rows with a larger ``id``.
        **equal: column=value; None values are ignored.
    """
    same = [table.c[name] == value for name, value in equal.items() if value is not None]
    query = sa.select(table).where(*same, *conditions).limit(limit)
    if after_id is not None:
        query = query.where(table.c.id > after_id).order_by(table.c.id)
    else:
        query = query.order_by(table.c.id.desc())
    return list(connection.execute(query).mappings())


def statistics(connection: sa.Connection) -> list[dict[str, Any]]:
    """Per instance: number of files, copied, given up, first and last timestamp (UTC)."""

    def number_of(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    given_up = sa.and_(~table.c.copied, table.c.failed_copy_attempts >= MAX_COPY_ATTEMPTS)
    query = (
        sa.select(
            table.c.instance_id,
            sa.func.count().label("files"),
            number_of(table.c.copied).label("copied"),
            number_of(given_up).label("given_up"),
            sa.func.min(table.c.timestamp).label("first"),
            sa.func.max(table.c.timestamp).label("last"),
        )
        .group_by(table.c.instance_id)
        .order_by(table.c.instance_id)
    )
    numbers = ("files", "copied", "given_up")  # MariaDB sums up to Decimal
    return [
        dict(row) | {name: int(row[name]) for name in numbers}
        for row in connection.execute(query).mappings()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this module; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=f"Create, update or drop the table {table.name}.",
        epilog="Settings: MYSQL_HOST, MYSQL_PORT, MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD; "
        "without them the SQLite file in SOCS_DATA_DIR.",
    )
    parser.add_argument("cmd", choices=["create", "update", "drop", "test"])
    parser.add_argument(
        "--password", "-p", help="database password (default: MYSQL_PASSWORD, else it asks)"
    )
    arguments = parser.parse_args(argv)
    environ = dict(os.environ)
    if arguments.password is not None:
        environ["MYSQL_PASSWORD"] = arguments.password
    try:
        settings = mariadb_settings(environ)
        if settings is not None and not settings.password:
            environ["MYSQL_PASSWORD"] = getpass.getpass(f"Password of {settings.user}: ")
        database = Database(environ)
        try:
            print(_COMMANDS[arguments.cmd](database))  # noqa: T201  a command line
        finally:
            database.close()
    except SocsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _create(database: Database) -> str:
    made = create_table(database)
    return f"{'Created' if made else 'Found'} {table.name} in {database.description}"


def _drop(database: Database) -> str:
    question = f"Drop {table.name} in {database.description}, with all it knows? [y/n]: "
    while (answer := input(question).strip().lower()) not in {"y", "n"}:
        pass
    if answer == "n":
        return "Nothing was dropped"
    drop_table(database)
    return f"Dropped {table.name}"


def _test(database: Database) -> str:
    """Write a row, read it back, and take it away again."""
    entry = row_of(
        {
            "path": "/data/pysmurf_test/1568779322_test.txt",
            "action": "test",
            "timestamp": utc_text(1568779322.188764),
            "format": "txt",
            "plot": False,
            "site": "test",
            "instance_id": "test",
            "copied": False,
            "failed_copy_attempts": 0,
            "md5sum": bytes.fromhex("7ac66c0f148de9519b8bd264312c4d64"),
            "socs_version": __version__,
        }
    )
    with database.begin() as connection:
        add_entries(connection, [entry])
        (read,) = select_files(connection, path=entry[0], instance_id="test", limit=1)
        good = read["path"] == entry[0] and read["timestamp"].microsecond == 188764
        connection.rollback()
    if not good:
        raise StorageUnavailable(f"{database.description}: read back {dict(read)}")
    return f"Wrote and read one row of {table.name} in {database.description}; took it back"


_COMMANDS = {"create": _create, "update": _create, "drop": _drop, "test": _test}

if __name__ == "__main__":
    sys.exit(main())
