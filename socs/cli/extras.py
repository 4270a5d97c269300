"""Libraries that come with an extra of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from socs.errors import ConfigError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of libraries that come with the extra ``name``.

    Raises:
        ConfigError: they are not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"{error}; install socs with its extra `{name}`: pip install 'socs[{name}]'"
        ) from error
