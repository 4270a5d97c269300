"""Running rsync. Nothing of it outlives the thread that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from socs import launch
from socs.closing import Closing

MAX_SAID = 4 << 20  # bytes of messages that are read; a line for each of some thousands of files
LOOK = 0.01  # s between two looks whether it has ended


class Call(Closing):
    """Runs a command and keeps what it says; a context manager that kills what is left of it.

    Input and messages are files in memory: rsync never waits for us, however long we are busy
    with what it has brought.

    Args:
        command: program and arguments.
        text: its standard input.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self, command: list[str], text: bytes) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("RSYNC_")}
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        self._lock = threading.Lock()
        self._said = os.memfd_create("said")
        try:
            with os.fdopen(os.memfd_create("text"), "wb", buffering=0) as given:
                given.write(text)
                given.seek(0)
                self._process = subprocess.Popen(  # noqa: S603  a list of arguments, no shell
                    [*launcher, *command],
                    stdin=given,
                    stdout=self._said,
                    stderr=self._said,
                    env={**environ, "LC_ALL": "C"},
                    cwd="/",
                )
        except BaseException:
            os.close(self._said)
            raise

    def wait(self, timeout: float) -> bool:
        """Wait for at most ``timeout`` s; True when it has ended."""
        deadline = time.monotonic() + timeout
        while not self._ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK)
        return True

    @property
    def code(self) -> int:
        """Exit code of an ended call; ``-N`` if signal N ended it."""
        assert self._process.returncode is not None
        return self._process.returncode

    def said(self) -> bytes:
        """What it has said so far, with the messages of ssh; before it is closed."""
        return os.pread(self._said, MAX_SAID, 0)

    def read(self) -> int | None:
        """Bytes that rsync has read so far, from ssh and from files; None if that is not known.

        rsync's own time-out does not see that the far side is stuck: it takes the signs of life
        that it sends itself for traffic. ssh is left out here, as it has signs of life, too.
        """
        leader = self._process.pid
        try:
            children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
            return sum(map(_read_by, [str(leader), *children]))
        except OSError:
            return None

    def kill(self) -> None:
        """Kill it at once, and ssh with it. Another thread may do so."""
        with self._lock:
            if self._process.returncode is None:
                self._kill()

    def close(self) -> None:
        """Kill it if it runs, and forget what it said."""
        self.kill()
        while not self._ended():
            time.sleep(LOOK)
        if self._said >= 0:
            os.close(self._said)
            self._said = -1

    def _ended(self) -> bool:
        # Look without reaping: until then the id of the process, and of its group, stays its own.
        looking = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with self._lock:
            if self._process.returncode is None:
                if os.waitid(os.P_PID, self._process.pid, looking) is None:
                    return False
                self._kill()  # what is left of its group
                self._process.wait()
            return True

    def _kill(self) -> None:
        with suppress(ProcessLookupError):  # it does not lead its group yet
            os.killpg(self._process.pid, signal.SIGKILL)
        os.kill(self._process.pid, signal.SIGKILL)


def _read_by(pid: str) -> int:
    """Bytes that process ``pid`` has read, if it is an rsync."""
    directory = Path("/proc", pid)
    if (directory / "comm").read_text() != "rsync\n":
        return 0
    return int((directory / "io").read_text().split()[1])  # rchar: 123


class Stopped(Exception):
    """No call may be made any more."""


class Calls:
    """Calls made one after the other, by one thread, until another one stops them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopping = False
        self._running: Call | None = None

    @property
    def running(self) -> bool:
        """Is there one now?"""
        return self._running is not None

    @property
    def stopped(self) -> bool:
        """Has :meth:`stop` been called?"""
        return self._stopping

    def check(self) -> None:
        """Raise :class:`Stopped` once :meth:`stop` has been called."""
        if self._stopping:
            raise Stopped

    @contextmanager
    def start(self, command: list[str], text: bytes) -> Iterator[Call]:
        """Make a call, that ends with the block at the latest; see :class:`Call`.

        Raises:
            Stopped: before or meanwhile.
            OSError: no process can be started.
        """
        with self._lock:
            self.check()
            call = self._running = Call(command, text)
        try:
            with call:
                yield call
        finally:
            self._running = None
        self.check()

    def stop(self) -> None:
        """Kill the call that runs, and allow no other."""
        with self._lock:
            self._stopping = True
            call = self._running
        if call is not None:
            call.kill()
