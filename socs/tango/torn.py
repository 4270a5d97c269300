"""Replies that were made while an event was being taken in.

A subscriber counts an event, and notes its number a moment later. A reply of just then has one
event more than its number tells: neither was anything lost, nor did the publisher count anew. Such
a reply is passed over; the next one tells. Only if the very first reply was torn, or there was a
gap right before the event, does that show afterwards, as one event that is missing without a gap.
"""

from __future__ import annotations

from msgspec.structs import replace

from socs.tango.counting import advance
from socs.tango.limits import COUNTER
from socs.tango.snapshot import Subscription

MOST = 2  # replies passed over in a row; who counts anew may look the same


def begun(entry: Subscription) -> Subscription:
    """The first reply of an entry, without an event whose number is not known."""
    return replace(entry, received=0) if _is_first(entry) else entry


def is_torn(before: Subscription, after: Subscription, mark: int | None) -> bool:
    """Whether ``after`` has one event more than its number tells.

    ``mark``: the number after which it was to receive, if it had not received anything before.
    """
    received = after.received - before.received
    if after.publisher != before.publisher or received <= 0:
        return False
    last = before.number if before.received else mark
    steps = advance(last, after.number) if last is not None else None
    return steps == received - 1 or (not before.received and _is_first(after))


def mended(before: Subscription, after: Subscription) -> Subscription:
    """``before``, which may be torn, with the number that it lacks according to ``after``."""
    received = after.received - before.received
    steps = advance(before.number, after.number)
    if before.received and after.gaps == before.gaps and steps == received + 1:
        return replace(before, number=(before.number + 1) % COUNTER)
    return before


def _is_first(entry: Subscription) -> bool:
    return entry.number == 0 and entry.received == 1
