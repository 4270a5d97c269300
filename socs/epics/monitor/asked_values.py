"""Values as people and programs give them, with errors that name the parameter."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from socs.epics.ports import HIGHEST_PORT
from socs.epics.rows import Row
from socs.epics.track.events import PROTOCOLS
from socs.epics.track.hosts import Port
from socs.errors import Malformed

MOST_ROWS = 1_000  # of a page
MOST_STARTING = 1 << 32
T = TypeVar("T")

_PROTOCOLS = {name: number for number, name in PROTOCOLS.items()}
_PORT = re.compile(r"(CA|PVA):(\d{1,5})")


@dataclass(frozen=True)
class Paging:
    """A part of a list: ``most`` rows from the ``start``-th on.

    Raises:
        Malformed: that cannot be meant.
    """

    start: int = 0
    most: int = 25

    def __post_init__(self) -> None:
        if not 0 <= self.start < MOST_STARTING:
            raise Malformed(f"start: {self.start} is not from 0 to {MOST_STARTING}")
        if not 1 <= self.most <= MOST_ROWS:
            raise Malformed(f"most: {self.most} is not from 1 to {MOST_ROWS}")

    def of(self, listed: Sequence[T], row: Callable[[T], Row]) -> Row:
        """The rows of that part of ``listed``, and how many there are in all."""
        part = [row(each) for each in self.part(listed)]
        return {"total": len(listed), "start": self.start, "rows": part}

    def part(self, listed: Sequence[T]) -> Sequence[T]:
        """That part of ``listed``."""
        return listed[self.start : self.start + self.most]


def host_of(text: object, parameter: str = "host") -> int:
    """The IPv4 address in ``text``.

    Raises:
        Malformed: there is none; the message names the parameter.
    """
    try:
        return int(ipaddress.IPv4Address(text if isinstance(text, str) else ""))
    except ValueError as error:
        raise Malformed(f"{parameter}: {text!r} is no address such as 10.1.2.3") from error


def hosts_of(texts: object, parameter: str = "hosts") -> list[int]:
    """The IPv4 addresses in a list of texts.

    Raises:
        Malformed: one is none; the message names the parameter.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise Malformed(f"{parameter}: {texts!r} is no list of addresses")
    return [host_of(text, parameter) for text in texts]


def port_of(text: object, parameter: str = "ports") -> Port:
    """The protocol and port in ``text``.

    Raises:
        Malformed: there is none; the message names the parameter.
    """
    match = _PORT.fullmatch(text) if isinstance(text, str) else None
    if match is None or not 0 < int(match[2]) <= HIGHEST_PORT:
        raise Malformed(f"{parameter}: {text!r} is no port such as CA:5064 or PVA:5075")
    return _PROTOCOLS[match[1]], int(match[2])


def texts_of(values: object, parameter: str) -> list[str]:
    """A list of texts.

    Raises:
        Malformed: it is none; the message names the parameter.
    """
    listed = [] if isinstance(values, str) or not isinstance(values, Iterable) else [*values]
    texts = [each for each in listed if isinstance(each, str)]
    if isinstance(values, str) or len(texts) != len(listed):
        raise Malformed(f"{parameter}: {values!r} is no list of texts")
    return texts


def octets_of(text: str, parameter: str = "name") -> bytes:
    """A name as it is on the wire.

    Raises:
        Malformed: it can be none.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Malformed(f"{parameter}: is no text: {error}") from error


def ignored_of(text: str) -> str | Port:
    """A port if ``text`` is one, else the key of an application."""
    return port_of(text, "ignored") if _PORT.fullmatch(text) else text


def one_of(value: str, allowed: Iterable[str], parameter: str) -> str:
    """``value`` if it is among those allowed.

    Raises:
        Malformed: it is not; the message has them.
    """
    names = [*allowed]
    if value not in names:
        raise Malformed(f"{parameter}: {value!r} is none of {', '.join(names)}")
    return value


def protocol_of(text: str, parameter: str = "protocol") -> int:
    """The number of ``CA`` or ``PVA``.

    Raises:
        Malformed: it is neither.
    """
    return _PROTOCOLS[one_of(text, _PROTOCOLS, parameter)]


def server_of(text: str, parameter: str = "server") -> tuple[int, int | None]:
    """Host, and port if there is one.

    Raises:
        Malformed: it is no ``10.1.2.3`` or ``10.1.2.3:5064``.
    """
    host, colon, port = text.partition(":")
    return host_of(host, parameter), port_of(f"CA:{port}", parameter)[1] if colon else None
