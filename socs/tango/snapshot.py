"""What one device server tells of its event system at one moment, the same for all versions."""

from __future__ import annotations

from typing import Any

import msgspec

from socs.tango.names import EventName, ServerName


class Subscription(msgspec.Struct, frozen=True):
    """One stream that this process subscribed to.

    Attributes:
        stream: the stream.
        publisher: its device server; None if its name makes no sense.
        callbacks: functions that are called for each event.
        number: last number received, 32 bits; 0 if nothing was received yet.
        received: events received since the entry was made.
        gaps: number of gaps found, whatever their size.
        discarded: copies thrown away; None if this version does not tell.
        confirmed: UNIX time [s] of the last confirmation; None before the first.
        extra: keys of later versions.
    """

    stream: EventName
    publisher: ServerName | None
    callbacks: int
    number: int
    received: int
    gaps: int
    discarded: int | None = None
    confirmed: float | None = None
    extra: dict[str, Any] = {}


class NotConnected(msgspec.Struct, frozen=True):
    """A subscription that never came about, or is tried again. ``tried``: UNIX time [s]."""

    stream: EventName
    tried: float | None = None
    extra: dict[str, Any] = {}


class Push(msgspec.Struct, frozen=True):
    """One event that was pushed. Times in microseconds; ``since_last`` None if it is not known."""

    since_last: int | None
    push: int
    extra: dict[str, Any] = {}


class Callback(msgspec.Struct, frozen=True):
    """One event that was received. Times in microseconds, None if not known.

    Attributes:
        attribute: first 31 characters of its name, "" if not known; the device is never told.
        since_last: since the event before, of any stream.
        sleep: how long the thread slept before it. ``wakes``: how often it woke up meanwhile.
        process: for all it had to do, with all callbacks.
        latency: from the attribute's time stamp to the first callback; may be negative.
        callbacks: functions called.
        discarded: whether it was a copy; None if this version does not tell.
    """

    attribute: str
    since_last: int | None
    sleep: int
    wakes: int
    process: int
    latency: int | None
    callbacks: int
    discarded: bool | None = None
    extra: dict[str, Any] = {}


class Snapshot(msgspec.Struct, frozen=True):
    """One reply.

    Attributes:
        dialect: ``"1"`` (stock Tango from 10.1 on), ``"ska-9.5"`` (patched).
        published: the *next* number of each stream that somebody subscribed to, 32 bits.
        subscriptions: what this process subscribed to, by stream.
        not_connected: what it would like to, but could not.
        channels: heartbeat endpoint of each publisher, by admin device.
        pushes, callbacks: performance samples, None if monitoring is off. No reply ever repeats
            the samples of another one.
        unreadable: names that make no sense, and are in none of the above.
        repeated: names that came twice; the last one stayed.
        mended: places in which the text was no JSON, and that were taken out.
        extra: keys of later versions, of all three levels.
    """

    dialect: str
    published: dict[EventName, int]
    subscriptions: dict[EventName, Subscription]
    not_connected: tuple[NotConnected, ...] = ()
    channels: dict[str, str] = {}
    pushes: tuple[Push, ...] | None = None
    callbacks: tuple[Callback, ...] | None = None
    unreadable: int = 0
    repeated: int = 0
    mended: int = 0
    extra: dict[str, Any] = {}

    @property
    def measures(self) -> bool | None:
        """Whether performance monitoring is on; None if nobody could tell by this reply."""
        if self.pushes is not None or self.callbacks is not None:
            return True
        return False if self.published or self.subscriptions else None
