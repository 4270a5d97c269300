"""Many names that nobody serves."""

from __future__ import annotations

import numpy as np

from socs.epics.accounts.inventory import Inventory
from socs.epics.decode import ca
from socs.wire.batch import Batch
from tests.epics_packets import RECEIVED, address, request
from tests.epics_requests import searched_ca

PER_DATAGRAM = 20


def feed(
    inventory: Inventory, start: int, count: int, *, now: float = RECEIVED, port: int = 1
) -> None:
    """Ask for ``INVENTED:0000000`` and so on, ``count`` of them from ``start`` on."""
    whole = b"".join(request(b"INVENTED:%07d" % n, n) for n in range(start, start + count))
    rows = count // PER_DATAGRAM
    data = np.frombuffer(whole, np.uint8).reshape(rows, -1)
    arrived = Batch(
        data,
        np.full(rows, data.shape[1], np.uint32),
        np.full(rows, address("10.0.0.1"), np.uint32),
        np.full(rows, port, np.uint16),
        now,
    )
    searched_ca(inventory, arrived, ca.decode(arrived))
