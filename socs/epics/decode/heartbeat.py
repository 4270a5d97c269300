"""Heartbeats as JSON, and what can be asked of who sends them.

An application sends one JSON object every 30 s to UDP port 5066, all values texts::

    {"seq": "7", "sp": "5064", "up": "210", "cur": "1700000000", "pid": "123", "cwd": "/iocApps/x",
     "ver": "2.0", "img": "./bin/x", "stcmd": "st.cmd"}

Version 1.1 answers `LIST_PVS`, 2.0 answers `NETSTAT` as well, 3.0 has no names to list. A request
is four numbers of 32 bits, big endian, to where the heartbeat came from; the answers are JSON
again. These come some per second at most, so each is an object here.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Any

import msgspec

from socs.errors import Malformed, TooLarge

LIST_PVS, NETSTAT = 0x4DA3B921, 0x7F201C3B
LAST_LINE = "__NONE__"  # instead of a line: there are no more
WITH_LINES = "2.0"  # the version that answers NETSTAT
WITHOUT_NAMES = "3.0"  # the version that has no names to list
MOST_BYTES = 9_000  # of a datagram
LONGEST_TEXT = 1_024  # characters of one value
MOST_NAMES = 1_000  # in one answer; there are ten
LARGEST = 1 << 63  # of numbers

_REQUEST = struct.Struct("!4I")
_TEXTS = ("cwd", "img", "stcmd", "ver")
_DIGITS = re.compile(r"\s*([0-9]{1,19})(?:\.[0-9]{0,9})?\s*", re.ASCII)


@dataclass(frozen=True)
class Heartbeat:
    """One heartbeat.

    Attributes:
        sequence: number of the heartbeat, from 0 or 1 on.
        port: TCP port of the application's Channel Access server.
        uptime: seconds since it started.
        clock: its time, UNIX seconds.
        pid: its process.
        version: of this format: ``1.1``, ``2.0``, ``3.0``.
        image, command, directory: its program, start-up file and working directory.
    """

    sequence: int
    port: int
    uptime: int
    clock: int
    pid: int
    version: str
    image: str
    command: str
    directory: str

    def identity(self, host: int) -> int:
        """See `identity`."""
        return identity(f"{self.image} {self.command}", self.directory, host)


@dataclass(frozen=True)
class Names:
    """Answer to `LIST_PVS`: names from ``offset`` on, of ``total``."""

    handle: int
    offset: int
    names: tuple[str, ...]
    total: int


@dataclass(frozen=True)
class Line:
    """Answer to `NETSTAT`: one line; ``line`` is empty after the last."""

    handle: int
    offset: int
    build: str
    line: str


def decode(datagram: bytes) -> Heartbeat | Names | Line:
    """What is in ``datagram``.

    Raises:
        Malformed: not JSON, or not one of these; the cause is the name of a counter.
        TooLarge: beyond a limit of this module.
    """
    if len(datagram) > MOST_BYTES:
        raise TooLarge(f"{len(datagram)} bytes", "heartbeat_too_large")
    try:
        message = msgspec.json.decode(datagram)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}", "heartbeat_not_json") from error
    if not isinstance(message, dict):
        raise Malformed("JSON, but no object", "heartbeat_malformed")
    if "pvs" in message:
        return _names(message)
    if "l" in message:
        line = _text(message, "l")
        line = "" if line == LAST_LINE else line
        build = _text(message, "b") if "b" in message else ""
        offset = _number(message, "o") if "o" in message else 0
        return Line(_number(message, "h"), offset, build, line)
    directory, image, command, version = (_text(message, key) for key in _TEXTS)
    return Heartbeat(
        _number(message, "seq"),
        _port(message),
        _number(message, "up"),
        _number(message, "cur"),
        _number(message, "pid"),
        version,
        image,
        command,
        directory,
    )


def identity(command: str, directory: str, host: int) -> int:
    """What the peer knows an application on ``host`` by: 64 bits of a hash."""
    plain = command.replace('"', "").replace("'", "").lstrip(" ")
    digest = hashlib.md5(f"{plain}-{directory}-{host}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "big")


def request(command: int, sequence: int, offset: int, handle: int) -> bytes:
    """A request for names or lines from ``offset`` on; ``sequence`` is that of the last heartbeat.

    The answer bears ``handle``.
    """
    return _REQUEST.pack(command, *(number & 0xFFFFFFFF for number in (sequence, offset, handle)))


def _names(message: dict[str, Any]) -> Names:
    names = message["pvs"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Malformed("pvs: no list of texts", "heartbeat_malformed")
    if len(names) > MOST_NAMES:
        raise TooLarge(f"{len(names)} names in one answer", "heartbeat_too_large")
    offset = _number(message, "offset") if "offset" in message else 0
    return Names(_number(message, "handle"), offset, tuple(names), _number(message, "total"))


def _port(message: dict[str, Any]) -> int:
    port = _number(message, "sp")
    if port > 0xFFFF:
        raise Malformed(f"sp: {port} is no port", "heartbeat_malformed")
    return port


def _number(message: dict[str, Any], key: str) -> int:
    """A number, or a text that is one; what follows the point is dropped."""
    value = message.get(key)
    if isinstance(value, bool):
        value = None
    if isinstance(value, float) and 0 <= value < LARGEST:
        value = int(value)
    if isinstance(value, str) and (digits := _DIGITS.fullmatch(value)):
        value = int(digits[1])
    if not isinstance(value, int) or not 0 <= value < LARGEST:
        raise Malformed(f"{key}: no number from 0 on", "heartbeat_malformed")
    return value


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise Malformed(f"{key}: no text", "heartbeat_malformed")
    if len(value) > LONGEST_TEXT:
        raise TooLarge(f"{key}: {len(value)} characters", "heartbeat_too_large")
    return value
