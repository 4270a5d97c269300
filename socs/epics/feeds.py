"""The feeds of the PV monitor. For the reactor's thread.

==============  ========  ==========================================================================
feed            recorded  contents
==============  ========  ==========================================================================
``pv_monitor``  yes       each second: requests by class of source, process variables by state, ...
``counters``    yes       each second: all counters
``events``      no        what happened, each at once, when it is on the disk
==============  ========  ==========================================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from socs.counters import Counters
from socs.epics.rows import event_row
from socs.epics.track.events import Event

FEED, COUNTERS_FEED, EVENTS_FEED = "pv_monitor", "counters", "events"
MAX_KEPT = 1000  # events kept while the router is away


class MonitorFeeds:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``)."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._kept: deque[dict[str, Any]] = deque()
        agent.register_feed(FEED, record=True)
        agent.register_feed(COUNTERS_FEED, record=True)
        agent.register_feed(EVENTS_FEED)

    def tell(self, events: Sequence[Event], counters: Counters) -> None:
        """Publish what happened, or keep it while there is no connection; the oldest go first.

        Args:
            events: in their order.
            counters: must know :data:`socs.counters.EPICS_MONITOR`.
        """
        self._kept.extend(map(event_row, events))
        if self._agent.is_attached():
            while self._kept:
                self._agent.publish_to_feed(EVENTS_FEED, self._kept.popleft())
        while len(self._kept) > MAX_KEPT:
            self._kept.popleft()
            counters.add("ioc_events_unpublished")

    def update(
        self, measures: Mapping[str, float], counters: Mapping[str, int], now: float
    ) -> None:
        """Once a second; ``now`` is the UNIX time [s].

        Args:
            measures: see :mod:`socs.epics.measures`.
            counters: all of them by name.
            now: UNIX time [s].
        """
        if not self._agent.is_attached():
            return
        for feed, values in ((FEED, measures), (COUNTERS_FEED, counters)):
            data = {name: float(value) for name, value in values.items()}
            message = {"block_name": feed, "timestamp": now, "data": data}
            self._agent.publish_to_feed(feed, message)
