"""``ssdatawriter``: a file writer for quick tests, which ends when ``yes`` is typed."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence

from socs.cli.ssdaq.file_writing import write_files
from socs.cli.ssdaq.options import ADDRESS, PORT, new_parser, port
from socs.cli.ssdaq.running import set_up_log
from socs.slow_signal.settings import WriterSettings

INSTANCE = "ssdatawriter"
QUESTION = "To stop type `yes`: "
MAX_TYPED = 4096  # bytes


def make_parser() -> argparse.ArgumentParser:
    """The command line of ``ssdatawriter``."""
    parser = new_parser("ssdatawriter", "Write published readouts into files.")
    parser.add_argument(
        "-l", dest="listen_port", type=port, default=PORT, help="port of the publisher"
    )
    parser.add_argument(
        "-i", dest="listen_interface", default=ADDRESS, help="address of the publisher"
    )
    parser.add_argument("filename", help="how names of files begin; the date follows")
    return parser


class Typed:
    """Waits for ``yes`` on standard input, or for its end."""

    def __init__(self) -> None:
        self._line = b""
        self._ask()

    def _ask(self) -> None:
        print(QUESTION, flush=True)

    def __call__(self, seconds: float) -> bool:
        """Wait for so long; True as soon as there is nothing else to come."""
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return False
        typed = os.read(sys.stdin.fileno(), MAX_TYPED)
        if not typed:
            return True
        *lines, self._line = (self._line + typed).split(b"\n")
        self._line = self._line[-MAX_TYPED:]
        if any(line.strip() == b"yes" for line in lines):
            return True
        if lines:
            self._ask()
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Write until told to end."""
    args = make_parser().parse_args(arguments)
    set_up_log("INFO", "log level")
    settings = WriterSettings(
        file_enumerator="date",
        file_prefix=args.filename,
        folder="",
        ip=args.listen_interface,
        port=args.listen_port,
    )
    write_files(settings, INSTANCE, pause=Typed())
    return 0
