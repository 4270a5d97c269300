"""Where searches are sent: lists of addresses, as in the variables of EPICS."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from socs.epics.cainfo.messages import Protocol
from socs.epics.ports import HIGHEST_PORT, EpicsPorts
from socs.errors import ConfigError

CA_PORT, PVA_PORT = EpicsPorts.ca, EpicsPorts.pva
Destination = tuple[str, int]
_FLAGS, _BROADCAST = 0x8913, 0x8919  # SIOCGIFFLAGS, SIOCGIFBRDADDR of Linux
_UP, _HAS_BROADCAST = 0x1, 0x2
_YES_NO = {"YES": True, "NO": False}


@dataclass(frozen=True)
class AddressLists:
    """Of both protocols.

    Attributes:
        ca, pva: ``host[:port]`` with blanks between; see ``EPICS_CA_ADDR_LIST``.
        ca_auto, pva_auto: besides, the broadcast addresses of all interfaces.
        ca_port, pva_port: UDP ports where none is named.

    Raises:
        ConfigError: a port is none.
    """

    ca: str = ""
    pva: str = ""
    ca_auto: bool = True
    pva_auto: bool = True
    ca_port: int = CA_PORT
    pva_port: int = PVA_PORT

    def __post_init__(self) -> None:
        for name in ("ca", "pva"):
            port = getattr(self, f"{name}_port")
            for entry in getattr(self, name).split():
                split_address(entry, port)
            split_address("host", port)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> AddressLists:
        """What the variables ``EPICS_CA_ADDR_LIST`` and so on say.

        Raises:
            ConfigError: one says something impossible; the message names it.
        """
        return cls(
            ca=environ.get("EPICS_CA_ADDR_LIST", ""),
            pva=environ.get("EPICS_PVA_ADDR_LIST", ""),
            ca_auto=_yes(environ, "EPICS_CA_AUTO_ADDR_LIST"),
            pva_auto=_yes(environ, "EPICS_PVA_AUTO_ADDR_LIST"),
            ca_port=_port(environ, "EPICS_CA_SERVER_PORT", CA_PORT),
            pva_port=_port(environ, "EPICS_PVA_BROADCAST_PORT", PVA_PORT),
        )

    def environ(self) -> dict[str, str]:
        """The variables that say this."""
        return {
            "EPICS_CA_ADDR_LIST": self.ca,
            "EPICS_PVA_ADDR_LIST": self.pva,
            "EPICS_CA_AUTO_ADDR_LIST": "YES" if self.ca_auto else "NO",
            "EPICS_PVA_AUTO_ADDR_LIST": "YES" if self.pva_auto else "NO",
            "EPICS_CA_SERVER_PORT": str(self.ca_port),
            "EPICS_PVA_BROADCAST_PORT": str(self.pva_port),
        }

    def destinations(self, protocol: Protocol) -> list[Destination]:
        """Where searches are sent, each once. Host names are looked up now, which may take time.

        Raises:
            ConfigError: a host is not known, or there is no address at all.
        """
        listed, automatic, port = (
            (self.ca, self.ca_auto, self.ca_port)
            if protocol == "ca"
            else (self.pva, self.pva_auto, self.pva_port)
        )
        found: dict[Destination, None] = {}
        for entry in listed.split():
            host, number = split_address(entry, port)
            try:
                found[socket.gethostbyname(host), number] = None
            except (OSError, UnicodeError) as error:
                raise ConfigError(f"addresses: {host} is not known: {error}") from error
        if automatic:
            found.update(dict.fromkeys((each, port) for each in broadcast_addresses()))
        if not found:
            raise ConfigError(
                f"EPICS_{protocol.upper()}_ADDR_LIST: there is no address to search at"
            )
        return list(found)


def split_address(entry: str, port: int | None = None) -> Destination:
    """Host and port of ``host:port``, or of ``host`` if there is a ``port``.

    Raises:
        ConfigError: it is something else.
    """
    host, colon, digits = entry.partition(":")
    if not colon and port is not None:
        digits = str(port)
    if not host or not digits.isdecimal() or not 1 <= int(digits) <= HIGHEST_PORT:
        raise ConfigError(f"{entry!r} is not host:port" + ("" if port is None else " or host"))
    return host, int(digits)


def broadcast_addresses() -> list[str]:
    """Those of all interfaces of this host that are up."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                flags = struct.unpack_from("H", fcntl.ioctl(sock, _FLAGS, request), 16)[0]
                if flags & _UP and flags & _HAS_BROADCAST:
                    answer = fcntl.ioctl(sock, _BROADCAST, request)
                    found.append(socket.inet_ntoa(answer[20:24]))
            except OSError:  # it has no IPv4 address, or is gone
                continue
    return found


def _yes(environ: Mapping[str, str], name: str) -> bool:
    word = environ.get(name, "YES").strip().upper()
    if word not in _YES_NO:
        raise ConfigError(f"{name}: {word!r} is neither YES nor NO")
    return _YES_NO[word]


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    digits = environ.get(name, "").strip() or str(default)
    if not digits.isdecimal() or not 1 <= int(digits) <= HIGHEST_PORT:
        raise ConfigError(f"{name}: {digits!r} is no port")
    return int(digits)
