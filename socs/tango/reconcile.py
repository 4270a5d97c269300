"""All subscribers of all streams against their publishers: what is lost, and what lasts.

A condition is told of when it begins and when it ends, and not in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from socs.tango.events import Event, Phase, event
from socs.tango.limits import MAX_SHOWN, PATIENCE
from socs.tango.link import Link, Progress
from socs.tango.names import EventName
from socs.tango.server import Sample, Server

LASTING = ("backlog", "stalled", "unserved")  # those of the status of a link that are told of


class Reconciliation:
    """Brings links and publishers together.

    Attributes:
        totals: events expected, received and lost, gaps and copies, of all links ever.
    """

    def __init__(self) -> None:
        self._by_path: dict[str, list[Server]] = {}
        self._publishers: dict[Link, Server | None] = {}
        self._told: dict[tuple[str, EventName], str] = {}  # conditions of subscribers' streams
        self._lacking: set[tuple[str, EventName]] = set()
        self._orphans: set[Link] = set()
        self._hosts: dict[str, set[str]] = {}  # what the servers of each database call it
        self.totals = dict.fromkeys(
            (
                "events_expected",
                "events_received",
                "events_lost",
                "events_arrived_late",
                "gaps_found",
                "copies_discarded",
            ),
            0,
        )

    # -- who belongs to whom ----------------------------------------------------------------------

    def add_server(self, server: Server) -> None:
        """There is one more server; links that wait for it find it."""
        self._by_path.setdefault(server.name.path, []).append(server)
        self._adopt(server.name.path)

    def remove_server(self, server: Server, now: float) -> list[Event]:
        """A server is forgotten; the end of what lasted with its subscriptions."""
        ends = [
            self._event(told, "end", server, link, now=now, count=link.behind)
            for link in server.links.values()
            if (told := self._told.get((str(server.name), link.stream)))
        ]
        lacking = [name for name in server.lacking if (str(server.name), name) in self._lacking]
        ends += [self._lacking_event("end", server, name, now) for name in lacking]
        self._by_path[server.name.path].remove(server)
        if not self._by_path[server.name.path]:
            del self._by_path[server.name.path]
        for link in list(server.readers):
            self.attach(link)
        for link in server.links.values():
            self.detach(server, link)
        self._lacking -= {(str(server.name), name) for name in lacking}
        text = f"subscriber {server.name} is no longer monitored"
        return [replace(each, text=text) for each in ends]

    def attach(self, link: Link) -> None:
        """Find the publisher of a link."""
        publisher = self._find(link)
        former = self._publishers.get(link)
        self._publishers[link] = publisher
        if former is not None and former is not publisher:
            former.readers.discard(link)
            link.unwatch()
        if publisher is None:
            self._orphans.add(link)
            link.unwatch()
        else:
            self._orphans.discard(link)
            publisher.readers.add(link)

    def detach(self, server: Server, link: Link) -> None:
        """A link is forgotten."""
        publisher = self._publishers.pop(link, None)
        if publisher is not None:
            publisher.readers.discard(link)
        self._orphans.discard(link)
        self._told.pop((str(server.name), link.stream), None)

    def publisher_of(self, link: Link) -> Server | None:
        """The server that publishes what a link is about; None if it is not monitored."""
        return self._publishers.get(link)

    def _find(self, link: Link) -> Server | None:
        """The server of this name, in the database that the link is to.

        A link calls the database as its publisher does; we may call it otherwise. What a publisher
        calls it is known from its streams, else what its neighbours call it is taken.
        """
        name = link.entry.publisher
        if name is None:
            return None
        hosts = {name.authority, link.stream.authority}
        servers = self._by_path.get(name.path, [])
        for server in servers:
            if hosts & server.own_hosts:
                return server
        silent = [server for server in servers if not server.own_hosts]
        for server in silent:
            ours = server.name.authority
            if ours in hosts or hosts & self._hosts.get(ours, set()):
                return server
        if len(servers) == len(silent) == 1 and not self._hosts.get(silent[0].name.authority):
            return silent[0]
        return None

    def learn_hosts(self, server: Server, hosts: frozenset[str]) -> None:
        """What a server calls its database has turned out: some links may be of another one."""
        if not hosts or hosts == server.own_hosts:
            return
        server.own_hosts = hosts
        known = self._hosts.setdefault(server.name.authority, set())
        news = len(known) < MAX_SHOWN and not hosts <= known
        if news:
            known |= hosts
        for each in chain.from_iterable(self._by_path.values()):
            if each is server or (news and not each.own_hosts):
                for link in list(each.readers):
                    self.attach(link)
        self._adopt(None if news else server.name.path)

    def _adopt(self, path: str | None) -> None:
        """Look for the publisher of links that wait for one of this name, or for any."""
        for link in list(self._orphans):
            name = link.entry.publisher
            if name is not None and path in (None, name.path):
                self.attach(link)

    # -- what the two sides tell ------------------------------------------------------------------

    def publisher_told(self, server: Server, sample: Sample) -> None:
        """The streams of a server are known as of ``sample``."""
        for link in server.readers:
            stream = server.streams.get(link.stream.path)
            number = stream.number if stream is not None and stream.present else None
            if server.refused and stream is None:
                link.unwatch()  # among those for which there was no room
            else:
                link.published(number, sample.begun, sample.ended)

    def publisher_silent(self, server: Server, sample: Sample) -> None:
        """A server did not tell of its streams."""
        for link in server.readers:
            if server.is_gone:
                link.publisher_gone(sample.begun, sample.ended)
            else:
                link.interrupt()

    def account(self, server: Server, link: Link, now: float) -> Iterator[Event]:
        """Count what a link received and lost since it was last accounted, and tell of it."""
        received, lost, gaps, copies = link.accounted
        link.accounted = link.received, link.lost, link.gaps, link.copies
        change = link.lost - lost
        self.totals["events_received"] += link.received - received
        self.totals["events_lost"] += change
        self.totals["events_expected"] += link.received - received + change
        self.totals["gaps_found"] += link.gaps - gaps
        self.totals["copies_discarded"] += link.copies - copies
        if change > 0:
            yield self._event("lost", "once", server, link, now=now, count=change)
        elif change < 0:
            self.totals["events_arrived_late"] -= change
            link.was_wrong()
            yield self._event("arrived_late", "once", server, link, now=now, count=-change)

    # -- once a poll ------------------------------------------------------------------------------

    def judge(self, server: Server, now: float) -> Iterator[Event]:
        """Judge all links of a subscriber.

        Events of one publisher arrive in the order in which they were pushed, whatever the stream.
        So while those of one stream arrive that are not newer than the poll before, those of
        another one may still be behind them.
        """
        if server.state != "up":
            return
        seen: dict[Progress, set[Server | None]] = {"": set(), "drains": set(), "passed": set()}
        for link in server.links.values():
            seen[link.progress()].add(self.publisher_of(link))
        hold = seen["drains"] - seen["passed"]
        for link in server.links.values():
            link.judge(hold=self.publisher_of(link) in hold)
            yield from self.account(server, link, now)
            yield from self.conditions(server, link, now)
            link.rate.measure(link.received, server.answered or now)

    def conditions(self, server: Server, link: Link, now: float) -> Iterator[Event]:
        """The end of what lasted and the begin of what lasts now."""
        key = str(server.name), link.stream
        told = self._told.get(key, "")
        status = link.status if link.status in LASTING else ""
        if status == told:
            return
        if told:
            yield self._event(told, "end", server, link, now=now, count=link.behind)
            del self._told[key]
        if status:
            yield self._event(status, "begin", server, link, now=now, count=link.behind)
            self._told[key] = status

    def judge_lacking(self, server: Server, now: float) -> Iterator[Event]:
        """What a server could not connect to for two polls."""
        if server.state != "up":
            return
        for name in server.lacking:
            server.lacking[name] += 1
            if server.lacking[name] == PATIENCE:
                self._lacking.add((str(server.name), name))
                yield self._lacking_event("begin", server, name, now)

    def connected(self, server: Server, names: Iterable[EventName], now: float) -> Iterator[Event]:
        """A server no longer tries to connect to these."""
        for name in names:
            del server.lacking[name]
            key = str(server.name), name
            if key in self._lacking:
                self._lacking.discard(key)
                yield self._lacking_event("end", server, name, now)

    def _lacking_event(self, phase: Phase, server: Server, name: EventName, now: float) -> Event:
        return event("not_connected", phase, now, subscriber=str(server.name), stream=name, count=1)

    def _event(
        self, kind: str, phase: Phase, server: Server, link: Link, *, now: float, count: int
    ) -> Event:
        publisher = link.entry.publisher
        evidence = dict(link.evidence) if phase != "end" else {}
        found = self.publisher_of(link)
        if found is not None:
            evidence["publisher_state"] = found.state
        return event(
            kind,
            phase,
            now,
            subscriber=str(server.name),
            publisher=str(found.name if found else publisher or ""),
            stream=link.stream,
            count=count,
            evidence=evidence,
        )
