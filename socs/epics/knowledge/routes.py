"""The same datagram by several gateways: it is taken once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

MOST = 1 << 16  # senders that are remembered; who sent nothing for longest is forgotten


class Routes:
    """By which gateway each sender was heard last.

    Two gateways may hear the same network, and one of them may tell it seconds or minutes later. So
    what another gateway tells counts only if it is later than all that is known of that sender.

    Args:
        window: two clocks that agree by this show the same time [s].
        most: senders that are remembered.
    """

    def __init__(self, window: float, most: int = MOST) -> None:
        self._window, self._most = window, most
        # A plain dict would take long to find its first key when many before were removed.
        self._last: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()

    def clear(self) -> None:
        """The clock was set: which of two is later cannot be told any more."""
        self._last.clear()

    def admits(self, sender: Hashable, gateway: str, time: float) -> bool:
        """Is what ``gateway`` heard of ``sender`` at ``time`` to be taken."""
        last = self._last.pop(sender, None)
        taken = last is None or last[0] == gateway or time > last[1] + self._window
        if taken:
            self._last[sender] = gateway, time
        elif last is not None:
            self._last[sender] = last
        if len(self._last) > self._most:
            self._last.popitem(last=False)
        return taken
