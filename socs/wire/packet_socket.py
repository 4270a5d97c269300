"""A packet socket: why it cannot be had, its filter, what the kernel dropped, its reader."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from socs.counters import Counters
from socs.errors import ConfigError
from socs.wire.captured import FRAGMENT, HEAD, HEAD_BYTES, IP_BYTES, UDP_BYTES
from socs.wire.packet_filter import LOOPBACK_HARDWARE, OUTGOING, packed, udp_filter
from socs.wire.recvmmsg import CALL, PART, DatagramMemory, addresses, load_call

# From <linux/if_packet.h>, <linux/if_ether.h> and <asm-generic/socket.h>.
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
ALL_PROTOCOLS = 3
SO_ATTACH_FILTER = 26
VLAN_VALID = 0x10  # of tp_status
TO_THIS_HOST = 0  # packet type

# struct sockaddr_ll
LINK_NAME = np.dtype(
    {
        "names": ["family", "protocol", "interface", "hardware", "packet_type"],
        "formats": ["<u2", ">u2", "<i4", "<u2", "u1"],
        "offsets": [0, 2, 4, 8, 10],
        "itemsize": 24,  # 20 are used
    }
)
LINK_NAME_BYTES = 20
# struct cmsghdr and struct tpacket_auxdata
CONTROL = np.dtype({"names": ["status"], "formats": ["<u4"], "offsets": [16], "itemsize": 40})

MOST_ROUNDS = 64  # system calls without any whole datagram, until the thread looks around
NETWORK_DEVICES = Path("/sys/class/net")


def open_packet_socket(ports: Sequence[int], interfaces: Sequence[str]) -> socket.socket:
    """A non-blocking socket that sees UDP over IPv4 from and to ``ports``, on arrival and leaving.

    Args:
        interfaces: names; empty for all that are no combination of others.

    Raises:
        ConfigError: it cannot be had; the message names the setting to change.
    """
    try:
        # Of no protocol, so that nothing arrives before the filter is there.
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    except AttributeError as error:
        raise ConfigError("capture: this system has no packet sockets") from error
    except OSError as error:
        raise ConfigError(_why_no_socket(error)) from error
    try:
        sock.setblocking(False)
        attach_filter(sock, ports, interface_numbers(interfaces))
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        _listen_everywhere(sock)
    except OSError as error:
        sock.close()
        raise ConfigError(f"capture: cannot be set up: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_everywhere(sock: socket.socket) -> None:
    """Bind to all interfaces, which Python's ``bind`` cannot: it wants the name of one.

    Raises:
        OSError: the system refused.
    """
    name = np.zeros(1, LINK_NAME)
    name["family"], name["protocol"] = socket.AF_PACKET, ALL_PROTOCOLS
    bind = load_call("bind", (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint))
    if bind(sock.fileno(), name.ctypes.data, LINK_NAME_BYTES) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _why_no_socket(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return (
            "capture: this process has no CAP_NET_RAW; give it (AmbientCapabilities=CAP_NET_RAW "
            "with systemd, user: root and cap_add: [NET_RAW] with Docker, or setcap cap_net_raw+ep "
            "on the interpreter), or listen by sockets"
        )
    return f"capture: no packet socket: {error.strerror}"


def attach_filter(sock: socket.socket, ports: Sequence[int], interfaces: Sequence[int]) -> None:
    """Put a filter in the place of the one that is there, if any.

    Raises:
        ConfigError: see :func:`socs.wire.packet_filter.udp_filter`.
        OSError: the system refused.
    """
    program = udp_filter(ports, interfaces)
    code = ctypes.create_string_buffer(packed(program))
    told = struct.pack("@HP", len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, told)


def interface_numbers(names: Sequence[str]) -> tuple[int, ...]:
    """Numbers of interfaces that are there; of all that are no combination of others, if no names.

    A bridge, bond or VLAN shows what its members show already.

    Raises:
        ConfigError: there is none of that name.
    """
    there = {name: number for number, name in socket.if_nameindex()}
    if not names:
        return tuple(
            number
            for name, number in there.items()
            if not any((NETWORK_DEVICES / name).glob("lower_*"))
        )
    for name in names:
        if name not in there:
            raise ConfigError(f"interfaces: no {name!r} on this host; there are {', '.join(there)}")
    return tuple(there[name] for name in names)


class PacketDrops:
    """Packets that the kernel dropped at one packet socket because its buffer was full."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def new(self) -> int:
        """Drops since the last call or since the socket was made."""
        try:
            told = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        except OSError:
            return 0
        drops: int = struct.unpack("=II", told)[1]  # asking sets it to 0
        return drops


class PacketReader:
    """Takes up to a whole batch with one ``recvmmsg``; heads and payloads in memory of their own.

    So payloads begin where rows begin, as those of a UDP socket do. What is no whole datagram is
    left out and counted by its cause.

    Attributes:
        to_hosts, to_ports: destinations of the last batch.

    Args:
        counters: must have those of `socs.counters.CAPTURE`.

    Raises:
        ConfigError: this platform has no ``recvmmsg`` that we know how to call.
    """

    method = "recvmmsg"

    def __init__(self, sock: socket.socket, buffers: DatagramMemory, counters: Counters) -> None:
        self.buffers = buffers
        self.own_ports: NDArray[np.uint16] = np.empty(0, np.uint16)
        self._socket, self._counters = sock, counters
        self._call = load_call("recvmmsg", CALL)
        headers, rows = buffers.headers, len(buffers)
        self._heads = np.zeros(rows, HEAD)
        self._links = np.zeros(rows, LINK_NAME)
        self._control = np.zeros(rows, CONTROL)
        self._parts = np.zeros((rows, 2), PART)
        self._parts["base"][:, 0] = addresses(self._heads)
        self._parts["length"][:, 0] = HEAD_BYTES
        self._parts["base"][:, 1] = addresses(buffers.data)
        self._parts["length"][:, 1] = buffers.data.shape[1]
        headers["name"] = addresses(self._links)
        headers["parts"] = addresses(self._parts)
        headers["part_count"] = 2
        headers["control"] = addresses(self._control)
        self._headers_at: int = headers.ctypes.data
        self.to_hosts: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.to_ports: NDArray[np.uint16] = np.empty(0, np.uint16)

    def read(self) -> int:
        """See :meth:`socs.wire.recvmmsg.Reader.read`.

        Goes on until there is a datagram that is whole, or nothing more, or a flood of others.
        """
        for _ in range(MOST_ROUNDS):
            taken = self._take()
            whole = self._keep_whole(taken) if taken else 0
            if whole or not taken:
                return whole
        return 0

    def _take(self) -> int:
        headers = self.buffers.headers
        headers["name_length"] = LINK_NAME_BYTES
        headers["control_length"] = CONTROL.itemsize
        self._control["status"] = 0
        while True:
            count: int = self._call(
                self._socket.fileno(), self._headers_at, len(headers), socket.MSG_DONTWAIT, None
            )
            if count >= 0:
                return count
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return 0
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    def _keep_whole(self, count: int) -> int:
        """Move whole datagrams up to the first rows, with what is known of them; how many."""
        headers, heads = self.buffers.headers[:count], self._heads[:count]
        amounts = {"capture_packets": count}
        options = np.flatnonzero((heads["version"] & 0xF) > IP_BYTES // 4)
        for row in options.tolist():
            self._close_up(row)
        amounts["capture_ip_options"] = len(options)
        vlan = self._control["status"][:count] & VLAN_VALID
        amounts["capture_vlan"] = int(np.count_nonzero(vlan))
        fragments = heads["fragment"] & FRAGMENT != 0
        size = heads["udp_size"].astype(np.int64) - UDP_BYTES
        announced = heads["total"].astype(np.int64) - HEAD_BYTES
        there = headers["length"].astype(np.int64) - HEAD_BYTES
        longer = headers["flags"] & socket.MSG_TRUNC != 0
        cut = ~fragments & ((size < 0) | (size > announced) | ((announced > there) & ~longer))
        own = ~fragments & ~cut & self._is_own(heads, self._links[:count])
        amounts["capture_fragments"] = int(np.count_nonzero(fragments))
        amounts["capture_cut"] = int(np.count_nonzero(cut))
        amounts["capture_own"] = int(np.count_nonzero(own))
        self._counters.add_all(amounts)
        rows = np.flatnonzero(~(fragments | cut | own))
        kept = len(rows)
        sizes = np.minimum(size, np.maximum(there, 0))[rows]
        if kept < count:
            width = int(sizes.max(initial=0))
            self.buffers.data[:kept, :width] = self.buffers.data[rows, :width]
        headers["length"][:kept] = sizes
        headers["flags"][:kept] = headers["flags"][rows]
        self.buffers.names["host"][:kept] = heads["source"][rows]
        self.buffers.names["port"][:kept] = heads["from_port"][rows]
        self.to_hosts = heads["destination"][rows].astype(np.uint32)
        self.to_ports = heads["to_port"][rows].astype(np.uint16)
        return kept

    def _is_own(self, heads: NDArray[np.void], links: NDArray[np.void]) -> NDArray[np.bool_]:
        """Which are from or to this program's own sockets."""
        if not len(self.own_ports):
            return np.zeros(len(heads), np.bool_)
        kind, loopback = links["packet_type"], links["hardware"] == LOOPBACK_HARDWARE
        sent = np.isin(heads["from_port"], self.own_ports) & (loopback | (kind == OUTGOING))
        got = np.isin(heads["to_port"], self.own_ports) & (loopback | (kind == TO_THIS_HOST))
        own: NDArray[np.bool_] = sent | got
        return own

    def _close_up(self, row: int) -> None:
        """Take IPv4 options out of a row, as if it had none. What is too short becomes cut."""
        header, head = self.buffers.headers[row], self._heads[row]
        extra = (int(head["version"]) & 0xF) * 4 - IP_BYTES
        there = max(int(header["length"]) - HEAD_BYTES, 0)
        data = self.buffers.data[row]
        octets = self._heads[row : row + 1].view(np.uint8)
        following = np.concatenate([octets[IP_BYTES:HEAD_BYTES], data[:there]])[extra:]
        if len(following) < UDP_BYTES:
            head["udp_size"] = 0
            return
        octets[IP_BYTES:HEAD_BYTES] = following[:UDP_BYTES]
        data[: len(following) - UDP_BYTES] = following[UDP_BYTES:]
        head["total"] = max(int(head["total"]) - extra, 0)
        header["length"] -= extra
