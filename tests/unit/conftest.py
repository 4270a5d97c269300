"""Fixtures for tests of code that runs in Twisted's reactor."""

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from socs.testing import PATIENCE


@pytest.fixture(scope="session")
def _reactor() -> Iterator[Any]:
    """The reactor, started but not running; it can be started once in a process."""
    from twisted.internet import reactor  # noqa: PLC0415  makes the reactor

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    reactor.startRunning(installSignalHandlers=True)  # for SIGCHLD
    for number, handler in handlers.items():
        signal.signal(number, handler)
    pool = reactor.getThreadPool()
    pool.adjustPoolsize(2, 2)  # all threads at once: a thread made by a test would be left by it
    yield reactor
    pool.stop()


@pytest.fixture
def pump(_reactor) -> Callable[..., Any]:
    """Let the reactor work until a condition holds, and return the condition's value."""

    def pump(condition: Callable[[], Any], timeout: float = 10.0, what: str = "") -> Any:
        deadline = time.monotonic() + PATIENCE * timeout
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {PATIENCE * timeout:g} s for {what or condition}")
            _reactor.iterate(0.01)
        return value

    return pump
