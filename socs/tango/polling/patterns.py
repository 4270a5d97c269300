"""What may be named to be monitored: devices, device servers, many of them, or all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from socs.errors import ConfigError, Malformed
from socs.tango.names import ServerName, parse_server

EVERY = "*"
ADMIN = "dserver/*"
_SCHEME = "tango://"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One name.

    Attributes:
        kind: ``server`` is an admin device, ``servers`` a wildcard for some, ``device`` and
            ``devices`` are devices, whose servers are meant.
        authority: ``host:port`` of the database; "" for that of ``TANGO_HOST``.
        path: in lower case, without authority.
    """

    kind: Literal["server", "servers", "device", "devices"]
    authority: str
    path: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.authority}/{self.path}" if self.authority else self.path

    def may_mean(self, server: str) -> bool:
        """Whether the server with the admin device ``server`` may be meant.

        That is not known of names of devices: only the database knows their servers.
        """
        if self.kind in ("device", "devices"):
            return True
        expression = ".*".join(map(re.escape, self.path.split(EVERY)))
        return re.fullmatch(expression, server) is not None


def parse_pattern(text: str) -> Pattern:
    """What ``text`` names: ``lab/pub/1``, ``dserver/program/instance``, ``program/instance``, a
    wildcard such as ``lab/*/*`` or ``dserver/pub*``, or ``*`` for every server of the database.
    Before each of them may stand ``tango://host:port/``.

    Raises:
        ConfigError: it is none of these.
    """
    path, authority = text.strip().lower(), ""
    if path.startswith(_SCHEME):
        authority, _, path = path[len(_SCHEME) :].partition("/")
        host, _, port = authority.rpartition(":")
        if not host or not port.isdecimal():
            raise ConfigError(f"{text!r}: tango:// is followed by host:port/")
    path = ADMIN if path == EVERY else path
    parts = path.split("/")
    wild = EVERY in path
    if not path.isprintable() or "" in parts or len(parts) > 3 or (len(parts) < 2):
        raise ConfigError(f"{text!r} is no name of a Tango device or device server")
    if parts[0] == "dserver" and wild:
        return Pattern("servers", authority, path)
    if wild:
        return Pattern("devices", authority, path)
    try:
        return Pattern("server", authority, parse_server(path).path)
    except Malformed:
        return Pattern("device", authority, path)


def server_name(authority: str, server: str) -> str:
    """The full name of a server, of its admin device or ``program/instance``.

    Raises:
        Malformed: it is neither.
    """
    return str(ServerName(authority, parse_server(server).path))
