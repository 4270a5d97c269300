"""The camera's part of the demo: when it has failed, and that values are really compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from socs.cli.demo.camera import CameraNumbers, are_right
from socs.cli.demo.numbers import problems
from socs.sim.camera_truth import CameraTruth
from socs.sim.camera_walk import Walk
from socs.slow_signal.layout import MV_PER_COUNT
from tests.unit.cli.demo.test_numbers import GOOD

CAMERA = CameraNumbers(
    played=500,
    whole=390,
    packets_dropped=7,
    packets_doubled=8,
    received=1600,
    out=500,
    complete=390,
    parts_missing=70,
    parts_doubled=80,
    published=480,
    heard=480,
    files=6,
    verified=6,
    archived=6,
    stored=500,
    answers=True,
)


def failed(**change) -> list[str]:
    part = dataclasses.replace(CAMERA, **change)
    return problems(dataclasses.replace(GOOD, parts={"camera": part}))


def test_a_good_camera_has_no_problem():
    assert failed() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stored": 499}, "camera readouts: 500, but archived, values right: 499"),
        ({"heard": 479}, "readouts published: 480, but heard, values right: 479"),
        ({"complete": 389}, "readouts sent whole: 390, but complete: 389"),
        ({"parts_missing": 80}, "dropped on purpose: 70, but reported missing: 80"),
        ({"parts_doubled": 70}, "sent twice: 80, but recognised: 70"),
        ({"archived": 5}, "HDF5 files: 6, but archived, md5 verified: 5"),
        ({"wrong": 1}, "1 readouts or files of the camera are not as they were"),
        ({"played": 0, "stored": 0}, "the camera has sent nothing"),
        ({"answers": False}, "the slow-signal builder does not answer"),
    ],
)
def test_each_difference_is_one_problem(change, words):
    (problem,) = failed(**change)
    assert words in problem


def test_values_are_compared_one_by_one():
    walk = Walk(3, 20)
    truth = CameraTruth(3, 20, 10, first_tack=10_000, step=100, aux_ahead=0)
    tacks = np.array([10_000, 10_700, 10_750, 9_900, 10_000, 10_000], np.uint64)
    data = walk.at(tacks.astype(np.int64) // 100) * MV_PER_COUNT
    data[1, 5] = np.nan  # a module that is absent
    data[4, 31, 63] += MV_PER_COUNT  # one count more
    data[5, 0, 0] = np.nan  # half a module cannot be absent
    assert are_right(truth, walk, tacks, data).tolist() == [True, True, False, False, False, False]
