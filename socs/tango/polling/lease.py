"""The servers at which performance monitoring may be on, in a file that outlives us.

It is written before anything is switched on, so that a run that was killed leaves on nothing that
the next one does not know of.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from socs.errors import StorageUnavailable

VERSION = 1


class _File(msgspec.Struct):
    version: int
    servers: list[str]


class PerformanceLease:
    """What is in the file.

    Args:
        path: the file; its directory is made if missing.

    Attributes:
        servers: where performance monitoring may be on.
        unreadable: why the file was put aside when it was opened, or "".
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.unreadable = ""
        self.servers: frozenset[str] = self._read()

    def _read(self) -> frozenset[str]:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if found.version != VERSION:
                raise msgspec.ValidationError(f"version {found.version}, not {VERSION}")
        except FileNotFoundError:
            return frozenset()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self.unreadable = str(error)
            return frozenset()
        return frozenset(found.servers)

    def write(self, servers: Iterable[str]) -> None:
        """Replace the list, on disk first; without any the file is removed.

        Raises:
            StorageUnavailable: that did not work; the old list stands.
        """
        new = frozenset(servers)
        if new == self.servers:
            return
        try:
            if new:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_name(f"{self._path.name}.new")
                with fresh.open("wb") as stream:
                    stream.write(msgspec.json.encode(_File(VERSION, sorted(new))))
                    stream.flush()
                    os.fsync(stream.fileno())
                fresh.replace(self._path)
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"{self._path}: {error.strerror}") from error
        self.servers = new
