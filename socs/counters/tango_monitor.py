"""Counters of the Tango event monitor as a whole."""

from __future__ import annotations

from socs.counters.core import Counter

TANGO_MONITOR = (
    Counter("tells", "messages", "what the monitor told: losses, restarts, servers that hang"),
    Counter(
        "tells_unpublished",
        "messages",
        "not on the feed: the router was away, and there were too many",
        "see the router; the files of the monitor have them",
    ),
    Counter(
        "polls_unpublished",
        "polls",
        "without points on the feeds: the router was away",
        "see the router; the files of the monitor have them",
    ),
    Counter(
        "tells_failed",
        "calls",
        "of whoever is told, that failed: a defect in this program",
        "report it with the text in the log",
    ),
)
