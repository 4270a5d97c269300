import numpy as np

from socs.sim.camera_walk import START, STEP, Walk
from socs.slow_signal.layout import MV_PER_COUNT


def test_pixels_change_slowly_and_each_in_its_own_way() -> None:
    counts = Walk(3, 200).counts.astype(int)
    assert counts.shape == (398, 32, 64)
    assert counts[0].max() <= START / MV_PER_COUNT
    steps = np.abs(np.diff(counts, axis=0, append=counts[:1]))
    assert steps.max() <= STEP / MV_PER_COUNT + 1
    assert steps.mean() > STEP / MV_PER_COUNT / 4
    paths = counts.reshape(len(counts), -1).T
    assert len(np.unique(paths, axis=0)) == 2048


def test_it_goes_the_same_way_back_for_ever() -> None:
    walk = Walk(3, 50)
    assert walk.cycle == 98
    assert np.array_equal(walk.at(np.arange(50)), walk.at(98 - np.arange(50)))
    assert np.array_equal(walk.at(10**9), walk.counts[10**9 % 98])


def test_a_module_is_the_same_whether_others_are_there_or_not() -> None:
    alone = Walk(3, 50, [7])
    assert np.array_equal(alone.counts[:, 7], Walk(3, 50).counts[:, 7])
    assert not alone.counts[:, 6].any()
    assert not np.array_equal(alone.counts[:, 7], Walk(4, 50).counts[:, 7])
