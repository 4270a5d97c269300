"""Threads that make calls to Tango, one after the other, and may be held up by them for long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import tango

T = TypeVar("T")

_Task = tuple[Callable[[], Any], Future[Any]]


class Caller:
    """One thread that makes calls. It never ends a process from ending: it is a daemon."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Let the thread make a call, after those that it was given before."""
        future: Future[T] = Future()
        self._tasks.put((call, future))
        return future

    def end(self) -> None:
        """End the thread, once it has nothing more to do."""
        self._tasks.put(None)

    def _run(self) -> None:
        with tango.EnsureOmniThread():
            while (task := self._tasks.get()) is not None:
                call, future = task
                try:
                    future.set_result(call())
                except Exception as error:  # noqa: BLE001  told to whoever waits for the result
                    future.set_exception(error)


def causes(error: Any) -> list[tuple[str, str]]:
    """The causes of a ``DevFailed`` as texts."""
    return [(str(each.reason), str(each.desc)) for each in error.args if hasattr(each, "reason")]
