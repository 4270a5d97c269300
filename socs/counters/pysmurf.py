"""Counters of the messages of pysmurf publishers, and the equations of their monitor."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter
from socs.counters.udp import UDP_CONSERVATION

PYSMURF = (
    Counter("messages_decoded", "messages", "well-formed pysmurf publisher messages"),
    Counter(
        "malformed_json",
        "datagrams",
        "not JSON, or not UTF-8",
        "find the sender in the log; it does not speak this protocol",
    ),
    Counter(
        "malformed_message",
        "datagrams",
        "JSON, but not a publisher message: a key is missing or of the wrong type",
        "compare the publisher's version with the message reference",
    ),
    Counter("too_large", "datagrams", "beyond a size limit of the message reference"),
    Counter("too_deep", "datagrams", "nested beyond the depth limit of the message reference"),
    Counter(
        "bad_path",
        "messages",
        "a file path that is relative, too long, or contains a NUL byte",
        "correct the script that announced it",
    ),
    Counter(
        "message_duplicate",
        "messages",
        "the same message again (same publisher, number and time); handled once",
    ),
    Counter("messages_file", "messages", "name a file (data_file, g3_file): go to the spool"),
    Counter("messages_session", "messages", "session_data and session_log: go to controllers"),
    Counter("messages_metadata", "messages", "register values: go to the <stream_id>_meta feeds"),
    Counter("messages_lifecycle", "messages", "start, stop, log, general: counted only"),
    Counter(
        "messages_backend_error",
        "messages",
        "the publisher says that it could not send a message (over 64 000 bytes)",
        "the payload named in the log never arrived: make it smaller",
    ),
    Counter("messages_unknown_type", "messages", "well-formed, of a type not known here"),
    Counter(
        "sequence_lost",
        "messages",
        "numbers that a publisher used and that never arrived (late arrivals are taken off again)",
        "messages were lost on the way: if kernel_drops moved too, here; else on the network",
    ),
    Counter("sequence_late", "messages", "arrived after a later number: reordered on the way"),
    Counter(
        "publisher_restarts",
        "restarts",
        "another publisher object of a known host, id and script, at the same or another address",
    ),
    Counter(
        "joined_late",
        "messages",
        "sent by a publisher object before this monitor first heard of it",
        "expected when a monitor starts without saved state; else the first messages were lost",
    ),
    Counter(
        "streams_refused",
        "messages",
        "from publishers beyond the limit of tracked publishers; handled but not checked for gaps",
        "something invents publisher ids: narrow --allow-sender",
    ),
    Counter("streams_forgotten", "streams", "silent for a week; made room for a new publisher"),
    Counter(
        "publishers_forgotten",
        "publishers",
        "beyond the limit of publisher objects with the same host, id and script",
    ),
    Counter("states_unreadable", "streams", "saved sequence state that could not be read back"),
    Counter("messages_unnumbered", "messages", "without seq_no or time; not checked for gaps"),
    Counter(
        "nonfinite_values",
        "values",
        "NaN, Infinity or an impossible time in a message; passed on as missing",
    ),
    Counter(
        "metadata_type_changed",
        "values",
        "a register whose value no longer fits the type of its feed field; not published",
    ),
    Counter("metadata_unsupported", "values", "empty, nested, or too many values for a feed field"),
    Counter("metadata_refused", "values", "beyond the limit of feeds or fields; not published"),
    Counter(
        "feed_not_published",
        "messages",
        "not published: no connection to the router, or more than can be published",
    ),
)

CONSERVATION = (
    *UDP_CONSERVATION,
    Conservation(
        ("datagrams_accepted",),
        (
            "messages_decoded",
            "malformed_json",
            "malformed_message",
            "too_large",
            "too_deep",
            "bad_path",
        ),
    ),
    Conservation(
        ("messages_decoded",),
        (
            "message_duplicate",
            "messages_file",
            "messages_session",
            "messages_metadata",
            "messages_lifecycle",
            "messages_backend_error",
            "messages_unknown_type",
        ),
    ),
    Conservation(("messages_file",), ("files_spooled", "files_shed", "files_unsaved")),
    Conservation(
        ("files_spooled", "files_rescanned", "files_at_start"),
        ("files_registered", "files_pending", "files_waiting", "files_failed", "files_discarded"),
    ),
)
