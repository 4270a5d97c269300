"""The elements of the property ``MulticastEvent``: a flat list of texts, told apart by their form.

cppTango looks at numbers of dots and slashes only, and so do the functions here. The list is groups
one after another: address, port, perhaps a rate, perhaps an interval, then names of events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SENT = ("change", "periodic", "archive", "alarm", "attr_conf", "data_ready", "user_event")
NEVER_SENT = ("intr_change", "pipe")  # known events that Tango sends by unicast whatever is written
LARGEST_INT = 2**31 - 1  # of the type that cppTango reads numbers into
LONGEST_SHOWN = 100  # characters of an element in a message

_LEADING_INT = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,20})")
_NAME = re.compile(r"([^\s/.]+/[^\s/.]+/[^\s/.]+)/([^\s/.]+)\.([^\s/.]+)")


@dataclass(frozen=True, order=True)
class Element:
    """One text of the property, and its place in it, from 0."""

    index: int
    text: str


class Written(NamedTuple):
    """The parts of ``domain/family/member/attribute.type``, in the case in which they stand."""

    device: str
    attribute: str
    type: str


@dataclass(frozen=True)
class Section:
    """What belongs to one address.

    Attributes:
        address: None for what stands before the first address; that is all in ``strays``.
        port: what follows the address, whatever it looks like.
        options: what stands between the port and the first event name.
        events: what has the form of an event name.
        strays: what stands among the events and has not.
    """

    address: Element | None
    port: Element | None = None
    options: tuple[Element, ...] = ()
    events: tuple[Element, ...] = ()
    strays: tuple[Element, ...] = ()

    @property
    def elements(self) -> list[Element]:
        """All of it, in order."""
        first = [element for element in (self.address, self.port) if element is not None]
        return sorted([*first, *self.options, *self.events, *self.strays])


def is_address(text: str) -> bool:
    """Does cppTango take ``text`` for an address? It has three dots."""
    return text.count(".") == 3


def is_event_name(text: str) -> bool:
    """Does cppTango take ``text`` for the name of an event? It has three slashes and one dot."""
    return text.count("/") == 3 and text.count(".") == 1


def parts_of(text: str) -> Written | None:
    """The parts of an event's name; None if one of them is empty or has a blank in it."""
    parts = _NAME.fullmatch(text)
    return Written(*parts.groups()) if parts else None


def leading_int(text: str) -> int | None:
    """The number that C++ reads from ``text``: what follows its digits is ignored.

    None if it reads none, or one beyond 32 bits.
    """
    digits = _LEADING_INT.match(text)
    number = int(digits[1]) if digits else None
    return number if number is not None and abs(number) <= LARGEST_INT else None


def quoted(text: str) -> str:
    """A text from outside in a sentence: of any length, without control characters."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "...")


def split(values: Sequence[str]) -> list[Section]:
    """The sections of a list, in order; every element is in one of them."""
    elements = [Element(index, text) for index, text in enumerate(values)]
    sections = []
    start = 0
    while start < len(elements):
        end = start + 2 if is_address(values[start]) else start + 1  # a port is taken unseen
        while end < len(elements) and not is_address(values[end]):
            end += 1
        sections.append(_section(elements[start:end]))
        start = end
    return sections


def _section(elements: Sequence[Element]) -> Section:
    if not is_address(elements[0].text):
        return Section(address=None, strays=tuple(elements))
    address, *rest = elements
    port = rest.pop(0) if rest else None
    names = [element for element in rest if is_event_name(element.text)]
    begin = names[0].index if names else rest[-1].index + 1 if rest else 0
    return Section(
        address=address,
        port=port,
        options=tuple(element for element in rest if element.index < begin),
        events=tuple(names),
        strays=tuple(e for e in rest if e.index > begin and not is_event_name(e.text)),
    )
