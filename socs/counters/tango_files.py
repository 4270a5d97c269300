"""Counters of the Tango event monitor's files."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

# A line is one JSON object: a poll, or an event.
TANGO_FILES = (
    Counter("lines_to_write", "lines", "handed to the writer of files"),
    Counter("lines_written", "lines", "in a file, whole"),
    Counter(
        "lines_queue_full",
        "lines",
        "dropped: those before them could not be written, and no more could be kept in memory",
        "make room, or look at the disk: session.data tells what it refuses",
    ),
    Counter("lines_unwritten", "lines", "not written when the writer ended"),
    Counter(
        "lines_torn",
        "lines",
        "last lines of files, of which the program or the machine died; cut off at the next start",
    ),
    Counter("line_files_completed", "files", "have their final name, and were handed over"),
    Counter("line_files_recovered", "files", "of those, left by a writer that was killed"),
    Counter(
        "line_file_errors",
        "errors",
        "attempts to write, name or hand over a file that failed; each is tried again",
        "session.data tells which",
    ),
)

# Not counted up but looked up.
TANGO_FILES_NOW = (Counter("lines_waiting", "lines", "in memory, to be written"),)

TANGO_FILES_CONSERVATION = (
    Conservation(
        ("lines_to_write",),
        ("lines_written", "lines_queue_full", "lines_unwritten", "lines_waiting"),
    ),
)
