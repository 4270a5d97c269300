"""The multicast properties in words."""

from __future__ import annotations

from socs.tango.multicast.configuration import (
    HOPS,
    IVL,
    RATE,
    Configuration,
    buffer_bytes,
    megabytes,
)
from socs.tango.multicast.cpptango import Route, refused_at
from socs.tango.multicast.elements import parts_of


def explain(configuration: Configuration) -> list[str]:
    """What a server that starts now would do, a sentence for each event."""
    events = configuration.events
    if not events:
        return ["All events go by unicast: there is no multicast event."]
    refused = refused_at(events)
    if refused is not None:
        return [
            f"All events go by unicast: the property is wrong at element {refused + 1} "
            f"('{events[refused]}')."
        ]
    hops = configuration.number(HOPS)
    lines = [_sentence(route, configuration) for route in configuration.routes]
    return [
        *(lines or ["All events go by unicast: none is named."]),
        f"A packet may pass {hops} router{'s' if hops != 1 else ''}. All other events, and the "
        "heartbeats of these servers, go by unicast.",
    ]


def _sentence(route: Route, configuration: Configuration) -> str:
    parts = parts_of(configuration.events[route.index])
    if parts is None:
        what = f"'{configuration.events[route.index]}', which is not the name of an event,"
    else:
        what = f"Event {parts.type} of attribute {parts.attribute} on device {parts.device}"
    rate, ivl = configuration.number(RATE), configuration.number(IVL)
    size = buffer_bytes(route.rate or rate, route.ivl or ivl)
    return (
        f"{what} goes by multicast to {route.address}, port {route.port}, with at most "
        f"{_or_default(route.rate, rate, 'Mbit/s')}. A subscriber may be absent for "
        f"{_or_default(route.ivl, ivl, 's')}, for which it takes up to {megabytes(size)} of memory."
    )


def _or_default(number: int, default: int, unit: str) -> str:
    return f"{number} {unit}" if number else f"{default} {unit} (the default)"
