"""Requests that go straight into an inventory, as if the monitor itself had captured them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.asked import Asked, asked_ca, asked_pva
from socs.epics.accounts.inventory import Asking, Inventory
from socs.epics.accounts.sources import Sources
from socs.epics.decode.ca import CaMessages
from socs.epics.decode.pva import PvaMessages
from socs.epics.decode.words import Datagrams

Numbers = NDArray[np.int32]


def searched_ca(inventory: Inventory, datagrams: Datagrams, messages: CaMessages) -> Numbers:
    """Account for the searches of a batch; the number of each name, -1 if there was no room."""
    return _account(inventory, asked_ca(datagrams, messages), datagrams.received)


def searched_pva(inventory: Inventory, datagrams: Datagrams, messages: PvaMessages) -> Numbers:
    """The same for PV Access."""
    return _account(inventory, asked_pva(datagrams, messages), datagrams.received)


def number_of(sources: Sources, host: int, port: int) -> int:
    """The number of one source, 0 if it is not known."""
    return next(iter(np.flatnonzero(sources.keys[: sources.end] == host << 16 | port)), 0)


def _account(inventory: Inventory, asked: Asked, now: float) -> Numbers:
    numbers = inventory.take(asked.words, asked.at, asked.counts)
    requests = np.bincount(asked.rows, minlength=len(asked.keys))
    asking = Asking(asked.keys, (requests > 0).astype(np.int64), requests)
    once = np.ones(len(asked.rows), np.int64)
    inventory.account(asking, numbers, asked.rows, once, now)
    return numbers
