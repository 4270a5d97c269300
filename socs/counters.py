"""Every counter by name: its unit, what it means, and what an operator does when it moves.

The tables below are the one place where counters are defined. They are rendered into the
documentation, published on each agent's recorded feed under the same names, and checked for
conservation: what came in is either stored, waiting, or counted under the cause that stopped it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """One counter. ``action`` says what to do when it is not what you expect."""

    name: str
    unit: str
    meaning: str
    action: str = ""


@dataclass(frozen=True)
class Conservation:
    """The sum of ``whole`` equals the sum of ``parts``, at any quiet moment."""

    whole: tuple[str, ...]
    parts: tuple[str, ...]


UDP = (
    Counter("datagrams_received", "datagrams", "taken from the kernel, good or bad"),
    Counter("bytes_received", "bytes", "sum of the sizes of the datagrams received"),
    Counter(
        "kernel_drops",
        "datagrams",
        "dropped by the kernel because the socket's receive buffer was full",
        "raise net.core.rmem_max (see `socs doctor`); look for a busy CPU",
    ),
    Counter(
        "sender_not_allowed",
        "datagrams",
        "source address outside --allow-sender",
        "add the network to --allow-sender, or find out who sends",
    ),
    Counter(
        "datagram_truncated",
        "datagrams",
        "longer than the largest datagram of this stream; refused whole",
        "find the sender in the log; it does not speak this protocol",
    ),
    Counter(
        "handler_errors",
        "datagrams",
        "in a batch whose handling failed: a defect in this program",
        "report it with the traceback in the log",
    ),
    Counter(
        "queue_full",
        "datagrams",
        "shed because the ingest queue was at its memory limit",
        "the spool's disk is too slow or stuck: see `degraded` and the disk",
    ),
    Counter("datagrams_accepted", "datagrams", "handed on to decoding"),
    Counter(
        "socket_errors",
        "errors",
        "the system failed to hand over datagrams; tried again, none is lost by this",
        "see the log for the system's reason",
    ),
)

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
        "where a directory belongs)",
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

# A part is one module's readout; a readout is the camera's.
SLOW_SIGNAL = (
    Counter("packets_decoded", "datagrams", "well-formed packets of a module"),
    Counter("packet_empty", "datagrams", "without a single byte"),
    Counter(
        "packet_bad_size",
        "datagrams",
        "of a size that is no multiple of 144 bytes",
        "find the sender in the log; it does not speak this protocol",
    ),
    Counter("packet_too_long", "datagrams", "with more readouts than a packet may hold"),
    Counter(
        "module_out_of_range",
        "datagrams",
        "from an address that stands for no module: its last number, modulo 100, is above 31",
        "give the modules addresses .100 to .131, or set `relaxed_ip_range`",
    ),
    Counter(
        "tacks_inconsistent",
        "datagrams",
        "whose TACKs do not increase from each readout to the next",
        "look at the module's clock, or for whoever else sends to this port",
    ),
    Counter("parts_decoded", "parts", "one module's readout each, in the packets decoded"),
    Counter("parts_placed", "parts", "put into their readout, in order or late"),
    Counter("parts_duplicate", "parts", "the same part again; the first one stays"),
    Counter(
        "parts_late",
        "parts",
        "came when their readout, or a later one, was out; not published",
        "raise `buffer_time`; look for what holds up this module",
    ),
    Counter(
        "parts_conflicting",
        "parts",
        "in the place of another part of the same module, with another TACK; the first one stays",
        "make `readout_tw` smaller than half the distance of readouts",
    ),
    Counter(
        "parts_implausible",
        "parts",
        "with TACKs that lead away from those of the other modules; not published",
        "`modules` in session.data tells which module; set its clock as those of the others",
    ),
    Counter("parts_out", "parts", "in readouts that are out"),
    Counter(
        "parts_missing",
        "parts",
        "of expected modules, not there when the readout went out",
        "see `kernel_drops`; if that stands still, they were lost before this machine or not sent",
    ),
    Counter("readouts_out", "readouts", "handed on to be published and stored"),
    Counter("readouts_complete", "readouts", "with all expected modules"),
    Counter("readouts_timed_out", "readouts", "incomplete; TACKs went on by `buffer_time`"),
    Counter("readouts_flushed", "readouts", "incomplete; nothing came for as long as `flush_time`"),
    Counter(
        "readouts_evicted",
        "readouts",
        "incomplete; made room for newer ones",
        "raise `buffer_length`",
    ),
    Counter(
        "readouts_cut_off",
        "readouts",
        "incomplete; the TACKs of the camera began anew elsewhere",
    ),
    Counter(
        "tack_restarts",
        "restarts",
        "most modules went on with TACKs far away: the clock was set anew, or the camera paused",
    ),
    Counter(
        "packets_window_too_wide",
        "datagrams",
        "whose readouts follow too fast for `readout_tw`; half their distance is used instead",
        "set `readout_tw` as session.data says",
    ),
)

# Not counted up but looked up.
SLOW_SIGNAL_NOW = (
    Counter("parts_buffered", "parts", "in readouts that are being put together"),
    Counter("readouts_buffered", "readouts", "being put together"),
    Counter("parts_held", "parts", "with TACKs that lead away, until other modules agree or not"),
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

SLOW_SIGNAL_FILES = (
    Counter("readouts_to_write", "readouts", "taken up by the file writer's thread"),
    Counter("readouts_written", "readouts", "flushed: they survive a crash of the program"),
    Counter(
        "readouts_queue_full",
        "readouts",
        "dropped: the file writer's thread did not keep up, or was ending",
        "the disk, or the layout of the files, is too slow for this rate",
    ),
    Counter(
        "readouts_unwritten",
        "readouts",
        "dropped: the disk refused them until the memory for them was full, or the agent ended",
        "see `troubles` in session.data: make room on the disk, or mend it",
    ),
    Counter("data_files_completed", "files", "complete, under their final names, and registered"),
    Counter("data_files_recovered", "files", "left by a writer that was killed; completed here"),
    Counter(
        "data_files_damaged",
        "files",
        "journals that are damaged; set aside beside the files",
        "look at the disk; what is good of them was completed",
    ),
    Counter(
        "data_file_errors",
        "errors",
        "attempts to write, complete or register a file that failed; tried again",
        "see `troubles` in session.data",
    ),
)

# Not counted up but looked up.
SLOW_SIGNAL_FILES_NOW = (
    Counter("readouts_unflushed", "readouts", "in the memory of the file writer's thread"),
)

SLOW_SIGNAL_FILES_CONSERVATION = (
    Conservation(
        ("readouts_to_write",), ("readouts_written", "readouts_unwritten", "readouts_unflushed")
    ),
)

SLOW_SIGNAL_STREAM = (
    Counter("readouts_published", "messages", "given to ZMQ, over all publishers"),
    Counter(
        "publisher_overflows",
        "times",
        "a subscriber's queue was full, and it lost readouts until it had caught up",
        "see `publishers` in session.data: find the slow subscriber, or raise `high_water_mark`",
    ),
    Counter("readouts_withheld", "readouts", "not published, as publishing is switched off"),
    Counter(
        "publish_errors",
        "readouts",
        "not published everywhere: ZMQ refused them",
        "see the log for the reason",
    ),
    Counter("readouts_unstored", "readouts", "not to be written, as there is no file writer"),
    Counter(
        "seconds_untold",
        "summaries",
        "of a second that whoever is told of them failed to take: a defect in this program",
        "report it with the traceback in the log",
    ),
)

# Not counted up but looked up.
SLOW_SIGNAL_STREAM_NOW = (
    Counter("readouts_queued", "readouts", "on the way to the file writer's thread"),
)

SLOW_SIGNAL_STREAM_CONSERVATION = (
    Conservation(
        ("readouts_out",),
        ("readouts_to_write", "readouts_queue_full", "readouts_queued", "readouts_unstored"),
    ),
)

CONSERVATION = (
    Conservation(
        ("datagrams_received",),
        (
            "datagrams_accepted",
            "sender_not_allowed",
            "datagram_truncated",
            "handler_errors",
            "queue_full",
        ),
    ),
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

SLOW_SIGNAL_CONSERVATION = (
    CONSERVATION[0],
    Conservation(
        ("datagrams_accepted",),
        (
            "packets_decoded",
            "packet_empty",
            "packet_bad_size",
            "packet_too_long",
            "module_out_of_range",
            "tacks_inconsistent",
        ),
    ),
    Conservation(
        ("parts_decoded",),
        (
            "parts_placed",
            "parts_duplicate",
            "parts_late",
            "parts_conflicting",
            "parts_implausible",
            "parts_held",
        ),
    ),
    Conservation(("parts_placed",), ("parts_out", "parts_buffered")),
    Conservation(
        ("readouts_out",),
        (
            "readouts_complete",
            "readouts_timed_out",
            "readouts_flushed",
            "readouts_evicted",
            "readouts_cut_off",
        ),
    ),
)


class Counters:
    """A set of counters that several threads add to.

    Args:
        tables: the definitions; adding to a name that is in none of them raises ``KeyError``.
    """

    def __init__(self, *tables: Iterable[Counter]) -> None:
        self._values = {counter.name: 0 for table in tables for counter in table}
        self._lock = threading.Lock()

    def add(self, name: str, n: int = 1) -> None:
        """Add ``n`` to the counter called ``name``."""
        with self._lock:
            self._values[name] += n

    def add_all(self, amounts: Mapping[str, int]) -> None:
        """Add to several counters at one moment."""
        with self._lock:
            for name in amounts:
                self._values[name] += amounts[name]

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def snapshot(self) -> dict[str, int]:
        """All values at one moment, by name."""
        with self._lock:
            return dict(self._values)


def imbalances(
    values: Mapping[str, int], equations: Iterable[Conservation] = CONSERVATION
) -> dict[str, int]:
    """What is missing from each equation that does not hold: ``{first of whole: difference}``."""
    differences = {
        equation.whole[0]: sum(values[name] for name in equation.whole)
        - sum(values[name] for name in equation.parts)
        for equation in equations
    }
    return {name: difference for name, difference in differences.items() if difference}
