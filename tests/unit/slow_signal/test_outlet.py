"""Publishers that people write: slow ones, failing ones, and those that use the event loop."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from socs.slow_signal.layout import MV_PER_COUNT, READOUT, Readouts
from socs.slow_signal.readout import SSReadout
from socs.slow_signal.ssdaq.outlet import Outlet
from socs.testing import wait_until


def readouts(first: int, count: int) -> Readouts:
    rows = np.zeros(count, READOUT)
    rows["number"] = np.arange(first, first + count)
    rows["tack"] = rows["number"] * 1000
    rows["present"] = 1 << 3
    rows["counts"][:, 3] = rows["number"][:, None]
    return rows


class Keeps:
    """Keeps what it gets."""

    name = "keeps"

    def __init__(self) -> None:
        self.got: list[SSReadout] = []

    def publish(self, readout: SSReadout) -> None:
        self.got.append(readout)


class Held(Keeps):
    """Does not come back until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.may = threading.Event(), threading.Event()

    def publish(self, readout: SSReadout) -> None:
        self.inside.set()
        assert self.may.wait(60)
        super().publish(readout)


def test_it_gets_every_readout_in_order_in_a_thread_of_its_own() -> None:
    threads = set()

    class Tells(Keeps):
        def publish(self, readout: SSReadout) -> None:
            threads.add(threading.current_thread())
            super().publish(readout)

    keeps = Tells()
    outlet = Outlet(keeps)
    outlet.start()
    outlet.put(readouts(1, 3))
    outlet.put(readouts(4, 2))
    outlet.close()
    assert [each.readout_number for each in keeps.got] == [1, 2, 3, 4, 5]
    assert np.allclose(keeps.got[4].data[3], 5 * MV_PER_COUNT)
    assert np.isnan(keeps.got[4].data[4]).all()
    assert threads.isdisjoint({threading.current_thread()})
    assert outlet.status() == {
        "name": "keeps",
        "published": 5,
        "dropped": 0,
        "errors": 0,
        "queued": 0,
    }


def test_a_slow_one_loses_what_finds_no_room() -> None:
    held = Held()
    outlet = Outlet(held, room=4)
    outlet.start()
    outlet.put(readouts(1, 1))
    assert held.inside.wait(60)  # it has taken the first
    outlet.put(readouts(2, 3))
    outlet.put(readouts(5, 3))  # one of these finds room
    assert outlet.status()["queued"] == 4
    assert outlet.dropped == 2
    held.may.set()
    outlet.close()
    assert [each.readout_number for each in held.got] == [1, 2, 3, 4, 5]
    assert outlet.published + outlet.dropped == 7


def test_one_that_never_comes_back_is_left_behind() -> None:
    held = Held()
    outlet = Outlet(held)
    outlet.start()
    outlet.put(readouts(1, 5))
    assert held.inside.wait(60)
    outlet.close(timeout=0.05)
    assert outlet.dropped == 4
    outlet.put(readouts(6, 2))
    assert outlet.dropped == 6
    held.may.set()
    wait_until(lambda: outlet.published == 1)


def test_what_it_raises_is_counted_and_told_once(caplog) -> None:
    class Fails(Keeps):
        def publish(self, readout: SSReadout) -> None:
            if readout.readout_number % 2:
                raise ZeroDivisionError("odd")
            super().publish(readout)

    fails = Fails()
    outlet = Outlet(fails)
    outlet.start()
    outlet.put(readouts(1, 6))
    outlet.close()
    assert [each.readout_number for each in fails.got] == [2, 4, 6]
    assert (outlet.published, outlet.errors, outlet.dropped) == (3, 3, 0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "publisher keeps failed: ZeroDivisionError: odd"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_ends_the_thread_ends_nothing_else() -> None:
    class Exits(Keeps):
        def publish(self, readout: SSReadout) -> None:
            raise SystemExit

    outlet = Outlet(Exits())
    outlet.start()
    outlet.put(readouts(1, 3))
    wait_until(lambda: outlet.dropped == 2)
    outlet.put(readouts(4, 3))
    assert outlet.dropped == 5
    outlet.close()


class OnLoop(Keeps):
    """Does with each readout something in the event loop, after so many seconds."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.tasks: list[asyncio.Task] = []
        self.in_order: list[tuple[str, int]] = []

    def give_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def publish(self, readout: SSReadout) -> None:
        self.in_order.append(("published", readout.readout_number))
        self.tasks.append(self.loop.create_task(self.later(readout.readout_number)))

    async def later(self, number: int) -> None:
        await asyncio.sleep(self.seconds)
        self.in_order.append(("done", number))


def test_the_loop_that_it_is_given_runs_meanwhile() -> None:
    on_loop = OnLoop(0)
    outlet = Outlet(on_loop)
    outlet.put(readouts(1, 20))
    outlet.start()
    wait_until(lambda: len(on_loop.in_order) == 40)
    outlet.close()
    assert on_loop.in_order.index(("done", 1)) < on_loop.in_order.index(("published", 20))


def test_what_it_has_begun_is_waited_for_at_the_end_but_not_for_ever(monkeypatch) -> None:
    on_loop = OnLoop(0.05)
    outlet = Outlet(on_loop)
    outlet.start()
    outlet.put(readouts(1, 3))
    outlet.close()
    assert [what for what, _ in on_loop.in_order] == ["published"] * 3 + ["done"] * 3
    monkeypatch.setattr("socs.slow_signal.ssdaq.outlet.LAST_TASKS", 0.05)
    on_loop = OnLoop(1000)
    outlet = Outlet(on_loop)
    outlet.start()
    outlet.put(readouts(1, 1))
    outlet.close()
    assert on_loop.in_order == [("published", 1)]


def test_one_that_was_never_started_closes() -> None:
    outlet = Outlet(Keeps())
    outlet.close()
    assert outlet.status()["published"] == 0
