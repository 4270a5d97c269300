"""Counters of datagrams, whatever their stream."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

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

UDP_CONSERVATION = (
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
)
