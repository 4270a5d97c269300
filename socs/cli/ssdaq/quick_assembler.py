"""``ssdaq``: a readout assembler for quick tests, with one publisher."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from socs.cli.ssdaq.assembling import assemble
from socs.cli.ssdaq.options import ADDRESS, PORT, add_verbosity, new_parser, port
from socs.cli.ssdaq.running import set_up_log
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.settings import Configuration, DaemonSettings, StreamSettings, WriterSettings

# Of the class SSReadoutAssembler of SSDAQ, which this program does not let choose [ns].
READOUT_TW = 1e5
BUFFER_TIME = 1e10


def make_parser() -> argparse.ArgumentParser:
    """The command line of ``ssdaq``."""
    parser = new_parser("ssdaq", "Receive slow-signal packets, publish readouts, until Ctrl-C.")
    parser.add_argument(
        "-l", dest="listen_port", type=port, default=2009, help="UDP port of incoming packets"
    )
    parser.add_argument(
        "-p", dest="publishing_port", type=port, default=PORT, help="TCP port for readouts"
    )
    parser.add_argument(
        "-i", dest="publishing_interface", default=ADDRESS, help="address to publish at"
    )
    add_verbosity(parser)
    parser.add_argument(
        "-r",
        "--relaxed-ip",
        action="store_true",
        help="take senders whose addresses end with numbers beyond 31 for modules, too: "
        "modulo 32, so that several may be taken for the same one",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Assemble until told to end."""
    args = make_parser().parse_args(arguments)
    set_up_log(args.verbosity, "-V")
    publisher = PublisherSettings(
        "ZMQReadoutPublisher", args.publishing_interface, args.publishing_port
    )
    stream = StreamSettings(
        listen_port=args.listen_port,
        relaxed_ip_range=args.relaxed_ip,
        readout_tw=READOUT_TW,
        buffer_time=BUFFER_TIME,
        publishers=[publisher],
    )
    assemble(Configuration(stream, WriterSettings(), DaemonSettings(), DaemonSettings(), ()))
    return 0
