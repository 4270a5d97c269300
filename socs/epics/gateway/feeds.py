"""The feeds of a gateway.

==============  ========  ==========================================================================
feed            recorded  contents
==============  ========  ==========================================================================
``traffic``     no        each summary, as :func:`socs.epics.summary.encode` makes it
``pv_gateway``  yes       each second: block ``rates`` [1/s], and block ``losses``: how much each
                          counter of what was not heard or not told went up
==============  ========  ==========================================================================

The router acknowledges each summary. Some may be under way at a time; further ones are dropped, as
they are while there is no connection. Monitors see the gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobahn.wamp.types import PublishOptions
from twisted.internet import reactor as _reactor

from socs.epics.gateway.gateway import LOSSES
from socs.epics.gateway.under_way import UnderWay
from socs.epics.summary import Summary, encode

TRAFFIC, RECORDED = "traffic", "pv_gateway"
MOST_WAITING = 32  # summaries under way, of a megabyte at most
LONGEST_WAIT = 10.0  # s for an acknowledgement
LAST_WAIT = 5.0  # s for those that are under way at the end
RATES = {
    "requests": ("ca_requests", "pva_requests"),
    "datagrams": ("datagrams_gathered",),
    "names": ("names_numbered",),
    "answers": ("answers_heard",),
    "beacons": ("ca_beacons", "pva_beacons"),
    "heartbeats": ("heartbeat_decoded", "alive_decoded"),
    "searches": ("search_requests",),
    "summaries": ("summaries_made",),
}

ACKNOWLEDGED = PublishOptions(acknowledge=True)  # type: ignore[no-untyped-call]

reactor: Any = _reactor


class GatewayFeeds:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``)."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        agent.register_feed(TRAFFIC)
        agent.register_feed(RECORDED, record=True)
        self._before: tuple[float, dict[str, int]] | None = None

    def offer(self, summary: Summary, under_way: UnderWay, *, patient: bool = False) -> None:
        """Publish a summary, or drop it. From any thread but the reactor's.

        Args:
            summary: what to publish.
            under_way: where it is, and is told what became of it.
            patient: wait until there is room.
        """
        message = encode(summary)
        under_way.give_up(LONGEST_WAIT)
        if under_way.has_room(MOST_WAITING, LONGEST_WAIT if patient else 0.0):
            reactor.callFromThread(self._publish, message, summary.number, under_way)
        else:
            under_way.became(summary.number, "summaries_unpublished")

    def _publish(self, message: dict[str, Any], number: int, under_way: UnderWay) -> None:
        def published(_: object) -> None:
            under_way.became(number, "summaries_published")

        def refused(_: object) -> None:
            under_way.became(number, "summaries_unpublished")

        if not self._agent.is_attached():
            refused(None)
            return
        feed = self._agent.feeds[TRAFFIC]
        try:
            sent = self._agent.publish(
                feed.address, (message, feed.encoded()), options=ACKNOWLEDGED
            )
        except Exception as error:  # noqa: BLE001  autobahn has no family of errors; counted
            refused(error)
            return
        sent.addCallbacks(published, refused)

    def begin(self) -> None:
        """Counters begin anew."""
        self._before = None

    def update(self, numbers: Mapping[str, int], now: float) -> None:
        """Publish rates and losses since the last time. In the reactor's thread.

        Args:
            numbers: all counters by name.
            now: UNIX time [s].
        """
        if not self._agent.is_attached():
            return
        before, self._before = self._before, (now, dict(numbers))
        if before is None or now <= before[0]:
            return
        for name, data in changes(before[1], numbers, now - before[0]).items():
            block = {"block_name": name, "timestamp": now, "data": data}
            self._agent.publish_to_feed(RECORDED, block)


def changes(
    before: Mapping[str, int], numbers: Mapping[str, int], seconds: float
) -> dict[str, dict[str, float]]:
    """The blocks of the recorded feed, all fields always."""
    rates = {
        name: sum(numbers[each] - before[each] for each in those) / seconds
        for name, those in RATES.items()
    }
    return {
        "rates": rates,
        "losses": {name: float(numbers[name] - before[name]) for name in LOSSES},
    }
