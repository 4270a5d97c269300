"""``socs slow-signal dump``: a line per readout."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from socs.cli.output import Lines, measured, utc_of
from socs.cli.slow_signal_source import Shown, add_mapping, add_source, is_live, opened
from socs.errors import ConfigError
from socs.options import numbers
from socs.slow_signal.layout import MODULES, PIXELS

ABOUT = ("number", "time", "tack", "modules")
STATISTICS = ("mean", "min", "max", "rms")
DESCRIPTION = """
A line per readout: its number, UTC, TACK [ns], how many modules are there, the mean, least,
highest and root mean square amplitude [mV], and which modules are absent. With --module the
amplitudes of its pixels [mV] instead. In a terminal in columns, in a pipe with tabs.
"""


def add_command(actions: Any) -> None:
    """Add ``dump`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "dump", help="print readouts of a file or of a publisher", description=DESCRIPTION
    )
    parser.set_defaults(run=run)
    add_source(parser)
    parser.add_argument(
        "--module",
        type=_module,
        metavar="M",
        help=f"print the pixels of this module, 0 to {MODULES - 1}",
    )
    parser.add_argument(
        "--pixel",
        type=numbers(PIXELS - 1),
        metavar="LIST",
        help=f"only these of them, such as 0-7,{PIXELS - 1} (default: all)",
    )
    add_mapping(parser)
    form = parser.add_mutually_exclusive_group()
    for style in ("csv", "json"):
        text = "comma-separated lines" if style == "csv" else "a JSON object a line"
        form.add_argument(
            f"--{style}", dest="style", action="store_const", const=style, help=f"print {text}"
        )


def _module(text: str) -> int:
    found = numbers(MODULES - 1)(text)
    if len(found) > 1:
        raise argparse.ArgumentTypeError("one module at a time")
    return found[0]


def run(args: argparse.Namespace) -> int:
    """Print the readouts.

    Raises:
        SocsError: see :func:`.slow_signal_source.opened`.
    """
    if args.pixel is not None and args.module is None:
        raise ConfigError("--pixel needs --module: of which module?")
    pixels = list(range(PIXELS)) if args.pixel is None else args.pixel
    columns: tuple[str, ...] = (*ABOUT, *STATISTICS, "absent")
    if args.module is not None:
        columns = (*ABOUT, *(f"p{pixel}" for pixel in pixels))
    lines = Lines(columns, args.style, flush=is_live(args.source))
    try:
        with opened(args, args.mapping) as readouts:
            for readout in readouts:
                lines.add(row(readout, args.module, pixels))
    except KeyboardInterrupt:
        if not is_live(args.source):
            raise
    return 0  # a stream has no other end than Ctrl-C


def row(readout: Shown, module: int | None, pixels: list[int]) -> dict[str, Any]:
    """What is printed of ``readout``: statistics, or the ``pixels`` of ``module``."""
    there = readout.present
    about = {
        "number": readout.number,
        "time": utc_of(readout.cpu_ns),
        "tack": readout.tack,
        "modules": int(np.count_nonzero(there)),
    }
    if module is not None:
        values = readout.amplitudes[module]
        return about | {f"p{pixel}": measured(values[pixel]) for pixel in pixels}
    return about | statistics(readout) | {"absent": np.flatnonzero(~there).tolist()}


def statistics(readout: Shown) -> dict[str, float | None]:
    """Of all amplitudes that were measured [mV]; rms is the root of their mean square."""
    values = readout.amplitudes[~np.isnan(readout.amplitudes)].astype(np.float64)
    if not values.size:
        return dict.fromkeys(STATISTICS)
    found = (values.mean(), values.min(), values.max(), np.sqrt(np.mean(values**2)))
    return dict(zip(STATISTICS, map(measured, found), strict=True))
