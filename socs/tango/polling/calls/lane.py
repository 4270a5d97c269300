"""A few threads that ask the servers that answer at once.

A thread for each server is what keeps a server that hangs from holding up others, and is slow where
all is well: forty threads, and the one that they tell, wait for Python's lock instead of for the
network. So servers that answered promptly the last time are asked by these few, who tell all that
they have got in one go. What holds them up is left to them for once; after a moment all others are
asked by threads of their own.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

THREADS = 8  # 4 to 16 are as fast with two processors and 40 servers, one for each is slower


class Prompt(Protocol):
    """Who can be asked."""

    def ask_promptly(self, number: int) -> Any | None:
        """What it answered; None if that is told by a thread of its own."""

    def ask_apart(self, number: int) -> None:
        """Let a thread of its own ask."""


class Lane:
    """The threads; they are daemons, and begin with this.

    Args:
        tell: gets a list of answers; called by any thread.
        around: what is to be entered by each thread.
        threads: how many there are.
    """

    def __init__(
        self,
        tell: Callable[[list[Any]], object],
        around: Callable[[], AbstractContextManager[Any]],
        threads: int = THREADS,
    ) -> None:
        self._tell, self._around = tell, around
        self._waiting: queue.SimpleQueue[tuple[_Batch, Prompt]] = queue.SimpleQueue()
        self._batch = _Batch(0, 0, tell)
        for number in range(threads):
            threading.Thread(target=self._run, name=f"lane {number}", daemon=True).start()

    def ask(self, number: int, servers: Sequence[Prompt]) -> None:
        """Ask these servers, for the poll of this number; they are told when all have answered."""
        self.close()
        self._batch = _Batch(number, len(servers), self._tell)
        for server in servers:
            self._waiting.put((self._batch, server))

    def close(self) -> None:
        """Tell what was answered by now, and what comes later as it comes.

        Servers that no thread has come to are asked apart.
        """
        while True:
            try:
                batch, server = self._waiting.get_nowait()
            except queue.Empty:
                break
            server.ask_apart(batch.number)
        self._batch.close()

    def _run(self) -> None:
        with self._around():
            while True:
                batch, server = self._waiting.get()
                answer = None
                try:
                    answer = server.ask_promptly(batch.number)
                except Exception:  # noqa: BLE001  the thread goes on
                    traceback.print_exc()
                batch.add(answer)


class _Batch:
    """Answers that are told together: when all are there, or when it is closed."""

    def __init__(self, number: int, size: int, tell: Callable[[list[Any]], object]) -> None:
        self.number = number
        self._lacking, self._tell = size, tell
        self._answers: list[Any] = []
        self._lock = threading.Lock()

    def add(self, answer: Any | None) -> None:
        """Take an answer, or that there is none."""
        with self._lock:
            self._lacking -= 1
            if answer is not None:
                self._answers.append(answer)
            self._tell_if_due()

    def close(self) -> None:
        """Wait for nobody any more."""
        with self._lock:
            self._lacking = 0
            self._tell_if_due()

    def _tell_if_due(self) -> None:
        if self._lacking <= 0 and self._answers:
            answers, self._answers = self._answers, []
            self._tell(answers)
