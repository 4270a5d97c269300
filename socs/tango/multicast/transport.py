"""How an event travels, by what the properties say and by the endpoint that is in use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from socs.tango.multicast.configuration import HOPS, IVL, RATE, Configuration, buffer_bytes
from socs.tango.multicast.elements import NEVER_SENT, quoted
from socs.tango.names import EventName, parse_event

# [interface;]group:port; the server's reply and "pgm" without UDP have no interface
_PGM = re.compile(r"e?pgm://(?:[^;]*;)?([^;:]+):(\d+)")
_UNICAST = re.compile(r"(tcp|ipc|inproc)://.+")


@dataclass(frozen=True)
class Transport:
    """The way of one stream.

    Attributes:
        multicast: else unicast, and nothing below has a meaning.
        rate: [Mbit/s].
        ivl: [s].
        hops: routers that a packet may pass.
        index: the element of ``MulticastEvent`` that says so.
        exact: that element names this very event, not one whose name only begins so.
    """

    multicast: bool
    address: str = ""
    port: str = ""
    rate: int = 0
    ivl: int = 0
    hops: int = 0
    index: int = -1
    exact: bool = True

    @property
    def endpoint(self) -> str:
        """As the server tells it; empty for unicast, whose port is chosen when it starts."""
        return f"epgm://{self.address}:{self.port}" if self.multicast else ""

    @property
    def buffer(self) -> int:
        """Memory that a subscriber may need for it [bytes]."""
        return buffer_bytes(self.rate, self.ivl)

    def __str__(self) -> str:
        return f"multicast to {self.address}:{self.port}" if self.multicast else "unicast"


UNICAST = Transport(multicast=False)


def transport_of(
    stream: str | EventName, configuration: Configuration, *, local_client: bool = False
) -> Transport:
    """How a stream travels, as cppTango reads the properties when the server starts.

    Args:
        stream: ``[tango://host:port/]domain/family/member/attribute.type``; ``idl5_`` does not
            matter.
        local_client: the subscriber is on the server's own host; it is served by unicast always.

    Raises:
        Malformed: ``stream`` is not the name of an event.
    """
    name = parse_event(stream) if isinstance(stream, str) else stream
    if local_client or not name.attribute or name.event in NEVER_SENT:
        return UNICAST
    attribute = f"{name.device}/{name.attribute}"
    for route in configuration.routes:
        if route.matches(attribute, name.event):
            return Transport(
                multicast=True,
                address=route.address,
                port=route.port,
                rate=route.rate or configuration.number(RATE),
                ivl=route.ivl or configuration.number(IVL),
                hops=configuration.number(HOPS),
                index=route.index,
                exact=(route.attribute, route.type) == (attribute, name.event),
            )
    return UNICAST


def disagreement(
    stream: str | EventName,
    configuration: Configuration,
    endpoint: str,
    *,
    local_client: bool = False,
) -> str | None:
    """What is wrong between the properties and the endpoint in use, as a sentence; else None.

    Args:
        endpoint: of the events themselves, ``tcp://host:port`` or ``epgm://[interface;]group:port``.
            Not of the heartbeats, which is the one in a subscriber's ``event_channels``: they go by
            TCP always.

    Raises:
        Malformed: ``stream`` is not the name of an event.
    """
    wanted = transport_of(stream, configuration, local_client=local_client)
    group = _PGM.fullmatch(endpoint)
    if group is None and not _UNICAST.fullmatch(endpoint):
        return f"{quoted(endpoint)} is not an endpoint known to us"
    if group is None:
        if not wanted.multicast:
            return None
        return (
            f"travels by unicast ({endpoint}), and the properties say {wanted}: the server was "
            "started before that was written, or the subscriber is on its host"
        )
    used = f"multicast to {group[1]}:{group[2]}"
    if used == str(wanted):
        return None
    return (
        f"travels by {used}, and the properties say {wanted}: the server was started before that "
        "was written"
    )
