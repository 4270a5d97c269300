"""Errors in the elements of ``MulticastEvent``, each at the element at fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from socs.tango.multicast.configuration import IVL, RATE, Default
from socs.tango.multicast.elements import (
    NEVER_SENT,
    SENT,
    Element,
    Section,
    is_event_name,
    leading_int,
    parts_of,
    quoted,
    split,
)
from socs.tango.multicast.findings import Finding

LOWEST, HIGHEST = (224, 0, 1, 0), (238, 255, 255, 255)  # addresses that the document allows
MAX_PORT = 65_535


def faults(values: Sequence[str]) -> list[Finding]:
    """Everything in the list that is not as the document has it, in order."""
    found = [finding for section in split(values) for finding in _in_section(section)]
    return sorted(found, key=lambda finding: finding.index or 0)


def at(code: str, element: Element, text: str) -> Finding:
    """A finding about an element."""
    return Finding(code, text, element.index, element.text)


def octets(text: str) -> tuple[int, ...] | None:
    """The four numbers of an IPv4 address; None if it is not one."""
    parts = text.split(".")
    numbers = tuple(int(part) for part in parts if _is_number(part, 255) and len(part) <= 3)
    return numbers if len(numbers) == len(parts) == 4 else None


def whole(text: str, largest: int) -> int | None:
    """The number of 1 to ``largest`` that is written there; None if it is not one."""
    return int(text) if _is_number(text, largest) and int(text) > 0 else None


def _is_number(text: str, largest: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= largest


def _in_section(section: Section) -> Iterator[Finding]:
    if section.address is None:
        yield at(
            "address_expected",
            section.strays[0],
            f"{quoted(section.strays[0].text)} stands before the first address",
        )
        return
    yield from _address(section.address)
    if section.port is None or is_event_name(section.port.text):
        yield at(
            "port_wrong",
            section.port or section.address,
            f"no port after {quoted(section.address.text)}",
        )
    elif whole(section.port.text, MAX_PORT) is None:
        yield at("port_wrong", section.port, f"{quoted(section.port.text)} is not a port")
    yield from _options(section.options)
    for element in section.strays:
        yield at("event_name_wrong", element, f"{quoted(element.text)} is not the name of an event")
    for element in section.events:
        yield from _event(element)
    if section.port and not (section.events or _meant(section)):
        yield at("event_missing", section.address, f"no event after {quoted(section.address.text)}")


def _meant(section: Section) -> bool:
    """Does something in a section without events look like one that is out of its place?"""
    return any("/" in e.text for e in (section.port, *section.options) if e is not None)


def _address(element: Element) -> Iterator[Finding]:
    numbers = octets(element.text)
    if numbers is None:
        yield at("address_malformed", element, f"{quoted(element.text)} is not an IPv4 address")
    elif not 224 <= numbers[0] <= 239:
        yield at("address_not_multicast", element, f"{element.text} is not a multicast address")


def _options(options: Sequence[Element]) -> Iterator[Finding]:
    """What stands between the port and the first event: a rate, and an interval after it."""
    places: tuple[tuple[str, Default], ...] = (("rate_wrong", RATE), ("ivl_wrong", IVL))
    for place, element in enumerate(options):
        if place >= len(places) or "/" in element.text:
            text = f"{quoted(element.text)} is neither a number nor the name of an event"
            yield at("event_name_wrong", element, text)
            continue
        code, default = places[place]
        if whole(element.text, default.largest) is None:
            read = leading_int(element.text)
            taken = f"reads {read}" if read else "takes the default"
            text = f"{quoted(element.text)} is not a number of {default.unit}; cppTango {taken}"
            yield at(code, element, text)


def _event(element: Element) -> Iterator[Finding]:
    parts = parts_of(element.text)
    if parts is None:
        yield at(
            "event_name_wrong", element, f"{quoted(element.text)} has an empty part or a blank"
        )
        return
    kind = parts.type.lower()
    if kind in NEVER_SENT:
        yield at("event_never_multicast", element, f"{parts.type} never goes by multicast")
    elif kind not in SENT:
        meant = next((known for known in SENT if kind.startswith(known)), None)
        also = f"; cppTango takes it for '{meant}', which it begins with" if meant else ""
        text = f"{quoted(parts.type)} is not a type of event{also}"
        yield at("event_type_unknown", element, text)
