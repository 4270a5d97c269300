"""What happened to a subscriber's entry between two of its replies."""

from __future__ import annotations

from typing import Literal

from socs.tango.counting import advance
from socs.tango.snapshot import Subscription

Move = Literal["still", "first", "advanced", "renumbered", "new_entry", "moved"]


def classify(before: Subscription, after: Subscription) -> Move:
    """What happened to a subscriber's entry between two of its replies."""
    if after.publisher != before.publisher:
        return "moved"
    if _is_new_entry(before, after):
        return "new_entry"
    received = after.received - before.received
    steps = advance(before.number, after.number)
    move: Move = "advanced"
    if not received and after.number in (0, before.number):
        move = "still"
    elif not before.received:
        move = "first"
    elif steps is None or received > steps:
        move = "renumbered"
    elif steps > received + 1 and after.gaps == before.gaps and after.confirmed is None:
        move = "new_entry"  # who is subscribed all the time, counts a gap; but see `torn`
    return move


def _is_new_entry(before: Subscription, after: Subscription) -> bool:
    """Whether something of it that never goes back did."""
    return (
        after.received < before.received
        or after.gaps < before.gaps
        or (after.discarded or 0) < (before.discarded or 0)
        or (before.confirmed is not None and after.confirmed is None)
    )
