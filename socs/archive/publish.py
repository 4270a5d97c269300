"""The feeds of the archiver, all recorded. For the reactor's thread.

=================  ============================================================================
feed               contents
=================  ============================================================================
``archive_stats``  how far the archive is: numbers of files, the last ones, ``finalized_until``
``transfer_stats`` what was moved since the message before
``counters``       all counters
=================  ============================================================================
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from socs.counters import ARCHIVE

ARCHIVE_FEED, TRANSFER_FEED, COUNTERS_FEED = "archive_stats", "transfer_stats", "counters"
FEEDS = (ARCHIVE_FEED, TRANSFER_FEED, COUNTERS_FEED)
PERIOD = 10.0  # s between two messages
LONGEST_TEXT = 255  # characters of a path, as not all databases of feeds take more
ATTEMPTS = tuple(counter.name for counter in ARCHIVE if counter.name.startswith("attempts_"))


class ArchiveFeeds:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``)."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._due = 0.0  # monotonic [s]
        self._told_at = time.monotonic()
        self._told = {"files_archived": 0, "bytes_archived": 0, "failed_attempts": 0}
        for feed in FEEDS:
            agent.register_feed(feed, record=True)

    def update(self, status: Mapping[str, Any]) -> None:
        """Publish what ``status`` (of the archiver) tells, every :data:`PERIOD` seconds.

        Without a connection to the router nothing is published, and what was moved meanwhile is
        part of the next message.
        """
        now = time.monotonic()
        if now < self._due or not self._agent.is_attached():
            return
        self._due = now + PERIOD
        counters = status["counters"]
        stats = status["archive_stats"]
        self._publish(ARCHIVE_FEED, {name: _stable(value) for name, value in stats.items()})
        self._publish(COUNTERS_FEED, {name: float(value) for name, value in counters.items()})
        self._publish(TRANSFER_FEED, self._moved(counters, now))

    def _moved(self, counters: Mapping[str, int], now: float) -> dict[str, float]:
        """What was moved since the last message."""
        totals = {
            "files_archived": counters["files_archived"],
            "bytes_archived": counters["bytes_archived"],
            "failed_attempts": sum(counters[name] for name in ATTEMPTS),
        }
        moved = {
            # An archiver that was stopped and started again counts from 0.
            name: float(total - self._told[name] if total >= self._told[name] else total)
            for name, total in totals.items()
        }
        seconds = max(now - self._told_at, 1e-3)
        self._told, self._told_at = totals, now
        rate = moved["bytes_archived"] / seconds
        return {**moved, "seconds": seconds, "bytes_per_second": rate}

    def _publish(self, feed: str, data: Mapping[str, Any]) -> None:
        self._agent.publish_to_feed(
            feed, {"block_name": feed, "timestamp": time.time(), "data": dict(data)}
        )


def _stable(value: Any) -> float | str:
    """``value`` as the one type that its field keeps for ever."""
    return value[-LONGEST_TEXT:] if isinstance(value, str) else float(value)
