"""EPICS traffic of a capture file in place of what is heard, at its own speed or another one.

The clock of a replay is that of the file: all times are those at which datagrams were captured.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from socs.closing import Closing
from socs.counters import Counters
from socs.epics.gateway.listening import Handler
from socs.epics.ports import EpicsPorts
from socs.errors import ConfigError, PeerError
from socs.problems import Problems
from socs.wire.batch import SenderNetworks
from socs.wire.captured import CapturedBatch
from socs.wire.pcap import PcapFile

SPAN = 0.02  # s from the first to the last datagram of a batch
LONGEST_WAIT = 0.2  # s, until it is looked whether to end

log = logging.getLogger(__name__)


class Replay(Closing):
    """Hands on the datagrams of a capture file, by use, from a thread of its own.

    Args:
        path: of the file.
        handlers: who gets the batches of each use; see :class:`.listening.Listening`.
        ports: of the site when the file was made.
        speed: how many seconds of the file are one second; 0: as fast as they are handled.
        allow: networks whose datagrams are handed on; empty for all.
        on_batch: called with the time of each batch, before it is handed on.
        on_end: called when nothing comes any more.
        on_problem: gets messages for people.
        counters: where to count; must have those of ``UDP`` and ``PCAP``.

    Attributes:
        ended: is the file at its end.
        problem: what was wrong with the file; empty if nothing was.

    Raises:
        ConfigError: the file cannot be read, or has no datagram for these ports.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        ports: EpicsPorts,
        *,
        speed: float,
        counters: Counters,
        allow: Sequence[str] = (),
        on_batch: Callable[[float], None] = lambda time: None,
        on_end: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 <= speed < float("inf"):
            raise ConfigError(f"speed: {speed} is not from 0 on")
        self.path, self.speed = path, speed
        self._handlers = {ports.by_use()[use]: handler for use, handler in handlers.items()}
        self._networks = SenderNetworks(allow)
        self._on_batch, self._on_end = on_batch, on_end
        self._problems = Problems(on_problem)
        self.counters = counters
        self.ended, self.problem = False, ""
        self._file = PcapFile(path, list(self._handlers), span=SPAN, counters=counters)
        self._batches = self._file.batches()
        self._first = self._next()
        if self._first is None:
            self._file.close()
            why = self.problem or f"no datagram from or to the ports {sorted(self._handlers)}"
            raise ConfigError(f"source: {path}: {why}")
        self.began = self._at = _begin_of(self._first)
        self._started: float | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Does its thread run."""
        return self._thread is not None and self._thread.is_alive()

    def now(self) -> float:
        """The time in the file [s]."""
        if self.speed and self._started is not None and not self.ended:
            return self.began + (time.monotonic() - self._started) * self.speed
        return self._at

    def start(self) -> None:
        """Begin. Does nothing when it has begun."""
        if self._thread is None:
            self._started = time.monotonic()
            self._thread = threading.Thread(target=self._run, name="udp-replay", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End, wherever it is."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._file.close()

    def status(self) -> dict[str, Any]:
        """Fit for session data."""
        return {
            "file": str(self.path),
            "speed": self.speed,
            "at": self.now(),
            "ended": self.ended,
            "problem": self.problem,
        }

    def _next(self) -> CapturedBatch | None:
        try:
            batch = next(self._batches, None)
        except PeerError as error:
            self.problem = str(error)
            return None
        if batch is None:
            self.problem = self._file.cut_off
        return batch

    def _run(self) -> None:
        try:
            batch = self._first
            while batch is not None and self._wait_for(batch.received):
                self._at = max(self._at, _begin_of(batch))
                self._on_batch(self._at)
                self._hand_on(batch)
                self._at = max(self._at, batch.received)
                batch = self._next()
            if batch is None:
                self._at = self.now()
                self.ended = True
        except Exception as error:
            self.problem = f"the replay has ended: {error!r}"
            log.exception("the replay of a capture file has ended")
        finally:
            self._on_end()

    def _wait_for(self, moment: float) -> bool:
        """Wait until it is this time in the file; False if it is to end."""
        while not self._stopping.is_set():
            left = (moment - self.now()) / self.speed if self.speed else 0.0
            if left <= 0:
                return True
            self._stopping.wait(min(left, LONGEST_WAIT))
        return False

    def _hand_on(self, batch: CapturedBatch) -> None:
        admitted = self._networks.admits(batch.hosts)
        if not admitted.all():
            self.counters.add("sender_not_allowed", int((~admitted).sum()))
            batch = batch.copy(admitted)
        for port, part in batch.by_port(list(self._handlers)):
            try:
                self._handlers[port](part)
            except Exception as error:  # supervised: counted and reported, the replay goes on
                self.counters.add("handler_errors", len(part))
                told = f"handler failed on {len(part)} datagrams: {error!r}"
                if self._problems.report("handler", told, time.monotonic()):
                    log.exception("a batch of a capture file could not be handled")


def _begin_of(batch: CapturedBatch) -> float:
    return batch.received if batch.times is None else float(batch.times.min())
