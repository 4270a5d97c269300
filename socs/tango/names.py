"""Names of Tango events, device servers and times, as the event system writes them.

The publisher says ``tango://host:port/dom/fam/mem/attr.change``; its subscribers may say
``tango://host:port/dom/fam/mem/attr.idl5_change`` for the same stream. Without a database there is
a ``#dbase=no`` in the middle. Names are not case-sensitive, and all come out in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import NamedTuple

from socs.errors import Malformed
from socs.tango.limits import MAX_NAME

NO_DATABASE = "#dbase=no"
_REMEMBERED = 8192  # names and times; they are the same ones in each poll, and half of the work
_SCHEME = "tango://"
_IDL = "idl5_"
_NEVER = "1970-01-01T00:00:00"  # written by patched servers that mean null


class EventName(NamedTuple):
    """One stream of events.

    Attributes:
        authority: ``host:port`` of the Tango database; ``host:0`` without one; "" if not told.
        device: ``domain/family/member``.
        attribute: name of the attribute or pipe; "" for events of the device as a whole.
        event: ``change``, ``periodic``, ``intr_change`` and so on, without ``idl5_``.
    """

    authority: str
    device: str
    attribute: str
    event: str

    @property
    def path(self) -> str:
        """What both sides agree on: ``device/attribute.event``."""
        return f"{self.device}{'/' if self.attribute else ''}{self.attribute}.{self.event}"

    def __str__(self) -> str:
        return f"{_SCHEME}{self.authority}/{self.path}" if self.authority else self.path


@dataclass(frozen=True, slots=True)
class ServerName:
    """An admin device: ``dserver/program/instance`` as ``path``, and where it is known."""

    authority: str
    path: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.authority}/{self.path}" if self.authority else self.path


@lru_cache(_REMEMBERED)
def parse_event(text: str) -> EventName:
    """The stream called ``text``.

    Raises:
        Malformed: it is no ``[tango://authority/]a/b/c[/attribute].event``.
    """
    authority, path = _split(text)
    named, dot, event = path.rpartition(".")
    parts = named.split("/")
    event = event.removeprefix(_IDL)
    if not dot or not event or "/" in event or len(parts) not in (3, 4) or "" in parts:
        raise Malformed(f"no name of an event: {_shown(text)}")
    return EventName(authority, "/".join(parts[:3]), "".join(parts[3:]), event)


@lru_cache(_REMEMBERED)
def parse_server(text: str) -> ServerName:
    """The device server whose admin device is ``text``; ``program/instance`` will do.

    Raises:
        Malformed: it is neither.
    """
    authority, path = _split(text)
    parts = path.split("/")
    if len(parts) == 2:
        parts.insert(0, "dserver")
    if len(parts) != 3 or parts[0] != "dserver" or "" in parts:
        raise Malformed(f"no name of a device server: {_shown(text)}")
    return ServerName(authority, "/".join(parts))


@lru_cache(_REMEMBERED)
def parse_time(text: str | None) -> float | None:
    """UNIX time [s] of ``YYYY-MM-DDTHH:MM:SS`` in UTC without a zone; None if it stands for never.

    Raises:
        Malformed: it is no such time.
    """
    if text is None or text == _NEVER:
        return None
    try:
        if len(text) != len(_NEVER) or text[10] != "T" or text[16] != ":":
            raise ValueError
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise Malformed(f"no time: {_shown(text)}") from None


def _shown(text: str) -> str:
    return ascii(text[:80])


def _split(text: str) -> tuple[str, str]:
    """Authority and path of ``text``, in lower case.

    Raises:
        Malformed: too long, unprintable, or with an authority only.
    """
    if len(text) > MAX_NAME or not text.isprintable():
        raise Malformed(f"no name: {_shown(text)}")
    name = text.lower().replace(NO_DATABASE, "")
    if not name.startswith(_SCHEME):
        return "", name
    authority, _, path = name[len(_SCHEME) :].partition("/")
    if not authority or not path:
        raise Malformed(f"no name: {_shown(text)}")
    return authority, path
