"""Counters of what is kept of EPICS traffic."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

EPICS_STORE = (
    Counter("ioc_events_taken", "events", "of the trackers, handed over to be kept"),
    Counter("ioc_events_at_start", "events", "of an earlier run, found in the spool"),
    Counter("ioc_events_stored", "events", "in the database, each once"),
    Counter(
        "ioc_events_refused",
        "events",
        "that the database will never take; they stay in the spool",
        "report it with the message in the log: this is a defect",
    ),
    Counter(
        "ioc_events_dropped_full",
        "events",
        "dropped: the spool's quota was reached, and no more could be kept in memory",
        "bring the database back, or raise --events-quota",
    ),
    Counter(
        "ioc_events_dropped_disk",
        "events",
        "dropped: the spool's disk refused them, and no more could be kept in memory",
        "make room, or look at the disk",
    ),
    Counter(
        "ioc_events_errors",
        "errors",
        "attempts to store events that failed; each is made again",
        "session.data tells what the database says",
    ),
)

EPICS_SNAPSHOTS = (
    Counter("state_files_written", "files", "with all that is known, complete"),
    Counter("state_files_recovered", "files", "complete, but not handed over by an earlier run"),
    Counter("state_files_removed", "files", "removed, as later ones are there"),
    Counter(
        "state_files_damaged",
        "files",
        "passed over: they are cut or changed",
        "look at the disk; an earlier file was taken",
    ),
    Counter(
        "state_file_errors",
        "errors",
        "attempts to write or hand over a file that failed; each is made again",
        "session.data tells what the disk says",
    ),
    Counter("minute_lines_written", "lines", "of statistics, one a minute"),
    Counter(
        "minute_lines_lost",
        "lines",
        "of statistics that the disk refused",
        "session.data tells what the disk says",
    ),
    Counter("minute_files_completed", "files", "of statistics, one a day, handed over"),
)

# Not counted up but looked up.
EPICS_STORE_NOW = (Counter("ioc_events_waiting", "events", "to be stored"),)

EPICS_STORE_CONSERVATION = (
    Conservation(
        ("ioc_events_taken", "ioc_events_at_start"),
        (
            "ioc_events_stored",
            "ioc_events_refused",
            "ioc_events_dropped_full",
            "ioc_events_dropped_disk",
            "ioc_events_waiting",
        ),
    ),
)
