"""Readouts of publishers, without one: silence, and what is dropped."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from socs.cli import slow_signal_source as source
from socs.cli.slow_signal_source import opened
from socs.errors import SocsError
from socs.slow_signal import listen
from socs.slow_signal.pixels import ORDERS
from socs.slow_signal.readout import SSReadout

ENDPOINT = "tcp://127.0.0.1:9"
Listen = Callable[..., "Listener"]


class Listener:
    """Gives ``items``; for each None it is silent for as long as is waited for."""

    def __init__(self, items: Iterator[SSReadout | None], malformed: int, dropped: int) -> None:
        self._items = items
        self.malformed, self.dropped = malformed, dropped
        self.waited: list[float | None] = []
        self.closed = False

    def start(self) -> None: ...

    def get_readout(self, timeout: float | None) -> SSReadout:
        self.waited.append(timeout)
        item = next(self._items)
        if item is None:
            assert timeout is not None, "it would wait for ever"
            raise queue.Empty
        return item

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def listener(monkeypatch) -> Listen:
    """Makes the listener that the next command will have."""

    def make(*items: SSReadout | None, malformed: int = 0, dropped: int = 0) -> Listener:
        made = Listener(iter(items), malformed, dropped)
        monkeypatch.setattr(listen, "SSReadoutListener", lambda port, host: made)
        return made

    return make


def options(**changed) -> SimpleNamespace:
    names = ("start", "stop", "step", "count", "timeout")
    return SimpleNamespace(**dict.fromkeys(names) | {"source": ENDPOINT} | changed)


def numbers(**changed) -> list[int]:
    with opened(options(**changed)) as readouts:
        return [readout.number for readout in readouts]


def some(count: int) -> list[SSReadout]:
    return [SSReadout(number * 10, number) for number in range(count)]


def test_readouts_are_chosen_from_a_stream(listener: Listen) -> None:
    made = listener(*some(20))
    assert numbers(start=2, stop=10, step=3) == [2, 5, 8]
    assert made.closed
    listener(*some(20))
    assert numbers(start=5, count=2) == [5, 6]


def test_a_stream_is_closed_when_its_reader_has_enough(listener: Listen) -> None:
    made = listener(*some(3))
    with opened(options()) as readouts:
        next(readouts)
        assert not made.closed
    assert made.closed


def test_silence_is_told_and_so_is_its_end(listener: Listen, capsys) -> None:
    made = listener(*some(1), None, *some(2))
    assert numbers(count=3) == [0, 0, 1]
    assert made.waited == [source.SILENCE, source.SILENCE, None, source.SILENCE]
    silent, again = capsys.readouterr().err.splitlines()
    assert silent == f"socs: no readouts from {ENDPOINT} for 5 s; waiting, Ctrl-C ends this"
    assert again == f"socs: readouts from {ENDPOINT} again"


def test_too_long_a_silence_is_an_error(listener: Listen, capsys) -> None:
    made = listener(None, None)
    with pytest.raises(SocsError, match=f"no readouts from {ENDPOINT} for 8 s"):
        numbers(timeout=8.0)
    assert made.waited == [5.0, 3.0]
    assert made.closed
    made = listener(None)
    with pytest.raises(SocsError, match="for 2 s"):
        numbers(timeout=2.0)
    assert made.waited == [2.0]
    assert len(capsys.readouterr().err.splitlines()) == 1  # of the first only


def test_what_was_dropped_is_told_at_the_end(listener: Listen, capsys) -> None:
    listener(*some(2), malformed=3, dropped=4)
    assert numbers(count=2) == [0, 1]
    malformed, dropped = capsys.readouterr().err.splitlines()
    assert malformed == f"socs: {ENDPOINT}: 3 messages that were no readouts"
    assert dropped.startswith(f"socs: {ENDPOINT}: 4 readouts that came faster")


def test_a_readout_of_a_stream_has_its_time_and_its_pixels_in_order(listener: Listen) -> None:
    data = np.arange(2048.0).reshape(32, 64)
    listener(SSReadout(7, 1, data, cpu_t_s=3, cpu_t_ns=4))
    with opened(options(count=1), "ssl2colrow") as readouts:
        (readout,) = readouts
    assert (readout.number, readout.tack, readout.cpu_ns) == (1, 7, 3_000_000_004)
    assert np.array_equal(readout.amplitudes, data[:, ORDERS["ssl2colrow"]])
    assert readout.present.all()
