"""What is done from time to time goes on, whatever goes wrong."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from socs.counters import EPICS_MONITOR, Counters
from socs.epics.monitor import upkeep
from socs.epics.monitor.turns import Turns
from socs.epics.monitor.upkeep import Upkeep
from socs.testing import wait_until


def made(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> Upkeep:
    for name in ("PERIOD", "DEFECT_PAUSE", "FIRST_SNAPSHOT", "FIND_PERIOD"):
        monkeypatch.setattr(upkeep, name, 0.001)
    never = SimpleNamespace(due=lambda now: False)
    store = SimpleNamespace(**{"snapshots": never, "statistics": never} | parts.pop("store", {}))
    search = SimpleNamespace(refresh=parts.pop("refresh", lambda: False))
    things: list[Any] = [None, Turns(), search, store, Counters(EPICS_MONITOR)]
    return Upkeep(*things, values=lambda rates: {})


def test_a_thread_goes_on_after_a_defect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    good, looks, told = [False], {"keeping": 0, "finding": 0}, set[str]()

    def look(what: str) -> bool:
        looks[what] += 1
        if not good[0]:
            raise MemoryError(f"none for {what}")
        return False

    snapshots = SimpleNamespace(due=lambda now: look("keeping"))
    keeping = made(monkeypatch, store={"snapshots": snapshots}, refresh=lambda: look("finding"))
    keeping.start()
    try:
        wait_until(lambda: told.update(keeping.troubles()) or len(told) == 2)
        assert told == {
            "keeping: MemoryError: none for keeping",
            "finding: MemoryError: none for finding",
        }
        good[0] = True
        wait_until(lambda: not keeping.troubles())
        before = dict(looks)
        wait_until(lambda: all(looks[what] > before[what] + 1 for what in looks))
        assert keeping._counters["upkeep_errors"] >= 2
    finally:
        keeping.close()
    assert keeping.troubles() == ["a thread ended by itself"]  # as it was told to


def test_old_things_are_thrown_away_also_if_the_agent_is_started_anew_each_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert upkeep.FIRST_PURGE < 12 * 3600
    purged: list[float] = []
    monkeypatch.setattr(upkeep, "FIRST_PURGE", 0.001)
    keeping = made(monkeypatch)
    monkeypatch.setattr(keeping, "purge", purged.append)
    keeping.start()
    try:
        wait_until(lambda: purged)
    finally:
        keeping.close()
    assert len(purged) == 1
