"""Where modules are in the picture of a camera."""

from __future__ import annotations


def module_box(module: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a module, from the left and the top. Needs the extra plot."""
    from socs.cli import slow_signal_camera_picture as picture  # noqa: PLC0415

    row, column = picture.MODULE_PLACES[module]
    step = (picture.SIDE + picture.GAP) * picture.ENLARGED
    left = picture.LEFT + int(column) * step
    bottom = picture.HEIGHT - picture.BOTTOM - (picture.MODULES_ACROSS - 1 - int(row)) * step
    side = picture.SIDE * picture.ENLARGED
    return left, bottom - side, left + side, bottom
