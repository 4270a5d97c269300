"""Counters of files on their way through the spool into the files table."""

from __future__ import annotations

from socs.counters.core import Counter

FILES = (
    Counter("files_spooled", "files", "on disk in the spool: will not be lost from here on"),
    Counter(
        "files_shed",
        "files",
        "not taken: the spool was at its quota or its disk failed",
        "make room or mend the disk, then run the task `rescan`",
    ),
    Counter("files_rescanned", "files", "found by the task `rescan` and put into the spool"),
    Counter("files_discarded", "files", "failed, and then forgotten by the task `discard_failed`"),
    Counter("files_registered", "files", "rows committed to the files table"),
    Counter("attempts_missing", "attempts", "the file was not there"),
    Counter("attempts_growing", "attempts", "the file was still being written"),
    Counter("attempts_unreadable", "attempts", "the file could not be read (permissions, I/O)"),
    Counter(
        "attempts_hanging",
        "attempts",
        "put off because reading files below that data root hangs",
        "look at the file server",
    ),
    Counter(
        "attempts_outside_roots",
        "attempts",
        "the path leads outside --data-root; never opened",
        "add the directory to --data-root, or find out who announced it",
    ),
    Counter("attempts_not_regular", "attempts", "not a regular file (device, pipe, directory)"),
    Counter("attempts_refused", "attempts", "the database refused the row"),
    Counter("database_errors", "errors", "database attempts that failed and were repeated"),
)

# Not counted up but read off the spool.
FILES_NOW = (
    Counter("files_pending", "files", "in the spool, to be attempted at once"),
    Counter("files_waiting", "files", "not there yet, still growing, or unreadable; tried again"),
    Counter(
        "files_failed",
        "files",
        "at rest in the spool after all attempts; the cause of each is in session.data",
        "mend the cause, then run the task `retry_failed`; or `discard_failed`",
    ),
    Counter("files_unsaved", "files", "in memory only, because the spool's disk refuses them"),
    Counter("files_at_start", "files", "in the spool when this process started"),
)
