"""Seeing UDP datagrams of other programs: what passes the interfaces of this host, in batches.

::

    kernel: filter by port --recvmmsg--> payloads in rows, heads beside --> handler(CapturedBatch)

Nothing is taken away from the program that a datagram is sent to. Answers to one host are seen,
too, if they pass an interface of this one. Checksums are not looked at: datagrams of this host have
none yet when they are seen.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

import numpy as np

from socs.counters import CAPTURE, UDP, Counters
from socs.errors import ConfigError
from socs.wire.batch import Batch
from socs.wire.captured import CapturedBatch
from socs.wire.packet_socket import (
    PacketDrops,
    PacketReader,
    attach_filter,
    interface_numbers,
    open_packet_socket,
)
from socs.wire.recvmmsg import DatagramMemory, Reader, batch_of
from socs.wire.udp import MAX_DATAGRAM, UdpReceiver, _Opened
from socs.wire.udp_socket import Drops

__all__ = ["CapturedBatch", "PacketCapture"]


class PacketCapture(UdpReceiver):
    """Sees datagrams from and to some UDP ports and hands them on in batches, from its own thread.

    Does what :class:`socs.wire.udp.UdpReceiver` does, and takes the same arguments otherwise. Needs
    ``CAP_NET_RAW``.

    Args:
        ports: UDP ports, of sender or receiver.
        handler: gets each `CapturedBatch`; see there.
        interfaces: names; empty for all that are no combination of others. Those that come and go
            are followed.
        own_ports: ports of this program on this host, whose datagrams are left out.
        counters: must have those of `socs.counters.UDP` and `socs.counters.CAPTURE`.
    """

    def __init__(
        self,
        ports: Sequence[int],
        handler: Callable[[CapturedBatch], int | None],
        *,
        interfaces: Sequence[str] = (),
        own_ports: Sequence[int] = (),
        allow: Sequence[str] = (),
        max_datagram: int = MAX_DATAGRAM,
        batch: int = 256,
        gather: float = 0.0,
        receive_buffer: int = 32 << 20,
        on_problem: Callable[[str], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._packet_counters = counters if counters is not None else Counters(UDP, CAPTURE)
        super().__init__(
            "",
            0,
            handler,  # type: ignore[arg-type]  # gets what _batch_of makes
            allow=allow,
            max_datagram=max_datagram,
            batch=batch,
            gather=gather,
            receive_buffer=receive_buffer,
            on_problem=on_problem,
            counters=self._packet_counters,
        )
        if isinstance(interfaces, str):
            raise ConfigError(f"interfaces: {interfaces!r} is one text; give a list of names")
        self.ports = tuple(ports)
        self._interfaces, self._own_ports = tuple(interfaces), tuple(own_ports)
        self._numbers: tuple[int, ...] = ()

    @property
    def address(self) -> str:
        """Nothing is bound to an address."""
        return ""

    @property
    def port(self) -> int:
        """The first of the ports."""
        return self.ports[0]

    def stats(self) -> dict[str, int | float]:
        """See :meth:`socs.wire.udp.UdpReceiver.stats`; with those of `socs.counters.CAPTURE`."""
        values = super().stats()
        now = self._packet_counters.snapshot()
        return values | {counter.name: now[counter.name] for counter in CAPTURE}

    def _make_socket(self) -> socket.socket:
        self._numbers = interface_numbers(self._interfaces)
        return open_packet_socket(self.ports, self._interfaces)

    def _make_reader(self, sock: socket.socket) -> Reader:
        memory = DatagramMemory(self._batch, self._max_datagram)
        reader = PacketReader(sock, memory, self._packet_counters)
        reader.own_ports = np.array(self._own_ports, np.uint16)
        return reader

    def _make_drops(self, sock: socket.socket) -> Drops:
        return PacketDrops(sock)

    def _batch_of(self, reader: Reader, count: int, received: float) -> Batch:
        assert isinstance(reader, PacketReader)
        batch = batch_of(reader.buffers, count, received)
        return CapturedBatch(
            batch.data,
            batch.sizes,
            batch.hosts,
            batch.ports,
            received,
            batch.memory,
            reader.to_hosts,
            reader.to_ports,
        )

    def _look_at_drops(self, opened: _Opened) -> None:
        super()._look_at_drops(opened)
        self._follow_interfaces(opened)

    def _follow_interfaces(self, opened: _Opened) -> None:
        """An interface that was made anew has another number."""
        try:
            numbers = interface_numbers(self._interfaces)
        except ConfigError as error:
            self._report("interfaces", f"capture: {error}")
            return
        if numbers != self._numbers:
            try:
                attach_filter(opened.sock, self.ports, numbers)
            except (ConfigError, OSError) as error:
                self._report("interfaces", f"capture: cannot follow interfaces: {error}")
                return
            self._numbers = numbers
