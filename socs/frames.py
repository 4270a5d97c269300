"""Talking to a worker process over pipes: frames of a 4-byte big-endian length and their bytes."""

from __future__ import annotations

from typing import IO


def send(stream: IO[bytes], frame: bytes) -> None:
    """Write one frame, at once.

    Raises:
        OSError: the other side is gone.
    """
    rest = memoryview(len(frame).to_bytes(4, "big") + frame)
    while rest:
        rest = rest[stream.write(rest) :]
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next frame, or None when the other side is gone. Takes no more than that."""
    head = _read(stream, 4)
    return _read(stream, int.from_bytes(head, "big")) if head is not None else None


def _read(stream: IO[bytes], size: int) -> bytes | None:
    """``size`` bytes, of which an unbuffered stream gives some at a time."""
    data = b""
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            return None
        data += more
    return data
