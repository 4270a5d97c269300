"""Where modules and pixels lie in the camera: a square of 48 x 48 pixels without its corners.

Modules stand in columns of 4, 6, 6, 6, 6 and 4 and are numbered down each of them, from the column
with the largest x on::

     y
     |      22  16  10   4
     |  28  23  17  11   5   0
     |  29  24  18  12   6   1
     |  30  25  19  13   7   2
     |  31  26  20  14   8   3
     |      27  21  15   9
     +-------------------------- x

In every other row they are turned by 180 degrees. x and y are those of the CHEC-S camera's own
tables (TargetCalib), in which the rows of pixels count from below and the columns from the left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs.slow_signal.layout import MODULES, PIXELS
from socs.slow_signal.pixels import ORDERS

SIDE = 8  # pixels of a module
MODULES_ACROSS = 6
FACE = MODULES_ACROSS * SIDE  # pixels
_COLUMNS = (4, 6, 6, 6, 6, 4)  # modules, from the largest x on


def _module_places() -> NDArray[np.intp]:
    places = [
        (down + (MODULES_ACROSS - count) // 2, MODULES_ACROSS - 1 - column)
        for column, count in enumerate(_COLUMNS)
        for down in range(count)
    ]
    return np.array(places, np.intp)


# Row from the top and column from the left of each module, 0 to 5: shape (32, 2).
MODULE_PLACES = _module_places()


def _pixel_places() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    rows, columns = np.empty((2, MODULES, PIXELS), np.intp)
    # In the order by column and row, columns run against x unless the module is turned.
    down, across = np.divmod(np.argsort(ORDERS["ssl2colrow"]), SIDE)
    for module, (row, column) in enumerate(MODULE_PLACES):
        turned = row % 2 == 0
        rows[module] = row * SIDE + (SIDE - 1 - down if turned else down)
        columns[module] = column * SIDE + (across if turned else SIDE - 1 - across)
    return rows, columns


# Row from the top and column from the left of each pixel as it is sent, 0 to 47: shape (32, 64).
PIXEL_ROWS, PIXEL_COLUMNS = _pixel_places()


def on_face(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """``values`` (32, 64) of pixels as they are sent, as a picture: (48, 48), NaN in the corners.

    Its first row is the upmost, its first column the leftmost.
    """
    picture = np.full((FACE, FACE), np.nan)
    picture[PIXEL_ROWS, PIXEL_COLUMNS] = values
    return picture
