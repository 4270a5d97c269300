"""A snapshot is taken up some names at a time; what is freed goes back to the system."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from socs.epics.accounts import snapshot
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.memory import give_back


@pytest.mark.parametrize("at_once", [1, 3, 10, 11])
def test_names_taken_up_some_at_a_time_are_all_there(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    inventory = Inventory(InventoryLimits(100, 10), secret=1)
    names = [b"N:%d" % n * (n + 1) for n in range(10)]
    for name in names:
        number = inventory.names.add(name)
        inventory.last_asked[number] = number + 0.5
    monkeypatch.setattr(snapshot, "_AT_ONCE", at_once)
    other = Inventory(InventoryLimits(100, 10), secret=2)
    assert snapshot.restore(other, snapshot.columns(inventory)) == 10
    numbers = np.array([other.names.number(name) for name in names])
    assert (numbers >= 0).all()
    assert other.last_asked[numbers].tolist() == [n + 0.5 for n in range(10)]


def test_where_the_c_library_cannot_give_back_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Library:
        def __init__(self, name: None) -> None:
            asked.append(name)

    give_back()
    monkeypatch.setattr(ctypes, "CDLL", Library)
    give_back()
    assert asked == [None]
