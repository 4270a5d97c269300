"""Replies of ``QueryEventSystem`` as typed snapshots.

Two dialects are understood: that of stock Tango from 10.1 on (``"version": 1``), and the one of
servers built with the patches for 9.5 that SKA made before (no ``version``, other keys). The
invariant: any text or bytes either decode or raise :class:`~socs.errors.PeerError`.

Keys that are not known here are kept, because versions may add some. Patched servers fill in what
is no value, and it becomes None or "" here: -1 for no time, the lowest long for no latency, the
year 1970 for no confirmation, and for the name of an attribute whatever was in memory, even if the
reply is no JSON by that.
"""

from __future__ import annotations

import re
from collections.abc import Callable as Function
from typing import Annotated, Any, TypeVar

import msgspec

from socs.errors import Malformed, TooLarge
from socs.tango.limits import MAX_DIGITS, MAX_ENTRIES, MAX_NAME, MAX_REPLY, MAX_SAMPLES
from socs.tango.names import EventName, parse_event, parse_server, parse_time
from socs.tango.snapshot import Callback, NotConnected, Push, Snapshot, Subscription

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

CAUSES = ("reply_malformed", "reply_too_large", "version_unknown")
STOCK = "1"
PATCHED = "ska-9.5"
_LIST_KEYS = {STOCK: "perf", PATCHED: "perf_stats"}

_Count = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**63 - 1)]  # 32 bits may come with a sign
_Micros = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
_NO_LATENCY = (-(2**63), -(2**31))  # the lowest long of 64 and 32 bits


# -- what the wire holds; a key that is missing here goes to ``extra`` ----------------------------


class _Top(msgspec.Struct):
    server: dict[str, Any] | None = None
    client: dict[str, Any] | None = None
    version: Any = None


class _Server(msgspec.Struct):
    event_counters: dict[str, _Count] = {}


class _Client(msgspec.Struct):
    event_callbacks: dict[str, dict[str, Any]] = {}
    not_connected: list[dict[str, Any]] = []
    event_channels: dict[str, dict[str, Any]] = {}


class _Entry(msgspec.Struct):
    server_counter: _Count
    event_count: _Count
    missed_event_count: _Count
    channel_name: _Name = ""
    callback_count: _Count = 0
    discarded_event_count: _Count | None = None
    last_resubscribed: str | None = None


class _Lacking(msgspec.Struct):
    device: _Name
    attribute: _Name | None = ""
    event_type: _Name = ""
    last_heartbeat: str | None = None
    tango_host: _Name | None = None


class _Channel(msgspec.Struct):
    endpoint: _Name = ""


class _Push(msgspec.Struct):
    push_event_micros: _Micros
    micros_since_last_event: _Micros | None = None


class _Callback(msgspec.Struct):
    process_micros: _Micros
    sleep_micros: _Micros = 0
    wake_count: _Count = 0
    callback_count: _Count = 0
    micros_since_last_event: _Micros | None = None
    first_callback_latency_micros: _Micros | None = None
    attr_name: str | None = ""
    discarded: bool | None = None


_RENAMED = {
    "first_callback_lactency_micros": "first_callback_latency_micros",
    "att_name": "attr_name",
}

_read_any = msgspec.json.Decoder().decode


def decode(text: str | bytes) -> Snapshot:
    """The snapshot in ``text``, a reply of ``QueryEventSystem``.

    Raises:
        PeerError: with ``cause`` one of `CAUSES`.
    """
    data, mended = _bytes(text)
    tree, more = _tree(data)
    top, extra = _typed(tree, _Top)
    dialect = _dialect(tree, top)
    reading = _Reading(dialect)
    if top.server is not None:
        reading.server(top.server)
    if top.client is not None:
        reading.client(top.client)
    return Snapshot(
        dialect,
        reading.published,
        reading.subscriptions,
        tuple(reading.not_connected),
        reading.channels,
        reading.pushes,
        reading.callbacks,
        reading.unreadable,
        reading.repeated,
        mended + more,
        extra | reading.extra,
    )


def _dialect(tree: dict[str, Any], top: _Top) -> str:
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

    def server(self, tree: dict[str, Any]) -> None:
        """Read what is told of publishing."""
        samples = self._samples(tree)
        part, extra = self._part(tree, _Server, "server")
        self.extra |= extra
        for text, number in part.event_counters.items():
            if name := self._named(parse_event, text):
                self.repeated += name in self.published
                self.published[name] = number % 2**32
        if samples is not None:
            self.pushes = tuple(map(_push, samples))

    def client(self, tree: dict[str, Any]) -> None:
        """Read what is told of subscriptions."""
        samples = self._samples(tree)
        part, extra = self._part(tree, _Client, "client")
        self.extra |= extra
        for text, entry in part.event_callbacks.items():
            if name := self._named(parse_event, text):
                self.repeated += name in self.subscriptions
                self.subscriptions[name] = self._subscription(name, entry)
        for lacking in part.not_connected:
            self._add_not_connected(lacking)
        for admin, channel in part.event_channels.items():
            if server := self._named(parse_server, admin):
                self.channels[str(server)] = _typed(channel, _Channel)[0].endpoint
        if samples is not None:
            self.callbacks = tuple(map(_callback, samples))

    def _part(self, tree: dict[str, Any], kind: type[S], name: str) -> tuple[S, dict[str, Any]]:
        """The typed part of ``tree``, and keys not known as ``name.key``; counts its entries."""
        told = (value for value in tree.values() if isinstance(value, dict | list))
        self._entries += sum(map(len, told))
        if self._entries > MAX_ENTRIES:
            raise TooLarge(f"more than {MAX_ENTRIES} entries in one reply", "reply_too_large")
        part, extra = _typed(tree, kind)
        extra.pop(_LIST_KEYS[self._dialect], None)
        return part, {f"{name}.{key}": value for key, value in extra.items()}

    def _samples(self, tree: dict[str, Any]) -> list[dict[str, Any]] | None:
        samples = tree.get(_LIST_KEYS[self._dialect])
        if isinstance(samples, list) and len(samples) > MAX_SAMPLES:
            raise TooLarge(f"more than {MAX_SAMPLES} samples in one reply", "reply_too_large")
        listed: list[dict[str, Any]] | None = _convert(samples, list[dict[str, Any]] | None)
        return listed

    def _named(self, parse: Function[[str], T], text: str) -> T | None:
        try:
            return parse(text)
        except Malformed:
            self.unreadable += 1
            return None

    def _subscription(self, name: EventName, tree: dict[str, Any]) -> Subscription:
        entry, extra = _typed(tree, _Entry)
        return Subscription(
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

    def _add_not_connected(self, tree: dict[str, Any]) -> None:
        lacking, extra = _typed(tree, _Lacking)
        host = (lacking.tango_host or "").rstrip("/")
        path = "/".join(filter(None, (host, lacking.device, lacking.attribute)))
        if name := self._named(parse_event, f"{path}.{lacking.event_type}"):
            self.not_connected.append(NotConnected(name, _time(lacking.last_heartbeat), extra))


def _push(tree: dict[str, Any]) -> Push:
    sample, extra = _typed(tree, _Push)
    return Push(_duration(sample.micros_since_last_event), max(0, sample.push_event_micros), extra)


def _callback(tree: dict[str, Any]) -> Callback:
    if tree.keys() & _RENAMED.keys():
        tree = {_RENAMED.get(key, key): value for key, value in tree.items()}
    sample, extra = _typed(tree, _Callback)
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
