"""Sending datagrams from many addresses of this machine, many with one system call."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address

import numpy as np
from numpy.typing import NDArray

from socs.closing import Closing
from socs.errors import ConfigError
from socs.wire.recvmmsg import HEADER, NAME, PART, addresses, load_call

IP_PKTINFO = 8  # <linux/in.h>
# struct cmsghdr with a struct in_pktinfo: from which address a datagram leaves.
PKTINFO = np.dtype(
    {
        "names": ["length", "level", "type", "interface", "source", "unused"],
        "formats": ["<u8", "<i4", "<i4", "<i4", ">u4", "<u4"],
        "itemsize": 32,
    }
)
PKTINFO_LENGTH = 28
PKTINFO_DATA = slice(16, PKTINFO_LENGTH)
CALL = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
METHODS = ("auto", "sendmmsg", "sendmsg")


class DatagramSender(Closing):
    """A UDP socket that sends from several addresses.

    Args:
        host: name or IPv4 address to send to.
        port: where to.
        sources: IPv4 addresses to send from, of this machine; None leaves one to the system.
        method: ``sendmmsg``, ``sendmsg`` (one datagram per system call), or the best that works.

    Attributes:
        method: the one in use.

    Raises:
        ConfigError: an address is none, or the method does not work here.
    """

    def __init__(
        self, host: str, port: int, sources: Sequence[str | None], method: str = "auto"
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"method: {method!r} is none of {', '.join(METHODS)}")
        self._to = (_resolved(host), port)
        self._sources = list(sources)
        rows = len(sources)
        self._controls = np.zeros(rows, PKTINFO)
        self._controls["length"] = PKTINFO_LENGTH
        self._controls["type"] = IP_PKTINFO
        try:
            self._controls["source"] = [int(IPv4Address(source or 0)) for source in sources]
        except ValueError as error:
            raise ConfigError(f"source: {error}") from error
        self._name = np.array([(socket.AF_INET, port, int(IPv4Address(self._to[0])), b"")], NAME)
        self._parts = np.zeros(rows, PART)
        self._headers = np.zeros(rows, HEADER)
        self._headers["name"] = self._name.ctypes.data
        self._headers["name_length"] = NAME.itemsize
        self._headers["parts"] = addresses(self._parts)
        self._headers["part_count"] = 1
        self._headers["control_length"] = PKTINFO.itemsize
        self._control_addresses = addresses(self._controls)
        self.method, self._call = "sendmsg", None
        if method != "sendmsg":
            try:
                self.method, self._call = "sendmmsg", load_call("sendmmsg", CALL)
            except ConfigError:
                if method == "sendmmsg":
                    raise
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(
        self,
        memory: NDArray[np.uint8],
        offsets: NDArray[np.intp],
        length: int,
        sources: NDArray[np.intp],
    ) -> None:
        """Send one datagram of ``length`` bytes from each of ``offsets`` (n,) in ``memory``.

        Args:
            memory: contiguous, shape (bytes,).
            offsets: where the datagrams begin.
            length: of each.
            sources: shape (n,), from which of the addresses each goes.

        Raises:
            ConfigError: the system refuses, because of an address as a rule.
        """
        for start in range(0, len(offsets), len(self._sources)):
            some = slice(start, start + len(self._sources))
            try:
                if self._call is None:
                    self._send_singly(memory, offsets[some], length, sources[some])
                else:
                    self._send_together(memory, offsets[some], length, sources[some])
            except OSError as error:
                host, port = self._to
                places = {self._sources[i] for i in sources[some].tolist()} - {None}
                origin = f" from {', '.join(sorted(filter(None, places)))}" if places else ""
                raise ConfigError(
                    f"cannot send to {host}:{port}{origin}: {error.strerror}"
                ) from error

    def _send_together(
        self,
        memory: NDArray[np.uint8],
        offsets: NDArray[np.intp],
        length: int,
        sources: NDArray[np.intp],
    ) -> None:
        assert self._call is not None
        count, sent = len(offsets), 0
        self._parts["base"][:count] = memory.ctypes.data + offsets
        self._parts["length"][:count] = length
        self._headers["control"][:count] = self._control_addresses[sources]
        at: int = self._headers.ctypes.data
        while sent < count:
            fresh = self._call(self._socket.fileno(), at + sent * HEADER.itemsize, count - sent, 0)
            if fresh < 0:
                number = ctypes.get_errno()
                if number != errno.EINTR:
                    raise OSError(number, os.strerror(number))
            else:
                sent += fresh

    def _send_singly(
        self,
        memory: NDArray[np.uint8],
        offsets: NDArray[np.intp],
        length: int,
        sources: NDArray[np.intp],
    ) -> None:
        view = memory.data
        for offset, source in zip(offsets.tolist(), sources.tolist(), strict=True):
            info = self._controls[source].tobytes()[PKTINFO_DATA]
            control = [(socket.IPPROTO_IP, IP_PKTINFO, info)]
            self._socket.sendmsg([view[offset : offset + length]], control, 0, self._to)

    @property
    def port(self) -> int:
        """UDP port from which the datagrams go; 0 before the first."""
        port: int = self._socket.getsockname()[1]
        return port

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _resolved(host: str) -> str:
    """The IPv4 address of ``host``.

    Raises:
        ConfigError: it has none.
    """
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise ConfigError(f"host: {host}: {error.strerror}") from error


def own_address(host: str) -> str:
    """The IPv4 address that this machine has towards ``host``.

    Raises:
        ConfigError: there is no way to ``host``.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_resolved(host), 9))
        except OSError as error:
            raise ConfigError(f"host: {host}: {error.strerror}") from error
        address: str = probe.getsockname()[0]
        return address
