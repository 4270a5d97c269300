"""Small things done by several threads at once, as disks like it: many flushes cost as one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

THREADS = 8  # more are no faster


def side_by_side(act: Callable[[T], object], things: Sequence[T], name: str) -> None:
    """Call ``act`` once for each of ``things``, in this thread and in others, until all is done.

    The others are called ``name``, and do not keep the program from ending. What ``act`` raises
    is raised here; what has not been begun then is left.
    """
    left = deque(things)
    lock = threading.Lock()
    failures: list[Exception] = []

    def work() -> None:
        while not failures:
            with lock:
                if not left:
                    return
                thing = left.popleft()
            try:
                act(thing)
            except Exception as failure:  # noqa: BLE001  raised again below
                failures.append(failure)

    others = [
        threading.Thread(target=work, name=name, daemon=True)
        for _ in range(min(THREADS, len(things)) - 1)
    ]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
