"""Sequence numbers of all publishers: what was lost, doubled, late, and who began again.

Each ``Publisher`` object of pysmurf numbers its messages from 0 and has a socket of its own.
Several objects with the same (host, id, script), a *stream* here, can be alive at once. They are
told apart by the address they send from, and each is followed by a
:class:`~socs.pysmurf.sequence.Publisher`.

Numbers below the first one ever heard of an object count as ``joined_late``, not as lost: nobody
knows whether this program ran when they were sent. From then on gaps are exact, also over a restart
of this program, if the state is saved together with what was received.

A new address with number 0 is a new object. With a higher number it may be a known object behind a
relay or NAT that has changed its port. It is taken for the object of the same stream that expects
this number, or the nearest lower one within :data:`~socs.pysmurf.limits.CONTINUES_WITHIN`. When one
of the two addresses later sends what cannot be of the same object, this is taken back.

What cannot be known: objects of one stream that send at the same time through one relay look like
restarts. Numbers that a publisher used for messages it could not send (too large, not JSON) count
as lost: nothing of them arrived. Losses at the end are seen when the object sends again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from socs.pysmurf.limits import (
    FORGET_AFTER,
    LOOK_FOR_ROOM_EVERY,
    MAX_GAPS,
    MAX_PUBLISHERS,
    MAX_STREAMS,
    MAX_TOTAL,
)
from socs.pysmurf.sequence import Place, Publisher, SavedPublisher


class Numbered(Protocol):
    """What of a message is looked at; :class:`socs.pysmurf.decode.Message` has it."""

    @property
    def host(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def script(self) -> str: ...
    @property
    def time(self) -> float | None: ...
    @property
    def seq_no(self) -> int: ...


class Arrival(NamedTuple):
    """What one message told. ``lost`` and ``joined_late`` are changes, -1 for a late arrival."""

    duplicate: bool = False
    late: bool = False
    restart: bool = False
    lost: int = 0
    joined_late: int = 0


IN_ORDER = Arrival()
DUPLICATE = Arrival(duplicate=True)


class _Stream:
    """The publisher objects of one (host, id, script), by the address they send from."""

    __slots__ = ("counts", "heard", "key", "publishers", "received")

    def __init__(self, key: tuple[str, str, str], now: float) -> None:
        self.key = key
        self.publishers: dict[str, Publisher] = {}
        self.received = 0
        self.heard = now
        self.counts = dict.fromkeys(_STREAM_COUNTS, 0)


# the counter of each field of an Arrival
_STREAM_COUNTS = (
    "message_duplicate",
    "sequence_late",
    "publisher_restarts",
    "sequence_lost",
    "joined_late",
)


class _SavedStream(msgspec.Struct, array_like=True):
    key: tuple[str, str, str]
    received: int
    heard: float
    counts: dict[str, int]
    publishers: list[SavedPublisher]


_encode_stream = msgspec.msgpack.Encoder().encode
_decode_stream = msgspec.msgpack.Decoder(_SavedStream).decode


class SequenceTracker:
    """Follows the sequence numbers of all publishers.

    Args:
        limit_streams: streams followed; messages of further ones are counted as
            ``streams_refused``, unless a stream has been silent for
            :data:`~socs.pysmurf.limits.FORGET_AFTER` and makes room (``streams_forgotten``).
        limit_publishers: objects remembered for one stream; beyond it the one that has been silent
            for longest is forgotten (``publishers_forgotten``) and would join late again.
        limit_gaps: gaps known exactly for one object; see :meth:`Publisher.limit_gaps`.
    """

    def __init__(
        self,
        limit_streams: int = MAX_STREAMS,
        limit_publishers: int = MAX_PUBLISHERS,
        limit_gaps: int = MAX_GAPS,
    ) -> None:
        self._limits = limit_streams, limit_publishers, limit_gaps
        self._streams: dict[tuple[str, str, str], _Stream] = {}
        self._changed: set[_Stream] = set()
        self._forgotten: set[str] = set()
        self._looked_for_room = -math.inf
        self._counts = dict.fromkeys(_STREAM_COUNTS, 0) | dict.fromkeys(
            (
                "streams_refused",
                "streams_forgotten",
                "publishers_forgotten",
                "states_unreadable",
                "messages_unnumbered",
            ),
            0,
        )

    def feed(self, message: Numbered, *, sender: str, now: float) -> Arrival:
        """Follow one message that came from address ``sender`` at UNIX time ``now`` [s].

        A message without number or time cannot be followed (``messages_unnumbered``).
        """
        number, time = message.seq_no, message.time
        if number < 0 or time is None:
            self._counts["messages_unnumbered"] += 1
            return IN_ORDER
        key = (message.host, message.id, message.script)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._new_stream(key, now)
            if stream is None:
                self._counts["streams_refused"] += 1
                return IN_ORDER
        stream.received += 1
        stream.heard = now
        self._changed.add(stream)
        publisher = stream.publishers.get(sender)
        if publisher is None:
            arrival = self._from_new_address(stream, sender, number, time, now)
        elif number == publisher.expected and time >= publisher.last_time:
            publisher.accept(number, time)
            publisher.heard = now
            return IN_ORDER
        else:
            publisher.heard = now
            arrival = self._out_of_order(stream, publisher, number, time, now)
        if arrival is not IN_ORDER:
            self._count(stream, arrival)
        return arrival

    def _out_of_order(
        self, stream: _Stream, publisher: Publisher, number: int, time: float, now: float
    ) -> Arrival:
        owner = publisher
        if publisher.is_of_previous(number, time) and publisher.previous is not None:
            owner = publisher.previous
        place = owner.place(number, time)
        if place == "known":
            return DUPLICATE
        if place == "forgotten":
            return IN_ORDER
        if place != "reused":
            return self._accepted(owner, number, time, place)
        if owner.origin is not None and number < owner.origin.expected and time <= owner.last_time:
            lost, joined_late = self._part(stream, owner)
            more = owner.accept(number, time)
            return Arrival(False, True, True, lost + more[0], joined_late + more[1])
        if owner is not publisher:
            return IN_ORDER  # of an object that is gone; nothing is known of this number
        fresh = Publisher(publisher.sender, number, time, now)
        fresh.previous, publisher.previous = publisher, None
        stream.publishers[publisher.sender] = fresh
        return Arrival(restart=True, joined_late=number)

    def _from_new_address(
        self, stream: _Stream, sender: str, number: int, time: float, now: float
    ) -> Arrival:
        for active in stream.publishers.values():
            heir = active.heir_of(sender)
            if heir is None:
                continue
            if active.may_continue(number, time):
                return self._continue(stream, Publisher(sender, number, time, now, active))
            return self._from_old_address(stream, heir, number, time, now)
        near = [p for p in stream.publishers.values() if number and p.may_continue(number, time)]
        if near:
            origin = max(near, key=lambda publisher: (publisher.expected, publisher.heard))
            return self._continue(stream, Publisher(sender, number, time, now, origin))
        restart = bool(stream.publishers)
        self._add(stream, Publisher(sender, number, time, now))
        return Arrival(restart=restart, joined_late=number)

    def _continue(self, stream: _Stream, heir: Publisher) -> Arrival:
        """``heir`` seems to be its origin, which has changed its address."""
        origin = heir.origin
        assert origin is not None
        del stream.publishers[origin.sender]
        self._add(stream, heir)
        return Arrival(lost=heir.claimed_at[0] - origin.expected)

    def _from_old_address(
        self, stream: _Stream, heir: Publisher, number: int, time: float, now: float
    ) -> Arrival:
        """From an address that seemed to have been given up for the one of ``heir``."""
        origin = heir.origin
        assert origin is not None
        before = number < heir.claimed_at[0] and time <= heir.claimed_at[1]
        place = heir.place(number, time)
        if place == "known":
            return DUPLICATE
        if place == "forgotten":
            return IN_ORDER
        if before and place == "missing":
            return self._accepted(heir, number, time, place)
        if number < origin.expected:
            self._add(stream, Publisher(origin.sender, number, time, now))
            return Arrival(restart=True, joined_late=number)
        lost, joined_late = self._part(stream, heir)
        origin.heard = now
        arrival = self._out_of_order(stream, origin, number, time, now)
        return arrival._replace(
            restart=True,
            lost=arrival.lost + lost,
            joined_late=arrival.joined_late + joined_late,
        )

    def _part(self, stream: _Stream, heir: Publisher) -> tuple[int, int]:
        """``heir`` and its origin are two objects."""
        origin = heir.origin
        assert origin is not None
        if origin.sender not in stream.publishers:
            self._add(stream, origin)
        return heir.stand_alone()

    def _accepted(self, owner: Publisher, number: int, time: float, place: Place) -> Arrival:
        lost, joined_late = owner.accept(number, time)
        owner.limit_gaps(self._limits[2])
        return Arrival(late=place == "missing", lost=lost, joined_late=joined_late)

    def _add(self, stream: _Stream, publisher: Publisher) -> None:
        stream.publishers[publisher.sender] = publisher
        if len(stream.publishers) > self._limits[1]:
            oldest = min(stream.publishers.values(), key=lambda publisher: publisher.heard)
            del stream.publishers[oldest.sender]
            self._counts["publishers_forgotten"] += 1

    def _count(self, stream: _Stream, arrival: Arrival) -> None:
        for name, change in zip(_STREAM_COUNTS, arrival, strict=True):
            for counts in (stream.counts, self._counts):
                counts[name] = max(0, min(counts[name] + change, MAX_TOTAL))

    def _new_stream(self, key: tuple[str, str, str], now: float) -> _Stream | None:
        if len(self._streams) >= self._limits[0]:
            if 0 <= now - self._looked_for_room < LOOK_FOR_ROOM_EVERY:
                return None
            self._looked_for_room = now
            silent = [s for s in self._streams.values() if now - s.heard > FORGET_AFTER]
            if not silent:
                return None
            for stream in silent:
                del self._streams[stream.key]
                self._changed.discard(stream)
                self._forgotten.add(_name(stream.key))
            self._counts["streams_forgotten"] += len(silent)
        stream = self._streams[key] = _Stream(key, now)
        return stream

    # -- numbers, and state that outlives the process ---------------------------------------------

    def totals(self) -> dict[str, int]:
        """Counts by counter name (:mod:`socs.counters`), with restored ones, and ``streams``."""
        return self._counts | {"streams": len(self._streams)}

    def report(self, max_rows: int) -> list[dict[str, Any]]:
        """A row for each stream, most losses first; fit for JSON. ``heard``: UNIX time [s]."""
        worst = sorted(self._streams.values(), key=lambda s: (-s.counts["sequence_lost"], -s.heard))
        return [
            {
                **dict(zip(("host", "id", "script"), stream.key, strict=True)),
                **stream.counts,
                "received": stream.received,
                "publishers": len(stream.publishers),
                "heard": stream.heard,
            }
            for stream in worst[:max_rows]
        ]

    def take_changes(self) -> dict[str, bytes]:
        """State of the streams that changed since the last call; empty for forgotten ones."""
        changes = dict.fromkeys(self._forgotten, b"")
        changes |= {_name(stream.key): _saved(stream) for stream in self._changed}
        self._changed.clear()
        self._forgotten.clear()
        return changes

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Take over all that :meth:`take_changes` ever gave, the last state of each stream."""
        for state in filter(None, states.values()):
            try:
                stream = _restored(_decode_stream(state))
            except (msgspec.DecodeError, ValueError):
                self._counts["states_unreadable"] += 1
                continue
            self._streams[stream.key] = stream
            for name, count in stream.counts.items():
                self._counts[name] += count


def _name(key: tuple[str, str, str]) -> str:
    return msgspec.json.encode(key).decode()


def _saved(stream: _Stream) -> bytes:
    publishers = [publisher.saved() for publisher in stream.publishers.values()]
    return _encode_stream(
        _SavedStream(stream.key, stream.received, stream.heard, stream.counts, publishers)
    )


def _restored(saved: _SavedStream) -> _Stream:
    stream = _Stream(saved.key, saved.heard)
    stream.received = saved.received
    stream.counts |= {name: saved.counts.get(name, 0) for name in _STREAM_COUNTS}
    stream.publishers = {p.sender: Publisher.restored(p) for p in saved.publishers}
    return stream
