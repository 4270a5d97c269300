"""A picture of amplitudes over time. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import num2date
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from socs.cli.pictures import GRID, LINE_COLOURS
from socs.cli.slow_signal_camera_picture import ABSENT, COLOURS, beyond, colour_limits
from socs.cli.slow_signal_history import Binned, History, mean_of

DPI = 120
SIZE = (11.0, 6.2)  # inches
LINES = 8  # rows that are drawn as lines; more of them as colours
MOST = 1500  # points in time
FEW = 100  # points that are marked each
DAY, MINUTES = 86_400, 600  # s


class Series(NamedTuple):
    """What is drawn."""

    history: History
    binned: Binned

    @property
    def values(self) -> NDArray[np.float64]:
        """Of each time and row: (k, rows) [mV]."""
        return self.binned.values

    @property
    def what(self) -> str:
        """Of what each row is."""
        return "module" if self.history.pixels is None else "pixel"

    @property
    def names(self) -> list[int]:
        """Numbers of the rows."""
        return self.history.modules if self.history.pixels is None else self.history.pixels

    @property
    def quantity(self) -> str:
        """What a value is."""
        if self.history.pixels is not None:
            return "amplitude [mV]"
        return f"{'rms' if self.history.rms else 'mean'} of its pixels [mV]"

    def at(self, seconds: NDArray[np.float64]) -> NDArray[Any]:
        """Times as matplotlib has them."""
        return (seconds * 1e9).astype("datetime64[ns]") if self.history.is_utc else seconds

    @property
    def moments(self) -> NDArray[Any]:
        """Times (k,) as matplotlib has them."""
        return self.at(self.binned.moments)


def draw(history: History, source: str, limits: Sequence[float] | None = None) -> Figure:
    """Lines for a few modules or pixels, else colours, and a line for their mean.

    Args:
        history: of one readout or more.
        source: where they are from, for the title.
        limits: amplitudes of the lowest and the highest point, or of the first and the last
            colour [mV].
    """
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    series = Series(history, history.binned(MOST))
    if len(series.names) <= LINES:
        axes = figure.subplots()
        _draw_lines(axes, series)
        if limits is not None:
            axes.set_ylim(*limits)
    else:
        upper, axes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4))
        _draw_mean(upper, series)
        _draw_colours(figure, axes, series, limits)
    _name_times(axes, series)
    number = f"{len(history)} readout{'s' if len(history) != 1 else ''}"
    of = "" if history.pixels is None else f", module {history.modules[0]}"
    figure.suptitle(f"{source}: {number}{of}", fontsize=13, weight="bold", x=0.01, ha="left")
    return figure


def _draw_lines(axes: Axes, series: Series) -> None:
    marker = "." if len(series.values) <= FEW else ""
    for name, column, colour in zip(series.names, series.values.T, LINE_COLOURS, strict=False):
        label = f"{series.what} {name}{': nothing' if np.isnan(column).all() else ''}"
        axes.plot(series.moments, column, label=label, color=colour, linewidth=1.3, marker=marker)
    axes.set_ylabel(series.quantity)
    axes.grid(color=GRID)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _draw_mean(axes: Axes, series: Series) -> None:
    """The mean of all rows, and between which values these are."""
    masked = np.ma.masked_invalid(series.values)
    low, high = masked.min(axis=1).filled(np.nan), masked.max(axis=1).filled(np.nan)
    between = f"lowest to highest {series.what}"
    colour = LINE_COLOURS[0]
    axes.fill_between(
        series.moments, low, high, color=colour, alpha=0.2, linewidth=0, label=between
    )
    axes.plot(series.moments, mean_of(series.values.T), color=colour, linewidth=1.3, label="mean")
    axes.set_ylabel("[mV]")
    axes.grid(color=GRID)
    place: dict[str, Any] = {
        "loc": "lower right",
        "bbox_to_anchor": (1.0, 1.0),
        "borderaxespad": 0.2,
    }
    axes.legend(**place, ncols=2, fontsize=9, frameon=False)


def _draw_colours(
    figure: Figure, axes: Axes, series: Series, limits: Sequence[float] | None
) -> None:
    values, names = series.values, series.names
    low, high = limits or colour_limits(values)
    axes.set_facecolor(ABSENT)
    mesh = axes.pcolormesh(
        series.at(series.binned.borders),
        np.arange(len(names) + 1) - 0.5,
        np.ma.masked_invalid(values.T),
        cmap=COLOURS,
        vmin=low,
        vmax=high,
    )
    every = -(-len(names) // 16)
    axes.set_yticks(range(0, len(names), every), [str(name) for name in names[::every]])
    axes.set_ylabel(f"{series.what} (grey: nothing)")
    axes.invert_yaxis()
    if not np.isnan(values).all():
        extend = beyond(values, low, high)
        bar = figure.colorbar(mesh, ax=axes, extend=extend, pad=0.01)
        bar.set_label(series.quantity)


def _name_times(axes: Axes, series: Series) -> None:
    first, last = series.binned.borders[[0, -1]]
    axes.set_xlim(*series.at(series.binned.borders[[0, -1]]))
    if not series.history.is_utc:
        axes.set_xlabel("since the first readout, by TACK [s]")
        return
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: clock(num2date(x), last - first)))
    days = [f"{np.datetime64(int(moment), 's').item():%Y-%m-%d}" for moment in (first, last)]
    axes.set_xlabel(f"UTC, {days[0]}" if days[0] == days[1] else f"UTC, {days[0]} to {days[1]}")


def clock(moment: datetime, span: float) -> str:
    """``moment`` as it is written at an axis that spans so many seconds."""
    if span > 2 * DAY:
        return f"{moment:%m-%d %H:%M}"
    if span > MINUTES:
        return f"{moment:%H:%M}"
    text = f"{moment:%H:%M:%S.%f}".rstrip("0")
    return text.removesuffix(".")
