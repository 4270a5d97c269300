"""Child processes that cannot outlive the program that started them.

Each child leads a process group of its own, in a session of its own: Ctrl-C at the terminal reaches
only the program itself, which then ends its children in order, and a kill reaches a child together
with all the processes that it forked.

If the program is killed itself (``kill -9``, a crash, the machine's memory killer), nothing of it
is left to clean up. For this case a :class:`Leash` runs one more process, the watcher: it holds the
reading end of a pipe, and when the pipe closes or its parent is gone it kills every group that it
has been told of. (``PR_SET_PDEATHSIG`` would not do: it follows the thread that forked, not the
process, and does not reach the processes that a child forks.)

This file is also the watcher's program; it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

POLL_PERIOD = 0.01  # seconds between two looks at a child
KILL_TIMEOUT = 10.0  # seconds; only a process that hangs in the kernel outlives SIGKILL that long
WATCH_PERIOD = (
    1.0  # seconds between two looks at the parent, for a pipe that someone else holds open
)


class Child:
    """A process started by :meth:`Leash.start`. When it ends, the rest of its group is killed."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        log: Path,
        log_start: int,
        on_end: Callable[[], None],
    ) -> None:
        self._process = process
        self._log_start = log_start
        self._on_end = on_end
        self.pid = process.pid
        self.log = log

    @property
    def returncode(self) -> int | None:
        """Exit code, ``-N`` if signal N ended it, ``None`` while it runs."""
        if self._process.returncode is None:
            # Look without reaping: until the dead leader is reaped, its id, which is also the
            # group's, cannot be given to a stranger.
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self._signal_group(signal.SIGKILL)
            self._process.wait()
            self._on_end()
        return self._process.returncode

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def output(self) -> str:
        """What it has written to its log since it was started."""
        with self.log.open("rb") as stream:
            stream.seek(self._log_start)
            return stream.read().decode(errors="replace")

    def wait(self, timeout: float) -> int:
        """The exit code, once it has ended.

        Raises:
            TimeoutError: it still runs after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while (code := self.returncode) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
            time.sleep(POLL_PERIOD)
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the process, not to its group; nothing if it has ended."""
        if self.alive:
            os.kill(self.pid, number)

    def pause(self) -> None:
        """Freeze it and its group (SIGSTOP): alive, connected, and not answering.

        When this returns, no thread of the process itself does anything any more.
        """
        if self.alive:
            self._signal_group(signal.SIGSTOP)
            # A thread on another processor goes on until it sees the signal.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused group go on (SIGCONT)."""
        if self.alive:
            self._signal_group(signal.SIGCONT)

    def kill(self) -> int:
        """``kill -9`` it and its group; returns the exit code."""
        if self.alive:
            self._signal_group(signal.SIGKILL)
        return self.wait(KILL_TIMEOUT)

    def stop(self, timeout: float) -> int:
        """Ask it to end (SIGTERM), kill it after ``timeout`` seconds; returns the exit code."""
        self.resume()
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self.wait(timeout)
        return self.kill()

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Leash:
    """Starts children and sees to it that none is left. Not for use by several threads at once."""

    def __init__(self) -> None:
        self._watcher: subprocess.Popen[bytes] | None = None
        self._children: list[Child] = []

    def start(self, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Child:
        """Start a command, its output appended to ``log``.

        Args:
            env: the whole environment of the child.

        Raises:
            OSError: it cannot be started.
        """
        # A child that was started, but is in nobody's list yet, would be left running.
        with signals_held(), log.open("ab") as output:
            watcher = self._watcher or self._start_watcher()
            log_start = output.tell()
            process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            child = Child(process, log, log_start, lambda: _forget(watcher, process.pid))
            self._children = [known for known in self._children if known.alive]
            self._children.append(child)
            _tell(watcher, b"+%d\n" % process.pid)
        return child

    def close(self, timeout: float = 0.0) -> None:
        """End all children; those that still run ``timeout`` seconds after SIGTERM are killed."""
        stop_together(self._children, timeout)
        self._children.clear()
        if self._watcher is not None:
            if self._watcher.stdin is not None:
                self._watcher.stdin.close()
            self._watcher.wait()
            self._watcher = None

    def _start_watcher(self) -> subprocess.Popen[bytes]:
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        return self._watcher


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Keep handlers of SIGINT and SIGTERM, which may raise, from running in the block.

    What is done in it is done wholly, or not at all; they run afterwards.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    arrived: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: arrived.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not None
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in arrived:
            signal.raise_signal(late)


def stop_together(children: Iterable[Child], timeout: float) -> None:
    """End several children at once: SIGTERM, and SIGKILL for those that run ``timeout`` s later."""
    children = list(children)
    deadline = time.monotonic() + timeout
    if timeout > 0:
        for child in children:
            child.resume()
            child.signal(signal.SIGTERM)
        for child in children:
            with contextlib.suppress(TimeoutError):
                child.wait(max(0.0, deadline - time.monotonic()))
    for child in children:
        child.kill()


def _forget(watcher: subprocess.Popen[bytes], group: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # then there is nobody who could mistake the id
        _tell(watcher, b"-%d\n" % group)


def _tell(watcher: subprocess.Popen[bytes], line: bytes) -> None:
    if watcher.stdin is not None and not watcher.stdin.closed:
        watcher.stdin.write(line)


def watch(parent: int) -> None:
    """The watcher: read ``+GROUP`` and ``-GROUP`` lines; kill the rest when the parent is gone."""
    groups: set[int] = set()
    rest = b""
    while True:
        if not select.select([0], [], [], WATCH_PERIOD)[0]:
            if os.getppid() == parent:
                continue
            break
        received = os.read(0, 4096)
        if not received:
            break
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            group = int(line[1:])
            groups.add(group) if line[:1] == b"+" else groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
