"""The four properties of ``CtrlSystem`` that decide about multicast events, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from socs.tango.multicast.cpptango import Route, routes
from socs.tango.multicast.elements import LARGEST_INT, leading_int

OBJECT = "CtrlSystem"
EVENT = "MulticastEvent"


@dataclass(frozen=True)
class Default:
    """A property that holds one number for all events that do not have their own.

    Attributes:
        value: what cppTango takes if the property does not exist.
        largest: beyond it, the number overflows in cppTango or has no meaning.
    """

    name: str
    value: int
    unit: str
    largest: int
    meaning: str


RATE = Default(
    "MulticastRate",
    80,
    "Mbit/s",
    LARGEST_INT // 1024,
    "Most that is sent per second, of one event",
)
IVL = Default(
    "MulticastIvl",
    20,
    "s",
    LARGEST_INT // 1000,
    "How long a receiver may be absent and still be sent what it missed",
)
HOPS = Default("MulticastHops", 5, "routers", 255, "How many routers a packet may pass")
DEFAULTS = (RATE, IVL, HOPS)
PROPERTIES = (EVENT, *(default.name for default in DEFAULTS))
_BY_LOWER_NAME = {name.lower(): name for name in PROPERTIES}


@dataclass(frozen=True)
class Configuration:
    """What a Tango database holds about multicast events.

    Attributes:
        events: elements of ``MulticastEvent``.
        numbers: the elements of the other properties, by name; what does not exist has none.
        others: names of further properties of the same object, and of those that are there twice.
    """

    events: tuple[str, ...] = ()
    numbers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, properties: Mapping[str, Sequence[str]]) -> Configuration:
        """From properties by name; the case of a name does not matter, but the right one wins."""
        found: dict[str, tuple[str, ...]] = {}
        others = []
        for name in sorted(properties, key=lambda name: (name not in PROPERTIES, name)):
            known = _BY_LOWER_NAME.get(name.lower())
            if known is None or known in found:
                others.append(name)
            else:
                found[known] = tuple(properties[name])
        events = found.pop(EVENT, ())
        return cls(events, tuple(sorted(found.items())), tuple(others))

    def properties(self) -> dict[str, list[str]]:
        """The properties that exist, by name."""
        all_four = {EVENT: self.events, **dict(self.numbers)}
        return {name: list(all_four[name]) for name in PROPERTIES if all_four.get(name)}

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The events that go by multicast, as cppTango has them."""
        return tuple(routes(self.events))

    def number(self, default: Default) -> int:
        """The default in force, as cppTango reads it: 0 if the property is no number."""
        values = dict(self.numbers).get(default.name)
        return (leading_int(values[0]) or 0) if values else default.value


def buffer_bytes(rate: int, ivl: int) -> int:
    """Memory that one subscriber keeps for one event, at most, as libzmq computes it.

    Args:
        rate: [Mbit/s], of 1024 kbit as in cppTango.
        ivl: [s].
    """
    return rate * 1024 // 8 * (ivl * 1000)


def megabytes(size: int) -> str:
    """A number of bytes, for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
