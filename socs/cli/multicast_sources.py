"""Where the multicast properties are: in a Tango database, or in a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from socs.errors import ConfigError, OurError, StorageError
from socs.tango.multicast import EVENT, OBJECT, Configuration
from socs.tango.properties import PropertyStore

PREFIX = "M"  # what begins so is read, for names that are misspelt


class Source(Protocol):
    """Something that holds the properties."""

    @property
    def description(self) -> str:
        """For messages."""

    def read(self) -> Configuration:
        """The properties as they are now."""

    def write(self, old: Sequence[str], new: Sequence[str]) -> None:
        """Change ``MulticastEvent`` from ``old`` to ``new``."""


class DatabaseSource:
    """The properties of ``CtrlSystem`` in a Tango database."""

    def __init__(self, tango_host: str | None, timeout: float) -> None:
        self._store = PropertyStore(tango_host, timeout)
        host = tango_host or os.environ.get("TANGO_HOST")
        self.description = f"{OBJECT}/{EVENT} of {host or 'the Tango database'}"

    def read(self) -> Configuration:
        """See :class:`Source`.

        Raises:
            StorageUnavailable: the database was not reached, or did not answer in time.
        """
        return Configuration.of(self._store.read(OBJECT, PREFIX))

    def write(self, old: Sequence[str], new: Sequence[str]) -> None:
        """See :class:`Source`.

        Raises:
            OurError: it is no longer ``old``.
            StorageUnavailable: the database was not reached, or did not answer in time.
        """
        self._store.write(OBJECT, EVENT, old, new)


class FileSource:
    """A file with one element a line, or a list in JSON, or an object in JSON: lists by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.description = str(path)

    def read(self) -> Configuration:
        """See :class:`Source`.

        Raises:
            ConfigError: the file cannot be read, or is none of the three.
        """
        held = self._held()
        properties = held if isinstance(held, dict) else {EVENT: held}
        for name, values in properties.items():
            if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
                raise ConfigError(f"{self._path}: {name} is not a list of texts")
        return Configuration.of(properties)

    def write(self, old: Sequence[str], new: Sequence[str]) -> None:
        """See :class:`Source`. The file changes in one step and keeps its form.

        Raises:
            OurError: it no longer holds ``old``.
            StorageError: it cannot be written.
        """
        if self.read().events != tuple(old):
            raise OurError(f"{self._path} was changed meanwhile: nothing was written, look again")
        text = self._text()
        held = self._held()
        if isinstance(held, dict):
            known = next((name for name in held if name.lower() == EVENT.lower()), EVENT)
            out = json.dumps({**held, known: [*new]}, indent=2) + "\n"
        elif text.lstrip().startswith("["):
            out = json.dumps([*new], indent=2) + "\n"
        else:
            out = "".join(f"{value}\n" for value in new)
        try:
            mode = self._path.stat().st_mode & 0o777
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, encoding="utf-8", delete=False
            ) as stream:
                stream.write(out)
            os.chmod(stream.name, mode)
            os.replace(stream.name, self._path)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error

    def _text(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._path} is not text in UTF-8") from error

    def _held(self) -> Any:
        """What the file holds: an object or a list."""
        text = self._text()
        if not text.lstrip().startswith(("[", "{")):
            return [line for line in text.splitlines() if line.strip()]
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{self._path} is not JSON: {error}") from error


def save(configuration: Configuration, path: Path) -> None:
    """Keep the properties in a new file, in a form that :class:`FileSource` reads.

    Raises:
        StorageError: it cannot be written, or there is one already.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            json.dump(configuration.properties(), stream, indent=2)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
