"""A bound UDP socket: why it cannot be bound, its receive buffer, what the kernel dropped."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Protocol

from socs.errors import ConfigError

# From <asm-generic/socket.h> and <linux/sock_diag.h>; Python's socket module does not name them.
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
SK_MEMINFO_DROPS = 8  # the ninth 32-bit number of SO_MEMINFO

LINUX = sys.platform == "linux"
UDP_TABLE = Path("/proc/net/udp")
WRAP = 0xFFFFFFFF  # the kernel counts drops in 32 bits


class Drops(Protocol):
    """Datagrams that the kernel dropped at a socket."""

    def new(self) -> int:
        """Drops since the last call or since the socket was made; 0 if not countable here."""


def check_range(name: str, value: int, largest: int) -> None:
    """Refuse a setting that is not from 1 to ``largest``.

    Raises:
        ConfigError: it is not; the message names it.
    """
    if not 1 <= value <= largest:
        raise ConfigError(f"{name}: {value} is not between 1 and {largest}")


def bind_udp(
    address: str, port: int, *, reuse_port: bool = False, reuse_address: bool = False
) -> socket.socket:
    """A non-blocking IPv4 UDP socket bound to ``address`` and ``port`` (0: any free one).

    Raises:
        ConfigError: it cannot be bound; the message names the setting to change.
    """
    _check_address(address)
    if not 0 <= port <= 65535:
        raise ConfigError(f"port: {port} is not between 0 and 65535")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if reuse_address:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise ConfigError(_why_not_bound(error, address, port)) from error
    return sock


def _check_address(address: str) -> None:
    """Refuse what Python or the kernel would take in another sense than the operator's."""
    if not address:
        raise ConfigError("address: is empty; 0.0.0.0 receives on all interfaces")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return  # a host name
    if version != 4:
        raise ConfigError(f"address: {address} is IPv6; only IPv4 addresses are received on")


def _why_not_bound(error: OSError, address: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"address: {address!r} is not an IPv4 address and no known host name"
    if error.errno == errno.EADDRINUSE:
        return (
            f"port: {port} on {address} is in use by another program "
            f"(ss -lunp 'sport = :{port}' shows it); stop that or choose another port"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"address: {address} belongs to no interface of this host; use one that does, "
            "127.0.0.1 for senders on this host only, or 0.0.0.0 for all interfaces"
        )
    if error.errno == errno.EACCES:
        return f"port: {port} needs privileges; choose a port from 1024 on"
    return f"address, port: cannot bind {address}:{port}: {error.strerror}"


def grant_receive_buffer(sock: socket.socket, size: int) -> int:
    """Ask for a receive buffer of ``size`` bytes; the size granted [bytes].

    ``SO_RCVBUFFORCE`` goes beyond ``net.core.rmem_max`` where the process has ``CAP_NET_ADMIN``;
    else ``SO_RCVBUF`` gives that limit at most.
    """
    try:
        if not LINUX:
            raise PermissionError
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    return receive_buffer(sock)


def receive_buffer(sock: socket.socket) -> int:
    """The receive buffer in the unit in which it is asked for [bytes].

    Linux doubles the size that is asked for and reports the double, see ``socket(7)``: the other
    half pays for its bookkeeping. That is a rough rule. A datagram occupies at least 768 bytes of
    the doubled size, however short it is.
    """
    reported = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return reported // 2 if LINUX else reported


class KernelDrops:
    """Datagrams that the kernel dropped at one socket because its receive buffer was full.

    Not for use by two threads at once.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._last = 0

    def new(self) -> int:
        """Drops since the last call or since the socket was made; 0 if not countable here."""
        current = drops_of_socket(self._socket)
        if current is None:
            current = drops_of_table(self._socket)
        if current is None:
            return 0
        fresh = (current - self._last) & WRAP
        self._last = current
        return fresh


def drops_of_socket(sock: socket.socket) -> int | None:
    """The count from ``SO_MEMINFO`` (Linux 4.12 and later), None where that is not known."""
    if not LINUX:
        return None
    size = 4 * (SK_MEMINFO_DROPS + 1)
    try:
        answer = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, size)
    except OSError:
        return None
    if len(answer) < size:
        return None
    count: int = struct.unpack_from("=I", answer, 4 * SK_MEMINFO_DROPS)[0]
    return count


def drops_of_table(sock: socket.socket, table: Path = UDP_TABLE) -> int | None:
    """The count from ``/proc/net/udp``, found by the socket's inode; None if not there."""
    try:
        inode = str(os.fstat(sock.fileno()).st_ino)
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        if len(columns) >= 13 and columns[9] == inode:
            return int(columns[12])
    return None
