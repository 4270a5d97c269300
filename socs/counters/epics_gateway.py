"""Counters of a gateway of EPICS traffic."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

_INVENTED = "look up who invents names or sources; leave them out with --allow-sender"

EPICS_GATHERING = (
    Counter("datagrams_gathered", "datagrams", "from sockets, a capture or a file, taken apart"),
    Counter("requests_named", "requests", "told with their name and source"),
    Counter("requests_own", "requests", "of this gateway's own searches; left out"),
    Counter(
        "requests_relayed",
        "requests",
        "captured again, as a server of PV Access passed them on within its host; left out",
    ),
    Counter(
        "requests_nameless_fast",
        "requests",
        "told with their source only: there were too many new names in a second",
        _INVENTED,
    ),
    Counter(
        "requests_nameless_full",
        "requests",
        "told with their source only: there was no room for their name",
        _INVENTED,
    ),
    Counter(
        "requests_sourceless",
        "requests",
        "of all these, told as those of 0.0.0.0:0: there were too many sources at a time",
        _INVENTED,
    ),
    Counter("names_numbered", "names", "that got a number, in each epoch anew"),
    Counter("epochs_begun", "epochs", "of numbers: the table was full, or a monitor asked for it"),
    Counter("answers_heard", "answers", "of servers to others, each about one name"),
    Counter("answers_matched", "answers", "of these, to a request that was heard; told"),
    Counter("answers_denied", "answers", "of these, that a server does not have the name"),
    Counter(
        "answers_unmatched",
        "answers",
        "of these, whose request was not heard, or that were sent to us unasked",
    ),
    Counter(
        "answers_not_told",
        "rows",
        "of different answers beyond what one summary takes; left out",
        "shorten --interval",
    ),
    Counter("beacons_gathered", "beacons", "told, one by one"),
    Counter(
        "beacons_relayed", "beacons", "captured again, from a repeater to its clients; left out"
    ),
    Counter(
        "beacons_not_told",
        "beacons",
        "beyond what one summary takes; left out",
        "look up who floods; or shorten --interval",
    ),
    Counter("heartbeat_datagrams", "datagrams", "that came where heartbeats do"),
    Counter(
        "heartbeats_not_told",
        "datagrams",
        "of these, beyond what one summary takes; not looked at",
        "look up who floods; or shorten --interval",
    ),
    Counter(
        "findings_not_told",
        "results",
        "of own searches and questions, beyond what may wait; left out",
        "ask for less at a time",
    ),
)

EPICS_GATHERING_CONSERVATION = (
    Conservation(("datagrams_gathered",), ("ca_datagrams", "pva_datagrams", "heartbeat_datagrams")),
    Conservation(
        ("ca_requests", "pva_requests"),
        (
            "requests_named",
            "requests_own",
            "requests_relayed",
            "requests_nameless_fast",
            "requests_nameless_full",
        ),
    ),
    Conservation(("answers_heard",), ("answers_matched", "answers_denied", "answers_unmatched")),
    Conservation(
        ("ca_beacons", "pva_beacons"), ("beacons_gathered", "beacons_relayed", "beacons_not_told")
    ),
    Conservation(
        ("heartbeat_datagrams",),
        (
            "heartbeat_decoded",
            "heartbeat_answers",
            "heartbeat_not_json",
            "heartbeat_malformed",
            "heartbeat_too_large",
            "alive_decoded",
            "alive_cut",
            "alive_other_magic",
            "alive_other_version",
            "alive_too_large",
            "heartbeats_not_told",
        ),
    ),
)

EPICS_GATEWAY = (
    Counter("summaries_made", "messages", "one after the other, for monitors"),
    Counter("summaries_published", "messages", "of these, acknowledged by the router"),
    Counter(
        "summaries_unpublished",
        "messages",
        "of these, dropped as the router was away, too slow, or refused them; monitors notice",
        "see why the router is away; a monitor asks for all names anew afterwards",
    ),
    Counter(
        "summaries_unacknowledged",
        "messages",
        "of these, given up: no word of the router in time, or before the end; it may have "
        "published them",
        "see why the router is slow or was lost; monitors notice what they have not got",
    ),
    Counter(
        "intervals_deaf",
        "intervals",
        "of which monitors were told nothing, as no interface of the networks had a carrier",
        "see cables, switches and interfaces; monitors notice, and take nothing for lost",
    ),
    Counter("resyncs", "epochs", "begun as a monitor asked for it"),
    Counter(
        "gathering_errors",
        "errors",
        "when a summary was made: a defect in this program",
        "report it with the traceback in the log",
    ),
)

# Not counted up but looked up.
EPICS_GATEWAY_NOW = (
    Counter("summaries_under_way", "messages", "made, of which it is not known what became"),
)

EPICS_GATEWAY_CONSERVATION = (
    Conservation(
        ("summaries_made",),
        (
            "summaries_published",
            "summaries_unpublished",
            "summaries_unacknowledged",
            "summaries_under_way",
        ),
    ),
)
