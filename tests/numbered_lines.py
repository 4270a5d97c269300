"""Lines of JSON with numbers in them, and a disk without room for them."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from socs import lines_file


def line(number: int) -> bytes:
    return json.dumps({"number": number}).encode()


def numbers_in(path: Path) -> list[int]:
    return [json.loads(text)["number"] for text in path.read_bytes().splitlines()]


def full_after(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """As a disk with ``room`` bytes left."""
    pwrite = os.pwrite

    def limited(file: int, data: bytes, place: int) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = pwrite(file, bytes(data)[:room], place)
        room -= done
        return done

    monkeypatch.setattr(lines_file.os, "pwrite", limited)
