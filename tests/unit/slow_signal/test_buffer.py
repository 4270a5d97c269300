"""Readouts in the making: their order, their slots, and what is remembered of them."""

import numpy as np
import pytest

from socs.slow_signal.buffer import ReadoutBuffer
from socs.slow_signal.decode import MAX_READOUTS
from socs.slow_signal.line import NEVER
from tests.slow_signal_packets import STEP, counts_of, packets, sets

CAPACITY = 64


@pytest.fixture
def buffer() -> ReadoutBuffer:
    return ReadoutBuffer(CAPACITY)


def begin(buffer: ReadoutBuffer, *tacks: int) -> None:
    buffer.append(np.array(tacks, np.int64), np.zeros(len(tacks), np.int64), 0.0)


def part(module: int = 0, readout: int = 0) -> np.ndarray:
    return packets(*sets([0], [module])).parts[0, readout : readout + 1]


def test_readouts_without_a_part_do_not_come_out(buffer):
    begin(buffer, 0, STEP, 2 * STEP)
    assert buffer.fill(buffer.cell(1, 5), part(5))
    readouts, filled = buffer.take(3)
    assert readouts["present"].tolist() == [1 << 5]
    assert np.array_equal(readouts["counts"][0, 5], counts_of(5, 0))
    assert filled.sum() == 1
    assert buffer.present[:3].tolist() == [0, 1 << 5, 0]
    assert (len(buffer), buffer.room, buffer.parts) == (0, CAPACITY, 0)


def test_a_cell_is_filled_once(buffer):
    begin(buffer, 0)
    cell = buffer.cell(0, 3)
    assert buffer.fill(cell, part(3))
    assert not buffer.fill(cell, part(3, 1))
    assert not buffer.fill(np.append(buffer.cell(0, 4), cell), np.append(part(4), part(3)))
    assert not buffer.fill(np.tile(buffer.cell(0, 4), 2), np.append(part(4), part(4)))
    assert buffer.parts == 1
    assert buffer.tacks_in(cell).tolist() == part(3)["tack"].tolist()


def test_a_slot_used_again_is_empty(buffer):
    begin(buffer, 0)
    buffer.fill(buffer.cell(0, 3), part(3))
    buffer.take(1)
    begin(buffer, STEP)
    cells = buffer.cell(1, 3)[None]
    assert buffer.are_free(cells).tolist() == [True]
    assert buffer.are_copies(cells, part(3)[None]).tolist() == [False]


def test_insertion_keeps_the_order(buffer):
    begin(buffer, 0, 10, 30)
    assert buffer.insert(20, 7, 5.0) == 2
    assert buffer.insert(-5, 8, 6.0) == 0
    assert buffer.insert(10, 9, 7.0) == 3
    assert buffer.refs.tolist() == [-5, 0, 10, 10, 20, 30]
    assert buffer.opened().tolist() == [6.0, 0.0, 0.0, 7.0, 5.0, 0.0]
    for module, position in enumerate(range(6)):
        assert buffer.fill(buffer.cell(position, module), part(module))
    readouts, _ = buffer.take(6)
    assert readouts["cpu_ns"].tolist() == [8, 0, 0, 9, 7, 0]
    assert readouts["present"].tolist() == [1 << module for module in range(6)]


def test_positions_run_out_and_are_used_again(buffer):
    """The last readouts out are remembered, and no TACK is there after the last."""
    for number in range(50 * CAPACITY):
        begin(buffer, number * STEP)
        buffer.fill(buffer.cell(buffer.tail - 1, number % 32), part(number % 32))
        if len(buffer) > 3:
            buffer.take(1)
        known = min(number + 1, CAPACITY)
        last = buffer.tacks[buffer.tail - known : buffer.tail]
        assert last.tolist() == [(number - known + 1 + i) * STEP for i in range(known)]
        assert (buffer.tacks[buffer.tail :] == NEVER).all()
        assert len(buffer.tacks) - buffer.tail >= MAX_READOUTS
    assert (buffer.present[buffer.head - CAPACITY + 4 : buffer.head] != 0).all()


def test_room_is_what_was_asked_for(buffer):
    begin(buffer, *range(CAPACITY))
    assert buffer.room == 0
    assert len(np.unique(buffer.cells(np.arange(CAPACITY), np.array([0])))) == CAPACITY


def test_nearest(buffer):
    begin(buffer, 0, 10, 30)
    tacks = np.array([-100, 0, 4, 5, 6, 19, 21, 1000])
    assert buffer.nearest(tacks, 0, 3).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert buffer.nearest(tacks, 1, 2).tolist() == [1] * 8
