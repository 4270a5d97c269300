"""Things done by several threads at once."""

from __future__ import annotations

import threading

import pytest

from socs.archive.side_by_side import THREADS, side_by_side


@pytest.mark.parametrize("count", [0, 1, 2, THREADS, 1000])
def test_each_is_done_once(count: int) -> None:
    done: list[int] = []
    side_by_side(done.append, range(count), "side")
    assert sorted(done) == list(range(count))
    assert not [thread for thread in threading.enumerate() if thread.name == "side"]


def test_they_are_done_at_the_same_time() -> None:
    together = threading.Barrier(THREADS, timeout=10)  # broken unless all are there
    side_by_side(lambda _: together.wait(), range(THREADS), "side")


def test_what_one_raises_is_raised_and_ends_the_rest() -> None:
    done: list[int] = []

    def act(thing: int) -> None:
        if thing == 0:
            raise KeyError(thing)
        done.append(thing)
        stopped.wait(10)

    stopped = threading.Event()
    stopped.set()
    with pytest.raises(KeyError):
        side_by_side(act, [0], "side")
    stopped.clear()

    def fail(thing: int) -> None:
        if thing == THREADS - 1:
            stopped.set()
            raise KeyError(thing)
        act(thing + 1)

    with pytest.raises(KeyError):
        side_by_side(fail, range(100 * THREADS), "side")
    assert len(done) < 50 * THREADS
