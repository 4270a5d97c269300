"""The feeds of the Tango event monitor. For the reactor's thread.

================  ========  ========================================================================
feed              recorded  contents
================  ========  ========================================================================
``tango``         yes       each poll: block ``totals``, and one block for each stream, subscriber
                            of a stream, and server with statistics of times
``counters``      yes       each poll: all counters
``tango_events``  no        what was told: losses, restarts, servers that hang, each at once
================  ========  ========================================================================

The names of fields are made of those of streams and servers. There is a limit to them: the
database of the feed keeps every name for ever.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from socs.counters import Counters
from socs.tango.events import Event
from socs.tango.performance import TIMES
from socs.tango.states import GONE

FEED, COUNTERS_FEED, EVENTS_FEED = "tango", "counters", "tango_events"
NEVER = 1e9  # s; the feed is flushed by us
MAX_KEPT = 1000  # events kept while the router is away
MAX_FIELD = 200  # characters of a name; OCS takes 255
TOTALS = (
    "servers_followed",
    "servers_up",
    "names_followed",
    "names_refused",
    "events_published",
    "events_received",
    "events_lost",
    "events_behind",
    "gaps_found",
    "links_backlog",
    "links_stalled",
    "links_unserved",
)
KNOWN = frozenset({"up", *GONE})  # states of a server of which it is known what its events do
PERCENTILES = ("p50", "p90", "p99")


class Field(NamedTuple):
    """A number of a feed, and what InfluxDB is told of it."""

    name: str
    value: float
    tags: Mapping[str, str]


class NameTable:
    """Names of blocks for things that are called anything, at most ``limit`` of them.

    Attributes:
        refused: things that got no name, each counted once.
        with_digits: names that have digits, as they are long, or another one is alike.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self.with_digits: set[str] = set()
        self._refused: set[int] = set()

    @property
    def refused(self) -> int:
        """How many things have got no name."""
        return len(self._refused)

    def take(self, things: Iterable[tuple[str, ...]]) -> None:
        """Give names to things that have none, those in front first as far as there is room.

        Of things that are alike, and come together, always the same one gets digits.

        Args:
            things: each as the words that it is known by.
        """
        new: dict[str, tuple[str, ...]] = {}
        for words in things:
            thing = "".join(words)
            if thing in self._names or thing in new:
                continue
            if len(self._names) + len(new) < self._limit:
                new[thing] = words
            elif len(self._refused) < max(1, self._limit):  # a number, no list of what was invented
                self._refused.add(hash(thing))
        for thing in sorted(new):
            self._names[thing] = self._made(thing, "".join(map(_path, new[thing])))

    def name(self, *words: str) -> str | None:
        """The name of a thing, always the same; None if there was no room for one."""
        return self._names.get("".join(words))

    def _made(self, thing: str, shown: str) -> str:
        """Made without databases, so that it stays the same when one moves."""
        readable = re.sub(r"[^A-Za-z0-9]+", "_", shown).strip("_")
        readable = f"x{readable}" if not readable[:1].isalpha() else readable
        if len(readable) > MAX_FIELD or readable in self._taken:
            digits = hashlib.sha256(thing.encode()).hexdigest()[:10]
            readable = f"{readable[: MAX_FIELD - 11]}_{digits}"
            self.with_digits.add(readable)
        self._taken.add(readable)
        return readable


class TangoFeeds:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``).

    Args:
        agent: the OCS agent.
        max_names: streams, subscribers and servers that get fields of their own.
    """

    def __init__(self, agent: Any, max_names: int) -> None:
        self._agent = agent
        self._table = NameTable(max_names)
        self._kept: deque[dict[str, Any]] = deque()
        agent.register_feed(FEED, record=True, buffer_time=NEVER)
        agent.register_feed(COUNTERS_FEED, record=True)
        agent.register_feed(EVENTS_FEED)

    @property
    def names_refused(self) -> int:
        """Streams, subscribers and servers without fields, as there was no room for their names."""
        return self._table.refused

    def tell(self, events: Sequence[Event], offset: float, counters: Counters) -> None:
        """Publish what was told, or keep it while there is no connection; the oldest go first.

        Args:
            events: what was told.
            offset: UNIX time minus the clock of the events [s].
            counters: must know :data:`socs.counters.TANGO_MONITOR`.
        """
        for event in events:
            row = event.row()
            self._kept.append({**row, "timestamp": row.pop("time") + offset})
        while len(self._kept) > MAX_KEPT:
            self._kept.popleft()
            counters.add("tells_unpublished")
        while self._kept and self._agent.is_attached():
            self._agent.publish_to_feed(EVENTS_FEED, self._kept.popleft())

    def update(self, view: Mapping[str, Any], numbers: Mapping[str, int], now: float) -> bool:
        """Once a poll; False if there is no connection, and so no points of it.

        Args:
            view: tables ``streams``, ``reconciliation`` and ``performance`` of the tracker, and in
                ``rows_left_out`` how many more rows each has.
            numbers: all counters by name.
            now: UNIX time [s].
        """
        if not self._agent.is_attached():
            return False
        blocks = {"totals": [Field(name, float(numbers[name]), {}) for name in TOTALS]}
        blocks["totals"].append(Field("fieldless_names", float(self.names_refused), {}))
        left_out = sum(view["rows_left_out"].values())
        blocks["totals"].append(Field("rows_left_out", float(left_out), {}))
        blocks |= self._blocks(view)
        for name, fields in blocks.items():
            self._agent.publish_to_feed(FEED, _message(name, fields, now))
        self._agent.feeds[FEED].flush_buffer()
        values = [Field(name, float(value), {}) for name, value in numbers.items()]
        self._agent.publish_to_feed(COUNTERS_FEED, _message(COUNTERS_FEED, values, now))
        return True

    def _blocks(self, view: Mapping[str, Any]) -> dict[str, list[Field]]:
        """A block for each thing that has a name, and of which something is known now."""
        streams = {_stream(row): row for row in view["streams"]}
        links = {_link(row): row for row in view["reconciliation"]}
        servers = {_times(row): row for row in view["performance"] if not row["attribute"]}
        # By turns: no table takes the room of the others.
        turns = zip_longest(streams, links, servers)
        self._table.take(words for turn in turns for words in turn if words is not None)
        found: dict[str, list[Field]] = {}
        for words, row in streams.items():
            if row["publisher_state"] in KNOWN and (name := self._table.name(*words)):
                tags = self._tags(name, row, "stream", "publisher")
                found[name] = _fields(name, row, ("rate", "published"), tags)
        for words, row in links.items():
            if row["subscriber_state"] in KNOWN and (name := self._table.name(*words)):
                tags = self._tags(name, row, "stream", "subscriber")
                wanted = ("rate", "received", "lost", "behind", "missed")
                found[name] = _fields(name, row, wanted, tags)
        for words, row in servers.items():
            if name := self._table.name(*words):
                tags = self._tags(name, row, "server")
                found |= {f"{name}_{kind}": each for kind, each in _percentiles(name, row, tags)}
        return found

    def _tags(self, name: str, row: Mapping[str, Any], *keys: str) -> dict[str, str]:
        """The names in a row; with their databases if another one is called the same without."""
        if name in self._table.with_digits:
            return {key: row[key] for key in keys}
        return {key: _path(row[key]) for key in keys}


def _stream(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (row["stream"],)


def _link(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["stream"], " to ", row["subscriber"]


def _times(row: Mapping[str, Any]) -> tuple[str, ...]:
    return "times of ", row["server"]


def _percentiles(
    name: str, row: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[tuple[str, list[Field]]]:
    """What a server measured in the last poll: it may measure some of it only."""
    for kind in TIMES:
        latest = row["latest"][kind]
        if latest["count"]:
            times = {f"{kind}_{each}": latest[each] for each in PERCENTILES}
            yield kind, _fields(name, times, [*times], tags)


def _path(name: str) -> str:
    """A name without its database."""
    return name.partition("://")[2].partition("/")[2] if "://" in name else name


def _fields(
    name: str, row: Mapping[str, Any], wanted: Sequence[str], tags: Mapping[str, str]
) -> list[Field]:
    return [Field(f"{name}_{each}", float(row[each]), {**tags, "_field": each}) for each in wanted]


def _message(name: str, fields: Sequence[Field], now: float) -> dict[str, Any]:
    """A message of a recorded feed; with tags for InfluxDB if all fields have some."""
    message: dict[str, Any] = {
        "block_name": name,
        "timestamp": now,
        "data": {field.name: field.value for field in fields},
    }
    if all(field.tags for field in fields):
        message["influxdb_tags"] = {field.name: {**field.tags} for field in fields}
    return message
