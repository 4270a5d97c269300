"""The feeds of the slow-signal builder. For the reactor's thread.

================  ========  ========================================================================
feed              recorded  contents
================  ========  ========================================================================
``slow_signal``   yes       each second: block ``readouts``, ``losses`` by cause, and one block for
                            each module that is there
``counters``      yes       each second: all counters
``preview``       no        each second: a small picture of the camera
================  ========  ========================================================================

While there is no connection to the router, seconds are kept and sent when it is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from socs.counters import SLOW_SIGNAL, SLOW_SIGNAL_FILES, SLOW_SIGNAL_STREAM, UDP, Counters
from socs.slow_signal.layout import MODULES
from socs.slow_signal.seconds import Second

FEED, COUNTERS_FEED, PREVIEW_FEED = "slow_signal", "counters", "preview"
MAX_KEPT = 3600  # seconds kept while the router is away; some 10 MB
SENT_TOGETHER = 60  # of them are sent at a time, so that the reactor has time for other things
NEVER = 1e9  # s; the feed is flushed by us
PREVIEW_DIGITS = 1  # after the point, of mV
# Counters that say what to do when they move.
LOSSES = tuple(
    counter.name
    for counter in (*UDP, *SLOW_SIGNAL, *SLOW_SIGNAL_STREAM, *SLOW_SIGNAL_FILES)
    if counter.action
)


class SlowSignalFeeds:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``)."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._kept: deque[Second] = deque()
        agent.register_feed(FEED, record=True, buffer_time=NEVER)
        agent.register_feed(COUNTERS_FEED, record=True)
        agent.register_feed(PREVIEW_FEED)

    def take(self, second: Second, counters: Counters) -> None:
        """Publish ``second``, or keep it while there is no connection; the oldest go first.

        Args:
            second: what there was.
            counters: must know :data:`socs.counters.SLOW_SIGNAL_STREAM`.
        """
        self._kept.append(second)
        if not self._agent.is_attached():
            if len(self._kept) > MAX_KEPT:
                self._kept.popleft()
                counters.add("seconds_unpublished")
            return
        for _ in range(min(len(self._kept), SENT_TOGETHER)):
            self._publish_second(self._kept.popleft())
        self._agent.feeds[FEED].flush_buffer()
        if second.preview is not None:
            self._agent.publish_to_feed(PREVIEW_FEED, preview_message(second))

    def _publish_second(self, second: Second) -> None:
        for name, data in blocks_of(second).items():
            block = {"block_name": name, "timestamp": second.time, "data": data}
            self._agent.publish_to_feed(FEED, block)

    def publish_counters(self, numbers: Mapping[str, int], now: float) -> None:
        """Publish ``numbers``, all counters by name; ``now`` is the UNIX time [s]."""
        if self._agent.is_attached():
            data = {name: float(value) for name, value in numbers.items()}
            block = {"block_name": COUNTERS_FEED, "timestamp": now, "data": data}
            self._agent.publish_to_feed(COUNTERS_FEED, block)


def blocks_of(second: Second) -> dict[str, dict[str, float]]:
    """Fields of each block of the recorded feed, all numbers; modules that are absent have none."""
    blocks = {
        "readouts": {
            "rate": second.rate,
            "readouts": float(second.readouts),
            "complete": float(second.complete),
            "incomplete": float(second.incomplete),
            "seconds": second.duration,
        },
        "losses": {name: float(second.changes.get(name, 0)) for name in LOSSES},
    }
    found = second.amplitudes
    for module in range(MODULES):
        if np.isfinite(found.mean[module]):
            blocks[f"module_{module:02}"] = {
                f"module_{module:02}_{name}": float(values[module])
                for name, values in (
                    ("mean", found.mean),
                    ("min", found.minimum),
                    ("max", found.maximum),
                    ("rms", found.rms),
                )
            }
    return blocks


def preview_message(second: Second) -> dict[str, Any]:
    """The picture of the latest readout: 32 lists of 16 values [mV], None for absent modules."""
    assert second.preview is not None
    rounded = np.round(second.preview, PREVIEW_DIGITS)
    return {
        "timestamp": second.time,
        "unit": "mV",
        "rate": second.rate,
        "modules": [None if np.isnan(row).any() else row.tolist() for row in rounded],
    }
