"""Counters of EPICS traffic: decoding and accounting."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

_NOT_CA = "find the sender in the log; it does not speak Channel Access"
_NOT_PVA = "find the sender in the log; it does not speak PV Access"

EPICS_CA = (
    Counter("ca_datagrams", "datagrams", "of Channel Access taken apart"),
    Counter("ca_messages", "messages", "found in them, known or not"),
    Counter("ca_requests", "messages", "search requests: somebody asks for a name"),
    Counter("ca_responses", "messages", "search responses: a server has the name"),
    Counter("ca_versions", "messages", "that go before searches and number the datagrams"),
    Counter("ca_beacons", "messages", "by which servers say that they are there"),
    Counter("ca_not_found", "messages", "by which a server says that it has no such name"),
    Counter("ca_repeater", "messages", "between clients and a repeater on their host"),
    Counter(
        "ca_registrations", "datagrams", "of no byte, by which clients register with a repeater"
    ),
    Counter("ca_errors", "messages", "by which a server says what went wrong"),
    Counter(
        "ca_unknown_command",
        "messages",
        "with a command that has no place in a datagram; passed over",
        _NOT_CA,
    ),
    Counter("ca_name_empty", "messages", "search requests without a name", _NOT_CA),
    Counter("ca_name_too_long", "messages", "search requests for names over 507 bytes", _NOT_CA),
    Counter(
        "ca_search_unclear", "messages", "searches that are neither request nor response", _NOT_CA
    ),
    Counter(
        "ca_header_cut",
        "datagrams",
        "that end within a header; what stands before is taken, here and below",
        _NOT_CA,
    ),
    Counter("ca_payload_cut", "datagrams", "that end within what the header announces", _NOT_CA),
    Counter("ca_misaligned", "datagrams", "with a payload that is no multiple of 8 bytes", _NOT_CA),
    Counter(
        "ca_extended_header", "datagrams", "with a header that only TCP connections have", _NOT_CA
    ),
)

EPICS_CONSERVATION = (
    Conservation(
        ("ca_messages",),
        (
            "ca_requests",
            "ca_responses",
            "ca_versions",
            "ca_beacons",
            "ca_not_found",
            "ca_repeater",
            "ca_errors",
            "ca_unknown_command",
            "ca_name_empty",
            "ca_name_too_long",
            "ca_search_unclear",
        ),
    ),
)
