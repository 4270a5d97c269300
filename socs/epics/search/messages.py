"""Search requests of our own: many names in one datagram, as the clients of EPICS write them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

CA_BYTES = 1024  # of a datagram, as libca keeps to
PVA_BYTES = 1400
LONGEST_NAME = 500  # bytes
CA_MINOR = 13  # version 4.13
PVA_VERSION = 2
DONT_REPLY = 5  # unless there is the name
LONG_TEXT = 254  # a size of this and more takes five bytes

_CA = struct.Struct("!HHHHII")
_VERSION, _SEARCH = 0, 6
_PVA_MAGIC, _PVA_BIG_ENDIAN, _PVA_SEARCH = 0xCA, 0x80, 3

Names = Sequence[tuple[int, bytes]]  # number of the channel, name


def is_name(name: bytes) -> bool:
    """Can there be a search for it."""
    return 0 < len(name) <= LONGEST_NAME and b"\0" not in name


class CaFormat:
    """Search requests of Channel Access."""

    room = CA_BYTES - _CA.size  # for names in one datagram [bytes]

    @staticmethod
    def size(name: bytes) -> int:
        """What a name takes of the room."""
        return _CA.size + _padded(name)

    @staticmethod
    def datagram(number: int, port: int, names: Names) -> bytes:
        """One datagram.

        Args:
            number: of the datagram, of 32 bits; servers give it back.
            port: at which answers arrive; they go where a request came from.
        """
        parts = [_CA.pack(_VERSION, 0, 1, CA_MINOR, number, 0)]
        for cid, name in names:
            size = _padded(name)
            parts.append(_CA.pack(_SEARCH, size, DONT_REPLY, CA_MINOR, cid, cid))
            parts.append(name.ljust(size, b"\0"))
        return b"".join(parts)


def _padded(name: bytes) -> int:
    return len(name) // 8 * 8 + 8  # with a NUL at least


class PvaFormat:
    """Search requests of PV Access, big endian."""

    _head = struct.Struct("!BBBBI")
    _begin = struct.Struct("!IB3x16xHB4sH")
    room = PVA_BYTES - _head.size - _begin.size

    @staticmethod
    def size(name: bytes) -> int:
        """What a name takes of the room."""
        return len(name) + (5 if len(name) < LONG_TEXT else 9)

    @classmethod
    def datagram(cls, number: int, port: int, names: Names) -> bytes:
        """One datagram; see :meth:`CaFormat.datagram`. Answers go to ``port`` of its sender."""
        parts = [cls._begin.pack(number, 0, port, 1, b"\x03tcp", len(names))]
        for cid, name in names:
            if len(name) < LONG_TEXT:
                parts.append(struct.pack("!IB", cid, len(name)))
            else:
                parts.append(struct.pack("!IBI", cid, LONG_TEXT, len(name)))
            parts.append(name)
        body = b"".join(parts)
        head = cls._head.pack(_PVA_MAGIC, PVA_VERSION, _PVA_BIG_ENDIAN, _PVA_SEARCH, len(body))
        return head + body
