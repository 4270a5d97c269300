"""Counters of the archiver."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

ARCHIVE = (
    Counter("files_claimed", "files", "taken on by this archiver, each time anew"),
    Counter("files_archived", "files", "verified, in their place, and recorded as copied"),
    Counter("files_adopted", "files", "of those archived: found in their place already"),
    Counter("bytes_archived", "bytes", "sum of the sizes of the files archived"),
    Counter("attempts_missing", "attempts", "the file was not there"),
    Counter(
        "attempts_unreadable",
        "attempts",
        "the file could not be read (permissions, I/O)",
        "let the archiver's user read it, then run the task `retry`",
    ),
    Counter(
        "attempts_outside_roots",
        "attempts",
        "the path leads outside --data-root; never opened",
        "add the directory to --data-root, or find out who announced it",
    ),
    Counter("attempts_not_regular", "attempts", "not a regular file (device, pipe, directory)"),
    Counter(
        "attempts_changed",
        "attempts",
        "the file is not what was announced: its MD5 at the source is another",
        "see which contents are right; `retry` with accept_changed archives the new ones",
    ),
    Counter(
        "attempts_bad_copy",
        "attempts",
        "the copy differed from the file though the file is as announced; the copy was deleted",
        "look at the memory and the disks of both machines",
    ),
    Counter(
        "attempts_not_placed",
        "attempts",
        "the archive would not take this file under its name (permissions of a directory, a file "
        "where a directory belongs, a size that its disk has no files of)",
        "see the detail: it names the path",
    ),
    Counter(
        "attempts_hanging",
        "attempts",
        "copying stopped moving: the file server of the file, or of the archive, hangs",
        "look at the file servers",
    ),
    Counter(
        "files_released",
        "files",
        "given back without an attempt: the archive, the source or the database was not there",
        "see `troubles` in session.data",
    ),
    Counter(
        "claims_lost",
        "files",
        "another archiver had taken the file over meanwhile; it records what becomes of it",
        "is this machine so slow, or its clock wrong?",
    ),
    Counter("link_errors", "errors", "rsync calls that ended early; what was left is tried again"),
    Counter("database_errors", "errors", "database attempts that failed and were repeated"),
)

# Not counted up but looked up.
ARCHIVE_NOW = (
    Counter("files_in_hand", "files", "claimed and being copied"),
    Counter("files_uncopied", "files", "of the targets, still to be copied"),
    Counter(
        "files_failed",
        "files",
        "without a good copy and not tried again: missing, changed, failed, lost, altered",
        "`list_failed` tells each with its cause; mend it and run `retry`, or `ignore`",
    ),
)

ARCHIVE_CONSERVATION = (
    Conservation(
        ("files_claimed",),
        (
            "files_archived",
            "attempts_missing",
            "attempts_unreadable",
            "attempts_outside_roots",
            "attempts_not_regular",
            "attempts_changed",
            "attempts_bad_copy",
            "attempts_not_placed",
            "attempts_hanging",
            "files_released",
            "claims_lost",
            "files_in_hand",
        ),
    ),
)
