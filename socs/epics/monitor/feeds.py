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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from socs.counters import Counters
from socs.epics.rows import event_row
from socs.epics.track.events import Event

FEED, COUNTERS_FEED, EVENTS_FEED = "pv_monitor", "counters", "events"
MAX_KEPT = 10_000  # events that wait to be published
AT_ONCE = 100  # events; then the reactor gets on with all else, or the router takes us for dead
PAUSE = 0.01  # s until the next ones


class MonitorFeeds:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``).

    Args:
        agent: whose feeds they are.
        later: calls a function after a time [s], as the reactor's ``callLater`` does.
    """

    def __init__(self, agent: Any, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._agent, self._later = agent, later
        self._kept: deque[Event] = deque()
        self._publishing = False
        agent.register_feed(FEED, record=True)
        agent.register_feed(COUNTERS_FEED, record=True)
        agent.register_feed(EVENTS_FEED)

    def tell(self, events: Sequence[Event], counters: Counters) -> None:
        """Publish what happened, some at a time, or keep it while there is no connection.

        What is kept goes out with what happens next, or with the next `update`. If too many wait,
        the oldest are dropped.

        Args:
            events: in their order.
            counters: must know :data:`socs.counters.EPICS_MONITOR`.
        """
        self._kept.extend(events)
        while len(self._kept) > MAX_KEPT:
            self._kept.popleft()
            counters.add("ioc_events_unpublished")
        if not self._publishing:
            self._publish()

    def _publish(self) -> None:
        self._publishing = False
        for _ in range(AT_ONCE):
            if not self._kept or not self._agent.is_attached():
                return
            self._agent.publish_to_feed(EVENTS_FEED, event_row(self._kept.popleft()))
        if self._kept:
            self._publishing = True
            self._later(PAUSE, self._publish)

    def update(
        self, measures: Mapping[str, float], counters: Mapping[str, int], now: float
    ) -> None:
        """Once a second; ``now`` is the UNIX time [s].

        Args:
            measures: see :mod:`socs.epics.monitor.measures`.
            counters: all of them by name.
            now: UNIX time [s].
        """
        if not self._agent.is_attached():
            return
        if not self._publishing:
            self._publish()
        for feed, values in ((FEED, measures), (COUNTERS_FEED, counters)):
            data = {name: float(value) for name, value in values.items()}
            message = {"block_name": feed, "timestamp": now, "data": data}
            self._agent.publish_to_feed(feed, message)
