"""Telling people about problems without flooding them: the first of a kind at once, then rarely.

Counters carry the exact numbers; these messages say what happened and where it came from.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

MAX_CHARACTERS = 200  # of one message, as names and errors from outside may be of any length
INTERVAL = 60.0  # [s] between two messages of one kind

T = TypeVar("T")

log = logging.getLogger(__name__)


def printable(text: str, limit: int = MAX_CHARACTERS) -> str:
    r"""``text`` on one line of at most ``limit`` characters, control characters as ``\x1b``.

    For anything from outside that goes to a log or a terminal.
    """
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii")
        for c in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def fitting(rows: Sequence[T], room: int) -> list[T]:
    """The first of ``rows`` that together take at most ``room`` bytes as JSON."""
    shown: list[T] = []
    for row in rows:
        room -= len(msgspec.json.encode(row))
        if room < 0:
            break
        shown.append(row)
    return shown


class Problems:
    """Passes on the first message of each kind, then at most one per ``interval``.

    Threads may share it.

    Args:
        tell: gets each message that is passed on; the default logs a warning. What it raises is
            logged and goes no further.
        interval: least time between two messages of one kind [s].
    """

    def __init__(
        self, tell: Callable[[str], None] | None = None, interval: float = INTERVAL
    ) -> None:
        self._tell = tell or log.warning
        self._interval = interval
        self._told_at: dict[str, float] = {}
        self._silent: dict[str, int] = {}
        self._lock = threading.Lock()

    def report(self, kind: str, text: str, now: float) -> bool:
        """Tell ``text`` unless one of this kind was told lately.

        Args:
            kind: what must not repeat; a name from this program, not from outside.
            text: for a person; made `printable` here.
            now: any monotonic time [s].

        Returns:
            True when it was told.
        """
        with self._lock:
            told_at = self._told_at.get(kind)
            if told_at is not None and now - told_at < self._interval:
                self._silent[kind] = self._silent.get(kind, 0) + 1
                return False
            self._told_at[kind] = now
            silent = self._silent.pop(kind, 0)
        note = f" (and {silent} times since the last such message)" if silent else ""
        try:
            self._tell(printable(text, MAX_CHARACTERS - len(note)) + note)
        except Exception:
            log.exception("could not pass on a problem")
        return True
