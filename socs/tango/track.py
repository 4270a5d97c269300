"""Who publishes, who receives, and who lost what: follows any number of device servers.

::

    Samples --feed--> states, differences, losses in between  --> Events
                            |
    once a poll ----reconcile----> what waits, what will not come any more --> Events

Samples of the servers may come in any order, and those of one server more than once a poll. To ask
subscriber, publisher, subscriber at one moment tells most, but nothing is taken for lost because
they were asked at different moments. ``docs/reference/tango_reconciliation.rst`` has the rules.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from itertools import chain
from typing import Any

from socs.tango import rows
from socs.tango.counting import Room
from socs.tango.decode import CAUSES
from socs.tango.differences import Changes, take_lacking, take_streams, take_subscriptions
from socs.tango.events import Event, event
from socs.tango.limits import (
    FORGET_AFTER,
    MAX_ATTRIBUTES,
    MAX_EVENTS,
    MAX_NAMES,
    MAX_SERVERS,
)
from socs.tango.names import parse_server
from socs.tango.reconcile import Reconciliation
from socs.tango.server import Sample, Server, hosts_of
from socs.tango.snapshot import Snapshot
from socs.tango.states import OUTCOMES


class EventTracker:
    """Follows the event system of many device servers; for one thread.

    Args:
        max_names: streams, subscriptions and open connections followed; further ones are counted
            as ``names_refused`` until there is room.
        max_servers: servers followed; samples of further ones are ``samples_unfollowed``.
        forget_after: names and servers not seen for so long are forgotten [s].
    """

    def __init__(
        self,
        max_names: int = MAX_NAMES,
        max_servers: int = MAX_SERVERS,
        forget_after: float = FORGET_AFTER,
    ) -> None:
        self._room = Room(max_names)
        self._attributes = Room(MAX_ATTRIBUTES)
        self._max_servers = max_servers
        self._forget_after = forget_after
        self._servers: dict[str, Server] = {}
        self._links = Reconciliation()
        self._told_refused = False
        self._last_poll = -math.inf
        self._counts = dict.fromkeys(
            (
                *(f"samples_{outcome}" for outcome in OUTCOMES),
                *CAUSES,
                "samples_fed",
                "samples_stale",
                "samples_unfollowed",
                "server_restarts",
                "names_unreadable",
                "names_repeated",
                "names_forgotten",
                "replies_mended",
                "events_published",
                "tells_suppressed",
            ),
            0,
        )

    # -- what comes in ----------------------------------------------------------------------------

    def feed(self, sample: Sample) -> list[Event]:
        """Take what became of asking one server; what it tells at once.

        A sample that began before one of the same server that is known already is counted as
        ``samples_stale``, and not looked at: no performance sample counts twice.

        Raises:
            Malformed: ``sample.server`` is no name of a device server.
        """
        self._counts["samples_fed"] += 1
        server = self._server(sample)
        if server is None:
            self._counts["samples_unfollowed"] += 1
            return []
        if sample.begun <= server.begun:
            self._counts["samples_stale"] += 1
            return []
        self._counts[f"samples_{sample.outcome}"] += 1
        if sample.outcome == "bad_reply":
            self._counts[sample.cause if sample.cause in CAUSES else "reply_malformed"] += 1
        events = server.take_outcome(sample)
        if sample.outcome == "ok" and sample.snapshot is not None:
            events += self._take(server, sample, sample.snapshot)
        else:
            self._silence(server, sample)
        return self._limited(events)

    def _silence(self, server: Server, sample: Sample) -> None:
        """A server did not tell anything."""
        self._links.publisher_silent(server, sample)
        for link in server.links.values():
            link.interrupt()

    def _server(self, sample: Sample) -> Server | None:
        name = parse_server(sample.server)
        server = self._servers.get(str(name))
        if server is None and len(self._servers) < self._max_servers:
            server = self._servers[str(name)] = Server(name, sample.begun, self._attributes)
            self._links.add_server(server)
        return server

    def _take(self, server: Server, sample: Sample, snapshot: Snapshot) -> Iterable[Event]:
        now, first = sample.ended, server.answered is None
        restarted = server.take_identity(sample, snapshot)
        changes = Changes()
        take_streams(server, snapshot, sample, self._room, changes, first=first)
        take_subscriptions(server, snapshot, sample, self._room, changes, first=first)
        over = take_lacking(server, snapshot, self._room, changes)
        server.refused = changes.refused
        self._links.learn_hosts(server, hosts_of(snapshot))
        for link in changes.moved:
            self._links.attach(link)
        self._links.publisher_told(server, sample)
        server.performance.feed(snapshot, changes.pushed, changes.received)
        self._count(server, snapshot, changes, len(restarted))
        self._room.give(len(over))
        told = [self._links.connected(server, over, now)]
        for link in server.links.values():
            told.append(self._links.account(server, link, now))
            if link.status == "gone":
                told.append(self._links.conditions(server, link, now))
        return list(chain(restarted, changes.events(server, now), *told))

    def _count(self, server: Server, snapshot: Snapshot, changes: Changes, restarts: int) -> None:
        self._counts["server_restarts"] += restarts
        self._counts["names_unreadable"] += snapshot.unreadable
        self._counts["names_repeated"] += snapshot.repeated
        self._counts["replies_mended"] += snapshot.mended > 0
        self._counts["events_published"] += changes.pushed

    # -- once a poll ------------------------------------------------------------------------------

    def reconcile(self, now: float) -> list[Event]:
        """Once a poll, after its samples: what lasts, and what will not come any more.

        Args:
            now: by the clock of the samples [s].
        """
        told: list[Event] = []
        for server in self._servers.values():
            told += self._note_unasked(server, now)
            told += self._links.judge(server, now)
            told += self._links.judge_lacking(server, now)
            _measure(server, now)
        self._last_poll = now
        told += self._forget(now)
        refused = self._refused()
        if bool(refused) != self._told_refused:
            self._told_refused = bool(refused)
            told.append(event("too_many_names", "begin" if refused else "end", now, count=refused))
        return self._limited(told)

    def _note_unasked(self, server: Server, now: float) -> list[Event]:
        """What is known of a server that nobody asks any more is not so for ever."""
        sample, seen = server.miss(self._last_poll, now), server.seen
        if sample is None:
            return []
        events = server.take_outcome(sample)
        server.seen = seen
        self._silence(server, sample)
        return events

    def _refused(self) -> int:
        return sum(server.refused for server in self._servers.values())

    def _forget(self, now: float) -> list[Event]:
        """Forget what was not seen for long."""
        told: list[Event] = []
        for server in list(self._servers.values()):
            if server.seen < now - self._forget_after:
                told += self.remove(str(server.name), now)
                continue
            limit = (server.answered or 0.0) - self._forget_after
            streams = [path for path, stream in server.streams.items() if stream.seen < limit]
            links = [link for link in server.links.values() if link.seen < limit]
            for path in streams:
                del server.streams[path]
            for link in links:
                del server.links[link.stream]
                self._links.detach(server, link)
            self._room.give(len(streams) + len(links))
            self._counts["names_forgotten"] += len(streams) + len(links)
        return told

    def _limited(self, events: list[Event]) -> list[Event]:
        self._counts["tells_suppressed"] += max(0, len(events) - MAX_EVENTS)
        return events[:MAX_EVENTS]

    def remove(self, server: str, now: float) -> list[Event]:
        """Forget a server; the end of what lasted with it. Nothing happens if it is not known.

        Raises:
            Malformed: this is no name of a device server.
        """
        known = self._servers.pop(str(parse_server(server)), None)
        if known is None:
            return []
        told = known.leave(now) + self._links.remove_server(known, now)
        known.performance.clear()
        self._room.give(known.names)
        self._counts["names_forgotten"] += known.names
        return self._limited(told)

    def clear_performance(self) -> None:
        """Begin all statistics of times anew."""
        for server in self._servers.values():
            server.performance.clear()

    # -- what is known ----------------------------------------------------------------------------

    def totals(self) -> dict[str, int]:
        """Counts by counter name (:data:`socs.counters.TANGO`), and those of this moment."""
        links = [link for server in self._servers.values() for link in server.links.values()]
        return (
            self._counts
            | self._links.totals
            | {
                "servers_followed": len(self._servers),
                "servers_up": sum(server.state == "up" for server in self._servers.values()),
                "names_followed": self._room.used,
                "names_refused": self._refused(),
                "events_behind": sum(max(0, link.behind - link.tail) for link in links),
                **{
                    f"links_{status}": sum(link.status == status for link in links)
                    for status in rows.WORST_FIRST
                },
            }
        )

    def sizes(self) -> dict[str, int]:
        """Rows of each table, if there were no limit."""
        servers = self._servers.values()
        return {
            "streams": sum(len(server.streams) for server in servers),
            "reconciliation": sum(len(server.links) for server in servers),
            "performance": len(self.performance(sys.maxsize)),
        }

    def servers(self) -> list[dict[str, Any]]:
        """A row for each server, by name."""
        return [rows.server_row(self._servers[name]) for name in sorted(self._servers)]

    def streams(self, max_rows: int) -> list[dict[str, Any]]:
        """A row for each stream, the fastest first."""
        streams = [(s, stream) for s in self._servers.values() for stream in s.streams.values()]
        streams.sort(key=lambda each: (-each[1].rate.value, str(each[1].name)))
        readers = {server: rows.readers(server) for server in {s for s, _ in streams[:max_rows]}}
        return [
            rows.stream_row(server, stream, readers[server][stream.name.path])
            for server, stream in streams[:max_rows]
        ]

    def reconciliation(self, max_rows: int) -> list[dict[str, Any]]:
        """A row for each subscriber of each stream, the worst first."""
        links = [(s, link) for s in self._servers.values() for link in s.links.values()]
        links.sort(key=lambda each: rows.badness(each[1]), reverse=True)
        return [
            rows.link_row(server, self._links.publisher_of(link), link)
            for server, link in links[:max_rows]
        ]

    def performance(self, max_rows: int) -> list[dict[str, Any]]:
        """Rows of the statistics of times [us]: of each server, and of each name of attributes."""
        servers = map(self._servers.__getitem__, sorted(self._servers))
        return list(chain.from_iterable(map(rows.performance_rows, servers)))[:max_rows]


def _measure(server: Server, now: float) -> None:
    """How fast its streams go. Nothing comes of a server that is gone, nor does it receive."""
    for stream in server.streams.values():
        stream.rate.measure(stream.published, now if server.is_gone else server.answered or now)
    for link in server.links.values() if server.is_gone else ():
        link.rate.measure(link.received, now)
