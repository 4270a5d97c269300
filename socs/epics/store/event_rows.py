"""Events of the trackers as rows of the table, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from socs.epics.networks import host_text
from socs.epics.store.tables import LONGEST_NAME, LONGEST_NOTE, LONGEST_TEXT
from socs.epics.track.events import (
    PROTOCOLS,
    SUBJECTS,
    ApplicationEvent,
    Event,
    PvEvent,
    ServerEvent,
    subject_of,
)

LONGEST_EVIDENCE = 4000  # characters of one text; more is cut
MOST_EVIDENCE = 100  # entries
_LONGEST_KIND = 32  # characters
_LARGEST = 2**63

# what somebody must acknowledge, unless settings say otherwise
NEEDS_ACK = frozenset(
    {(subject, kind) for subject in ("server", "application")
     for kind in ("NEW", "LOST", "RESUMED", "RESTARTED")}
    | {("host", "MISSING")}
)  # fmt: skip


class EventRow(msgspec.Struct, frozen=True):
    """An event as the spool and the table have it."""

    time: float
    subject: str
    kind: str
    host: int
    port: int
    protocol: int
    name: bytes
    cause: str
    details: str
    text: str


class _Details(msgspec.Struct, omit_defaults=True):
    """What has no column. Names are written as ISO 8859-1, which has a character for each byte."""

    evidence: dict[str, int | float | str | None] = {}
    number: int = -1
    count: int = 0
    examples: list[str] = []


_decode = msgspec.json.Decoder(_Details).decode


def row_of(event: Event) -> EventRow:
    """``event`` as a row that every database takes: what is too long for it is cut."""
    name = b""
    if isinstance(event, PvEvent):
        name = event.name
    elif isinstance(event, ApplicationEvent):
        name = event.key.encode("utf-8", "backslashreplace")
    details = _Details(
        {_text(key, LONGEST_TEXT): _value(value)
         for key, value in list(event.evidence.items())[:MOST_EVIDENCE]},
        int(getattr(event, "number", -1)),
        int(getattr(event, "count", 0)),
        [example.decode("latin-1") for example in getattr(event, "examples", ())],
    )  # fmt: skip
    return EventRow(
        float(event.time),
        subject_of(type(event)),
        _text(event.kind, _LONGEST_KIND),
        int(getattr(event, "host", 0)),
        int(getattr(event, "port", 0)),
        int(getattr(event, "protocol", 0)),
        name[:LONGEST_NAME],
        _text(event.cause, LONGEST_TEXT),
        msgspec.json.encode(details).decode(),
        _text(_told(event), LONGEST_NOTE),
    )


def event_of(row: Mapping[str, Any]) -> Event:
    """The event that a row of the table is; without details that cannot be read.

    Others may write to the table, and one row must not keep a monitor from starting.
    """
    kind = SUBJECTS.get(row["subject"], Event)
    try:
        details = _decode(row["details"])
        examples = tuple(example.encode("latin-1") for example in details.examples)
    except (msgspec.DecodeError, UnicodeError) as error:
        details, examples = _Details({"damaged": _text(str(error), LONGEST_TEXT)}), ()
    name = bytes(row["name"])
    evidence = {key: math.nan if v is None else v for key, v in details.evidence.items()}
    values: dict[str, Any] = {
        "time": row["time"],
        "kind": row["kind"],
        "cause": row["cause"],
        "evidence": evidence,
        "protocol": row["protocol"],
        "host": row["host"],
        "port": row["port"],
        "name": name,
        "key": name.decode("utf-8", "backslashreplace"),
        "number": details.number,
        "count": details.count,
        "examples": examples,
    }
    return kind(**{field.name: values[field.name] for field in fields(kind)})


def _told(event: Event) -> str:
    """For people: what, and where, if that can be told."""
    unknown = isinstance(event, ServerEvent) and event.protocol not in PROTOCOLS
    if unknown or type(event) is Event:
        return f"{event.kind}: {event.cause}"
    title = event.evidence.get("title")
    where = host_text(event.host) if isinstance(event, ApplicationEvent) else ""
    return f"{event.kind} {title} on {where}: {event.cause}" if title and where else str(event)


def _text(text: str, most: int) -> str:
    """``text`` without what UTF-8 cannot hold, cut to ``most`` characters."""
    return text.encode("utf-8", "backslashreplace").decode()[:most]


def _value(value: object) -> int | float | str | None:
    value = value.item() if hasattr(value, "item") else value  # of NumPy
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return int(value)
    return _text(str(value), LONGEST_EVIDENCE)
