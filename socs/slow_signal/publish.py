"""Readouts as ZMQ messages, one frame each, on any number of PUB sockets at once.

A publisher never waits. Each subscriber has a queue of ``high_water_mark`` messages; once it is
full ZMQ drops what comes for that subscriber, and for no other, until half of it has been read. It
does not tell how many messages that were, only that a queue is full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from socs.closing import Closing
from socs.errors import ConfigError
from socs.slow_signal.layout import Readouts
from socs.slow_signal.readout import DEFAULT_MESSAGE, message_dtype, pack_many

LOCAL, OUTBOUND, REMOTE = "local", "outbound", "remote"
MODES = (LOCAL, OUTBOUND, REMOTE)
HIGH_WATER_MARK = 1000  # messages, as ZMQ has it; 17 MB for each subscriber
MAX_HIGH_WATER_MARK = 2**31 - 1  # messages; what ZMQ can count
LINGER = 500  # ms that messages may take to leave when a socket is closed
_NUMBERS = ("port", "high_water_mark")  # keys in YAML; the others are text


@dataclass(frozen=True)
class PublisherSettings:
    """One publisher.

    Attributes:
        name: unique among those of a builder.
        ip: IPv4 address: to publish at, or with ``remote`` to send to.
        port: TCP port; 0 takes a free one, but not with ``remote``.
        mode: ``local`` and ``outbound`` wait for subscribers at ``ip``, an interface of this
            machine; ``remote`` connects to ``ip``, where a subscriber waits.
        layout: of the messages: ``seed`` (16 912 bytes) or ``ssdaq`` (16 416 bytes).
        high_water_mark: messages that may wait for a subscriber.

    Raises:
        ConfigError: a value is wrong; the message names the publisher and the key.
    """

    name: str
    ip: str
    port: int
    mode: str = LOCAL
    layout: str = DEFAULT_MESSAGE
    high_water_mark: int = HIGH_WATER_MARK

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(
                f"publisher {self.name}: mode {self.mode!r} is none of {', '.join(MODES)}"
            )
        if not 0 <= self.port <= 65_535 or (self.mode == REMOTE and self.port == 0):
            raise ConfigError(f"publisher {self.name}: port {self.port} is none")
        if not 1 <= self.high_water_mark <= MAX_HIGH_WATER_MARK:
            raise ConfigError(
                f"publisher {self.name}: high_water_mark must be from 1 to {MAX_HIGH_WATER_MARK}"
            )
        message_dtype(self.layout)


class Publisher(Closing):
    """One PUB socket. For one thread.

    Args:
        settings: what to do.
        context: of ZMQ; the process's own if omitted.

    Attributes:
        endpoint: where it publishes, as ``tcp://ip:port``.
        published: readouts given to ZMQ.
        overflows: times that a subscriber's queue was found full, and it began to lose readouts.

    Raises:
        ConfigError: the address cannot be used; the message names publisher and address.
    """

    def __init__(
        self, settings: PublisherSettings, context: zmq.Context[Any] | None = None
    ) -> None:
        self.settings = settings
        self.published = self.overflows = 0
        self._socket = (context or zmq.Context.instance()).socket(zmq.PUB)
        self._socket.set(zmq.SNDHWM, settings.high_water_mark)
        self._socket.set(zmq.LINGER, LINGER)
        self._tell_if_full(True)
        address = f"tcp://{settings.ip}:{settings.port or '*'}"
        try:
            if settings.mode == REMOTE:
                self._socket.connect(address)
                self.endpoint = address
            else:
                self._socket.bind(address)
                self.endpoint = self._socket.get_string(zmq.LAST_ENDPOINT)
        except zmq.ZMQError as error:
            self._socket.close(0)
            doing = "connect to" if settings.mode == REMOTE else "listen on"
            raise ConfigError(
                f"publisher {settings.name}: cannot {doing} {address}: {error.strerror}"
            ) from error

    def _tell_if_full(self, wanted: bool) -> None:
        self._socket.set(zmq.XPUB_NODROP, int(wanted))

    def send(self, messages: Sequence[memoryview]) -> None:
        """Send each message to all subscribers that have room for it; never waits."""
        for message in messages:
            try:
                self._socket.send(message, zmq.DONTWAIT, copy=True)
            except zmq.Again:  # to nobody, because somebody has no room
                self.overflows += 1
                self._tell_if_full(False)
                self._socket.send(message, zmq.DONTWAIT, copy=True)
                self._tell_if_full(True)
            self.published += 1

    def status(self) -> dict[str, Any]:
        """Fit for session data."""
        settings = self.settings
        return {
            "name": settings.name,
            "endpoint": self.endpoint,
            "mode": settings.mode,
            "layout": settings.layout,
            "published": self.published,
            "overflows": self.overflows,
        }

    def close(self) -> None:
        """Close the socket; what is queued still has :data:`LINGER` to leave."""
        self._socket.close()


class Publishers(Closing):
    """All publishers of a builder. For one thread.

    Args:
        settings: of each.
        context: of ZMQ.
        opened: others, which are closed with these.

    Attributes:
        enabled: readouts are published; if not, they are counted as ``withheld``.
        withheld: readouts not published, as it was not enabled.

    Raises:
        ConfigError: two have one name, or one cannot be set up; then none is.
    """

    def __init__(
        self,
        settings: Sequence[PublisherSettings],
        context: zmq.Context[Any] | None = None,
        opened: Sequence[Publisher] = (),
    ) -> None:
        names = [each.name for each in (*settings, *(each.settings for each in opened))]
        if len(set(names)) < len(names):
            raise ConfigError(f"publishers must have different names: {', '.join(names)}")
        self.enabled = True
        self.withheld = 0
        self._publishers: list[Publisher] = []
        try:
            for each in settings:
                self._publishers.append(Publisher(each, context))
        except ConfigError:
            self.close()
            raise
        self._publishers += opened

    def __iter__(self) -> Iterator[Publisher]:
        return iter(self._publishers)

    def publish(self, readouts: Readouts) -> None:
        """Publish ``readouts`` (n,) everywhere."""
        if not self.enabled:
            self.withheld += len(readouts)
            return
        if not len(readouts):
            return
        packed: dict[str, list[memoryview]] = {}
        for publisher in self._publishers:
            layout = publisher.settings.layout
            if layout not in packed:
                packed[layout] = [memoryview(row) for row in pack_many(readouts, layout)]
            publisher.send(packed[layout])

    def numbers(self) -> dict[str, int]:
        """Counters by name (:mod:`socs.counters`)."""
        return {
            "readouts_published": sum(each.published for each in self._publishers),
            "publisher_overflows": sum(each.overflows for each in self._publishers),
            "readouts_withheld": self.withheld,
        }

    def status(self) -> list[dict[str, Any]]:
        """Each publisher, fit for session data."""
        return [each.status() for each in self._publishers]

    def close(self) -> None:
        """Close all sockets."""
        for each in self._publishers:
            each.close()


def publishers_from(config: Mapping[str, Mapping[str, Any]]) -> list[PublisherSettings]:
    """Settings from the YAML section ``ReadoutPublishers``: keys by the publishers' names.

    Raises:
        ConfigError: a key is unknown or missing, or its value wrong; the message names it.
    """
    known = {"ip", "port", "mode", "layout", "high_water_mark"}
    found = []
    for name, keys in config.items():
        if not isinstance(keys, Mapping):
            raise ConfigError(f"ReadoutPublishers: {name} has no keys; it needs ip and port")
        unknown = {str(key) for key in keys} - known
        lacking = {"ip", "port"} - keys.keys()
        if unknown or lacking:
            what = f"unknown: {', '.join(sorted(unknown))}" if unknown else ""
            what += f"missing: {', '.join(sorted(lacking))}" if lacking else ""
            raise ConfigError(f"ReadoutPublishers: {name}: {what}")
        for key, value in keys.items():
            kind, what = (int, "number") if key in _NUMBERS else (str, "text")
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ConfigError(f"ReadoutPublishers: {name}: {key} {value!r} is no {what}")
        found.append(PublisherSettings(name, **keys))
    return found
