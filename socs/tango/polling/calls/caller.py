"""Threads that make calls to Tango, one after the other, and may be held up by them for long."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import tango

T = TypeVar("T")


class Caller:
    """One thread that makes calls. It never keeps a process from ending: it is a daemon."""

    def __init__(self, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def post(self, call: Callable[[], object]) -> None:
        """Let the thread make a call that raises nothing, after those it was given before."""
        self._tasks.put(call)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """The same for a call whose result, or error, is wanted."""
        future: Future[T] = Future()

        def answer() -> None:
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001  told to whoever waits for the result
                future.set_exception(error)

        self._tasks.put(answer)
        return future

    def end(self) -> None:
        """End the thread, once it has nothing more to do."""
        self._tasks.put(None)

    def _run(self) -> None:
        with tango.EnsureOmniThread():
            while (call := self._tasks.get()) is not None:
                try:
                    call()
                except Exception:  # noqa: BLE001  the thread goes on
                    traceback.print_exc()


def causes(error: Any) -> list[tuple[str, str]]:
    """The causes of a ``DevFailed`` as texts."""
    return [(str(each.reason), str(each.desc)) for each in error.args if hasattr(each, "reason")]
