"""Publishers that people write: any object with ``publish(readout)``."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from typing import Any, Protocol

from socs.closing import Closing
from socs.problems import Problems
from socs.slow_signal.layout import Readouts
from socs.slow_signal.readout import SSReadout

ROOM = 2000  # readouts that may wait for a publisher; 9 MB
LAST_TASKS = 1.0  # s that what a publisher has begun may take when it ends

log = logging.getLogger(__name__)


class CustomPublisher(Protocol):
    """What is needed of it. A method ``give_loop(loop)`` is called first, if there is one."""

    def publish(self, readout: SSReadout) -> object:
        """Called with each readout, in the thread that runs the event loop."""


class Outlet(Closing):
    """Calls a custom publisher in a thread of its own, which also runs an asyncio event loop.

    What the publisher does, and how long it takes, never holds up anybody else: readouts that
    find no room are dropped, and what it raises is counted.

    Args:
        publisher: is given the loop, and then readouts.
        room: readouts that may wait.

    Attributes:
        published: readouts that it took.
        dropped: readouts that found no room, or were left at the end.
        errors: readouts with which it raised an exception.
    """

    def __init__(self, publisher: CustomPublisher, room: int = ROOM) -> None:
        self.name = str(getattr(publisher, "name", None) or type(publisher).__name__)
        self.published = self.dropped = self.errors = 0
        self._publisher, self._room = publisher, room
        self._problems = Problems(log.warning)
        self._queue: deque[Readouts] = deque()
        self._queued = 0
        self._lock = threading.Lock()
        self._stopping = False
        self._loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"slow-signal-publisher-{self.name}", daemon=True
        )
        give_loop = getattr(publisher, "give_loop", None)
        if give_loop is not None:
            give_loop(self._loop)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, readouts: Readouts) -> None:
        """Have ``readouts`` (n,) published; does not wait."""
        with self._lock:
            taken = readouts[: max(0, self._room - self._queued)]
            self.dropped += len(readouts) - len(taken)
            if self._stopping or not len(taken):
                self.dropped += len(taken)
                return
            self._queue.append(taken)
            self._queued += len(taken)
            self._loop.call_soon_threadsafe(self._wake.set)

    def close(self, timeout: float = 5.0) -> None:
        """Publish what waits, for at most ``timeout`` [s]; what is left counts as dropped."""
        if self._thread.ident is None:
            self._loop.close()
            return
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._loop.call_soon_threadsafe(self._wake.set)
        self._thread.join(timeout)
        self._drop_all()

    def _drop_all(self) -> None:
        with self._lock:
            self._stopping = True
            self.dropped += self._queued
            self._queue.clear()
            self._queued = 0

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for JSON."""
        return {
            "name": self.name,
            "published": self.published,
            "dropped": self.dropped,
            "errors": self.errors,
            "queued": self._queued,
        }

    # -- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._publish_all())
        finally:  # also when the publisher ends the thread, with SystemExit for one
            self._drop_all()
            self._loop.close()

    async def _publish_all(self) -> None:
        while True:
            row = self._next()
            if row is not None:
                self._publish(SSReadout.from_row(row))
                await asyncio.sleep(0)  # what the publisher has put into the loop
            elif self._stopping:
                break
            else:
                await self._wake.wait()
                self._wake.clear()
        begun = asyncio.all_tasks() - {asyncio.current_task()}
        if begun:
            _, late = await asyncio.wait(begun, timeout=LAST_TASKS)
            for task in late:
                task.cancel()

    def _next(self) -> Any:
        """The next readout, a row; None if there is none."""
        with self._lock:
            if not self._queue:
                return None
            first = self._queue[0]
            self._queued -= 1
            if len(first) > 1:
                self._queue[0] = first[1:]
            else:
                self._queue.popleft()
            return first[0]

    def _publish(self, readout: SSReadout) -> None:
        try:
            self._publisher.publish(readout)
        except Exception as error:
            self.errors += 1
            told = f"publisher {self.name} failed: {type(error).__name__}: {error}"
            if self._problems.report("publish", told, time.monotonic()):
                log.debug("traceback of the publisher", exc_info=True)
        else:
            self.published += 1
