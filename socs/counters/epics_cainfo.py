"""Counters of asking servers about process variables."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

EPICS_CAINFO = (
    Counter("info_asked", "names", "that somebody wanted to know about"),
    Counter("info_connected", "names", "that a server has"),
    Counter(
        "info_disconnected", "names", "that no server has, or whose server did not answer in time"
    ),
    Counter(
        "info_unanswered",
        "names",
        "among the disconnected ones: the process that asks did not tell of them",
        "see the log for why it ended",
    ),
    Counter("info_starts", "processes", "that ask servers, started; one does as long as it lives"),
    Counter(
        "info_ended", "processes", "that ended by themselves: a defect of a library", "see the log"
    ),
    Counter("info_stuck", "processes", "that hung, and were killed: a defect of a library"),
)

EPICS_CAINFO_CONSERVATION = (
    Conservation(("info_asked",), ("info_connected", "info_disconnected")),
)
