import numpy as np

from socs.slow_signal.layout import MV_PER_COUNT, Readouts
from socs.slow_signal.pixels import ORDERS
from socs.slow_signal.seconds import MAX_SAMPLE, Sample, preview, summarize
from tests.camera_data import random_walk, without


def values(readouts: Readouts, module: int) -> np.ndarray:
    """All amplitudes of ``module`` in the readouts in which it is."""
    there = (readouts["present"] >> module & 1).astype(bool)
    return readouts["counts"][there, module].astype(float).ravel() * MV_PER_COUNT


def test_amplitudes_of_each_module_over_all_pixels_and_readouts() -> None:
    some = [random_walk(7), random_walk(5, seed=2)]
    found, every = summarize(some), np.concatenate(some)
    assert found.readouts == 12
    for module in range(32):
        expected = values(every, module)
        assert np.isclose(found.mean[module], expected.mean())
        assert np.isclose(found.minimum[module], expected.min())
        assert np.isclose(found.maximum[module], expected.max())
        assert np.isclose(found.rms[module], np.sqrt(np.mean(expected**2)))


def test_absent_modules_are_left_out() -> None:
    whole = random_walk(6)
    whole["counts"] += 1000  # so that a 0 taken for a value is seen
    some = np.concatenate([without(whole[:3], 0b101), without(whole[3:], 0b100)])
    found = summarize([some])
    assert np.isnan(found.mean[1:2]).all()
    assert np.isnan([found.minimum[3:], found.maximum[3:], found.rms[3:]]).all()
    assert np.isclose(found.mean[0], values(some, 0).mean())
    assert np.isclose(found.minimum[0], values(some, 0).min())
    assert np.isclose(found.rms[2], np.sqrt(np.mean(values(some, 2) ** 2)))


def test_nothing_at_all() -> None:
    sample = Sample()
    sample.add(random_walk(3)[:0])
    assert sample.preview() is None
    assert sample.amplitudes().readouts == 0
    assert np.isnan(sample.amplitudes().mean).all()


def test_only_the_first_readouts_are_looked_at_and_the_latest_is_shown() -> None:
    sample, readouts = Sample(), random_walk(MAX_SAMPLE + 30)
    for start in range(0, len(readouts), 20):
        sample.add(readouts[start : start + 20])
    found = sample.amplitudes()
    assert found.readouts == MAX_SAMPLE
    assert np.isclose(found.mean[4], values(readouts[:MAX_SAMPLE], 4).mean())
    assert np.array_equal(sample.preview(), preview(readouts[-1:]))


def test_the_preview_is_the_mean_of_neighbours() -> None:
    readout = without(random_walk(1), 0xFFFFFFFF & ~(1 << 9))
    small = preview(readout)
    assert small.shape == (32, 16)
    assert np.isnan(small[9]).all()
    order = ORDERS["ssl2colrow"]  # pixel 8 * column + row
    pixels = [order[8 * column + row] for column in (2, 3) for row in (6, 7)]
    expected = readout["counts"][0, 30, pixels].mean() * MV_PER_COUNT
    assert np.isclose(small[30, 1 * 4 + 3], expected)
