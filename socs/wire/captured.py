"""Datagrams that were not sent to us: where they went is known as well. No socket, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.wire.batch import Batch

# The heads of IPv4 without options and of UDP, in rows of 32 bytes.
HEAD = np.dtype(
    {
        "names": [
            *("version", "total", "fragment", "protocol", "source", "destination"),
            *("from_port", "to_port", "udp_size"),
        ],
        "formats": ["u1", ">u2", ">u2", "u1", ">u4", ">u4", ">u2", ">u2", ">u2"],
        "offsets": [0, 2, 6, 9, 12, 16, 20, 22, 24],
        "itemsize": 32,
    }
)
HEAD_BYTES = 28  # of IPv4 without options and of UDP
IP_BYTES, UDP_BYTES = 20, 8
FRAGMENT = 0x3FFF  # "more fragments", or a place that is not the first
UDP_PROTOCOL = 17

Ports = NDArray[np.uint16]
Hosts = NDArray[np.uint32]


@dataclass(eq=False)
class CapturedBatch(Batch):
    """A `Batch` that tells also where its datagrams went, and when each was seen.

    Attributes:
        to_hosts: uint32, shape (n,), destinations in host byte order.
        to_ports: uint16, shape (n,).
        times: float64, shape (n,), UNIX time [s]; None if all are of ``received``.
    """

    to_hosts: Hosts = None  # type: ignore[assignment]  # after a field with a default
    to_ports: Ports = None  # type: ignore[assignment]
    times: NDArray[np.float64] | None = None

    def only(self, wanted: NDArray[np.bool_]) -> CapturedBatch:
        """See `Batch.only`."""
        return self._with(super().only(wanted), np.flatnonzero(wanted))

    def copy(self, wanted: NDArray[np.bool_]) -> CapturedBatch:
        """The ``wanted`` datagrams, bool (n,), in memory of their own."""
        rows = np.flatnonzero(wanted)
        sizes = self.sizes[rows]
        width = -(-max(int(sizes.max(initial=0)), 1) // 8) * 8
        data = np.zeros((len(rows), width), np.uint8)
        there = min(width, self.data.shape[1])
        data[:, :there] = self.data[rows, :there]
        some = Batch(data, sizes, self.hosts[rows], self.ports[rows], self.received)
        return self._with(some, rows)

    def _with(self, some: Batch, rows: NDArray[np.int64]) -> CapturedBatch:
        return CapturedBatch(
            some.data,
            some.sizes,
            some.hosts,
            some.ports,
            some.received,
            some.memory,
            self.to_hosts[rows],
            self.to_ports[rows],
            None if self.times is None else self.times[rows],
        )

    def by_port(self, ports: Sequence[int]) -> Iterator[tuple[int, CapturedBatch]]:
        """The datagrams that are to be read by each of ``ports``, see `use_ports`."""
        found = self.use_ports(np.array(ports, np.uint16))
        for port in ports:
            these = found == port
            if these.any():
                yield port, self if these.all() else self.copy(these)

    def use_ports(self, ports: NDArray[np.uint16]) -> Ports:
        """By which of ``ports`` each datagram is to be read; uint16 (n,), 0 for none of them.

        It is the one that it was sent to, else the one that it came from, as an answer does.
        """
        sent_to = np.where(np.isin(self.to_ports, ports), self.to_ports, 0)
        came_from = np.where(np.isin(self.ports, ports), self.ports, 0)
        return np.where(sent_to != 0, sent_to, came_from).astype(np.uint16)
