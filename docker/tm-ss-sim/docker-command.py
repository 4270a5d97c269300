#!/usr/bin/env python3
"""A camera of containers, one for each module: builds the image, starts and stops them.

::

    python docker-command.py -b          write socs.tar.gz beside the Dockerfile, build the image
    python docker-command.py -r -N 32    start 32 modules, .100 to .131 of the network
    python docker-command.py -s          stop them

Without containers ``python -m socs.sim.camera`` plays a camera, too.
"""

from __future__ import annotations

import argparse
import ipaddress
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "socs"
ARCHIVE = HERE / "socs.tar.gz"  # what the Dockerfile puts into the image
IMAGE = "ss-sim"
LABEL = "socs.ss-sim"  # of its containers
MODULES = 32
FIRST = 100  # last number of the address of module 0


class Failed(Exception):
    """Told to the user in a line."""


def docker(*words: str, capture: bool = False) -> str:
    """Run ``docker``; what it prints if ``capture``.

    Raises:
        Failed: it is not installed, or ended with an error, which it has told.
    """
    program = shutil.which("docker")
    if program is None:
        raise Failed("docker is not installed; `python -m socs.sim.camera` plays a camera without")
    print("docker", *words, flush=True)
    done = subprocess.run(
        [program, *words], check=False, text=True, stdout=subprocess.PIPE if capture else None
    )
    if done.returncode:
        raise Failed(f"docker {words[0]} ended with status {done.returncode}")
    return done.stdout or ""


def build() -> None:
    """Write the archive and build the image."""
    with tarfile.open(ARCHIVE, "w:gz") as archive:
        for path in sorted(PACKAGE.rglob("*.py")):
            archive.add(path, Path("socs") / path.relative_to(PACKAGE))
    docker("build", "-t", IMAGE, str(HERE))


def run(count: int, network: str, prefix: str) -> None:
    """Start modules 0 to ``count`` - 1."""
    try:
        docker("network", "inspect", "--format", "{{.Name}}", network)
    except Failed as error:
        raise Failed(
            f"{error}; if there is no network {network}, make it: docker network create "
            f"--driver=bridge --subnet={prefix}0/24 {network}"
        ) from error
    for module in range(count):
        address = f"{prefix}{FIRST + module}"
        settings = {"MY_IP": address, "TM_ID": str(module), "HOST_IP": f"{prefix}1"}
        environment = [word for item in settings.items() for word in ("-e", "=".join(item))]
        docker(
            *("run", "--detach", "--rm", "--name", f"TM{module}", "--label", LABEL),
            *("--net", network, "--ip", address, *environment, IMAGE),
        )
    print(f"Started {count} container(s)")


def stop() -> None:
    """Remove all containers that :func:`run` has started."""
    names = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}", capture=True).split()
    if names:
        docker("rm", "--force", *names)
    print(f"Removed {len(names)} container(s)")


def modules(text: str) -> int:
    """A number of modules, for argparse."""
    if not text.isdecimal() or not 1 <= int(text) <= MODULES:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to {MODULES}")
    return int(text)


def prefix(text: str) -> str:
    """The first three numbers of an address, with the dot behind, for argparse."""
    try:
        ipaddress.IPv4Address(text + "1")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not as 172.18.0.") from None
    return text


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Simulate a camera with a container for each module.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("-b", "--build", action="store_true", help="build the image")
    parser.add_argument("-r", "--run", action="store_true", help="start the modules")
    parser.add_argument("-s", "--stop", action="store_true", help="stop them")
    parser.add_argument("-N", dest="count", type=modules, default=MODULES, help="so many modules")
    parser.add_argument("-n", "--network-name", default="my-net", help="network of docker")
    parser.add_argument(
        *("-i", "--ip"), type=prefix, default="172.18.0.", help="how their addresses begin"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked, in the order of building, stopping, starting."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    if not (args.build or args.run or args.stop):
        parser.print_help()
        return 2
    try:
        if args.build:
            build()
        if args.stop:
            stop()
        if args.run:
            run(args.count, args.network_name, args.ip)
    except (Failed, OSError) as error:
        print(f"docker-command.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
