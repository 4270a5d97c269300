"""The life of what says from time to time that it is there: a server, an application."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeVar

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


def lost_longest(known: Mapping[K, Living], most: int) -> list[K]:
    """The keys of those that make room when there are as many as there may be.

    They are a twentieth of ``most``, those that have been lost for longest; fewer, or none, if no
    more are lost. So ports that servers had at earlier starts do not take all room in the end.
    """
    lost = [(each.lost, key) for key, each in known.items() if each.state == "LOST"]
    return [key for _, key in heapq.nsmallest(max(most // SHARE, 1), lost)]
