"""The child process, seen from its parent: questions go in, and answers come out as they are."""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from socs import frames
from socs.epics.cainfo.messages import Answer, Ask, decode_answer, encode

MODULE = "socs.epics.cainfo.child"
PATIENCE = 1.0  # s that a killed process may take to die

Inbox = queue.SimpleQueue[Answer | None]


class ChildProcess:
    """One run of the child. Threads may share it.

    Args:
        environ: its environment.
        protocols: by which it can ask.

    Attributes:
        gone: it has ended, or is to be ended.

    Raises:
        OSError: it cannot be started: no memory, too many processes or files.
    """

    def __init__(self, environ: Mapping[str, str], protocols: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  a module of ours
            [sys.executable, "-m", MODULE, *protocols],
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us; it ends when we do
        )
        self.pid = self._process.pid
        self.gone = False
        self._ready = threading.Event()
        self._inboxes: dict[int, Inbox] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._thread = threading.Thread(target=self._read, name="epics-cainfo", daemon=True)
        self._thread.start()

    def wait_ready(self, timeout: float) -> bool:
        """Whether it can be asked, after so many seconds at most."""
        return self._ready.wait(timeout) and not self.gone

    def ask(self, ask: Ask, deadline: float) -> tuple[int, Inbox]:
        """Ask; the number of the question, and what gets its answers, and None when it is gone.

        Args:
            ask: gets its number here.
            deadline: by the monotonic clock, for handing it over [s].

        Raises:
            OSError: it is gone, or does not take it.
        """
        inbox: Inbox = queue.SimpleQueue()
        with self._lock:
            if self.gone:
                raise BrokenPipeError("it has ended")
            self._number += 1
            ask.number = self._number
            self._inboxes[ask.number] = inbox
        self._write(encode(ask), deadline)
        return ask.number, inbox

    def forget(self, number: int) -> None:
        """Answers to this are no longer wanted."""
        with self._lock:
            self._inboxes.pop(number, None)

    def kill(self) -> None:
        """Kill it; whoever waits for answers is told."""
        with self._lock:
            self.gone = True
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        with self._writing:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _write(self, frame: bytes, deadline: float) -> None:
        """Write a frame as far as it is taken until the deadline."""
        if not self._writing.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError("it takes no questions")
        try:
            assert self._process.stdin is not None
            if self._process.stdin.closed:
                raise BrokenPipeError("it has ended")
            fd = self._process.stdin.fileno()
            rest = memoryview(len(frame).to_bytes(4, "big") + frame)
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            while rest:
                if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("it takes no questions")
                with suppress(BlockingIOError):
                    rest = rest[os.write(fd, rest) :]
        finally:
            self._writing.release()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, msgspec.DecodeError), self._process.stdout as stream:
            while (frame := frames.receive(stream)) is not None:
                answer = decode_answer(frame)
                self._ready.set()
                with self._lock:
                    inbox = self._inboxes.get(answer.number)
                if inbox is not None:
                    inbox.put(answer)
        with self._lock:
            self.gone = True
            for inbox in self._inboxes.values():
                inbox.put(None)
        self._ready.set()
