"""Replies of ``QueryEventSystem`` as typed snapshots.

Two dialects are understood: that of stock Tango from 10.1 on (``"version": 1``), and the one of
servers built with the patches for 9.5 that SKA made before (no ``version``, other keys). The
invariant: any text or bytes either decode or raise :class:`~socs.errors.PeerError`.

Keys that are not known here are kept, because versions may add some. Patched servers fill in what
is no value, and it becomes None or "" here: -1 for no time, the lowest long for no latency, the
year 1970 for no confirmation, and for the name of an attribute whatever was in memory, even if the
reply is no JSON by that.

A reply of stock Tango with no other keys than those known is read in one go; all others are read
key by key, with the same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable as Function
from collections.abc import Collection, Sized
from typing import Any, TypeVar

import msgspec

from socs.errors import Malformed, TooLarge
from socs.tango import wire
from socs.tango.limits import MAX_DIGITS, MAX_ENTRIES, MAX_NAME, MAX_REPLY, MAX_SAMPLES
from socs.tango.names import EventName, parse_event, parse_server, parse_time
from socs.tango.snapshot import Callback, NotConnected, Push, Snapshot, Subscription

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

CAUSES = ("reply_malformed", "reply_too_large", "version_unknown")
STOCK = "1"
PATCHED = "ska-9.5"
_LIST_KEYS = {STOCK: "perf", PATCHED: "perf_stats"}

_NO_LATENCY = (-(2**63), -(2**31))  # the lowest long of 64 and 32 bits


_RENAMED = {
    "first_callback_lactency_micros": "first_callback_latency_micros",
    "att_name": "attr_name",
}

_read_any = msgspec.json.Decoder().decode
_read_stock = msgspec.json.Decoder(wire.Stock).decode


def decode(text: str | bytes) -> Snapshot:
    """The snapshot in ``text``, a reply of ``QueryEventSystem``.

    Raises:
        PeerError: with ``cause`` one of `CAUSES`.
    """
    data, mended = _bytes(text)
    try:
        stock = _read_stock(data)
    except (msgspec.DecodeError, RecursionError):
        return _any_snapshot(data, mended)
    return _stock_snapshot(stock, mended)


def _stock_snapshot(stock: wire.Stock, mended: int) -> Snapshot:
    reading = _Reading(STOCK)
    if (server := stock.server) is not None:
        _limit_samples(server.perf or ())
        reading.count(server.event_counters, server.perf or ())
        reading.publish(server.event_counters)
        if server.perf is not None:
            reading.pushes = tuple(_push(sample, {}) for sample in server.perf)
    if (client := stock.client) is not None:
        callbacks, channels = client.event_callbacks, client.event_channels
        _limit_samples(client.perf or ())
        reading.count(callbacks, client.not_connected, channels, client.perf or ())
        for text, entry in callbacks.items():
            reading.subscribe(text, entry, {})
        for lacking in client.not_connected:
            reading.lack(lacking, {})
        for admin, channel in channels.items():
            reading.connect(admin, channel)
        if client.perf is not None:
            reading.callbacks = tuple(_callback(sample, {}) for sample in client.perf)
    return reading.snapshot(mended, {})


def _any_snapshot(data: bytes, mended: int) -> Snapshot:
    tree, more = _tree(data)
    top, extra = _typed(tree, wire.Top)
    reading = _Reading(_dialect(tree, top))
    if top.server is not None:
        reading.server(top.server)
    if top.client is not None:
        reading.client(top.client)
    return reading.snapshot(mended + more, extra)


def _dialect(tree: dict[str, Any], top: wire.Top) -> str:
    if "version" not in tree:
        if top.server is None and top.client is None and tree:
            raise Malformed("neither server nor client is told", "reply_malformed")
        return PATCHED
    if type(top.version) is int and top.version == 1:
        return STOCK
    shown = ascii(top.version)[:40]
    raise Malformed(f"version {shown} of the reply is not known here, only 1", "version_unknown")


class _Reading:
    """What was read of one reply so far."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._entries = 0
        self.published: dict[EventName, int] = {}
        self.subscriptions: dict[EventName, Subscription] = {}
        self.not_connected: list[NotConnected] = []
        self.channels: dict[str, str] = {}
        self.pushes: tuple[Push, ...] | None = None
        self.callbacks: tuple[Callback, ...] | None = None
        self.unreadable = 0
        self.repeated = 0
        self.extra: dict[str, Any] = {}

    def snapshot(self, mended: int, extra: dict[str, Any]) -> Snapshot:
        """All that was read."""
        return Snapshot(
            self._dialect,
            self.published,
            self.subscriptions,
            tuple(self.not_connected),
            self.channels,
            self.pushes,
            self.callbacks,
            self.unreadable,
            self.repeated,
            mended,
            extra | self.extra,
        )

    # -- key by key -------------------------------------------------------------------------------

    def server(self, tree: dict[str, Any]) -> None:
        """Read what is told of publishing."""
        samples = self._samples(tree)
        part = self._part(tree, wire.Server, "server")
        self.publish(part.event_counters)
        if samples is not None:
            self.pushes = tuple(_push(*_typed(sample, wire.Push)) for sample in samples)

    def client(self, tree: dict[str, Any]) -> None:
        """Read what is told of subscriptions."""
        samples = self._samples(tree)
        part = self._part(tree, wire.Client, "client")
        for text, entry in part.event_callbacks.items():
            self.subscribe(text, *_typed(entry, wire.Entry))
        for lacking in part.not_connected:
            self.lack(*_typed(lacking, wire.Lacking))
        for admin, channel in part.event_channels.items():
            self.connect(admin, _typed(channel, wire.Channel)[0])
        if samples is not None:
            self.callbacks = tuple(map(_any_callback, samples))

    def _part(self, tree: dict[str, Any], kind: type[S], name: str) -> S:
        """The typed part of ``tree``; keeps keys not known as ``name.key``."""
        self.count(*(value for value in tree.values() if isinstance(value, dict | list)))
        part, extra = _typed(tree, kind)
        extra.pop(_LIST_KEYS[self._dialect], None)
        self.extra |= {f"{name}.{key}": value for key, value in extra.items()}
        return part

    def _samples(self, tree: dict[str, Any]) -> list[dict[str, Any]] | None:
        samples = tree.get(_LIST_KEYS[self._dialect])
        if isinstance(samples, list):
            _limit_samples(samples)
        listed: list[dict[str, Any]] | None = _convert(samples, list[dict[str, Any]] | None)
        return listed

    # -- what was typed ---------------------------------------------------------------------------

    def count(self, *parts: Collection[Any]) -> None:
        """Count the entries of parts of the reply."""
        self._entries += sum(map(len, parts))
        if self._entries > MAX_ENTRIES:
            raise TooLarge(f"more than {MAX_ENTRIES} entries in one reply", "reply_too_large")

    def publish(self, counters: dict[str, int]) -> None:
        """Take the next numbers of streams."""
        for text, number in counters.items():
            if name := self._named(parse_event, text):
                self.repeated += name in self.published
                self.published[name] = number % 2**32

    def subscribe(self, text: str, entry: wire.Entry, extra: dict[str, Any]) -> None:
        """Take a subscription, if its name makes sense."""
        if name := self._named(parse_event, text):
            self.repeated += name in self.subscriptions
            self.subscriptions[name] = Subscription(
                name,
                self._named(parse_server, entry.channel_name),
                entry.callback_count,
                entry.server_counter % 2**32,
                entry.event_count,
                entry.missed_event_count,
                entry.discarded_event_count,
                _time(entry.last_resubscribed),
                extra,
            )

    def lack(self, lacking: wire.Lacking, extra: dict[str, Any]) -> None:
        """Take a subscription that is not connected, if its name makes sense."""
        host = (lacking.tango_host or "").rstrip("/")
        path = "/".join(filter(None, (host, lacking.device, lacking.attribute)))
        if name := self._named(parse_event, f"{path}.{lacking.event_type}"):
            self.not_connected.append(NotConnected(name, _time(lacking.last_heartbeat), extra))

    def connect(self, admin: str, channel: wire.Channel) -> None:
        """Take the heartbeat endpoint of a publisher, if its name makes sense."""
        if server := self._named(parse_server, admin):
            self.channels[str(server)] = channel.endpoint

    def _named(self, parse: Function[[str], T], text: str) -> T | None:
        try:
            return parse(text)
        except Malformed:
            self.unreadable += 1
            return None


def _limit_samples(samples: Sized) -> None:
    if len(samples) > MAX_SAMPLES:
        raise TooLarge(f"more than {MAX_SAMPLES} samples in one reply", "reply_too_large")


def _push(sample: wire.Push, extra: dict[str, Any]) -> Push:
    return Push(_duration(sample.micros_since_last_event), max(0, sample.push_event_micros), extra)


def _any_callback(tree: dict[str, Any]) -> Callback:
    if tree.keys() & _RENAMED.keys():
        tree = {_RENAMED.get(key, key): value for key, value in tree.items()}
    return _callback(*_typed(tree, wire.Callback))


def _callback(sample: wire.Callback, extra: dict[str, Any]) -> Callback:
    latency, name = sample.first_callback_latency_micros, sample.attr_name or ""
    name = name.lower().replace("#dbase=no", "")
    return Callback(
        name if _ATTRIBUTE.fullmatch(name) else "",
        _duration(sample.micros_since_last_event),
        max(0, sample.sleep_micros),
        sample.wake_count,
        max(0, sample.process_micros),
        None if latency in _NO_LATENCY else latency,
        sample.callback_count,
        sample.discarded,
        extra,
    )


def _duration(micros: int | None) -> int | None:
    return None if micros is None or micros < 0 else micros


def _time(text: str | None) -> float | None:
    try:
        return parse_time(text)
    except Malformed as error:
        raise Malformed(str(error), "reply_malformed") from None


# -- the one border where errors of JSON become ours ----------------------------------------------


def _convert(tree: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(tree, kind)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise Malformed(str(error), "reply_malformed") from None


def _typed(tree: dict[str, Any], kind: type[S]) -> tuple[S, dict[str, Any]]:
    """``tree`` as ``kind``, and its other keys."""
    known = kind.__struct_fields__
    return _convert(tree, kind), {key: value for key, value in tree.items() if key not in known}


def _bytes(text: str | bytes) -> tuple[bytes, int]:
    """UTF-8 of ``text``, and 1 if something had to be replaced for that.

    Raises:
        TooLarge: larger than :data:`MAX_REPLY`, or with a number of more than `MAX_DIGITS`.
    """
    if len(text) > MAX_REPLY:
        raise TooLarge(f"a reply of {len(text)} bytes", "reply_too_large")
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    good = data.decode("utf-8", "replace").encode()
    if _LONG_NUMBER.search(good):
        raise TooLarge(f"a number of more than {MAX_DIGITS} digits", "reply_too_large")
    replaced = good != data or (isinstance(text, str) and data.decode() != text)
    return good, int(replaced)


_ATTRIBUTE = re.compile(rf"[!#-\[\]-~]{{0,{MAX_NAME}}}")  # printable ASCII, but for blank, " and \
_LONG_NUMBER = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS + 1))
_GARBAGE = re.compile(rb'("att_name"\s*:\s*)".{0,256}?"(?=\s*(?:,\s*"\w+"\s*:|\}))', re.DOTALL)


def _tree(data: bytes) -> tuple[dict[str, Any], int]:
    """The object in ``data``, and how many names of attributes had to be taken out for that."""
    mended = 0
    try:
        try:
            tree = _read_any(data)
        except msgspec.DecodeError:
            if b'"att_name"' not in data:
                raise
            data, mended = _GARBAGE.subn(rb'\1""', data)
            tree = _read_any(data)
    except RecursionError:
        raise TooLarge("nested too deep", "reply_too_large") from None
    except (msgspec.DecodeError, ValueError, OverflowError) as error:
        raise Malformed(str(error), "reply_malformed") from None
    if not isinstance(tree, dict):
        raise Malformed("no JSON object", "reply_malformed")
    return tree, mended
