"""What can be wrong with the multicast properties of a Tango system, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Kind(NamedTuple):
    """What all findings of one code have in common; literals are in single backquotes.

    ``severity``: with an ``error`` Tango does not do what is written, or servers crash; with a
    ``warning`` events are lost, or more happens than one would expect; a ``note`` is to be known.
    """

    severity: Severity
    meaning: str
    remedy: str


KINDS: dict[str, Kind] = {
    "address_expected": Kind(
        "error",
        "Elements before the first address: no group begins there",
        "begin with an address, a port and the name of an event",
    ),
    "address_malformed": Kind(
        "error",
        "Three dots, so cppTango takes it for an address, and it is no IPv4 address",
        "write four numbers of 0 to 255 with dots between them",
    ),
    "address_not_multicast": Kind(
        "error",
        "An address that is not for multicasting; cppTango refuses the whole property for it",
        "choose one between 224.0.1.0 and 238.255.255.255",
    ),
    "port_wrong": Kind(
        "error",
        "No port after the address: cppTango takes what stands there for one, unseen",
        "write a number of 1 to 65535 after the address",
    ),
    "rate_wrong": Kind(
        "error",
        "The rate is not a whole number of Mbit/s above 0; of other texts cppTango reads the "
        "digits at the beginning, or takes the default",
        "correct it, or leave rate and interval out for the defaults",
    ),
    "ivl_wrong": Kind(
        "error",
        "The interval is not a whole number of seconds above 0; of other texts cppTango reads the "
        "digits at the beginning, or takes the default",
        "correct it, or leave it out for the default",
    ),
    "event_missing": Kind(
        "error", "An address without an event", "add the event's name, or remove the address"
    ),
    "event_name_wrong": Kind(
        "error",
        "Neither a number in its place nor the name of an event",
        "write `domain/family/member/attribute.change`, without `tango://`, wildcards and blanks",
    ),
    "event_type_unknown": Kind(
        "error",
        "A type of event that Tango does not have",
        "write one of `change`, `periodic`, `archive`, `alarm`, `attr_conf`, `data_ready`, "
        "`user_event`",
    ),
    "event_never_multicast": Kind(
        "error",
        "Interface change and pipe events go by unicast, whatever is written",
        "remove it",
    ),
    "event_twice": Kind(
        "error", "The same event again: cppTango looks at the first one only", "remove one of them"
    ),
    "property_refused": Kind(
        "error",
        "cppTango calls the property uncoherent at this address, and sends all events by unicast. "
        "Worse, it clears the list and then goes on writing to it: with most such lists every "
        "server crashes when it starts. Seen with 9.3.4 and 10.3.3",
        "correct this group before any server is started or restarted",
    ),
    "list_overrun": Kind(
        "error",
        "cppTango takes another element for the address of this event, and reads beyond the end of "
        "the list: servers with such an attribute crash when they start. Seen with 10.3.3",
        "correct the elements before it before any server is started or restarted",
    ),
    "default_wrong": Kind(
        "error",
        "A default is not one whole number in its range: cppTango reads the digits that begin "
        "the first element, or 0",
        "correct the property, or delete it for the built-in default",
    ),
    "property_twice": Kind(
        "error",
        "Two properties whose names differ in case only: in a Tango database they are one",
        "put all into the one with the right name, and delete the other",
    ),
    "property_misspelt": Kind(
        "warning", "A property with a name much like one of the four: nobody reads it", "rename it"
    ),
    "address_outside_document": Kind(
        "warning",
        "cppTango takes it, but Tango's documentation gives 224.0.1.0 to 238.255.255.255: routers "
        "never pass on 224.0.0.x, and 239.x.x.x only within a site",
        "choose an address in that range, unless this is meant",
    ),
    "endpoint_shared": Kind(
        "warning",
        "Two events with one address and port: each event has a socket of its own, and who "
        "receives one gets the packets of the other, too",
        "give each event a port of its own",
    ),
    "buffer_large": Kind(
        "warning",
        "Rate times interval is what a subscriber keeps in memory for retransmission, for each "
        "event",
        "lower the rate or the interval",
    ),
    "event_lost": Kind(
        "warning",
        "On devices of IDL 5 and later, which is every current device, this event is lost: "
        "subscribing succeeds, the first value comes, and then nothing, without an error. cppTango "
        "9.3.4 and 10.3.3 make the socket under one name and look for it under another. Seen with "
        "`change` and `archive`; the same code serves `periodic`, `attr_conf` and `user_event`",
        "leave this event to unicast; `data_ready`, `alarm` and devices of IDL 4 get through",
    ),
    "name_prefix": Kind(
        "warning",
        "cppTango compares the beginnings of names: what is meant for the attribute `val2` holds "
        "for `val`, too, and a type `changes` for `change`",
        "know which attributes this hits, or rename one",
    ),
    "too_many_events": Kind(
        "warning",
        "A client process has room for 7 multicast events; with an eighth, its memory is damaged",
        "keep to 7, or see to it that no process subscribes to more",
    ),
    "server_crash": Kind(
        "warning",
        "A subscriber on another host crashes the server at its next heartbeat (within 12 s) if "
        "nobody has subscribed to one of its events by unicast before. Seen with 9.3.4 and 10.3.3",
        "keep a unicast subscription to each of these servers, from the start",
    ),
    "sent_twice": Kind(
        "note",
        "A server whose events all go by multicast sends each of them twice, for ever; "
        "subscribers discard the copies",
        "keep a unicast subscription to it",
    ),
    "no_pgm": Kind(
        "note",
        "The pytango wheel of PyPI has a ZMQ without PGM: its clients cannot subscribe to these "
        "events, and its servers cannot send them (`Protocol not supported`)",
        "use packages with PGM at both ends, as Debian's",
    ),
    "local_unicast": Kind(
        "note",
        "Clients on the server's own host get these events by unicast: multicast is not looped "
        "back",
        "test from another host",
    ),
    "first_interface": Kind(
        "note",
        "A client listens on its first network interface that is not loopback; none can be chosen",
        "on hosts with several, see to it that the first is the right one",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing to know about the properties.

    Attributes:
        code: one of :data:`KINDS`.
        text: what was found, as a sentence.
        index: the element at fault, from 0; None if it is not about one.
        element: what is written there, or the property or stream that it is about.
    """

    code: str
    text: str
    index: int | None = None
    element: str = ""

    @property
    def severity(self) -> Severity:
        """See :class:`Kind`."""
        return KINDS[self.code].severity

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.code].remedy
