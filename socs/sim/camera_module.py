"""One module of the simulated camera, with the command line of SSDAQ's simulator.

``docker/tm-ss-sim/SSUDPTMSimulator.py`` runs it. The module is known by the last number of its
address; many of them need as many addresses, which containers have, or
``python -m socs.sim.camera``, which plays all 32 from one process.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from socs.errors import ConfigError
from socs.options import whole
from socs.sim import camera
from socs.sim.camera_settings import ANY, PORT
from socs.slow_signal.layout import MODULES

PROGRAM = "SSUDPTMSimulator.py"


def make_parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line. Variables in ``environ`` are defaults, for containers."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Play one module of a camera: ten readouts a second in one packet.",
    )
    parser.add_argument("port", nargs="?", type=whole(1), help="same as -d")
    parser.add_argument("host", nargs="?", help="same as -i")
    parser.add_argument(
        *("-d", "--data-port"),
        type=whole(1),
        default=PORT,
        metavar="PORT",
        help="UDP port to send to (default %(default)s)",
    )
    parser.add_argument(
        *("-i", "--ip"),
        default=environ.get("HOST_IP") or "127.0.0.1",
        metavar="HOST",
        help="host to send to (default: HOST_IP, or 127.0.0.1)",
    )
    parser.add_argument(
        *("-m", "--my-ip"),
        default=environ.get("MY_IP") or None,
        metavar="ADDRESS",
        help="address of the module (default: MY_IP, or that of this machine)",
    )
    parser.add_argument(
        *("-t", "--tm-id"),
        type=whole(0),
        default=environ.get("TM_ID") or None,
        metavar="N",
        help="number of the module (default: TM_ID, or as its address says)",
    )
    parser.add_argument("-c", "--com-port", type=int, help="is ignored: there is no remote control")
    parser.add_argument(
        "--sets", type=whole(0), default=0, help="end after so many packets; 0: go on for ever"
    )
    return parser


def camera_options(args: argparse.Namespace) -> list[str]:
    """Options of ``python -m socs.sim.camera`` that do what ``args`` say.

    Raises:
        ConfigError: the module's address or number is none.
    """
    found = ["--host", args.host or args.ip, "--port", str(args.port or args.data_port)]
    found += ["--sets", str(args.sets)]
    module = args.tm_id
    if args.my_ip is None:
        found += ["--source", ANY]
    else:
        try:
            address = IPv4Address(args.my_ip)
            module = int(str(address).rpartition(".")[2]) % 100 if module is None else module
            found += ["--source", str(address - module)]
        except ValueError as error:
            raise ConfigError(f"-m: {error}") from error
    if module is None:
        return found
    if module >= MODULES:
        raise ConfigError(f"module {module} (-t, or as -m says): there are 0 to {MODULES - 1}")
    return [*found, "--modules", str(module)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Play until somebody wants it to end."""
    args = make_parser(os.environ).parse_args(arguments)
    try:
        print(camera.play(camera.make_parser().parse_args(camera_options(args))))
    except ConfigError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
