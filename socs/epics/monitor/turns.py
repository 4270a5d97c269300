"""A lock that goes round: who waits gets it before who has just had it."""

from __future__ import annotations

import threading


class Turns:
    """Used as ``with turns:``, never within itself.

    A plain lock mostly goes back to a thread that lets go of it for a moment, and who else waits
    may wait for long.
    """

    def __init__(self) -> None:
        self._next, self._held = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._held.acquire()

    def __exit__(self, *error: object) -> None:
        self._held.release()
