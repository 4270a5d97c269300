"""Hearing EPICS traffic on this host: which way, and why.

By sockets that share the ports one hears what is sent to all: searches and beacons, and never an
answer, which goes to its client only. On the host of a server or client such a socket does harm.
Linux gives what is sent to one address to the socket that was bound last: a search sent to this
host reaches us then and not the server. And clients register with whoever has the port of beacons,
as with a repeater. Capturing does neither, and sees the answers that pass this host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from socs.closing import Closing
from socs.counters import CAPTURE, UDP, Counters
from socs.epics.ports import EpicsPorts
from socs.errors import ConfigError
from socs.wire.batch import Batch
from socs.wire.capture import PacketCapture
from socs.wire.captured import CapturedBatch
from socs.wire.packet_socket import open_packet_socket
from socs.wire.udp import UdpReceiver
from socs.wire.udp_socket import UDP_TABLE

Wanted = Literal["auto", "capture", "sockets"]
WAYS = ("auto", "capture", "sockets")
EVERYWHERE = "0.0.0.0"  # noqa: S104  searches are sent to all
MOST_BATCH = 1024

_TAKEN = {
    "ca": "a server or listener of Channel Access has port {port}: searches sent to this host "
    "alone would no longer reach it",
    "beacons": "a repeater has port {port}: clients that register with it would no longer reach it",
    "pva": "a server or listener of PV Access has port {port}: searches sent to this host alone "
    "would no longer reach it",
    "heartbeats": "another program hears heartbeats on port {port}",
    "alive": "another program hears heartbeats on port {port}: what is sent to it alone would no "
    "longer reach it",
}
_NO_ANSWERS = "answers of servers are not seen; for those, capture"
_REPEATER = (
    "clients that start on this host from now on take this program for their repeater, and hear no "
    "beacons; start a repeater first, or capture"
)


class Handler(Protocol):
    """Gets each batch; see :class:`socs.wire.udp.UdpReceiver`."""

    def __call__(self, batch: Batch, /) -> int | None: ...


@dataclass(frozen=True)
class Surroundings:
    """What there is on this host.

    Attributes:
        no_capture: why capturing is not possible; empty if it is.
        taken: those of the ports on which other programs have sockets.
    """

    no_capture: str = ""
    taken: Collection[int] = ()


@dataclass(frozen=True)
class Choice:
    """How to listen.

    Attributes:
        way: ``capture`` or ``sockets``.
        ports: on which ports, by use (see :class:`socs.epics.ports.EpicsPorts`).
        reason: why so; for a person.
        left_out: uses that are not heard, and why.
        warnings: what this way does or does not do; for a person.
    """

    way: Literal["capture", "sockets"]
    ports: Mapping[str, int]
    reason: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def choose(ports: Mapping[str, int], here: Surroundings, wanted: Wanted = "auto") -> Choice:
    """How to listen to ``ports``, by use.

    ``auto`` captures if that is possible, else opens sockets where nobody is harmed.

    Raises:
        ConfigError: it is not possible as ``wanted``; the message says what is missing.
    """
    if wanted not in WAYS:
        raise ConfigError(f"listen: {wanted!r} is none of {', '.join(WAYS)}")
    if not ports:
        raise ConfigError("ports: there are none to listen to")
    if wanted == "capture" and here.no_capture:
        raise ConfigError(f"listen: {here.no_capture}")
    if wanted == "capture" or (wanted == "auto" and not here.no_capture):
        why = "it was asked for" if wanted == "capture" else "it is possible here"
        return Choice("capture", dict(ports), f"captures, as {why}; nothing is taken from others")
    taken = {use: _TAKEN[use].format(port=p) for use, p in ports.items() if p in here.taken}
    warnings = [_NO_ANSWERS]
    if wanted == "sockets":
        heard, left_out = dict(ports), {}
        warnings += taken.values()
        reason = "opens sockets, as it was asked for"
    else:
        heard = {use: port for use, port in ports.items() if use not in taken}
        left_out = taken
        reason = f"opens sockets, as it cannot capture ({here.no_capture})"
    if not heard:
        told = "; ".join(left_out.values())
        raise ConfigError(f"listen: no port can be heard without harm: {told}; {here.no_capture}")
    if "beacons" in heard and "beacons" not in taken:
        warnings.append(_REPEATER)
    return Choice("sockets", heard, reason, left_out, tuple(warnings))


def look_around(ports: Collection[int], table: Path = UDP_TABLE) -> Surroundings:
    """What there is on this host, before we open anything.

    Args:
        table: of UDP sockets, as Linux shows it.
    """
    try:
        open_packet_socket(sorted(ports), ()).close()
    except ConfigError as error:
        no_capture = str(error)
    else:
        no_capture = ""
    return Surroundings(no_capture, taken_ports(table) & set(ports))


def taken_ports(table: Path = UDP_TABLE) -> set[int]:
    """UDP ports on which programs of this host have IPv4 sockets; empty if that is not told."""
    try:
        lines = table.read_text().splitlines()[1:]
        return {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    except (OSError, ValueError, IndexError):
        return set()


class Listening(Closing):
    """Hears EPICS traffic in the way that was chosen, and hands it on by use.

    Args:
        handlers: who gets the batches of each use: ``ca``, ``beacons``, ``pva``, ``heartbeats``,
            ``alive``; other uses are not listened to. They are called from threads of this, never
            two at once. Batches of a capture are :class:`socs.wire.captured.CapturedBatch`.
        ports: of the site.
        wanted: ``auto``, or the way that is forced.
        interfaces: on which to capture; see :class:`socs.wire.capture.PacketCapture`.
        address: to which sockets are bound.
        own_ports: ports of this program's own searches, which a capture leaves out.
        allow: networks that may send.
        receive_buffer: kernel buffer to ask for, of each socket [bytes].
        batch: most datagrams at a time.
        gather: see :class:`socs.wire.udp.UdpReceiver` [s].
        on_problem: gets messages for people.
        counters: where to count; must have those of ``UDP`` and ``CAPTURE``.

    Attributes:
        choice: which way, and why; known from the start on.

    Raises:
        ConfigError: a handler is of no use that there is.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        ports: EpicsPorts | None = None,
        *,
        wanted: Wanted = "auto",
        interfaces: Sequence[str] = (),
        address: str = EVERYWHERE,
        own_ports: Sequence[int] = (),
        allow: Sequence[str] = (),
        receive_buffer: int = 32 << 20,
        batch: int = MOST_BATCH,
        gather: float = 0.0,
        on_problem: Callable[[str], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        by_use = (ports or EpicsPorts()).by_use()
        unknown = set(handlers) - set(by_use)
        if unknown:
            raise ConfigError(f"handlers: {', '.join(sorted(unknown))} of {', '.join(by_use)}")
        self.counters = counters if counters is not None else Counters(UDP, CAPTURE)
        self.choice: Choice | None = None
        self._ports = {use: port for use, port in by_use.items() if use in handlers}
        self._handlers = dict(handlers)
        self._wanted: Wanted = wanted
        self._interfaces, self._own_ports = interfaces, own_ports
        self._address = address
        self._allow, self._receive_buffer = allow, receive_buffer
        self._batch, self._gather, self._on_problem = batch, gather, on_problem
        self._lock = threading.Lock()
        self._receivers: list[UdpReceiver] = []

    def start(self) -> Choice:
        """Choose and listen; the choice. Does nothing when it listens.

        Raises:
            ConfigError: it is not possible; the message says what to change.
        """
        if self._receivers and self.choice is not None:
            return self.choice
        self.choice = choose(self._ports, look_around(self._ports.values()), self._wanted)
        receivers = self._make(self.choice)
        try:
            for receiver in receivers:
                receiver.start()
        except BaseException:
            for receiver in receivers:
                receiver.stop()
            raise
        self._receivers = receivers
        return self.choice

    def stop(self, timeout: float = 5.0) -> None:
        """Hand on what the kernel holds, and close. Does nothing when stopped."""
        for receiver in self._receivers:
            receiver.stop(timeout)
        self._receivers = []

    def close(self) -> None:
        """The same as :meth:`stop`."""
        self.stop()

    @property
    def alive(self) -> bool:
        """Do all threads run."""
        return bool(self._receivers) and all(each.alive for each in self._receivers)

    def stats(self) -> dict[str, int]:
        """The counters of ``UDP`` and ``CAPTURE``, of all sockets together."""
        for receiver in self._receivers:
            receiver.stats()  # takes over the kernel's count of drops
        return self.counters.snapshot()

    def _make(self, choice: Choice) -> list[UdpReceiver]:
        if choice.way == "capture":
            capture = PacketCapture(
                sorted(choice.ports.values()),
                self._divide,
                interfaces=self._interfaces,
                own_ports=self._own_ports,
                allow=self._allow,
                batch=self._batch,
                gather=self._gather,
                receive_buffer=self._receive_buffer,
                on_problem=self._on_problem,
                counters=self.counters,
            )
            return [capture]
        return [
            UdpReceiver(
                self._address,
                port,
                self._one_at_a_time(self._handlers[use]),
                allow=self._allow,
                batch=self._batch,
                gather=self._gather,
                receive_buffer=self._receive_buffer,
                reuse_address=True,
                on_problem=self._on_problem,
                counters=self.counters,
            )
            for use, port in choice.ports.items()
        ]

    def _one_at_a_time(self, handler: Handler) -> Handler:
        def handle(batch: Batch, /) -> int | None:
            with self._lock:
                return handler(batch)

        return handle

    def _divide(self, batch: CapturedBatch) -> int:
        """Give each handler its datagrams; how many were shed. All get theirs, if one fails."""
        uses = {port: use for use, port in self._ports.items()}
        shed, failures = 0, []
        for port, part in batch.by_port(list(uses)):
            try:
                with self._lock:
                    shed += self._handlers[uses[port]](part) or 0
            except Exception as error:  # noqa: BLE001  raised below, where it is counted
                failures.append(error)
        if failures:
            raise failures[0]
        return shed
