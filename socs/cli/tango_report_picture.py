"""A picture of rates of streams and losses of subscribers over time. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from socs.cli.pictures import GRID, LINE_COLOURS
from socs.tango.names import parse_event
from socs.tango.report import Course
from socs.tango.summary import path_of, short_names

DPI = 120
SIZE = (11.0, 7.0)  # inches
LINES = len(LINE_COLOURS)  # curves of each kind; the others are told

Points = Sequence[tuple[int, float]]


def draw(course: Course) -> Figure:
    """Rates above, losses since the beginning below; of each those that matter most."""
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    rates, losses = figure.subplots(2, 1, sharex=True)
    streams = _greatest(course.rates)
    names = short_names(streams, lambda name: parse_event(name).path)
    _curves(rates, course, streams, names, "steps-pre")  # of the time before each poll
    rates.set_ylabel("published [1/s]")
    _title(rates, "Rates of streams", len(streams), len(course.rates))
    subscribers = _greatest(course.lost)
    names = short_names(subscribers, path_of)
    _curves(losses, course, subscribers, names, "steps-post")
    losses.set_ylabel("events lost")
    _title(losses, "Losses of subscribers", len(subscribers), len(course.lost))
    locator = AutoDateLocator()
    losses.xaxis.set_major_locator(locator)
    losses.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    losses.set_xlabel("UTC")
    return figure


def _greatest(curves: Mapping[str, Points]) -> dict[str, Points]:
    """Those that get highest."""
    order = sorted(curves, key=lambda name: -max(value for _, value in curves[name]))
    return {name: curves[name] for name in order[:LINES]}


def _curves(
    axes: Axes,
    course: Course,
    curves: Mapping[str, Points],
    labels: Mapping[str, str],
    steps: Literal["steps-pre", "steps-post"],
) -> None:
    for (name, points), colour in zip(curves.items(), LINE_COLOURS, strict=False):
        times = np.array([course.times[n] * 1e6 for n, _ in points]).astype("datetime64[us]")
        values = [value for _, value in points]
        axes.plot(times, values, ".-", drawstyle=steps, color=colour, label=labels[name])
    axes.set_ylim(bottom=0)
    axes.grid(color=GRID)
    if curves:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _title(axes: Axes, text: str, drawn: int, there: int) -> None:
    others = f" (the {drawn} greatest of {there})" if drawn < there else ""
    axes.set_title(f"{text}{others}", loc="left")
