"""``ska-tango-event-monitor``, in its place: the same options, summary on stdout, JSON lines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from socs.cli import main as cli
from socs.errors import SocsError
from socs.options import seconds

PROGRAM = "ska-tango-event-monitor"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Calls QueryEventSystem periodically and summarizes the output: what was "
        "published and received since the last poll, and who lost what.",
    )
    parser.add_argument(
        "device",
        nargs="+",
        help="device or admin device to poll, or a pattern of these with *",
    )
    parser.add_argument(
        "--poll-period",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="period between polls in seconds (default %(default)g)",
    )
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        metavar="FILE",
        help="file to save data to, one JSON object per line (default: none)",
    )
    parser.add_argument("-a", "--append", action="store_true", help="append to file")
    parser.add_argument(
        *("-m", "--monitor-perf"), action="store_true", help="enable performance monitoring"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="wait no longer for a server, but half a period at most [s] (default %(default)g)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run it until SIGINT or SIGTERM; returns the exit status."""
    args = make_parser().parse_args(argv)
    try:
        _run(args)
        sys.stdout.flush()
    except SocsError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return cli.EXIT_ERROR
    except KeyboardInterrupt:  # while it was being loaded
        return cli.EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, `head` for one, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _run(args: argparse.Namespace) -> None:
    # Loading it takes half a second, in which an error of the command line should not wait.
    from socs.cli.tango_watch import Watch, watch  # noqa: PLC0415

    watch(
        Watch(
            names=args.device,
            period=args.poll_period,
            timeout=args.timeout,
            performance=args.monitor_perf,
            output=args.output,
            append=args.append,
            line_format="ska",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
