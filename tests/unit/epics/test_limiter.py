"""The cap holds for what leaves, not for what was to be sent."""

import threading
from types import SimpleNamespace

import pytest

from socs.counters import EPICS_SEARCH, Counters
from socs.epics.decode.words import Tally
from socs.epics.search import udp_thread
from socs.epics.search.limiter import MOST_PER_SECOND, Limiter
from socs.epics.search.udp_thread import SharedLimiter, UdpThread


def test_what_left_late_is_in_the_window_for_longer() -> None:
    limiter = Limiter(MOST_PER_SECOND, MOST_PER_SECOND)
    assert limiter.take(10, 0.0)
    assert limiter.take(MOST_PER_SECOND - 10, 0.5)
    limiter.left(0.5, 0.9)
    assert limiter.take(10, 1.0)  # those of the first moment are out of it
    assert limiter.wait(1, 1.6) == pytest.approx(0.3)
    assert limiter.take(1, 1.95)


class Core:
    """Sends as much as the limiter allows."""

    def __init__(self) -> None:
        self.tally, self.limiter = Tally(), SharedLimiter(MOST_PER_SECOND, MOST_PER_SECOND)

    def tick(self, now: float) -> list[object]:
        return []

    def due(self, now: float) -> list[bytes]:
        sent = []
        while self.limiter.take(1, now):
            sent.append(b"x")
        return sent

    def wait(self, now: float) -> float:
        return self.limiter.wait(1, now)


def test_a_thread_that_is_held_up_stays_below_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sent = [50.0], []
    monkeypatch.setattr(SharedLimiter, "_cap", Limiter(MOST_PER_SECOND, MOST_PER_SECOND))
    monkeypatch.setattr(udp_thread, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    thread = SimpleNamespace(_core=Core(), _lock=threading.Lock(), counters=Counters(EPICS_SEARCH))

    def post(sock: object, request: bytes, now: float) -> None:
        clock[0] += 0.9 if len(sent) % (2 * MOST_PER_SECOND) == 0 else 0.0001  # s for each
        sent.append(clock[0])

    thread._post = post
    for _ in range(1000):
        UdpThread._send_and_tell(thread, None)
        clock[0] += 0.01
    assert len(sent) > 2 * MOST_PER_SECOND
    for first, last in zip(sent, sent[MOST_PER_SECOND:], strict=False):
        assert last - first > 1.0 - 1e-9
