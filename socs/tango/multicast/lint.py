"""All that is to be said about the multicast properties: errors, known defects, things to know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from socs.tango.multicast.configuration import (
    DEFAULTS,
    IVL,
    PROPERTIES,
    RATE,
    Configuration,
    buffer_bytes,
    megabytes,
)
from socs.tango.multicast.cpptango import Route, refused_at
from socs.tango.multicast.elements import SENT, Element, quoted, split
from socs.tango.multicast.faults import HIGHEST, LOWEST, at, faults, octets, whole
from socs.tango.multicast.findings import Finding
from socs.tango.multicast.transport import transport_of
from socs.tango.names import EventName

BUFFER_LIMIT = 512 * 2**20  # bytes; the built-in defaults make 205 MB of each event
MOST_EVENTS = 7  # ten places in a client's poll set, three of them taken
DELIVERED = ("data_ready", "alarm")  # by multicast from devices of any IDL
SIMILAR = 0.8  # of names of properties; MulicastEvent and MultiCastEvents are above, others below


def lint(
    configuration: Configuration,
    *,
    buffer_limit: int = BUFFER_LIMIT,
    streams: Iterable[EventName] = (),
) -> list[Finding]:
    """Everything that is found, errors first, each in the order of the elements.

    Args:
        buffer_limit: memory that one event may take of a subscriber without a warning [bytes].
        streams: events that exist, to see which of them travel by multicast by accident.
    """
    found = [
        *faults(configuration.events),
        *_refused(configuration),
        *_names(configuration),
        *_defaults(configuration),
        *_addresses(configuration),
        *_several(configuration),
        *_prefixes(configuration, streams),
        *_buffers(configuration, buffer_limit),
        *_known_defects(configuration),
    ]
    order = ("error", "warning", "note")
    return sorted(
        found, key=lambda f: (order.index(f.severity), -1 if f.index is None else f.index)
    )


def _refused(configuration: Configuration) -> Iterator[Finding]:
    index = refused_at(configuration.events)
    if index is not None:
        element = Element(index, configuration.events[index])
        yield at("property_refused", element, "cppTango refuses the whole property")
    for route in configuration.routes:
        if route.overrun:
            element = Element(route.index, configuration.events[route.index])
            yield at("list_overrun", element, "cppTango reads beyond the end of the list for it")


def _names(configuration: Configuration) -> Iterator[Finding]:
    lower = [name.lower() for name in PROPERTIES]
    for name in configuration.others:
        if name.lower() in lower:
            meant = PROPERTIES[lower.index(name.lower())]
            yield Finding("property_twice", f"{quoted(name)} is there beside {meant}", element=name)
        elif near := difflib.get_close_matches(name.lower(), lower, 1, SIMILAR):
            meant = PROPERTIES[lower.index(near[0])]
            text = f"nobody reads {quoted(name)}; is {meant} meant?"
            yield Finding("property_misspelt", text, element=name)


def _defaults(configuration: Configuration) -> Iterator[Finding]:
    values = dict(configuration.numbers)
    for default in DEFAULTS:
        written = values.get(default.name, ())
        if written and (len(written) > 1 or whole(written[0], default.largest) is None):
            text = f"{quoted(', '.join(written))} is not one number of 1 to {default.largest}"
            yield Finding("default_wrong", text, element=default.name)


def _addresses(configuration: Configuration) -> Iterator[Finding]:
    for section in split(configuration.events):
        if section.address is None:
            continue
        numbers = octets(section.address.text) or LOWEST  # what is no address is told elsewhere
        if 224 <= numbers[0] <= 239 and not LOWEST <= numbers <= HIGHEST:
            text = f"{section.address.text} is outside the documented range"
            yield at("address_outside_document", section.address, text)


def _several(configuration: Configuration) -> Iterator[Finding]:
    """The same event again, the same address and port again."""
    events: dict[str, int] = {}
    endpoints: dict[tuple[str, str], str] = {}
    for section in split(configuration.events):
        for element in section.events:
            first = events.setdefault(element.text.lower(), element.index)
            if first != element.index:
                yield at("event_twice", element, f"is element {first + 1}, too")
                continue
            if section.address is None or section.port is None:
                continue
            endpoint = (section.address.text, section.port.text)
            other = endpoints.setdefault(endpoint, element.text)
            if other != element.text:
                text = f"shares {quoted(':'.join(endpoint))} with {quoted(other)}"
                yield at("endpoint_shared", element, text)


def _prefixes(configuration: Configuration, streams: Iterable[EventName]) -> Iterator[Finding]:
    for stream in streams:
        way = transport_of(stream, configuration)
        if way.multicast and not way.exact:
            element = Element(way.index, configuration.events[way.index])
            text = f"{stream.path} goes by {way}: {quoted(element.text)} begins with its name"
            yield at("name_prefix", element, text)
    found = configuration.routes
    for earlier in found:
        for later in found:
            if later.index > earlier.index and _hidden(later, earlier):
                element = Element(later.index, configuration.events[later.index])
                text = f"goes to {earlier.address}:{earlier.port}, as element {earlier.index + 1}"
                yield at("name_prefix", element, text)


def _hidden(later: Route, earlier: Route) -> bool:
    """Does an earlier element, of another name, catch the event of a later one?"""
    names = (earlier.attribute, earlier.type) != (later.attribute, later.type)
    elsewhere = (earlier.address, earlier.port) != (later.address, later.port)
    return names and elsewhere and earlier.matches(later.attribute, later.type)


def _buffers(configuration: Configuration, limit: int) -> Iterator[Finding]:
    for route in configuration.routes:
        rate = route.rate or configuration.number(RATE)
        ivl = route.ivl or configuration.number(IVL)
        size = buffer_bytes(rate, ivl)
        if size > limit:
            element = Element(route.index, configuration.events[route.index])
            text = f"{rate} Mbit/s for {ivl} s are {megabytes(size)} of memory in each subscriber"
            yield at("buffer_large", element, text)


def _known_defects(configuration: Configuration) -> Iterator[Finding]:
    """What goes wrong in cppTango itself, with properties that are right."""
    found = configuration.routes
    if not found:
        return
    for route in found:
        element = Element(route.index, configuration.events[route.index])
        if route.type in SENT and route.type not in DELIVERED:
            text = f"{route.type} events are lost by multicast on devices of IDL 5 and later"
            yield at("event_lost", element, text)
    distinct = {(route.attribute, route.type): route for route in found}
    if len(distinct) > MOST_EVENTS:
        route = list(distinct.values())[MOST_EVENTS]
        element = Element(route.index, configuration.events[route.index])
        text = f"is number {MOST_EVENTS + 1} of {len(distinct)} multicast events"
        yield at("too_many_events", element, text)
    yield Finding("server_crash", "the first subscriber on another host may crash the server")
    yield Finding("sent_twice", "servers that have no unicast subscriber send every event twice")
    yield Finding("no_pgm", "both ends need a ZMQ with PGM")
    yield Finding("local_unicast", "clients on the server's host get these events by unicast")
    yield Finding("first_interface", "clients listen on their first interface only")
