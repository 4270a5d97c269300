"""Rows of EPICS as lines for people: who, where, since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from socs.cli.output import DIGITS, moment
from socs.epics.rows import Row
from socs.sections import Section

PVS = ("name", "state", "protocol", "server", "requests", "last_asked", "last_seen", "changed")
EVENTS = ("time", "kind", "subject", "what", "why")
SERVERS = ("server", "protocol", "state", "pvs", "first", "heard", "restarts")
CLIENTS = ("source", "class", "requests", "per_s", "datagrams", "invalid", "last")
APPLICATIONS = ("title", "host", "port", "state", "first", "heard", "restarts")
TIMES = frozenset(  # columns of UNIX times
    (
        *("time", "last_asked", "first_asked", "last_seen", "first_seen", "changed", "searched"),
        *("first", "last", "heard", "started", "lost"),
    )
)


def section(
    title: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], left_out: int = 0
) -> Section:
    """A table with a title; times are written as such."""
    return Section(title, tuple(columns), [readable(row, columns) for row in rows], left_out)


def readable(row: Mapping[str, Any], columns: Iterable[str]) -> Row:
    """The ``columns`` of a row, times as ISO 8601."""
    return {name: _value(name, row.get(name)) for name in columns}


def _value(name: str, value: Any) -> Any:
    if name in TIMES and isinstance(value, float | int):
        return moment(value)
    if isinstance(value, float):
        return round(value, DIGITS)
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def event_line(row: Mapping[str, Any]) -> Row:
    """An event (:func:`socs.epics.rows.event_row`) in few columns: `EVENTS`."""
    told = dict(row["evidence"])
    what = row["name"] or _place(row) or str(told.pop("gateway", ""))
    if "count" in row:
        what = f"{row['count']} of {_place(row)}: {', '.join(row['examples'])}"
    detail = ", ".join(f"{name} {_evidence(name, value)}" for name, value in told.items())
    return {
        "time": row["time"],
        "kind": row["kind"],
        "subject": row["subject"],
        "what": what,
        "why": f"{row['cause']} ({detail})" if detail else row["cause"],
    }


def _place(row: Mapping[str, Any]) -> str:
    if not row["host"]:
        return ""
    port = f":{row['port']}" if row["port"] else ""
    protocol = f"{row['protocol']} " if row["protocol"] else ""
    return f"{protocol}{row['host']}{port}"


def _evidence(name: str, value: Any) -> str:
    if isinstance(value, float):
        is_time = name in TIMES or name in ("from", "blind_from")
        return moment(value) if is_time else f"{value:.{DIGITS}f}"
    return str(value)
