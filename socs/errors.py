"""The two families of errors, told apart by whose fault it is.

::

    SocsError
    ├── PeerError             what came from outside is at fault; counted, ends no loop
    │   ├── Malformed         cannot be decoded
    │   ├── TooLarge          beyond a named limit
    │   ├── NotAllowed        a sender, path or name that the configuration does not admit
    │   └── FileNotReady      the named file is missing, unreadable or still being written
    └── OurError              this side is at fault; shown to the operator with what to change
        ├── ConfigError       a setting is missing or wrong
        └── StorageError
            ├── StorageUnavailable   try again later, nothing is wrong with the data
            └── RowRefused           this row will never be accepted as it is

Low-level errors are translated into these at one border each: sockets in ``socs.wire``, drivers
in ``socs.db.engine``, files in ``socs.dataroots``, JSON in the ``decode`` modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SocsError(Exception):
    """Root of everything raised on purpose by this package."""


class PeerError(SocsError):
    """What came from outside is at fault.

    ``cause`` is the name of the counter under which it is counted (see :mod:`socs.counters`).
    """

    default_cause = "malformed"

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.cause = cause or self.default_cause


class Malformed(PeerError):
    """The bytes cannot be decoded."""


class TooLarge(PeerError):
    """A size or depth is beyond its named limit."""

    default_cause = "too_large"


class NotAllowed(PeerError):
    """The configuration does not admit this sender, path or name."""

    default_cause = "not_allowed"


class FileNotReady(PeerError):
    """The named file is missing, unreadable or still being written; it may be later."""

    default_cause = "file_missing"


class OurError(SocsError):
    """This side is at fault; the message says what to change."""


class ConfigError(OurError):
    """A setting is missing or wrong; the message names it."""


class StorageError(OurError):
    """Storing failed."""


class StorageUnavailable(StorageError):
    """The store cannot be reached or is overloaded; the data are fine, try again later."""


class RowRefused(StorageError):
    """The store will never accept this row as it is."""


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Have errors of configuration begin with what they are about: an option, a file, a section."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{setting}: {error}") from error
