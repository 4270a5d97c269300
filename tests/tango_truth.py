"""A control system in miniature that knows the truth: what was pushed, received and lost.

Publishers push to subscribers through one queue for each pair of them, as ZMQ does. Replies are
JSON, as device servers write it.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from socs.tango.decode import decode
from socs.tango.server import Sample

WIDE = 2**32
HOST = "tango://db:10000/"


@dataclass
class Entry:
    """A subscriber's entry for one stream."""

    number: int = 0
    received: int = 0
    gaps: int = 0
    discarded: int = 0
    life: int | None = None  # of the publisher that the number is of
    connected: bool = True
    torn: bool = False  # the next reply is made while the last event is being taken in
    former: tuple[int, int] = (0, 0)  # number and gaps before the last event
    told_of: int = 0  # events, by the last reply

    def take(self, life: int, number: int) -> None:
        self.former = self.number, self.gaps
        if life == self.life and self.received and number != (self.number + 1) % WIDE:
            self.gaps += 1
        self.life, self.number = life, number
        self.received += 1

    def tell(self) -> tuple[int, int]:
        """Number and gaps as a reply has them; only a new event can be the one that is taken in."""
        torn = self.torn and self.received > self.told_of
        self.torn, self.told_of = False, self.received
        return self.former if torn else (self.number, self.gaps)


@dataclass
class Publisher:
    name: str
    following: dict[str, int] = field(default_factory=dict)  # path of a stream: next number
    life: int = 1
    runs: bool = True


@dataclass
class Subscriber:
    name: str
    entries: dict[str, Entry] = field(default_factory=dict)
    life: int = 1
    runs: bool = True


class World:
    """Streams are called ``<publisher>/a/b/<attribute>.change``."""

    def __init__(self, streams: int = 2, publishers: int = 2, subscribers: int = 2) -> None:
        self.now = 0.0
        self.publishers = {f"pub{n}": Publisher(f"pub{n}") for n in range(publishers)}
        self.subscribers = {f"sub{n}": Subscriber(f"sub{n}") for n in range(subscribers)}
        self.paths = [f"{pub}/a/b/v{n}.change" for pub in self.publishers for n in range(streams)]
        self.queues: dict[tuple[str, str], list[tuple[int, str, int]]] = {
            (sub, pub): [] for sub in self.subscribers for pub in self.publishers
        }
        self.old: dict[tuple[str, str], int] = {}  # events that were in a queue at the last poll
        self.moved: set[tuple[str, str]] = set()
        self.pushed: Counter[str] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()
        self.had: set[tuple[str, str]] = set()  # who was subscribed to what at the last poll
        self.identify = True

    # -- what happens -----------------------------------------------------------------------------

    def subscribe(self, sub: str, path: str, at: int = 0) -> None:
        """Subscribe; the stream had pushed ``at`` events before if nobody was subscribed yet."""
        publisher = self.publishers[path.split("/", maxsplit=1)[0]]
        publisher.following.setdefault(path, (at + 1) % WIDE)
        self.subscribers[sub].entries[path] = Entry()

    def push(self, path: str, count: int = 1) -> None:
        publisher = self.publishers[path.split("/", maxsplit=1)[0]]
        if not publisher.runs or path not in publisher.following:
            return
        for _ in range(count):
            number = publisher.following[path]
            publisher.following[path] = (number + 1) % WIDE
            self.pushed[path] += 1
            for sub in self.subscribers.values():
                entry = sub.entries.get(path)
                if entry is not None and entry.connected:
                    self.queues[sub.name, publisher.name].append((publisher.life, path, number))
                elif entry is not None or (sub.name, path) in self.had:
                    self.lost[sub.name, path] += 1

    def deliver(self, sub: str, pub: str, count: int = 1) -> None:
        queue = self.queues[sub, pub]
        for life, path, number in queue[:count]:
            self.subscribers[sub].entries[path].take(life, number)
            self.moved.add((sub, pub))
        del queue[:count]
        self.old[sub, pub] = max(0, self.old.get((sub, pub), 0) - count)

    def drop(self, sub: str, pub: str, first: int, count: int) -> None:
        """Lose ``count`` of the events that are under way, from the one at ``first`` on."""
        queue = self.queues[sub, pub]
        gone = queue[first : first + count]
        for _, path, _ in gone:
            self.lost[sub, path] += 1
        del queue[first : first + count]
        old = self.old.get((sub, pub), 0)
        self.old[sub, pub] = old - max(0, min(first + len(gone), old) - first)

    def copy(self, sub: str, path: str) -> None:
        """An event comes twice."""
        if path in self.subscribers[sub].entries:
            self.subscribers[sub].entries[path].discarded += 1

    def unsubscribe(self, sub: str, path: str) -> None:
        """Lost is what is under way, what comes until the next poll, and what is forgotten.

        An entry that is made anew before that poll, and has a gap and more events than the old one
        by then, cannot be told from it: it may look as if it had received less.
        """
        entry = self.subscribers[sub].entries.pop(path, None)
        if entry is not None and (sub, path) in self.had:
            self.lost[sub, path] += entry.received
        self.drop_all(sub, path.split("/", maxsplit=1)[0], path, -1)

    def stop(self, pub: str) -> None:
        """A publisher dies. What it sent still arrives; what it sends anew does not."""
        publisher = self.publishers[pub]
        publisher.runs = False
        publisher.following.clear()
        for sub in self.subscribers.values():
            for path, entry in sub.entries.items():
                if path.startswith(pub):
                    entry.connected = False

    def start(self, pub: str) -> None:
        publisher = self.publishers[pub]
        if not publisher.runs:
            publisher.runs = True
            publisher.life += 1

    def reconnect(self, sub: str, pub: str) -> None:
        """A subscriber subscribes again by itself, to all streams of a publisher."""
        publisher = self.publishers[pub]
        if not publisher.runs:
            return
        for path, entry in self.subscribers[sub].entries.items():
            if path.startswith(pub) and not entry.connected:
                self.drop_all(sub, pub, path, publisher.life)
                entry.connected = True
                publisher.following.setdefault(path, 1)

    def drop_all(self, sub: str, pub: str, path: str, but: int) -> None:
        """Lose what is under way of one stream, from other lives than ``but``."""
        queue = self.queues[sub, pub]
        stays = [each[1] != path or each[0] == but for each in queue]
        self.lost[sub, path] += stays.count(False)
        self.queues[sub, pub] = [each for each, kept in zip(queue, stays, strict=True) if kept]
        self.old[sub, pub] = sum(stays[: self.old.get((sub, pub), 0)])

    def restart_subscriber(self, sub: str) -> None:
        """It subscribes to the same again at once."""
        subscriber = self.subscribers[sub]
        subscriber.life += 1
        for path in list(subscriber.entries):
            self.unsubscribe(sub, path)
            if self.publishers[path.split("/")[0]].runs:
                self.subscribe(sub, path)

    # -- being asked ------------------------------------------------------------------------------

    def keep_moving(self) -> None:
        """Before a poll: of what was under way at the last one, something has arrived since."""
        for key in self.queues:
            if self.old.get(key, 0) > 0 and key not in self.moved:
                self.deliver(*key)

    def polled(self) -> None:
        """After a poll: remember what is under way."""
        self.old = {key: len(queue) for key, queue in self.queues.items()}
        self.moved.clear()
        self.had = {(sub.name, path) for sub in self.subscribers.values() for path in sub.entries}

    def sample(self, server: str, *, hung: bool = False) -> Sample:
        """Ask a server now."""
        begun, self.now = self.now + 0.001, self.now + 0.002
        process = self.publishers.get(server) or self.subscribers[server]
        name = f"dserver/{server}/x"
        if hung or not process.runs:
            return Sample(name, "hung" if hung else "refused", begun, self.now)
        identity = str(process.life) if self.identify else ""
        return Sample(name, "ok", begun, self.now, decode(self.reply(server)), identity)

    def reply(self, server: str) -> str:
        """What a server would answer."""
        publisher, subscriber = self.publishers.get(server), self.subscribers.get(server)
        counters = publisher.following if publisher else {}
        entries = subscriber.entries if subscriber else {}
        told = {path: entry.tell() for path, entry in entries.items()}
        return json.dumps(
            {
                "version": 1,
                "server": {
                    "event_counters": {HOST + path: n for path, n in counters.items()},
                    "perf": None,
                },
                "client": {
                    "event_callbacks": {
                        HOST + path.replace(".", ".idl5_"): {
                            "channel_name": f"{HOST}dserver/{path.split('/')[0]}/x",
                            "callback_count": 1,
                            "server_counter": told[path][0],
                            "event_count": entry.received,
                            "missed_event_count": told[path][1],
                            "discarded_event_count": entry.discarded,
                            "last_resubscribed": None,
                        }
                        for path, entry in entries.items()
                    },
                    "not_connected": [],
                    "event_channels": {},
                    "perf": None,
                },
            }
        )
