"""The property ``MulticastEvent`` as the document describes it: groups, from texts and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from socs.errors import Malformed
from socs.tango.multicast.elements import split
from socs.tango.multicast.faults import faults


class BadElement(Malformed):
    """An element of the property is wrong.

    Attributes:
        index: its place in the list, from 0.
        element: what is written there.
    """

    def __init__(self, index: int, element: str, text: str) -> None:
        super().__init__(f"element {index + 1} of MulticastEvent: {text}")
        self.index = index
        self.element = element


@dataclass(frozen=True)
class Group:
    """Events that go to one address and port.

    Attributes:
        events: ``domain/family/member/attribute.type``, in the case in which they are written. The
            document has one for each address; cppTango takes several.
        rate: most that is sent [Mbit/s]; None for the default.
        ivl: how long a receiver may be absent [s]; None for the default.
    """

    address: str
    port: int
    events: tuple[str, ...]
    rate: int | None = None
    ivl: int | None = None


def parse(values: Sequence[str]) -> list[Group]:
    """The groups of a property.

    Raises:
        BadElement: the first element that is not as the document has it.
    """
    for fault in faults(values):
        raise BadElement(fault.index or 0, fault.element, fault.text)
    groups = []
    for section in split(values):
        assert section.address is not None
        assert section.port is not None
        rate, ivl = (*(int(element.text) for element in section.options), None, None)[:2]
        names = tuple(element.text for element in section.events)
        groups.append(Group(section.address.text, int(section.port.text), names, rate, ivl))
    return groups


def format_groups(groups: Iterable[Group]) -> list[str]:
    """The elements of the property that says ``groups``.

    Raises:
        BadElement: a group cannot be written: it has an interval and no rate, or something in it is
            not as :func:`parse` would have it.
    """
    values: list[str] = []
    for group in groups:
        if group.rate is None and group.ivl is not None:
            text = f"interval {group.ivl} without a rate would be taken for a rate"
            raise BadElement(len(values) + 2, str(group.ivl), text)
        numbers = [number for number in (group.rate, group.ivl) if number is not None]
        values += [group.address, str(group.port), *map(str, numbers), *group.events]
    parse(values)
    return values
