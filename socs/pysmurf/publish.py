"""From messages to OCS feeds. Everything but ``admit`` runs in the reactor's thread.

===========================  ========  ==================================================
feed                         recorded  contents
===========================  ========  ==================================================
``pysmurf_session_data``     no        whole envelopes of session_data and session_log
``<stream_id>_meta``         yes       register values, one block per register
``counters``                 yes       all counters, once a second
===========================  ========  ==================================================

While there is no connection to the router, the newest session messages and the first metadata
samples are kept and sent when it is back; what does not fit is counted as ``feed_not_published``.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from socs.counters import Counters
from socs.errors import PeerError
from socs.problems import Problems
from socs.pysmurf.decode import Message, Metadata, envelope
from socs.pysmurf.fields import FieldTable, feed_name

SESSION_FEED = "pysmurf_session_data"
COUNTERS_FEED = "counters"
MAX_METADATA_FEEDS = 100  # streams of one monitor; a crate has at most 7 slots
MAX_UNDER_WAY = 20_000  # messages on their way to the reactor's thread, which may be busy
MAX_KEPT = 1000  # session messages kept while the router is away
MAX_ALL_FIELDS = 100_000  # fields on all metadata feeds; about 100 MB of memory
MAX_SAMPLES = 20_000  # metadata samples kept between flushes, per feed
MAX_ALL_SAMPLES = 50_000  # the same on all feeds together
NEVER = 1e9  # s; feeds are flushed by us: OCS flushes a buffer only when the next sample comes


class FeedPublisher:
    """Publishes to the feeds of ``agent`` (an ``ocs.ocs_agent.OCSAgent``)."""

    def __init__(self, agent: Any, *, problems: Problems) -> None:
        self._agent, self._problems = agent, problems
        self._under_way = 0
        self._lock = threading.Lock()  # of _under_way
        self._kept: deque[dict[str, Any]] = deque()
        self._fields: dict[str, FieldTable] = {}
        self._samples: Counter[str] = Counter()  # since the last flush, by feed
        agent.register_feed(SESSION_FEED)
        agent.register_feed(COUNTERS_FEED, record=True)

    def admit(self, messages: Sequence[Message], counters: Counters) -> bool:
        """In any thread: may ``messages`` go to :meth:`publish`, or are there too many already?"""
        with self._lock:
            admitted = self._under_way < MAX_UNDER_WAY
            if admitted:
                self._under_way += len(messages)
        if not admitted:
            refused = sum(message.kind in ("session", "metadata") for message in messages)
            counters.add("feed_not_published", refused)
        return admitted

    def publish(self, messages: Sequence[Message], counters: Counters) -> None:
        """Publish session messages at once, and metadata with the next :meth:`flush`.

        What was not admitted does not come here.
        """
        with self._lock:
            self._under_way = max(0, self._under_way - len(messages))
        for message in messages:
            if message.kind == "session":
                self._keep(envelope(message), counters)
            elif message.kind == "metadata":
                try:
                    self._sample(message, counters)
                except PeerError as error:
                    counters.add(error.cause)
                    where = f"{message.id} {message.payload.path}"
                    self._problems.report(error.cause, f"{where}: {error}", time.monotonic())
            elif message.kind == "backend_error":
                text = f"publisher {message.id} could not send: {message.payload}"
                self._problems.report("backend_error", text, time.monotonic())
        self._send_kept()

    def flush(self, numbers: Mapping[str, int]) -> None:
        """Once a second: send metadata and ``numbers`` (all counters by name)."""
        if not self._connected():
            return
        self._send_kept()
        for name in self._samples:
            self._agent.feeds[name].flush_buffer()
        self._samples.clear()
        data = {name: float(value) for name, value in numbers.items()}
        self._agent.publish_to_feed(
            COUNTERS_FEED, {"block_name": "counters", "timestamp": time.time(), "data": data}
        )

    def _connected(self) -> bool:
        return bool(self._agent.is_attached())

    def _keep(self, message: dict[str, Any], counters: Counters) -> None:
        if len(self._kept) >= MAX_KEPT:
            self._kept.popleft()
            counters.add("feed_not_published")
        self._kept.append(message)

    def _send_kept(self) -> None:
        while self._kept and self._connected():
            self._agent.publish_to_feed(SESSION_FEED, self._kept.popleft())

    def _all_fields(self) -> int:
        return sum(map(len, self._fields.values()))

    def _sample(self, message: Message, counters: Counters) -> None:
        payload = message.payload
        assert isinstance(payload, Metadata)
        name = feed_name(message.id)
        fields = self._fields.get(name)
        if fields is None:
            if len(self._fields) >= MAX_METADATA_FEEDS:
                raise PeerError("there are too many metadata feeds already", "metadata_refused")
            fields = self._fields[name] = FieldTable()
            self._agent.register_feed(name, record=True, buffer_time=NEVER)
        if payload.path not in fields and self._all_fields() >= MAX_ALL_FIELDS:
            raise PeerError(f"more than {MAX_ALL_FIELDS} fields in all", "metadata_refused")
        block_name, data = fields.sample(payload.path, payload.value)
        if self._samples[name] >= MAX_SAMPLES or self._samples.total() >= MAX_ALL_SAMPLES:
            counters.add("feed_not_published")
            return
        self._samples[name] += 1
        timestamp = time.time() if message.time is None else message.time
        self._agent.publish_to_feed(
            name, {"block_name": block_name, "timestamp": timestamp, "data": data}
        )
