"""Counters of the slow signal: assembling, publishing and writing to files."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter
from socs.counters.udp import UDP_CONSERVATION

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

SLOW_SIGNAL_CONSERVATION = (
    *UDP_CONSERVATION,
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
    Counter(
        "seconds_unpublished",
        "summaries",
        "of a second, not on the feed: the router was away for longer than they are kept",
        "see the router; readouts themselves are not concerned",
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
