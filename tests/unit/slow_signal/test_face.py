"""Where pixels lie in the camera."""

from __future__ import annotations

import numpy as np
import pytest

from socs.slow_signal.face import FACE, MODULE_PLACES, PIXEL_COLUMNS, PIXEL_ROWS, on_face
from socs.slow_signal.pixels import ORDERS


def test_every_pixel_has_a_place_of_its_own_and_the_corners_are_empty() -> None:
    places = PIXEL_ROWS * FACE + PIXEL_COLUMNS
    assert len(np.unique(places)) == 32 * 64
    picture = on_face(np.ones((32, 64)))
    empty = np.isnan(picture)
    assert empty.sum() == 4 * 64
    for corner in (picture[:8, :8], picture[:8, -8:], picture[-8:, :8], picture[-8:, -8:]):
        assert np.isnan(corner).all()


def test_modules_lie_where_their_pixels_do() -> None:
    for module, (row, column) in enumerate(MODULE_PLACES):
        assert (PIXEL_ROWS[module] // 8 == row).all()
        assert (PIXEL_COLUMNS[module] // 8 == column).all()


# The camera's own table: module, ASIC channel, row of pixels from below, column from the left.
CHANNELS = [
    *((0, 0, 32, 45), (0, 25, 39, 47), (0, 63, 37, 42), (1, 0, 31, 42), (1, 25, 24, 40)),
    *((2, 5, 17, 47), (3, 49, 8, 47), (4, 0, 47, 34), (4, 25, 40, 32), (4, 63, 42, 37)),
]


@pytest.mark.parametrize(("module", "channel", "row", "column"), CHANNELS)
def test_pixels_lie_where_the_table_of_the_camera_has_them(
    module: int, channel: int, row: int, column: int
) -> None:
    pixel = ORDERS["ssl2asic_ch"][channel]
    assert PIXEL_ROWS[module, pixel] == FACE - 1 - row
    assert PIXEL_COLUMNS[module, pixel] == column


def test_a_picture_has_each_value_at_its_place() -> None:
    values = np.arange(32 * 64, dtype=float).reshape(32, 64)
    picture = on_face(values)
    assert np.array_equal(picture[PIXEL_ROWS, PIXEL_COLUMNS], values)
