"""What a disk, or who is told of files, may refuse now and not later: tried again, told once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from socs.errors import OurError
from socs.problems import Problems

RETRY = 1.0  # s until what was refused is tried again

T = TypeVar("T")

log = logging.getLogger(__name__)


class Attempts:
    """Tries things by name. For one thread.

    Args:
        files: what it is about, in the plural, for the log.
        problems: are told what is refused.
        on_refused: called each time something is.
    """

    def __init__(self, files: str, problems: Problems, on_refused: Callable[[], object]) -> None:
        self._files, self._problems, self._on_refused = files, problems, on_refused
        self._refused: dict[str, tuple[str, float]] = {}  # what: why not, when to try again

    def attempt(self, what: str, now: float, do: Callable[[], object]) -> bool:
        """Call ``do``, but not within :data:`RETRY` of a refusal; True if it was done."""
        if what in self._refused and now < self._refused[what][1]:
            return False
        try:
            do()
        except OurError as error:
            self._refuse(what, now, str(error))
        except Exception as error:
            log.exception("cannot %s %s", what, self._files)
            self._refuse(what, now, f"{type(error).__name__}: {error}")
        else:
            self._refused.pop(what, None)
            return True
        return False

    def _refuse(self, what: str, now: float, reason: str) -> None:
        self._on_refused()
        self._refused[what] = reason, now + RETRY
        self._problems.report(what, reason, now)

    def try_again(self) -> None:
        """Do not wait any longer before trying what was refused."""
        self._refused.clear()

    def troubles(self) -> list[str]:
        """What cannot be done, and why; empty when all is well."""
        return [text for text, _ in self._refused.values()]


def each(things: deque[T], do: Callable[[T], object]) -> None:
    """Call ``do`` once with each of ``things``; those that are refused stay.

    Raises:
        OurError: what was raised last.
    """
    refused = None
    for _ in range(len(things)):
        try:
            do(things[0])
        except OurError as error:
            refused = error
            things.rotate(-1)
        else:
            things.popleft()
    if refused is not None:
        raise refused
