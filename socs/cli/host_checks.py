"""Checks of this host: kernel limits, ports, directories, programs."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from socs.cli.findings import Finding, fail, ok, warn
from socs.errors import ConfigError
from socs.options import MIB
from socs.wire.batch import SenderNetworks

RMEM_MAX = Path("/proc/sys/net/core/rmem_max")
UDP_TABLE = Path("/proc/net/udp")
PROCESS_STATUS = Path("/proc/self/status")
CAP_NET_ADMIN = 12  # number of the bit
ANY_ADDRESS = "0.0.0.0"  # noqa: S104  compared with, not bound to
CORRECT = "correct its `arguments` in the site config"
PROGRAMS = {"rsync": "the archiver copies with it", "ssh": "the archiver reaches other hosts by it"}


@dataclass(frozen=True)
class Listener:
    """What an agent that takes datagrams needs of this host.

    Attributes:
        bind, port: where it listens.
        allow: networks whose senders are heard; empty for all.
        receive_buffer: bytes asked of the kernel.
        spool_dir: directory of its spool; None if it has none.
        spool_quota: bytes that the spool may use.
        reads, writes: directories in which it does that.
    """

    bind: str
    port: int
    allow: Sequence[str] = ()
    receive_buffer: int = 0
    spool_dir: Path | None = None
    spool_quota: int = 0
    reads: Sequence[str] = ()
    writes: Sequence[str] = ()


def check_receive_buffer(subject: str, wanted: int, rmem_max: int, *, privileged: bool) -> Finding:
    """Whether the kernel grants a receive buffer of ``wanted`` bytes.

    Args:
        rmem_max: ``net.core.rmem_max`` [bytes].
        privileged: whether the agent may go beyond it (root, or CAP_NET_ADMIN).
    """
    limit = f"net.core.rmem_max is {rmem_max} bytes"
    if rmem_max >= wanted:
        return ok(subject, f"{limit}; --receive-buffer asks for {wanted}")
    if privileged:
        text = f"{limit}; as root (CAP_NET_ADMIN) the {wanted} of --receive-buffer are granted"
        return ok(subject, f"{text} all the same")
    text = f"{limit}, but --receive-buffer asks for {wanted}: bursts will be lost"
    line = f"net.core.rmem_max={wanted}"
    remedy = f"sudo sysctl -w {line}; to keep it: echo {line} | sudo tee /etc/sysctl.d/90-socs.conf"
    return warn(subject, text, remedy)


def read_rmem_max(path: Path = RMEM_MAX) -> int | None:
    """``net.core.rmem_max`` [bytes]; None where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def has_net_admin(status: str | None = None) -> bool:
    """Whether this process has CAP_NET_ADMIN; ``status`` as in ``/proc/self/status``."""
    if status is None:
        try:
            status = PROCESS_STATUS.read_text()
        except OSError:
            return False
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_NET_ADMIN & 1)
    return False


def udp_listeners(table: str) -> set[tuple[str, int]]:
    """(address, port) of all bound UDP sockets in ``table``, as in ``/proc/net/udp``."""
    found = set()
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 1:
            address, _, port = columns[1].partition(":")
            found.add((socket.inet_ntoa(struct.pack("=I", int(address, 16))), int(port, 16)))
    return found


def check_udp_port(
    subject: str,
    address: str,
    port: int,
    listeners: Iterable[tuple[str, int]],
    answers: Callable[[], bool],
) -> Finding:
    """Whether the UDP port of an agent is free, or in use by that agent itself.

    Args:
        listeners: (address, port) of the bound UDP sockets of this host.
        answers: whether the agent has joined the router; asked only if the port is in use.
    """
    if port == 0:
        return ok(subject, "takes any free UDP port")
    in_use = any(
        number == port and (address == other or ANY_ADDRESS in (address, other))
        for other, number in listeners
    )
    if not in_use:
        return ok(subject, f"UDP port {port} on {address} is free")
    if answers():
        return ok(subject, f"UDP port {port} on {address} is in use; this agent runs")
    text = f"UDP port {port} on {address} is in use, and this agent does not answer"
    remedy = f"see who has it (ss -lunp 'sport = :{port}'); stop that or change --udp-port"
    return warn(subject, text, remedy)


def check_address(subject: str, address: str) -> list[Finding]:
    """Whether this host has ``address``, which an agent is to listen on; empty if so."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        text = f"--udp-address {address} is no IPv4 address of this host ({error.strerror})"
        return [fail(subject, text, "give one that `ip -4 addr` shows, or 0.0.0.0 for all")]
    return []


def check_senders(subject: str, networks: Sequence[str]) -> list[Finding]:
    """Whether the networks of ``--allow-sender`` can be read; empty if so."""
    try:
        SenderNetworks(networks)
    except ConfigError as error:
        return [fail(subject, f"--allow-sender is refused by the agent: {error}", CORRECT)]
    return []


def check_shared_ports(agents: Sequence[tuple[str, Listener]]) -> list[Finding]:
    """Agents (instance id, needs) of this host that want the same UDP port, or spool."""
    found = []
    for index, (name, settings) in enumerate(agents):
        for other_name, other in agents[:index]:
            same_address = settings.bind == other.bind or ANY_ADDRESS in (settings.bind, other.bind)
            if settings.port == other.port != 0 and same_address:
                text = f"{other_name} has the UDP port {settings.port} too"
                found.append(fail(name, text, "give each agent a --udp-port of its own"))
            if settings.spool_dir == other.spool_dir is not None:
                text = f"{other_name} has the spool directory {settings.spool_dir} too"
                found.append(fail(name, text, "give each agent a --data-dir of its own"))
    return found


def check_data_roots(subject: str, roots: Sequence[str]) -> list[Finding]:
    """Whether announced files can be read below each of ``roots``."""
    found = []
    for root in roots:
        path = Path(root)
        if not path.is_absolute() or path == Path("/"):
            remedy = "give an absolute path below /"
            found.append(fail(subject, f"--data-root {root} is refused by the agent", remedy))
        elif not path.is_dir():
            remedy = "mount or make the directory, or correct --data-root"
            found.append(fail(subject, f"data root {root} is no directory here", remedy))
        elif not os.access(path, os.R_OK | os.X_OK):
            remedy = "give the user that runs the agent read access to it"
            found.append(fail(subject, f"data root {root} cannot be read by {user()}", remedy))
        else:
            found.append(ok(subject, f"data root {root} can be read"))
    return found


def check_folders(subject: str, folders: Sequence[str]) -> list[Finding]:
    """Whether files can be written in each of ``folders``, which are made if they are missing."""
    found = []
    for folder in folders:
        existing = _existing(Path(folder).absolute())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            text = f"folder {folder}: {existing} cannot be written by {user()}"
            found.append(fail(subject, text, "change --folder, or the owner of the directory"))
        else:
            free = shutil.disk_usage(existing).free / MIB
            text = f"folder {folder} can be written, {free:.0f} MiB free"
            found.append(ok(subject, text))
    return found


def check_spool(subject: str, directory: Path, quota: int) -> Finding:
    """Whether the spool can be written, and its quota [bytes] fits on the disk."""
    existing = _existing(directory)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        text = f"spool directory {directory}: {existing} cannot be written by {user()}"
        return fail(subject, text, "change --data-dir, or the owner of the directory")
    used = sum(file.stat().st_size for file in directory.glob("spool.sqlite*"))
    free = shutil.disk_usage(existing).free
    if free + used < quota:
        text = f"spool directory {directory}: {free / MIB:.0f} MiB free, --spool-quota is"
        remedy = "make room, or lower --spool-quota so that the disk is never full"
        return warn(subject, f"{text} {quota / MIB:.0f} MiB", remedy)
    return ok(subject, f"spool directory {directory} can be written, {free / MIB:.0f} MiB free")


def _existing(path: Path) -> Path:
    """``path``, or the nearest directory above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_programs(which: Callable[[str], str | None] = shutil.which) -> list[Finding]:
    """Whether the programs that agents run are installed."""
    return [
        ok(name, f"found {path}")
        if (path := which(name))
        else warn(name, f"not installed; {purpose}", f"install it, e.g. apt-get install {name}")
        for name, purpose in PROGRAMS.items()
    ]


def user() -> str:
    """The user that this runs as, for people."""
    return f"user id {os.geteuid()}"
