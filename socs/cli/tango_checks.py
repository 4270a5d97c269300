"""Checks of a Tango event monitor: its database, its folder, its spool."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Mapping

from socs.cli.findings import Finding, fail, ok, warn
from socs.cli.host_checks import CORRECT, check_folders, check_spool
from socs.errors import ConfigError

TIMEOUT = 3.0  # s


def check_monitor(
    subject: str, args: argparse.Namespace, environ: Mapping[str, str]
) -> list[Finding]:
    """Whether the monitor with these options can do its work."""
    from socs.tango.options import monitor_settings  # noqa: PLC0415  loads what others do not need

    try:
        settings = monitor_settings(args)
    except ConfigError as error:
        return [fail(subject, f"TangoEventMonitor: {error}", CORRECT)]
    found = check_database(subject, settings.poll.tango_host or environ.get("TANGO_HOST", ""))
    if settings.files is not None:
        found += check_folders(subject, [str(settings.files.folder)])
        found.append(check_spool(subject, settings.spool_dir, settings.spool_quota))
    return found


def check_database(subject: str, hosts: str) -> list[Finding]:
    """Whether the Tango database can be reached at one of ``host:port,host:port``."""
    if not hosts:
        remedy = "set --tango-host, or TANGO_HOST where the agent runs"
        return [warn(subject, "no Tango database is named", remedy)]
    reasons = []
    for text in hosts.split(","):
        host, _, port = text.strip().rpartition(":")
        if not host or not port.isdecimal():
            return [fail(subject, f"{text!r} is not HOST:PORT of a Tango database", CORRECT)]
        try:
            with socket.create_connection((host, int(port)), TIMEOUT):
                return [ok(subject, f"the Tango database {text.strip()} can be reached")]
        except OSError as error:
            reasons.append(f"{text.strip()}: {error.strerror or error}")
    remedy = "start it, or correct --tango-host; servers that are known are polled without it"
    return [fail(subject, f"the Tango database cannot be reached: {'; '.join(reasons)}", remedy)]
