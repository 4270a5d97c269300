"""What the tracker knows, as rows for tables; all fit for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

from socs.tango.events import Event
from socs.tango.limits import MAX_LISTED
from socs.tango.link import Link
from socs.tango.performance import Histogram
from socs.tango.server import Server, Stream

TIMES = frozenset({"since", "answered", "changed", "heard", "seen"})  # by the clock of samples
WORST_FIRST = ("stalled", "unserved", "backlog")


def badness(link: Link) -> tuple[bool, int, int]:
    """The greater, the more a link is to be looked at."""
    return link.status in WORST_FIRST, link.lost, link.behind


def server_row(server: Server) -> dict[str, Any]:
    """One server. Times by the clock of the samples [s]; its statistics are in another table."""
    return {
        "server": str(server.name),
        "state": server.state,
        "since": server.since,
        "reason": server.reason,
        "answered": server.answered,
        "identity": server.identity,
        "dialect": server.dialect,
        "restarts": server.restarts,
        "streams": sum(stream.present for stream in server.streams.values()),
        "subscriptions": sum(link.status != "gone" for link in server.links.values()),
        "not_connected": [str(name) for name in islice(server.lacking, MAX_LISTED)],
        "not_connected_left_out": max(0, len(server.lacking) - MAX_LISTED),
        "readers": len(server.readers),
        "published_rate": sum(stream.rate.value for stream in server.streams.values()),
        "received_rate": sum(link.rate.value for link in server.links.values()),
        "lost": sum(link.lost for link in server.links.values()),
    }


def readers(server: Server) -> Counter[str]:
    """How many links there are to each stream of a server, by path."""
    return Counter(link.stream.path for link in server.readers if link.status != "gone")


def stream_row(server: Server, stream: Stream, readers: int) -> dict[str, Any]:
    """One stream; without ``readers``, its subscribers are not monitored or have left.

    ``rate`` is that of its publisher's last answer, and 0 of one that is gone.
    """
    return {
        "stream": str(stream.name),
        "publisher": str(server.name),
        "publisher_state": server.state,
        "number": stream.number - 1,
        "published": stream.published,
        "rate": stream.rate.value,
        "changed": stream.changed,
        "present": stream.present,
        "readers": readers,
    }


def link_row(server: Server, publisher: Server | None, link: Link) -> dict[str, Any]:
    """One subscriber of one stream: the table of the reconciliation."""
    entry = link.entry
    stream = publisher.streams.get(link.stream.path) if publisher else None
    known = str(publisher.name) if publisher else str(entry.publisher or "")
    return {
        "stream": str(link.stream),
        "subscriber": str(server.name),
        "publisher": known,
        "status": link.status,
        "published": stream.published if stream else None,
        "received": link.received,
        "lost": link.lost,
        "lost_at_end": link.tail,
        "behind": max(0, link.behind - link.tail),
        "missed": link.gaps,
        "discarded": link.copies,
        "rate": link.rate.value,
        "number": entry.number,
        "published_number": stream.number - 1 if stream and stream.present else None,
        "callbacks": entry.callbacks,
        "confirmed": entry.confirmed,
        "heard": link.heard,
        "seen": link.seen,
        "endpoint": server.endpoints.get(str(entry.publisher), ""),
        "subscriber_state": server.state,
        "publisher_state": publisher.state if publisher else "unknown",
    }


def performance_rows(server: Server) -> list[dict[str, Any]]:
    """Statistics of a server [us], and of each name of its attributes; none without samples.

    ``latest`` are those of its last reply, without values if it does not answer.
    """
    times = server.performance
    rows: list[dict[str, Any]] = []
    if times.push.count or times.process.count:
        rows.append(
            {
                "server": str(server.name),
                "attribute": "",
                "push": times.push.row(),
                "process": times.process.row(),
                "latency": times.latency.row(),
                "pushes_covered": times.pushing.fraction,
                "callbacks_covered": times.receiving.fraction,
                "utilisation": times.utilisation,
                "latest": {
                    kind: histogram.row() if server.state == "up" else Histogram().row()
                    for kind, histogram in times.latest.items()
                },
            }
        )
    for name, attribute in times.attributes.items():
        rows.append(
            {
                "server": str(server.name),
                "attribute": name,
                "process": attribute.process.row(),
                "latency": attribute.latency.row(),
            }
        )
    return rows


def dated(row: Mapping[str, Any], offset: float) -> dict[str, Any]:
    """``row`` with UNIX times [s], so many seconds after those of the samples."""
    return {
        key: value + offset if key in TIMES and value is not None else value
        for key, value in row.items()
    }


def event_row(event: Event, offset: float) -> dict[str, Any]:
    """``event`` as a row whose time is UNIX time [s], that many seconds after its own clock."""
    row = event.row()
    return {**row, "time": row["time"] + offset}
