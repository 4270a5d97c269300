"""The child of :mod:`socs.tango.polling.poller`: ``python -m socs.tango.polling.child``.

Its main thread never calls Tango, so that it always answers: it reads messages from the standard
input, hands work to threads, tells what they find on the standard output, and gives its verdict on
servers whose threads are held up. When its input ends, it ends.
"""

from __future__ import annotations

import os
import queue
import resource
import sys
import threading
import time
import traceback
from typing import Any

from socs import frames
from socs.errors import Malformed
from socs.tango.polling.calls.directory import Looked
from socs.tango.polling.calls.members import Members
from socs.tango.polling.calls.rounds import Rounds
from socs.tango.polling.calls.worker import Asked, Pinged, Ready, ServerWorker
from socs.tango.polling.messages import (
    Configure,
    FromChild,
    Perf,
    PerfDone,
    Poll,
    Pulse,
    Stop,
    decode_to_child,
    encode,
)

PULSE_PERIOD = 0.5  # s
STACK = 1 << 20  # bytes for each thread; there are two for each server at most
FILES = 8192  # open ones; each server takes two connections, of which some systems allow 1024
STOP_TIME = 2.0  # s for switching off performance monitoring at the end


class Child:
    """The main thread: takes messages one after the other.

    Attributes:
        inbox: messages of the parent, and what threads find.
    """

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)  # what Tango prints is no message
        self._members = Members(self.inbox.put, self._send)
        self._rounds = Rounds(self._members, self._send)
        self._chores: dict[str, ServerWorker] = {}  # not polled: something is to be switched off

    def run(self) -> None:
        """Go on until there are no more messages, or `Stop`."""
        pulse = time.monotonic()
        message: Any = None
        while not isinstance(message, Stop):
            now = time.monotonic()
            if now >= pulse:
                self._send(Pulse())
                self._members.tell()
                pulse = now + PULSE_PERIOD
            self._rounds.see_to(now)
            due = min(pulse, self._rounds.due())
            try:
                message = self.inbox.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                continue
            self._take(message)
        self._stop()

    def _send(self, message: FromChild) -> None:
        try:
            frames.send(self._out, encode(message))
        except OSError:
            self.inbox.put(Stop())  # nobody is there any more

    def _take(self, message: Any) -> None:
        match message:
            case Configure():
                self._members.configure(message)
            case Poll():
                self._rounds.begin(message.number)
            case Perf():
                self._monitor(message)
            case Looked():
                self._members.take_looked(message)
            case Ready():
                self._members.take_ready(message)
            case Asked():
                self._rounds.take_asked(message)
            case list():
                for asked in message:
                    self._rounds.take_asked(asked)
            case Pinged():
                self._rounds.take_pinged(message)
            case PerfDone():
                self._switched(message)

    # -- performance monitoring -------------------------------------------------------------------

    def _monitor(self, wanted: Perf) -> None:
        workers = self._members.workers
        self._members.monitored = frozenset(wanted.on)
        for server in wanted.on:
            if server in workers and (server in wanted.again or not workers[server].monitors):
                workers[server].monitor(True)
        for server in wanted.off:
            worker = workers.get(server) or self._chores.get(server)
            if worker is None:
                try:
                    worker = self._chores[server] = self._members.new_worker(server)
                except Malformed:
                    self._send(PerfDone(server, on=False))
                    continue
            worker.monitor(False)

    def _switched(self, told: PerfDone) -> None:
        self._send(told)
        if not told.on and told.server in self._chores:
            self._chores.pop(told.server).end()

    def _stop(self) -> None:
        """Switch off what is on, as far as servers answer in time; then end, come what may."""
        workers = self._members.workers
        waiting = {name for name, worker in workers.items() if worker.monitors}
        for name in waiting:
            workers[name].monitor(False)
        deadline = time.monotonic() + STOP_TIME
        while waiting and (left := deadline - time.monotonic()) > 0:
            try:
                message = self.inbox.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(message, PerfDone) and not message.on:
                waiting.discard(message.server)
                self._send(message)


def _read(inbox: queue.SimpleQueue[Any]) -> None:
    """Pass on messages from the standard input until its end."""
    while (frame := frames.receive(sys.stdin.buffer)) is not None:
        inbox.put(decode_to_child(frame))
    inbox.put(Stop())


def main() -> None:
    """Run the child; ends the process, whatever its threads do."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(FILES, most)), most))
    threading.stack_size(STACK)
    child = Child()
    threading.Thread(target=_read, args=(child.inbox,), name="read", daemon=True).start()
    status = 1
    try:
        child.run()
        status = 0
    except Exception:  # noqa: BLE001  the poller sees it end, and starts another one
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
