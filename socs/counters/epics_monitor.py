"""Counters of the PV monitor: what comes from gateways, and what is asked of them."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

EPICS_MONITOR = (
    Counter("summaries_received", "messages", "of gateways on their feeds"),
    Counter("summaries_taken", "messages", "of these, with all that is in them"),
    Counter(
        "summaries_dropped_full",
        "messages",
        "dropped, as too many waited; the gap is noticed, and its time counts as blind",
        "this host is too slow for so much traffic: see what else runs, or raise --queue",
    ),
    Counter(
        "summaries_malformed",
        "messages",
        "that cannot be decoded; the gap is noticed",
        "run gateways and monitor of one release",
    ),
    Counter(
        "summaries_foreign",
        "messages",
        "in which a gateway has another name than its feed",
        "find out who publishes on that feed",
    ),
    Counter(
        "summaries_failed",
        "messages",
        "that this program failed to take; the gap is noticed",
        "report it with the line in the log: this is a defect",
    ),
    Counter(
        "looks_failed",
        "looks",
        "for what has ended (a server lost, say) that this program failed to take; some a second",
        "report it with the line in the log: this is a defect",
    ),
    Counter("summaries_dropped_end", "messages", "that waited when the monitor ended"),
    Counter(
        "ioc_events_told_before",
        "events",
        "not told again: the database has them from before the last start",
    ),
    Counter("ioc_events_caught_up", "events", "of the database, later than the snapshot; taken up"),
    Counter(
        "ioc_events_unpublished",
        "events",
        "not published, as the router was away, or they were too many; the database has them",
    ),
    Counter("gateway_calls", "calls", "of Tasks of gateways"),
    Counter(
        "gateway_calls_failed",
        "calls",
        "that a gateway refused or did not answer",
        "session.data['troubles'] and the log tell why; searches may be off there",
    ),
    Counter(
        "gateway_wishes_dropped",
        "names",
        "not searched for, as too many waited for a gateway; the next round has them",
        "see why the gateway is slow, or poll less often",
    ),
    Counter("names_purged", "names", "forgotten, as nobody asked and no server answered for long"),
    Counter(
        "names_crowded_out",
        "names",
        "forgotten, as hardly more could be known: nobody serves them, and nobody asks any more",
        "look among the clients for who invents names, or raise --max-names",
    ),
    Counter("sources_purged", "sources", "forgotten, as they asked for nothing for long"),
    Counter(
        "ioc_events_purged", "events", "deleted from the database, as they were past their age"
    ),
    Counter("ioc_logs_purged", "entries", "of logs, likewise"),
    Counter(
        "upkeep_errors",
        "errors",
        "when something was to be read from, or deleted in, the database, and defects of what is "
        "done from time to time; tried again",
        "session.data tells why; the log has more",
    ),
)

# Not counted up but looked up.
EPICS_MONITOR_NOW = (
    Counter("summaries_queued", "messages", "that wait, or are being taken"),
    Counter("summary_bytes_queued", "bytes", "in them"),
)

EPICS_MONITOR_CONSERVATION = (
    Conservation(
        ("summaries_received",),
        (
            "summaries_taken",
            "summaries_dropped_full",
            "summaries_malformed",
            "summaries_foreign",
            "summaries_failed",
            "summaries_dropped_end",
            "summaries_queued",
        ),
    ),
)
