"""``socs slow-signal simulate``: plays a camera."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from socs.sim import camera
from socs.sim.camera_truth import CameraTruth


def add_command(actions: Any) -> None:
    """Add ``simulate`` to ``actions`` (of ``add_subparsers``)."""
    parser = actions.add_parser(
        "simulate",
        help="play a camera: send the packets of its modules",
        description=f"{camera.DESCRIPTION} Ctrl-C ends it.",
    )
    parser.set_defaults(run=run)
    camera.add_options(parser)
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Play it; progress goes to a terminal only.

    Raises:
        ConfigError: a setting is wrong.
    """
    console = Console(stderr=True)
    if args.quiet or not console.is_terminal:
        print(camera.play(args))
        return 0
    with console.status("begins") as status:
        told = camera.play(args, lambda truth, seconds: status.update(progress(truth, seconds)))
    print(told)
    return 0


def progress(truth: CameraTruth, seconds: float) -> str:
    """What was done so far, after ``seconds``, in a line."""
    rate = truth.datagrams / seconds if seconds > 0 else 0.0
    line = f"{seconds:.0f} s: {truth.readouts} readouts, {truth.datagrams} datagrams ({rate:.0f}/s)"
    faults = ("dropped", "duplicated", "reordered", "delayed")
    done = [f"{truth.total(kind)} {kind}" for kind in faults if truth.total(kind)]
    return ", ".join([line, *done])
