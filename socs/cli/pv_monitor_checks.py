"""Checks of a PV monitor: its gateways, its tables, its folder, its spools."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from socs.cli.database_checks import refusals
from socs.cli.findings import Finding, fail, ok, warn
from socs.cli.host_checks import CORRECT, check_folders, check_spool
from socs.db.engine import Database, data_dir, mariadb_settings
from socs.epics.monitor.options import monitor_settings
from socs.epics.monitor.store import StoreSettings
from socs.epics.store.tables import TABLES, events
from socs.errors import ConfigError, SocsError

SUBJECT = "database"
DOCUMENTED = "the how-to on MariaDB has the tables and the grants"


def check_monitor(
    subject: str,
    args: argparse.Namespace,
    environ: Mapping[str, str],
    instance_ids: Collection[str],
) -> list[Finding]:
    """Whether the monitor with these options can do its work.

    Args:
        subject: its instance id.
        args: its options.
        environ: says where the database is.
        instance_ids: those of all agents of the site.
    """
    try:
        settings = monitor_settings(args)
    except ConfigError as error:
        return [fail(subject, f"PVMonitor: {error}", CORRECT)]
    found = [check_gateway(subject, each, instance_ids) for each in settings.gateways]
    store = settings.store
    found += check_folders(subject, [str(store.folder)])
    found.append(check_spool(subject, store.data_dir, store.spool_quota + store.events_quota))
    return found + check_tables(subject, store, environ)


def check_gateway(subject: str, gateway: str, instance_ids: Collection[str]) -> Finding:
    """Whether a gateway is an agent of the site."""
    if gateway in instance_ids:
        return ok(subject, f"listens to {gateway}")
    text = f"--gateway {gateway} is no instance of this site config"
    return warn(subject, text, "correct --gateway, or see that it runs with another site config")


def check_tables(
    subject: str, settings: StoreSettings, environ: Mapping[str, str]
) -> list[Finding]:
    """Whether the tables of EPICS are there, and may be used. Changes nothing in them."""
    try:
        if mariadb_settings(environ) is None and not (data_dir(environ) / "files.sqlite").exists():
            return []  # said with the files table; both are made at the start
        database = Database(environ)
    except ConfigError:
        return []  # said with the files table
    try:
        with database.read() as connection:
            inspector = sa.inspect(connection)
            missing = [each.name for each in TABLES if not inspector.has_table(each.name)]
        if missing:
            text = f"lacks {', '.join(missing)}"
            if settings.create_table:
                return [warn(SUBJECT, text, f"{subject} will create them when it starts")]
            return [fail(SUBJECT, text, f"have them made, or set --create-table; {DOCUMENTED}")]
        rights = ("SELECT", "INSERT", "UPDATE", "DELETE")
        wanted = [(t, [r for r in rights if (t, r) != (events, "UPDATE")]) for t in TABLES]
        refused = refusals(database, wanted)
        return refused or [ok(SUBJECT, "this user may keep what is known of EPICS")]
    except SocsError:
        return []  # said with the files table
    finally:
        database.close()
