"""Options that the one-off programs have in common, as in SSDAQ."""

from __future__ import annotations

import argparse

from socs.cli.ssdaq.running import LEVELS

PORT = 5555
ADDRESS = "127.0.0.101"


def new_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser that tells defaults."""
    return argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add ``-V [LEVEL]``, read as ``verbosity``."""
    parser.add_argument(
        "-V",
        "--verbosity",
        nargs="?",
        const="DEBUG",
        default="INFO",
        choices=LEVELS,
        help="level of the log",
    )


def port(text: str) -> int:
    """A port number, for argparse.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
