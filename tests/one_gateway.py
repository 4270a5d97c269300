"""What was seen by one gateway, which hears every host."""

from __future__ import annotations

import math

from socs.epics.track.coverage import Coverage

GATEWAY = "gw"


class OneGateway(Coverage):
    """It listens from ``since`` on [s]."""

    def __init__(self, since: float) -> None:
        super().__init__()
        self.listens(GATEWAY, since)

    def blind(self, start: float, end: float = math.inf) -> None:
        """It is deaf from ``start`` to ``end``; tell it again when the end is known."""
        self.stopped(GATEWAY, start)
        if end < math.inf:
            self.listens(GATEWAY, end)
