"""Many datagrams per system call into memory that NumPy sees: ``recvmmsg`` through ctypes.

The kernel's structures are NumPy structured arrays here, so that lengths, flags and senders of a
whole batch are array columns. Sources: ``recvmmsg(2)``, ``<bits/types/struct_msghdr.h>``,
``<netinet/in.h>``. The layout is the one of 64-bit little-endian Linux (glibc and musl).
`RecvReader` fills the same arrays with one ``recvmsg`` per datagram; it runs anywhere.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError
from socs.wire.batch import Batch

# struct mmsghdr: a msghdr (56 bytes), then the length of the datagram received.
HEADER = np.dtype(
    {
        "names": [
            "name",
            "name_length",
            "parts",
            "part_count",
            "control",
            "control_length",
            "flags",
            "length",
        ],
        "formats": ["<u8", "<u4", "<u8", "<u8", "<u8", "<u8", "<i4", "<u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
# struct iovec
PART = np.dtype([("base", "<u8"), ("length", "<u8")])
# struct sockaddr_in: the family in this machine's order, port and address as on the wire.
NAME = np.dtype([("family", "<u2"), ("port", ">u2"), ("host", ">u4"), ("unused", "S8")])

MACHINES = ("x86_64", "aarch64")
CALL = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


class DatagramMemory:
    """Room for one batch, made once.

    Args:
        rows: datagrams per batch.
        width: bytes kept of one datagram.

    Attributes:
        memory: the anonymous pages behind ``data``. The system gives a page when it is first
            written to, so a large ``rows * width`` costs only what datagrams really fill.
        data: uint8, shape (rows, width).
        headers: `HEADER`, shape (rows,); ``length`` and ``flags`` are results.
        names: `NAME`, shape (rows,): who sent it.
    """

    def __init__(self, rows: int, width: int) -> None:
        self.memory = mmap.mmap(-1, rows * width, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(AttributeError, OSError):  # not on every system
            # Huge pages would make a 300-byte datagram cost 2 MB of real memory.
            self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        pages: NDArray[np.uint8] = np.frombuffer(self.memory, np.uint8)
        self.data = pages.reshape(rows, width)
        self.headers = np.zeros(rows, HEADER)
        self.names = np.zeros(rows, NAME)

    def __len__(self) -> int:
        return len(self.headers)


def batch_of(buffers: DatagramMemory, count: int, received: float) -> Batch:
    """The first ``count`` rows, taken at ``received``, UNIX time [s]."""
    headers, names = buffers.headers[:count], buffers.names[:count]
    return Batch(
        buffers.data[:count],
        headers["length"].astype(np.uint32),
        names["host"].astype(np.uint32),
        names["port"].astype(np.uint16),
        received,
        buffers.memory,
    )


class Reader(Protocol):
    """Takes what a non-blocking socket holds, one batch at a time."""

    method: str
    buffers: DatagramMemory

    def read(self) -> int:
        """Fill ``buffers`` from row 0; the number of datagrams taken, 0 when there is none.

        Raises:
            OSError: the socket reports an error other than "nothing there".
        """


class RecvmmsgReader:
    """Takes up to a whole batch with one system call.

    Raises:
        ConfigError: this platform has no ``recvmmsg`` that we know how to call.
    """

    method = "recvmmsg"

    def __init__(self, sock: socket.socket, buffers: DatagramMemory) -> None:
        self.buffers = buffers
        self._socket = sock
        self._call = _load()
        headers, rows = buffers.headers, len(buffers)
        self._parts = np.zeros(rows, PART)
        self._parts["base"] = addresses(buffers.data)
        self._parts["length"] = buffers.data.shape[1]
        headers["name"] = addresses(buffers.names)
        headers["name_length"] = NAME.itemsize
        headers["parts"] = addresses(self._parts)
        headers["part_count"] = 1
        self._headers_at: int = headers.ctypes.data
        # A system call filter answers even when no datagram is asked for.
        if self._call(sock.fileno(), self._headers_at, 0, socket.MSG_DONTWAIT, None) < 0:
            number = ctypes.get_errno()
            raise ConfigError(f"recvmmsg does not work here: {os.strerror(number)}")

    def read(self) -> int:
        """See `Reader.read`."""
        while True:
            count: int = self._call(
                self._socket.fileno(),
                self._headers_at,
                len(self.buffers),
                socket.MSG_DONTWAIT,
                None,
            )
            if count >= 0:
                return count
            number = ctypes.get_errno()
            if number == errno.EAGAIN:
                return 0
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))


class RecvReader:
    """Takes one datagram per system call: slower, for systems without ``recvmmsg``."""

    method = "recv"

    def __init__(self, sock: socket.socket, buffers: DatagramMemory) -> None:
        self.buffers = buffers
        self._socket = sock
        width = buffers.data.shape[1]
        whole = memoryview(buffers.memory)
        starts = range(0, len(buffers) * width, width)
        self._rows = [[whole[start : start + width]] for start in starts]

    def read(self) -> int:
        """See `Reader.read`. An error after the first datagram is left for the next call."""
        lengths, flags, hosts, ports = [], [], [], []
        try:
            for row in self._rows:
                length, _, flag, (host, port) = self._socket.recvmsg_into(row)
                lengths.append(length)
                flags.append(flag)
                hosts.append(int.from_bytes(socket.inet_aton(host), "big"))
                ports.append(port)
        except BlockingIOError:
            pass
        except OSError:
            if not lengths:
                raise
        count = len(lengths)
        self.buffers.headers["length"][:count] = lengths
        self.buffers.headers["flags"][:count] = flags
        self.buffers.names["host"][:count] = hosts
        self.buffers.names["port"][:count] = ports
        return count


def make_reader(sock: socket.socket, buffers: DatagramMemory, method: str) -> Reader:
    """The reader asked for; with ``"auto"`` the best that works here.

    Raises:
        ConfigError: ``method`` is unknown, or is ``"recvmmsg"`` and that does not work here.
    """
    if method == "recv":
        return RecvReader(sock, buffers)
    if method == "recvmmsg":
        return RecvmmsgReader(sock, buffers)
    if method != "auto":
        raise ConfigError(f"method: {method!r} is none of auto, recvmmsg, recv")
    try:
        return RecvmmsgReader(sock, buffers)
    except ConfigError:
        return RecvReader(sock, buffers)


def _load() -> ctypes._NamedFuncPointer:
    return load_call("recvmmsg", CALL)


def load_call(name: str, arguments: Sequence[type[Any]]) -> ctypes._NamedFuncPointer:
    """``name`` of the C library, if the layouts above hold for this process.

    Raises:
        ConfigError: they do not, or there is no such call.
    """
    known = (
        sys.platform == "linux"
        and platform.machine() in MACHINES
        and sys.byteorder == "little"
        and ctypes.sizeof(ctypes.c_void_p) == 8
    )
    if not known:
        raise ConfigError(f"{name} is not known on {sys.platform} {platform.machine()}")
    try:
        call: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError) as error:
        raise ConfigError(f"the C library has no {name}: {error}") from error
    call.argtypes = arguments
    call.restype = ctypes.c_int
    return call


def addresses(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Where in memory each row of the array begins."""
    offsets = np.arange(len(array), dtype=np.uint64) * np.uint64(array.strides[0])
    places: NDArray[np.uint64] = np.uint64(array.ctypes.data) + offsets
    return places
