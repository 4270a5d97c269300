"""Counters of the Tango event monitor: what became of asking servers, and of events."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

# A sample is one server, asked once; a link is one subscriber of one stream.
TANGO = (
    Counter("samples_fed", "samples", "servers that were asked, each time anew"),
    Counter("samples_ok", "samples", "answered"),
    Counter(
        "samples_hung",
        "samples",
        "no answer in time, nor to a ping",
        "look at the process: stopped, swapping, or in a deadlock",
    ),
    Counter(
        "samples_busy",
        "samples",
        "no answer in time though the devices answer: a slow `init_device`, as a rule",
    ),
    Counter("samples_refused", "samples", "nobody there: the process has ended"),
    Counter("samples_not_exported", "samples", "not running, as the database says"),
    Counter(
        "samples_no_command",
        "samples",
        "the server has no `QueryEventSystem`",
        "build it with Tango 10.1 or later",
    ),
    Counter(
        "samples_bad_reply",
        "samples",
        "an answer that could not be decoded, by the causes below",
    ),
    Counter("samples_unknown", "samples", "could not be asked: the database is away, for example"),
    Counter(
        "samples_stale",
        "samples",
        "asked before one of the same server that is known already; not looked at",
    ),
    Counter(
        "samples_unfollowed",
        "samples",
        "of servers beyond the limit; not looked at",
        "name fewer servers, or run a second monitor",
    ),
    Counter("reply_malformed", "samples", "no JSON, or not what an event system tells"),
    Counter("reply_too_large", "samples", "beyond a limit of size, depth or number of entries"),
    Counter(
        "version_unknown",
        "samples",
        "of a version that is not known here",
        "look for a newer version of this program",
    ),
    Counter("replies_mended", "samples", "decoded after names that were garbage were taken out"),
    Counter("server_restarts", "restarts", "servers found to be another process than before"),
    Counter("names_unreadable", "names", "in replies, that make no sense; left out"),
    Counter("names_repeated", "names", "twice in one reply; the last one is taken"),
    Counter("names_forgotten", "names", "not seen for long, or of a server that is gone for good"),
    Counter("events_published", "events", "pushed since their streams were first seen"),
    Counter("events_expected", "events", "that links were to receive, but for those on their way"),
    Counter("events_received", "events", "received by links since they were first seen"),
    Counter(
        "events_lost",
        "events",
        "expected and not received; some that arrive after all are taken off again",
        "the reconciliation table names subscriber and stream; look for slow callbacks or bursts",
    ),
    Counter(
        "events_arrived_late",
        "events",
        "taken for lost, and arrived after all: nothing had come for two polls",
        "look for callbacks that take longer than two polls",
    ),
    Counter(
        "gaps_found",
        "gaps",
        "holes of any size that subscribers found themselves (`missed_event_count`)",
    ),
    Counter(
        "copies_discarded",
        "events",
        "that subscribers received twice; some after each new subscription are normal",
    ),
    Counter("tells_suppressed", "messages", "not told: too many at once; the tables have all"),
)

# What asks servers: a process of its own, and the polls that it does.
TANGO_POLLING = (
    Counter("polls", "polls", "of all servers that were known"),
    Counter(
        "polls_unfinished",
        "polls",
        "given up, with servers that could not be asked",
        "look at the load of this machine; each server takes a thread",
    ),
    Counter(
        "answers_late",
        "answers",
        "that came after it was judged that there would be none; thrown away",
        "raise the time-out",
    ),
    Counter(
        "polling_restarts",
        "processes",
        "that ask servers, ended or killed, and started anew",
        "the log tells why; nobody is asked meanwhile",
    ),
    Counter(
        "polling_stuck",
        "processes",
        "of these, killed because they told nothing for seconds",
        "look at the Tango database: some calls hold up a whole process",
    ),
    Counter(
        "performance_cleaned",
        "servers",
        "at which a run that was killed had left performance monitoring on; switched off now",
    ),
    Counter(
        "performance_renewed",
        "servers",
        "whose performance monitoring somebody else had switched off, and that measure again",
        "let one monitor at a time measure a server: they take its samples from each other",
    ),
    Counter(
        "polling_callback_errors",
        "errors",
        "raised by what takes samples; polling goes on",
        "a fault of this program: report what the log tells",
    ),
)

# Not counted up but looked up.
TANGO_NOW = (
    Counter("servers_followed", "servers", "asked in the last hour"),
    Counter("servers_up", "servers", "of those, answered when asked last"),
    Counter("names_followed", "names", "streams, subscriptions and open connections followed"),
    Counter(
        "names_refused",
        "names",
        "not followed: there is no room for more",
        "raise the limit of names, or monitor fewer servers",
    ),
    Counter("events_behind", "events", "pushed and not received, and not lost as far as is known"),
    Counter(
        "links_backlog",
        "links",
        "receive events later than a poll after they were pushed",
        "the subscriber is overloaded: look for slow callbacks",
    ),
    Counter(
        "links_stalled",
        "links",
        "receive nothing though the publisher pushes",
        "look for a stuck callback, the network, or a stream set to multicast",
    ),
    Counter(
        "links_unserved",
        "links",
        "wait for a stream that the publisher does not know since it was restarted",
        "normal for seconds; if it lasts, restart the subscriber",
    ),
)

TANGO_CONSERVATION = (
    Conservation(
        ("samples_fed",),
        (
            "samples_ok",
            "samples_hung",
            "samples_busy",
            "samples_refused",
            "samples_not_exported",
            "samples_no_command",
            "samples_bad_reply",
            "samples_unknown",
            "samples_stale",
            "samples_unfollowed",
        ),
    ),
    Conservation(
        ("samples_bad_reply",),
        ("reply_malformed", "reply_too_large", "version_unknown"),
    ),
    Conservation(("events_expected",), ("events_received", "events_lost")),
)
