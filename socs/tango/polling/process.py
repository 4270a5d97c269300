"""The child process, seen from its parent: messages go in and come out, and nothing waits."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from socs import frames
from socs.tango.polling.messages import FromChild, ToChild, decode_from_child, encode

MODULE = "socs.tango.polling.child"
PATIENCE = 1.0  # s that a killed process may take to die
START_TIME = 20.0  # s until the first message; Python and Tango take one, on a busy machine ten
SILENCE = 5.0  # s without a message after which the child is taken for stuck; it tells two a second


class ChildProcess:
    """One run of the child.

    Args:
        environ: its environment.
        take: gets each message, and None at the end; called by a thread.

    Attributes:
        heard: when it told something last [s], by the monotonic clock.
        spoke: whether it has ever told something.

    Raises:
        OSError: it cannot be started: no memory, too many processes or files.
    """

    def __init__(
        self, environ: Mapping[str, str], take: Callable[[ChildProcess, FromChild | None], None]
    ) -> None:
        self._take = take
        self._messages: queue.SimpleQueue[ToChild | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(  # noqa: S603  a module of ours
            [sys.executable, "-m", MODULE],
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; it ends when we do
        )
        self.pid = self._process.pid
        self.heard = time.monotonic()
        self.spoke = False
        self._threads = [
            threading.Thread(target=run, name=f"tango-poll-{name}", daemon=True)
            for name, run in (("write", self._write), ("read", self._read))
        ]
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:  # no room for a thread
            self._process.kill()
            self._process.wait()
            self._messages.put(None)
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            raise OSError(str(error)) from error

    def tell(self, message: ToChild) -> None:
        """Send a message; does not wait."""
        self._messages.put(message)

    def is_stuck(self, now: float) -> bool:
        """Whether it has told nothing for too long."""
        return now - self.heard > (SILENCE if self.spoke else START_TIME)

    def stop(self, timeout: float) -> None:
        """After a last message: let it end by itself, or kill it after so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, timeout))
        self.kill()

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._messages.put(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(PATIENCE)

    def _write(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError), self._process.stdin as stream:
            while (message := self._messages.get()) is not None:
                frames.send(stream, encode(message))

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, msgspec.DecodeError), self._process.stdout as stream:
            while (frame := frames.receive(stream)) is not None:
                message = decode_from_child(frame)
                self.heard, self.spoke = time.monotonic(), True
                self._take(self, message)
        self._take(self, None)
