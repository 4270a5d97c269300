"""A picture of the camera. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from socs.cli.output import ranges, utc_of
from socs.cli.slow_signal_average import Average
from socs.slow_signal.face import MODULE_PLACES, MODULES_ACROSS, SIDE, on_face
from socs.slow_signal.layout import MODULES

COLOURS = "viridis"  # also for those who see red and green alike, and in black and white
ABSENT, HATCH, FRAME = "#d9d9d9", "////", "#8c8c8c"
OUTERMOST = 1.0  # per cent of the pixels that may be beyond the colours

GAP = 1  # between modules, in pixels of the camera; their numbers are there
ACROSS = MODULES_ACROSS * (SIDE + GAP)
DPI = 150
ENLARGED = 18  # pixels of the picture for one of the camera
WIDTH, HEIGHT = 1300, 1190  # of the picture
LEFT, BOTTOM = 60, 70  # of the camera in it


def draw(
    average: Average,
    source: str,
    limits: Sequence[float] | None = None,
    spread: bool = False,
) -> Figure:
    """The camera.

    Args:
        average: of one or more readouts.
        source: where they are from, for the title.
        limits: amplitudes of the first and the last colour [mV].
        spread: show standard deviations instead of means.
    """
    values = average.spread() if spread else average.mean()
    low, high = limits or colour_limits(values)
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    side = ACROSS * ENLARGED
    axes = figure.add_axes((LEFT / WIDTH, BOTTOM / HEIGHT, side / WIDTH, side / HEIGHT))
    axes.set(xlim=(0, ACROSS), ylim=(0, ACROSS))
    axes.set_axis_off()
    norm = Normalize(low, high)
    face = on_face(values)
    for module, (row, column) in enumerate(MODULE_PLACES):
        x, y = column * (SIDE + GAP), (MODULES_ACROSS - 1 - row) * (SIDE + GAP)
        piece = face[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        absent = bool(np.isnan(piece).all())
        look: dict[str, Any] = {"hatch": HATCH, "edgecolor": FRAME} if absent else {}
        look |= {"facecolor": ABSENT, "linewidth": 0, "zorder": -1}  # below the pixels
        axes.add_patch(Rectangle((x, y), SIDE, SIDE, **look))
        axes.text(x, y + SIDE + 0.1, str(module), fontsize=7, color="#404040", va="bottom")
        if not absent:
            image = axes.imshow(
                np.ma.masked_invalid(piece),
                extent=(x, x + SIDE, y, y + SIDE),
                cmap=COLOURS,
                norm=norm,
                interpolation="nearest",
                aspect="auto",
            )
    axes.set(xlim=(0, ACROSS), ylim=(0, ACROSS))
    if not np.isnan(values).all():
        place = ((LEFT + side + 30) / WIDTH, BOTTOM / HEIGHT, 34 / WIDTH, 0.72)
        what = "standard deviation" if spread else "mean amplitude"
        bar = figure.colorbar(image, cax=figure.add_axes(place), extend=beyond(values, low, high))
        bar.set_label(f"{what if len(average) > 1 or spread else 'amplitude'} [mV]", fontsize=11)
    _write_titles(figure, average, source, values)
    return figure


def colour_limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Amplitudes of the first and the last colour: all but the outermost of ``values``."""
    known = values[~np.isnan(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, (OUTERMOST, 100 - OUTERMOST))
    room = 0.5 if high <= low else 0.0
    return float(low) - room, float(high) + room


def beyond(values: NDArray[np.float64], low: float, high: float) -> str:
    """At which ends of the colours there is more, as matplotlib calls it."""
    under, over = bool(np.nanmin(values) < low), bool(np.nanmax(values) > high)
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
        (under, over), "neither"
    )


def _write_titles(
    figure: Figure, average: Average, source: str, values: NDArray[np.float64]
) -> None:
    left = LEFT / WIDTH
    figure.text(left, 1 - 34 / HEIGHT, source, fontsize=14, weight="bold", va="center")
    figure.text(left, 1 - 72 / HEIGHT, subtitle(average), fontsize=10, va="center")
    absent = [module for module in range(MODULES) if np.isnan(values[module]).all()]
    line = f"{MODULES - len(absent)} of {MODULES} modules"
    if absent:
        line += f"; grey: nothing from {ranges(absent)}"
    if len(absent) < MODULES:
        line += (
            f"; mean {np.nanmean(values):.1f}, least {np.nanmin(values):.1f},"
            f" highest {np.nanmax(values):.1f} mV"
        )
    figure.text(left, 1 - 104 / HEIGHT, line, fontsize=10, color="#404040", va="center")
    seen = "numbers are those of the modules; x to the right and y up, as in the camera's tables"
    figure.text(left, 30 / HEIGHT, seen, fontsize=8, color="#606060", va="center")


def subtitle(average: Average) -> str:
    """Which readouts these are."""
    first, last = average.first, average.last
    assert first is not None
    assert last is not None
    times = [
        text[:-1].replace("T", " ")[:-3]
        if (text := utc_of(each.cpu_ns))
        else f"TACK {each.tack} ns"
        for each in (first, last)
    ]
    utc = " UTC" if first.cpu_ns > 0 else ""
    if len(average) == 1:
        return f"readout {first.number}, {times[0]}{utc}"
    return (
        f"{len(average)} readouts, {first.number} to {last.number}, {times[0]} to {times[1]}{utc}"
    )
