"""The ``socs`` command: ``demo``, ``doctor``, ``epics``, ``files``, ``slow-signal``, ``tango``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from socs._version import __version__
from socs.errors import SocsError

EXIT_ERROR = 1
EXIT_USAGE = 2  # as argparse
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def make_parser() -> argparse.ArgumentParser:
    """The command line of ``socs``."""
    # Loading them takes half a second, in which Ctrl-C should not print a traceback.
    from socs.cli import demo, doctor, epics, files, slow_signal, tango  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="socs", description="Announced files become rows: look, check, try out."
    )
    parser.add_argument("--version", action="version", version=f"socs {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (demo, doctor, epics, files, slow_signal, tango):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Raises:
        SystemExit: with status 2 for a wrong command line, 0 after ``--help`` and ``--version``.
    """
    try:
        args = make_parser().parse_args(argv)
        status: int = args.run(args)
        sys.stdout.flush()
    except SocsError as error:
        print(f"socs: {error}", file=sys.stderr)
        return EXIT_ERROR
    except BrokenPipeError:  # the reader, `head` for one, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


if __name__ == "__main__":
    sys.exit(main())
