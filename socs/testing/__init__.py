"""Tools for tests against real peers: private servers, and honest ways to break connections.

Private MariaDB: :mod:`socs.testing.mariadb`. UDP relay that loses, doubles and reorders, with exact
counts: :mod:`socs.testing.relay`. TCP proxy that cuts and hangs: :mod:`socs.testing.cutter`. A site
with a router and agents: :mod:`socs.sim.site`. Private Tango database:
:mod:`socs.testing.tango_database`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from socs.sim.ports import LOOPBACK, free_port

__all__ = ["LOOPBACK", "free_port", "wait_until"]

T = TypeVar("T")
# Time-outs are those of a machine that has nothing else to do, and only a failing test waits for
# their end: on a machine that is busy, or stands still for a moment, all must last longer.
PATIENCE = 5


def wait_until(
    condition: Callable[[], T], timeout: float = 10.0, what: str = "", period: float = 0.01
) -> T:
    """Ask again and again until the answer is true; returns that answer.

    Args:
        condition: what to ask; what it raises is raised.
        timeout: seconds, by the monotonic clock, on a machine with nothing else to do;
            :data:`PATIENCE` times as long on any.
        what: what is waited for, for the message.
        period: seconds between two questions.

    Raises:
        TimeoutError: the last answer, asked after the deadline, was still false.
    """
    deadline = time.monotonic() + PATIENCE * timeout
    while True:
        late = time.monotonic() > deadline
        answer = condition()
        if answer:
            return answer
        if late:
            wanted = what or getattr(condition, "__name__", "the condition")
            waited = f"waited {PATIENCE * timeout:g} s for {wanted}"
            raise TimeoutError(f"{waited}; last answer: {answer!r}")
        time.sleep(period)
