"""What cppTango makes of the property ``MulticastEvent``, right or wrong.

This follows ``get_event_misc_prop``, ``mcast_event_for_att`` and ``get_multicast_parameters`` of
cppTango's ``DServer``, which are alike in 9.x and 10.x, with all that they do not check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from socs.tango.multicast.elements import is_address, is_event_name, leading_int


@dataclass(frozen=True)
class Route:
    """How one event travels.

    Attributes:
        index: the element that names the event.
        attribute: ``domain/family/member/attribute``; everything is in lower case.
        type: of the event.
        address: of the group; ``port`` belongs to it.
        rate: [Mbit/s]; 0 for the default.
        ivl: [s]; 0 for the default.
        overrun: cppTango reads beyond the end of the list for it; what it finds there is unknown.
    """

    index: int
    attribute: str
    type: str
    address: str
    port: str
    rate: int
    ivl: int
    overrun: bool

    def matches(self, attribute: str, event: str) -> bool:
        """Does cppTango take this one for an event of an attribute? It compares beginnings."""
        return self.attribute.startswith(attribute) and self.type.startswith(event)


def refused_at(values: Sequence[str]) -> int | None:
    """The address at which cppTango finds the property uncoherent; None if it takes it."""
    index = 0
    while index < len(values):
        if not is_address(values[index]):
            index += 1
            continue
        first = leading_int(values[index].partition(".")[0])
        if first is None or not 224 <= first <= 239:
            return index
        if not any(map(is_event_name, values[index + 2 : index + 5])):
            return index
        index += 2  # the port is not looked at
    return None


def routes(values: Sequence[str]) -> list[Route]:
    """All events that go by multicast, in the order in which cppTango tries them.

    Of lists with errors, this is what comes of them. Where cppTango would read beyond the end of
    the list, an empty text is taken.
    """
    if refused_at(values) is not None:
        return []
    texts = [text.lower() for text in values]
    found = []
    start = 0  # also for an event before the first address
    for index, text in enumerate(texts):
        if is_address(text):
            start = index
        elif is_event_name(text):
            attribute, _, event = text.rpartition(".")
            travel = _travel(texts[start : start + 4])
            beyond = _last_read(texts, start) >= len(texts)
            found.append(Route(index, attribute, event, *travel, overrun=beyond))
    return found


def _last_read(texts: Sequence[str], start: int) -> int:
    """The last element that is looked at for a group that begins at ``start``."""
    has_rate = start + 2 < len(texts) and not is_event_name(texts[start + 2])
    return start + 3 if has_rate else start + 2


def _travel(fields: Sequence[str]) -> tuple[str, str, int, int]:
    """Address, port, rate and interval from the first four elements of a group."""
    address, port, rate, ivl = (*fields, "", "", "", "")[:4]
    parts = [address, port]  # joined by colons there, and taken apart again: so it is done here
    if not is_event_name(rate):
        parts.append(rate)
        if not is_event_name(ivl):
            parts.append(ivl)
    address, port, *numbers = ":".join(parts).split(":")
    rate_read, ivl_read = ((leading_int(n) or 0) for n in (*numbers, "", "")[:2])
    return address, port, rate_read, ivl_read
