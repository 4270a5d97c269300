"""The life of what says from time to time that it is there: a server, an application."""

from __future__ import annotations

import heapq
from collections.abc import MutableMapping, Sized
from typing import Any, Generic, Literal, Protocol, TypeVar

State = Literal["UNKNOWN", "ALIVE", "LOST"]
Noticed = Literal["started", "running", "restarted", "silent", "forgotten"]

# (state, what was noticed): (new state, the event; none if empty)
LIFE: dict[tuple[State, Noticed], tuple[State, str]] = {
    ("UNKNOWN", "started"): ("ALIVE", "NEW"),
    ("UNKNOWN", "running"): ("ALIVE", "DETECTED"),
    ("ALIVE", "running"): ("ALIVE", ""),
    ("ALIVE", "restarted"): ("ALIVE", "RESTARTED"),
    ("ALIVE", "silent"): ("LOST", "LOST"),
    ("LOST", "running"): ("ALIVE", "RESUMED"),
    ("LOST", "restarted"): ("ALIVE", "RESTARTED"),
    ("LOST", "forgotten"): ("UNKNOWN", ""),
}
NOTICED: dict[Noticed, str] = {
    "started": "first sign, of a start that we would have seen",
    "running": "a sign that fits what is known",
    "restarted": "a sign that tells a new start",
    "silent": "no sign for too long, while we listened",
    "forgotten": "somebody says that it is gone for good",
}
EVENTS = {
    "NEW": "it started while we listened",
    "DETECTED": "it is there, and was before we listened",
    "LOST": "nothing was heard of it for too long",
    "RESUMED": "it is heard again and has been running all the time",
    "RESTARTED": "it started anew, whether it was lost before or not",
}

SHARE = 20  # of all there is room for: so many make room at once


class Living(Protocol):
    """A server, an application."""

    state: State
    lost: float  # since when, UNIX time [s]


K = TypeVar("K", bound=Any)  # can be ordered
L = TypeVar("L", bound=Living)


class Room(Generic[K]):
    """Room for ``most``. Where there is none, some make it that have been lost for longest.

    They are a twentieth of ``most``; fewer, or none, if no more are lost. So ports that servers had
    at earlier starts do not take all room in the end.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_vain = False  # nobody makes room

    def tick(self) -> None:
        """Some may have been lost meanwhile."""
        self._in_vain = False

    def make(self, known: MutableMapping[K, L]) -> int:
        """Have some of ``known`` make room, if there is none; how many did."""
        if len(known) < self._most or self._in_vain:
            return 0
        lost = [(each.lost, key) for key, each in known.items() if each.state == "LOST"]
        gone = heapq.nsmallest(max(self._most // SHARE, 1), lost)
        for _, key in gone:
            del known[key]
        self._in_vain = not gone
        return len(gone)

    def is_there(self, known: Sized) -> bool:
        """Is there room for one more?"""
        return len(known) < self._most
