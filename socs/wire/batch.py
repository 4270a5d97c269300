"""What one system call brought, and who was allowed to send it. NumPy only: no socket, no clock."""

from __future__ import annotations

import ipaddress
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError


@dataclass(eq=False)
class Batch:
    """The datagrams of one system call, in the order of arrival.

    The arrays look into the receiver's memory, which the next system call overwrites: they are
    valid only while the handler runs. Copy what must live longer; `datagrams` and `senders` do.

    Attributes:
        data: uint8, shape (n, max_datagram). Row i holds datagram i in its first ``sizes[i]``
            bytes; what follows them is left over from earlier ones.
        sizes: uint32, shape (n,), bytes.
        hosts: uint32, shape (n,), IPv4 address of each sender in host byte order.
        ports: uint16, shape (n,), port of each sender.
        received: when the system call returned, UNIX time [s].
        memory: the pages that ``data`` begins with, if they are the receiver's; only makes
            `datagrams` faster.
    """

    data: NDArray[np.uint8]
    sizes: NDArray[np.uint32]
    hosts: NDArray[np.uint32]
    ports: NDArray[np.uint16]
    received: float
    memory: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def datagram(self, i: int) -> bytes:
        """A copy of datagram ``i``."""
        return self.data[i, : self.sizes[i]].tobytes()

    def datagrams(self) -> list[bytes]:
        """Copies of all datagrams."""
        sizes = self.sizes.tolist()
        if self.memory is None:
            return [row[:size].tobytes() for row, size in zip(self.data, sizes, strict=True)]
        memory, width = self.memory, self.data.shape[1]
        starts = range(0, len(sizes) * width, width)
        return [memory[start : start + size] for start, size in zip(starts, sizes, strict=True)]

    def sender(self, i: int) -> str:
        """Who sent datagram ``i``, as ``127.0.0.1:4711``."""
        return f"{ipaddress.IPv4Address(int(self.hosts[i]))}:{self.ports[i]}"

    def senders(self) -> list[tuple[int, int]]:
        """(host, port) of all datagrams, host as an integer in host byte order."""
        return list(zip(self.hosts.tolist(), self.ports.tolist(), strict=True))

    def only(self, wanted: NDArray[np.bool_]) -> Batch:
        """The ``wanted`` datagrams, bool (n,), moved up into the first rows of ``data``."""
        rows = np.flatnonzero(wanted)
        sizes = self.sizes[rows]
        width = int(sizes.max(initial=0))
        self.data[: len(rows), :width] = self.data[rows, :width]
        return Batch(
            self.data[: len(rows)],
            sizes,
            self.hosts[rows],
            self.ports[rows],
            self.received,
            self.memory,
        )


class SenderNetworks:
    """The networks that may send. None at all admits everyone.

    Args:
        allow: IPv4 addresses and networks, ``10.1.2.3`` or ``10.1.0.0/16``.

    Raises:
        ConfigError: one of them is not an IPv4 network.
    """

    def __init__(self, allow: Sequence[str]) -> None:
        if isinstance(allow, str):
            raise ConfigError(f"allow: {allow!r} is one text; give a list of networks")
        networks = []
        for text in allow:
            try:
                networks.append(ipaddress.IPv4Network(text))
            except ValueError as error:
                raise ConfigError(
                    f"allow: {text!r} is no IPv4 address or network such as 10.1.0.0/16: {error}"
                ) from error
        self._addresses = np.array([int(n.network_address) for n in networks], np.uint32)
        self._masks = np.array([int(n.netmask) for n in networks], np.uint32)

    def admits(self, hosts: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which of ``hosts``, uint32 (n,) in host byte order, may send; bool (n,)."""
        if not len(self._masks):
            return np.ones(len(hosts), np.bool_)
        inside: NDArray[np.bool_] = np.any(
            (hosts[:, None] & self._masks) == self._addresses, axis=1
        )
        return inside
