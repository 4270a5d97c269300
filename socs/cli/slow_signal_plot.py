"""``socs slow-signal plot``: pictures of the camera, and of how amplitudes change."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from socs.cli import pictures
from socs.cli.extras import extra
from socs.cli.slow_signal_average import Average
from socs.cli.slow_signal_history import History
from socs.cli.slow_signal_source import add_mapping, add_source, is_live, opened, tell
from socs.errors import ConfigError, SocsError
from socs.options import numbers
from socs.sim.leash import signals_held
from socs.slow_signal.layout import MODULES, PIXELS

MEAN, SPREAD, RMS = "mean", "std", "rms"
DESCRIPTION = """
Draw the camera: the mean amplitude of each pixel over the readouts that are chosen, all of them by
default (of a publisher: the next one). Or, with --series, how amplitudes change with time. Of a
publisher readouts are collected until there are --count of them, or until Ctrl-C.
"""


def add_command(actions: Any) -> None:
    """Add ``plot`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "plot", help="draw the camera, or amplitudes over time", description=DESCRIPTION
    )
    parser.set_defaults(run=run)
    add_source(parser)
    parser.add_argument(
        "--readout", type=int, metavar="N", help="draw this one, as --start N --count 1"
    )
    parser.add_argument(
        *("-o", "--output"),
        type=pictures.picture,
        required=True,
        metavar="FILE",
        help=f"where to; its ending says the format: {', '.join(pictures.FORMATS)}",
    )
    parser.add_argument(
        "--series",
        action="store_true",
        help="over time: the mean of each module, or with --module and --pixel, of these alone",
    )
    parser.add_argument(
        "--module",
        type=numbers(MODULES - 1),
        metavar="LIST",
        help=f"modules of a series, such as 0-7,{MODULES - 1} (default: all)",
    )
    parser.add_argument(
        "--pixel",
        type=numbers(PIXELS - 1),
        metavar="LIST",
        help="pixels of the one --module of a series, each for itself (default: their mean)",
    )
    parser.add_argument(
        "--show",
        choices=(MEAN, SPREAD, RMS),
        default=MEAN,
        help="mean amplitude; standard deviation of each pixel over the readouts (std, not with"
        " --series); root mean square of a module's pixels (rms, with --series)"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="amplitudes of the first and the last colour [mV] (default: those there are, but for"
        " the outermost per cent)",
    )
    add_mapping(parser)


def run(args: argparse.Namespace) -> int:
    """Draw it.

    Raises:
        SocsError: see :func:`.slow_signal_source.opened`; or there is nothing to draw.
        StorageUnavailable: the picture cannot be written.
    """
    _check(args)
    with extra("plot"):
        from socs.cli import slow_signal_camera_picture, slow_signal_series_picture  # noqa: PLC0415
    name = args.source if is_live(args.source) else Path(args.source).name
    if args.series:
        history = History(args.module, args.pixel, rms=args.show == RMS)
        _collect(args, args.mapping, history)
        pictures.write(slow_signal_series_picture.draw(history, name, args.range), args.output)
    else:
        average = Average()
        _collect(args, "raw", average)
        spread = args.show == SPREAD
        pictures.write(
            slow_signal_camera_picture.draw(average, name, args.range, spread), args.output
        )
    return 0


def _check(args: argparse.Namespace) -> None:
    """Do the options go together? Those that stand for others are put into these."""
    if args.readout is not None:
        if (args.start, args.stop, args.count) != (None, None, None):
            raise ConfigError("--readout is one; leave out --start, --stop and --count")
        args.start, args.count = args.readout, 1
    if is_live(args.source) and args.count is None and not args.series:
        args.count = 1
    if args.pixel is not None and (args.module is None or len(args.module) != 1):
        raise ConfigError("--pixel needs one --module: of which module?")
    if not args.series and (args.module is not None or args.show == RMS):
        raise ConfigError("--module, --pixel and --show rms are for --series")
    if args.series and args.show == SPREAD:
        raise ConfigError("--show std is not for --series")
    if args.range is not None and not args.range[0] < args.range[1]:
        raise ConfigError("--range: the first number must be the lower one")


def _collect(args: argparse.Namespace, mapping: str, into: Average | History) -> None:
    try:
        with opened(args, mapping) as readouts:
            for readout in readouts:
                with signals_held():  # Ctrl-C: all of a readout is in, or nothing
                    into.add(readout)
                if len(into) == 1 and is_live(args.source) and args.count is None:
                    tell(f"readouts of {args.source} come in; Ctrl-C draws them")
    except KeyboardInterrupt:
        if not is_live(args.source):
            raise
    if not len(into):
        raise SocsError(f"{args.source}: no readouts to draw")
