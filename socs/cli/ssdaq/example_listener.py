"""``ss-example-listener``: prints some of what is published."""

from __future__ import annotations

import argparse
import itertools
import queue
from collections.abc import Sequence

import numpy as np

from socs.cli.ssdaq.options import ADDRESS, PORT, add_verbosity, new_parser, port
from socs.cli.ssdaq.running import PAUSE, EndSignals, set_up_log
from socs.options import whole
from socs.slow_signal.layout import MODULES
from socs.slow_signal.listen import SSReadoutListener
from socs.slow_signal.readout import SSReadout


def make_parser() -> argparse.ArgumentParser:
    """The command line of ``ss-example-listener``."""
    parser = new_parser("ss-example-listener", "Print readouts as they are published.")
    parser.add_argument(
        "-l", dest="listen_port", type=port, default=PORT, help="port of the publisher"
    )
    parser.add_argument("-i", dest="ip_addr", default=ADDRESS, help="address of the publisher")
    parser.add_argument(
        "-t",
        dest="tm_numb",
        type=int,
        choices=range(MODULES),
        metavar="TM",
        help="print the amplitudes of this module [mV]",
    )
    add_verbosity(parser)
    parser.add_argument(
        "-n",
        dest="n_readouts",
        type=whole(1),
        metavar="N",
        help="end after so many readouts; without it there is no end",
    )
    return parser


def shown(readout: SSReadout, module: int | None) -> str:
    """What is printed of a readout."""
    there = np.flatnonzero(~np.isnan(readout.data).all(axis=1))
    lines = [
        f"Readout number {readout.readout_number}",
        f"Timestamp {readout.readout_timestamp} ns",
        f"Timestamp {readout.readout_timestamp * 1e-9:f} s",
        f"{len(there)}",
        f"{there}",
    ]
    if module is not None:
        lines.append(f"{readout.data[module]}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print until told to end."""
    args = make_parser().parse_args(arguments)
    set_up_log(args.verbosity, "-V")
    with EndSignals() as signals:
        listener = SSReadoutListener(port=args.listen_port, ip=args.ip_addr)
        listener.start()
        print("Press `ctrl-C` to stop", flush=True)
        numbers = range(args.n_readouts) if args.n_readouts else itertools.count()
        try:
            for _ in numbers:
                readout = _next(listener, signals)
                if readout is None:
                    print("\nClosing listener")
                    break
                print(shown(readout, args.tm_numb), flush=True)
        finally:
            listener.close()
    return 0


def _next(listener: SSReadoutListener, signals: EndSignals) -> SSReadout | None:
    """The next readout; None if a signal has come."""
    while not signals.came:
        try:
            return listener.get_readout(timeout=PAUSE)
        except queue.Empty:
            continue
    return None
