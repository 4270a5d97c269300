"""What is new in a reply, what is gone from it, and what of it was made anew.

Names that went away with the process of their server are not told of when they come back: the
restart is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from socs.tango.counting import Rate, Room
from socs.tango.events import Event, event, possessive
from socs.tango.limits import MAX_SHOWN
from socs.tango.link import Link
from socs.tango.names import EventName
from socs.tango.server import Sample, Server, Stream
from socs.tango.snapshot import Snapshot, Subscription


@dataclass
class Changes:
    """Names that changed with one reply, by kind of event; and events counted in it.

    ``moved``: links whose publisher may be another one now.
    """

    names: dict[str, list[EventName]] = field(default_factory=dict)
    moved: list[Link] = field(default_factory=list)
    pushed: int = 0
    received: int = 0
    refused: int = 0

    def add(self, kind: str, name: EventName) -> None:
        """One more name of a kind."""
        self.names.setdefault(kind, []).append(name)

    def events(self, server: Server, now: float) -> Iterator[Event]:
        """One event for each kind, whatever the number of names."""
        for kind, names in self.names.items():
            shown = ", ".join(map(possessive, names[:MAX_SHOWN]))
            if len(names) > MAX_SHOWN:
                shown += f" and {len(names) - MAX_SHOWN} more"
            publishes = kind.endswith("publisher")
            yield event(
                kind,
                "once",
                now,
                server=str(server.name),
                subscriber="" if publishes else str(server.name),
                publisher=str(server.name) if publishes else "",
                stream=names[0] if len(names) == 1 else None,
                shown=shown,
                count=len(names),
                evidence={"streams": [str(name) for name in names[:MAX_SHOWN]]},
            )


def take_streams(
    server: Server, snapshot: Snapshot, sample: Sample, room: Room, changes: Changes, *, first: bool
) -> None:
    """Take over what a server publishes. ``first``: whether it never answered before."""
    told = set()
    for name, number in snapshot.published.items():
        told.add(name.path)
        stream = server.streams.get(name.path)
        if stream is None:
            if not room.take():
                changes.refused += 1
                continue
            # A stream of a server that is known begins with the number 1.
            begins = number if first or server.refused else 1
            stream = server.streams[name.path] = Stream(name, begins, sample.ended)
            changes.pushed += stream.feed(number, sample.ended)
            stream.rate = Rate(stream.published, sample.ended)
            if not (first or server.refused):
                changes.add("new_publisher", name)
        elif not stream.present:
            if not stream.awaited:
                changes.add("new_publisher", name)
            stream.present = True
        stream.awaited = False
        changes.pushed += stream.feed(number, sample.ended)
    for path, stream in server.streams.items():
        if stream.present and path not in told:
            stream.present = False
            if not stream.awaited:
                changes.add("removed_publisher", stream.name)


def take_subscriptions(
    server: Server, snapshot: Snapshot, sample: Sample, room: Room, changes: Changes, *, first: bool
) -> None:
    """Take over what a server subscribed to. ``first``: whether it never answered before."""
    for name, entry in snapshot.subscriptions.items():
        link = server.links.get(name)
        if link is not None:
            _take_entry(link, entry, sample, changes)
        elif room.take():
            is_new = not (first or server.refused)  # who had no room may have been there before
            link = Link(name, entry, sample.begun, sample.ended, is_new=is_new)
            link.rate = Rate(link.received, sample.ended)  # nobody knows how fast these came
            server.links[name] = link
            changes.moved.append(link)
            changes.received += link.received
            if is_new:
                changes.add("new_subscription", name)
        else:
            changes.refused += 1
    for name, link in server.links.items():
        if link.status != "gone" and name not in snapshot.subscriptions:
            link.leave()
            if not link.awaited:
                changes.add("removed_subscription", name)


def _take_entry(link: Link, entry: Subscription, sample: Sample, changes: Changes) -> None:
    was_gone, was_awaited = link.status == "gone", link.awaited
    before, received, copies = link.entry, link.received, link.copies
    move = link.feed(entry, sample.begun, sample.ended)
    changes.received += link.received - received + link.copies - copies
    if entry.publisher != before.publisher or was_gone:
        changes.moved.append(link)
    if move == "new_entry" and not was_awaited:
        changes.add("new_subscription" if was_gone else "resubscribed", link.stream)


def take_lacking(
    server: Server, snapshot: Snapshot, room: Room, changes: Changes
) -> list[EventName]:
    """Take over what a server cannot connect to; names for which that is over now."""
    told = {lacking.stream for lacking in snapshot.not_connected}
    over = [name for name in server.lacking if name not in told]
    for name in told - server.lacking.keys():
        if room.take():
            server.lacking[name] = 0
        else:
            changes.refused += 1
    return over
