"""Names of files: numbered by date or order, and never one that is or was in use.

========  ===========================  =================================================
``date``  prefix + 2026-11-21.13.05    UTC, when the file is begun
``order`` prefix + 00001               goes on after the highest number ever given out
none      prefix
========  ===========================  =================================================

A name that is taken gets ``.1``, ``.2`` and so on before its ending ``.hdf5``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from socs.errors import ConfigError, StorageUnavailable
from socs.part_files import part_of
from socs.problems import printable
from socs.slow_signal.store.journal import SUFFIX

ENDING = ".hdf5"
MAX_PREFIX = 180  # bytes; names may have 255, and all the endings need their part of it
ENUMERATORS = ("date", "order")
_DATE = "%Y-%m-%d.%H.%M"


def directory_and_name(folder: str | os.PathLike[str], prefix: str) -> tuple[Path, str]:
    """Where files with ``prefix`` in ``folder`` are, absolute, and how their names begin.

    The prefix may have directories; as with SSDAQ it goes without the folder if it is absolute.

    Raises:
        ConfigError: there can be no such directory.
    """
    below, name = os.path.split(os.path.join(os.path.abspath(folder), prefix))
    if "\0" in below:
        raise ConfigError(f"folder {below!r}: no path has a zero byte")
    return Path(below), name


def journal_of(path: Path) -> Path:
    """Where the journal of the file ``path`` is while it is being written."""
    return path.with_name(path.name + SUFFIX)


def is_free(path: Path) -> bool:
    """Is nothing there, neither complete nor being written?"""
    return not any(os.path.lexists(name) for name in (path, journal_of(path), part_of(path)))


def free_names(path: Path) -> Iterator[Path]:
    """``path`` and its variants with a number, those that are free."""
    ending = path.suffix if path.suffix == ENDING else ""
    stem = path.name.removesuffix(ending)
    for number in count():
        name = path.with_name(f"{stem}.{number}{ending}" if number else path.name)
        if is_free(name):
            yield name


class Names:
    """Names of the files of one writer.

    Args:
        folder: where they are.
        prefix: how they begin.
        enumerator: ``date``, ``order`` or None.

    Raises:
        ConfigError: no such enumerator, or ``prefix`` is not part of a file name.
    """

    def __init__(self, folder: Path, prefix: str, enumerator: str | None) -> None:
        if enumerator not in (None, "", "none", *ENUMERATORS):
            raise ConfigError(
                f"no file enumerator {enumerator!r}; there are {', '.join(ENUMERATORS)} and none"
            )
        if not prefix or "/" in prefix or "\0" in prefix or prefix in (".", ".."):
            raise ConfigError(f"{prefix!r} cannot begin the names of files")
        if not prefix.isprintable() or len(os.fsencode(prefix)) > MAX_PREFIX:
            raise ConfigError(
                f"{printable(prefix)!r} cannot begin the names of files: longer than {MAX_PREFIX} "
                "bytes, or with characters that nobody sees"
            )
        self.folder, self.prefix, self.enumerator = folder, prefix, enumerator

    def candidates(self, now: float) -> Iterator[Path]:
        """Free names, the best first. ``now`` is a UNIX time [s].

        Raises:
            StorageUnavailable: the folder cannot be looked at.
        """
        if self.enumerator == "order":
            number = self._last() + 1
            names = (self._path(f"{n:05}") for n in count(number))
            return (name for name in names if is_free(name))
        if self.enumerator == "date":
            minute = datetime.fromtimestamp(now, timezone.utc).strftime(_DATE)
            return free_names(self._path(minute))
        return free_names(self._path(""))

    def given_out(self, path: Path) -> None:
        """Remember a number, also when the file is moved away later."""
        if self.enumerator == "order" and (number := self._number(path.name)) is not None:
            with suppress(OSError):  # the names of the files tell it as well, while they are there
                part_of(self._memory).write_text(f"{number}\n")
                os.replace(part_of(self._memory), self._memory)

    def tidy(self) -> None:
        """Remove what was left by a program that was killed while it noted a number."""
        with suppress(OSError):
            part_of(self._memory).unlink(missing_ok=True)

    def journals(self) -> list[Path]:
        """Journals of files with this prefix, by name.

        Raises:
            StorageUnavailable: the folder cannot be looked at.
        """
        names = (n for n in self._listing() if n.endswith(ENDING + SUFFIX))
        return [self.folder / n for n in sorted(names) if n.startswith(self.prefix)]

    @property
    def _memory(self) -> Path:
        return self.folder / f".{self.prefix}last-number"

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.prefix}{suffix}{ENDING}"

    def _number(self, name: str) -> int | None:
        found = re.match(re.escape(self.prefix) + r"(\d{1,9})\.", name)
        return int(found[1]) if found else None

    def _last(self) -> int:
        """The highest number that was ever given out."""
        numbers = [self._number(name) or 0 for name in self._listing()]
        with suppress(OSError, ValueError):
            numbers.append(int(self._memory.read_text()))
        return max(numbers, default=0)

    def _listing(self) -> list[str]:
        try:
            return os.listdir(self.folder)
        except OSError as error:
            raise StorageUnavailable(f"cannot look into {self.folder}: {error.strerror}") from error
