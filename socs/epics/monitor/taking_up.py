"""All that a monitor knows, to a snapshot and back; and what was told since then."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from socs.epics.accounts.snapshot import Columns
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.monitor.catch_up import ToldBefore, catch_up
from socs.epics.monitor.store import MonitorStore
from socs.epics.store import snapshots
from socs.epics.store.trackers import Trackers
from socs.epics.track.hosts import Expected
from socs.errors import StorageUnavailable


class TakenUp(NamedTuple):
    """What was known at the end of the last run.

    Attributes:
        knowledge: as the snapshot has it, and the events after it.
        told_before: events that must not be told again.
        caught_up: events that were later than the snapshot.
    """

    knowledge: Knowledge
    told_before: ToldBefore
    caught_up: int


def take_up(
    settings: KnowledgeSettings, store: MonitorStore, tell: Callable[[str], None]
) -> TakenUp:
    """What was known, as far as disk and database tell. Before the ``store`` is started.

    Without the database the events that it has are left out; some may be told again then.
    """

    def restored(columns: Columns) -> tuple[Knowledge, float]:
        knowledge = _nothing(settings)
        moment = snapshots.take_up(columns, knowledge.inventory, _trackers(knowledge))
        return knowledge, moment

    knowledge, moment = store.restore(restored) or (_nothing(settings), 0.0)
    knowledge.hosts.expected.update(_expected(store))
    try:
        events = store.told_since(moment)
    except StorageUnavailable as error:
        tell(f"events of the last run cannot be looked up: {error}")
        events = store.waiting_since(moment)
    taken, told_before = catch_up(knowledge.pvs, knowledge.hosts, settings.track, events)
    knowledge.set_back(time.time())  # it may have been written while the clock was ahead
    return TakenUp(knowledge, told_before, taken)


def gathered(knowledge: Knowledge, now: float) -> Columns:
    """All that is known, as copies."""
    return snapshots.gather(knowledge.inventory, _trackers(knowledge), now)


def _nothing(settings: KnowledgeSettings) -> Knowledge:
    return Knowledge(settings, since=time.time(), secret=secrets.randbits(64))


def _trackers(knowledge: Knowledge) -> Trackers:
    parts = knowledge.beacons, knowledge.applications, knowledge.hosts
    return Trackers(*parts, knowledge.inventory.sources)


def _expected(store: MonitorStore) -> Mapping[int, Expected]:
    try:
        return store.expected()
    except StorageUnavailable:
        return store.expected_before()
