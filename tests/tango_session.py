"""The recorded run of real device servers (``tests/data/tango``), poll by poll."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from socs.tango.decode import decode
from socs.tango.events import Event
from socs.tango.server import Sample
from socs.tango.track import EventTracker

SESSION = Path(__file__).parent / "data" / "tango" / "session.jsonl"


def polls() -> Iterator[tuple[str, list[Sample]]]:
    """Name of each poll, and what became of asking the servers; from 0 s on."""
    rows = map(json.loads, SESSION.read_text().splitlines())
    for name, group in itertools.groupby(rows, lambda row: row["poll"]):
        samples = []
        for row in group:
            reply = json.dumps(row["reply"]).encode() if row["reply"] else b""
            snapshot = decode(reply) if reply else None
            reason = "" if reply else f'"{row["outcome"]}" \\ it was'  # as awkward as errors can be
            sample = Sample(
                row["server"], row["outcome"], row["begun"], row["ended"], snapshot, reason=reason
            )
            samples.append(sample)
        yield name, samples


def followed(tracker: EventTracker, samples: list[Sample]) -> list[Event]:
    """What ``tracker`` tells of a poll."""
    told = [event for each in samples for event in tracker.feed(each)]
    return told + tracker.reconcile(samples[-1].ended)
