"""Worker processes, each with a thread that hands it tasks and waits for its answers.

What holds up a process (a file server that hangs) holds up its own thread, nothing else, and all
can be stopped at any time.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Generic, TypeVar

PATIENCE = 1.0  # s that a killed process may take to die

Task = TypeVar("Task")
Process = subprocess.Popen[bytes]


class Workers(ABC, Generic[Task]):
    """Some worker processes, with a thread each; tasks go to whoever is free.

    Args:
        module: what each process runs; it reads requests from its standard input and answers on
            its standard output.
        number: how many.
        name: of the threads.
    """

    def __init__(self, module: str, *, number: int, name: str) -> None:
        self._module = module
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._processes: set[Process] = set()
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{n}", daemon=True)
            for n in range(number)
        ]

    @abstractmethod
    def _serve(self) -> None:
        """What each thread does: see to tasks until :meth:`_next_task` has none."""

    def _start_threads(self) -> None:
        for thread in self._threads:
            thread.start()

    def _next_task(self) -> Task | None:
        """Wait for a task; None at the end."""
        task = self._tasks.get()
        return None if self._stopping.is_set() else task

    def _running(self, process: Process | None) -> Process:
        """``process`` if it runs, else a new one.

        Raises:
            OSError: none can be started: no memory, too many processes or files.
        """
        if process is not None and process.poll() is None:
            return process
        self._end(process)
        process = subprocess.Popen(  # noqa: S603  a module of ours
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that polling the pipe tells all that is to be read
        )
        with self._lock:
            self._processes = {other for other in self._processes if other.poll() is None}
            self._processes.add(process)
            if self._stopping.is_set():
                process.kill()
        return process

    def _end(self, process: Process | None) -> bool:
        """Kill ``process``; False if it does not die."""
        if process is None:
            return True
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def alive(self) -> bool:
        """Are all threads there that should be?"""
        return self._stopping.is_set() or all(thread.is_alive() for thread in self._threads)

    def kill(self) -> None:
        """Kill all; what is under way is not answered."""
        self._stopping.set()
        with self._lock:
            for process in self._processes:
                process.kill()
        for _ in self._threads:
            self._tasks.put(None)

    def join(self, deadline: float) -> None:
        """After :meth:`kill`: wait for the threads, until ``deadline`` (monotonic [s])."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def stop_all(everyone: Collection[Workers[Any]], deadline: float) -> None:
    """Kill all workers at once, and wait for their threads until ``deadline`` (monotonic [s])."""
    for workers in everyone:
        workers.kill()
    for workers in everyone:
        workers.join(deadline)
