"""Checks of the database: reachable, the tables there, the privileges enough, the clocks agree."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa

from socs.cli.findings import Finding, fail, ok, warn
from socs.db import batches, copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database, data_dir, mariadb_settings
from socs.errors import ConfigError, SocsError, StorageUnavailable

SUBJECT = "database"
MAX_CLOCK_DIFFERENCE = 5.0  # s
CREATE = "run `socs files create` as a user that may create tables"


def check_database(
    environ: Mapping[str, str],
    *,
    archiver: bool = False,
    created_by: str | None = None,
    copies_created_by: str | None = None,
) -> list[Finding]:
    """All checks of the database that ``environ`` describes. Changes nothing in it.

    Args:
        archiver: an archiver is configured, which needs UPDATE and the table of copies.
        created_by: agent of this site that creates missing tables by itself.
        copies_created_by: agent that creates that of the copies too.
    """
    try:
        if mariadb_settings(environ) is None:
            path = data_dir(environ) / "files.sqlite"
            if not path.exists():
                text = f"SQLite {path} (no MYSQL_ variable is set here) is not there yet"
                return [_missing(text, created_by)]
        database = Database(environ)
    except ConfigError as error:
        return [fail(SUBJECT, str(error), "correct the environment variables")]
    try:
        found = _check(database, created_by)
        return found + (_check_copies(database, copies_created_by) if archiver else [])
    except SocsError as error:
        remedy = "see the message; the agents need the same MYSQL_ variables as this command"
        return [fail(SUBJECT, str(error), remedy)]
    finally:
        database.close()


def _missing(text: str, created_by: str | None) -> Finding:
    if created_by is None:
        return fail(SUBJECT, text, CREATE)
    return warn(SUBJECT, text, f"{created_by} will create it when it starts, or {CREATE}")


def _check(database: Database, created_by: str | None) -> list[Finding]:
    missing = files.missing_tables(database)
    found = [ok(SUBJECT, f"{database.description} answers")]
    if missing:
        found.append(_missing(f"lacks {' and '.join(missing)}", created_by))
    else:
        found.append(check_columns(database))
        if found[-1].level == "OK":
            found += _check_privileges(database)
    if database.is_mariadb:
        found += _check_server(database)
    return found


def _check_copies(database: Database, created_by: str | None) -> list[Finding]:
    """What an archiver needs."""
    with database.read() as connection:
        inspector = sa.inspect(connection)
        there = [inspector.has_table(t.name) for t in (files.table, copies.table)]
    if not there[1]:
        return [_missing(f"lacks {copies.table.name}", created_by)]
    if not there[0]:
        return []  # said already
    wanted = [(files.table, ("UPDATE",)), (copies.table, ("SELECT", "INSERT", "UPDATE"))]
    return refusals(database, wanted) or [ok(SUBJECT, "this user may archive files")]


def check_columns(database: Database) -> Finding:
    """Whether the table has the columns that this version writes."""
    with database.begin() as connection:
        present = {
            column["name"] for column in sa.inspect(connection).get_columns(files.table.name)
        }
    lacking = [name for name in files.COLUMNS if name not in present]
    if lacking:
        text = f"table {files.table.name} lacks the columns {', '.join(lacking)}"
        return fail(SUBJECT, text, "something else made it: rename it, then `socs files create`")
    return ok(SUBJECT, f"table {files.table.name} is there")


def _check_privileges(database: Database) -> list[Finding]:
    wanted = [(files.table, ("SELECT", "INSERT")), (batches.table, ("SELECT", "INSERT"))]
    return refusals(database, wanted) or [ok(SUBJECT, "this user may register files")]


def refusals(database: Database, wanted: Iterable[tuple[sa.Table, Iterable[str]]]) -> list[Finding]:
    """The ``wanted`` privileges that the user does not have."""
    lacking = [
        (privilege, table.name, reason)
        for table, privileges in wanted
        for privilege in privileges
        if (reason := _refused(database, _statement(privilege, table)))
    ]
    return [
        fail(SUBJECT, f"{privilege} on {table} is refused: {reason}", _grant(privilege, table))
        for privilege, table, reason in lacking
    ]


def _grant(privilege: str, table: str) -> str:
    return f"as administrator: GRANT {privilege} ON {table} TO <user>"


def _statement(privilege: str, table: sa.Table) -> sa.Executable:
    """Needs ``privilege`` on ``table``, and touches no row."""
    names = [column.name for column in table.columns if not column.nullable and column.name != "id"]
    nothing = sa.select(*(table.c[name] for name in names)).where(sa.false())
    if privilege == "INSERT":
        # From constants, for a selection from the table would need SELECT too.
        constants = sa.select(*(sa.literal("") for _ in names)).where(sa.false())
        return table.insert().from_select(names, constants)
    if privilege == "UPDATE":
        return table.update().where(sa.false()).values({names[0]: table.c[names[0]]})
    if privilege == "DELETE":
        return table.delete().where(sa.false())
    return nothing


def _refused(database: Database, statement: sa.Executable) -> str:
    """Why the database refuses ``statement``; empty if it does not."""
    try:
        with database.begin() as connection:
            connection.execute(statement)
            connection.rollback()
    except StorageUnavailable as error:
        return str(error)
    return ""


def _check_server(database: Database) -> list[Finding]:
    with database.begin() as connection:
        before = time.time()
        row = connection.execute(
            sa.text(
                "SELECT UTC_TIMESTAMP(6) AS now, @@session.time_zone AS zone, "
                "@@global.time_zone AS server_zone, @@session.sql_mode AS mode, "
                "@@global.innodb_flush_log_at_trx_commit AS flush_log"
            )
        ).mappings()
        values = dict(row.one())
        middle = (before + time.time()) / 2
    return [*check_server_settings(values), check_clock(values["now"], middle)]


def check_clock(server_now: datetime, now: float) -> Finding:
    """Whether the server's clock (UTC, without zone) agrees with ours (UNIX time [s])."""
    difference = server_now.replace(tzinfo=timezone.utc).timestamp() - now
    shown = round(difference, 1) + 0.0  # no -0.0
    text = f"the server's clock differs from ours by {shown:+.1f} s"
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        return warn("database clock", text, "let both hosts set their clocks by NTP")
    return ok("database clock", text)


def check_server_settings(values: Mapping[str, Any]) -> Iterable[Finding]:
    """Time zone and strictness of our connections, and what a COMMIT is worth.

    Args:
        values: ``zone``, ``server_zone``, ``mode``, ``flush_log`` as the server has them.
    """
    if values["zone"] != "+00:00":
        text = f"connections are in the time zone {values['zone']} though socs asks for UTC"
        yield warn(SUBJECT, text, "something between here and the server drops SET time_zone")
    else:
        text = f"connections are in UTC (the server's own time zone is {values['server_zone']})"
        yield ok(SUBJECT, text)
    if "STRICT_ALL_TABLES" not in str(values["mode"]).split(","):
        text = "connections are not strict: values that do not fit would be cut, not refused"
        yield warn(SUBJECT, text, "something between here and the server drops SET sql_mode")
    if int(values["flush_log"]) != 1:
        text = f"innodb_flush_log_at_trx_commit is {values['flush_log']}"
        remedy = "set it to 1, or rows that were committed can be lost when the server's host fails"
        yield warn(SUBJECT, text, remedy)
