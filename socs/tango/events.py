"""What the tracker has to tell, and the sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from socs.tango.names import EventName
from socs.tango.states import Severity

Phase = Literal["begin", "end", "once"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, began or ended.

    Attributes:
        kind: a state of a server (:data:`socs.tango.states.STATES`) or a key of `KINDS`.
        phase: ``begin`` and ``end`` of what lasts, ``once`` for what happens.
        text: the sentence for people.
        time: ``now`` of the caller [s].
        severity: how bad it is; the end of anything is ``info``.
        server, subscriber, publisher: admin devices; "" where it is not about one.
        stream: the stream of events, or "".
        count: how many events, names or so.
        evidence: what it was concluded from; fit for JSON.
    """

    kind: str
    phase: Phase
    text: str
    time: float
    severity: Severity
    server: str = ""
    subscriber: str = ""
    publisher: str = ""
    stream: str = ""
    count: int = 0
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return asdict(self)


# What else there is besides the states of a server: its severity, and the sentences of its begin
# (or of all of it, if it does not last) and its end.
KINDS: dict[str, tuple[Severity, str, str]] = {
    "restarted": ("warning", "server {server} was restarted", ""),
    "new_publisher": ("info", "server {server} publishes {shown}", ""),
    "removed_publisher": ("info", "server {server} no longer publishes {shown}", ""),
    "new_subscription": ("info", "{subscriber} subscribed to {shown}", ""),
    "removed_subscription": ("info", "{subscriber} no longer subscribes to {shown}", ""),
    "resubscribed": ("info", "{subscriber} subscribed anew to {shown}", ""),
    "lost": ("error", "subscriber {subscriber} lost {count} of {shown}", ""),
    "arrived_late": (
        "info",
        "{count} of {shown}, taken for lost, reached subscriber {subscriber} after all",
        "",
    ),
    "backlog": (
        "warning",
        "subscriber {subscriber} is behind by {count} of {shown}",
        "subscriber {subscriber} has caught up with {shown}",
    ),
    "stalled": (
        "error",
        "subscriber {subscriber} gets nothing of {shown}, {count} behind",
        "subscriber {subscriber} no longer gets nothing of {shown}",
    ),
    "unserved": (
        "warning",
        "subscriber {subscriber} waits for {shown}, but server {publisher} does not serve it",
        "subscriber {subscriber} no longer waits for {shown} unserved",
    ),
    "not_connected": (
        "error",
        "subscriber {subscriber} cannot connect to {shown}",
        "subscriber {subscriber} no longer tries in vain to connect to {shown}",
    ),
    "too_many_names": (
        "warning",
        "{count} names are not followed: there is no room for more",
        "there is room for all names again",
    ),
}


def possessive(stream: EventName) -> str:
    """``lab/pub/1's val.change``."""
    return f"{stream.device}'s {stream.path.removeprefix(stream.device).lstrip('/.')}"


def event(
    kind: str,
    phase: Phase,
    now: float,
    *,
    server: str = "",
    subscriber: str = "",
    publisher: str = "",
    stream: EventName | None = None,
    count: int = 0,
    evidence: Mapping[str, Any] | None = None,
    shown: str = "",
) -> Event:
    """An event of one of the `KINDS`. ``shown`` is said instead of the name of ``stream``."""
    severity, begin, end = KINDS[kind]
    text = (end if phase == "end" else begin).format(
        server=server,
        subscriber=subscriber,
        publisher=publisher,
        shown=possessive(stream) if stream else shown,
        count=count,
    )
    return Event(
        kind,
        phase,
        text,
        now,
        "info" if phase == "end" else severity,
        server or subscriber or publisher,
        subscriber,
        publisher,
        str(stream) if stream else "",
        count,
        evidence or {},
    )
