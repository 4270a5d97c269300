"""An application that sends heartbeats, as a program: ``python -m socs.sim.heartbeat_app``.

Versions 1.1, 2.0 and 3.0 send JSON, and answer what such applications answer: 1.1 its names, 2.0
what runs on the host besides, 3.0 that it has no names. ``alive`` sends what an alive record sends.
It listens at a TCP port, as a Channel Access server does, so that its lines, which come from its
own ``/proc``, tell the truth. When it runs, it prints `Truth` as JSON after the word ``running``.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from socs.epics.decode.alive import NO_QUESTIONS, Alive
from socs.epics.decode.alive import encode as encode_alive
from socs.epics.decode.heartbeat import LAST_LINE, LIST_PVS, NETSTAT, WITH_LINES
from socs.sim.ports import LOOPBACK

RUNNING = "running "
ALIVE = "alive"
VERSIONS = ("1.1", WITH_LINES, "3.0", ALIVE)
NAMES_AT_ONCE = 10
PORTS = {ALIVE: 5678}
HEARTBEATS = 5066
BROADCAST = "127.255.255.255"  # reaches all sockets of this host
PERIOD = 30.0  # s
REQUEST = struct.Struct("!4I")
WRAP = 1 << 32


@dataclass(frozen=True)
class Truth:
    """All that can be known of an application.

    Attributes:
        version, pid, image, command, directory: as it tells them.
        port: UDP port that its heartbeats come from.
        server: TCP port at which it listens.
        names: that it serves.
        started: UNIX time [s].
        title: name in its alive record.
    """

    version: str
    pid: int
    image: str
    command: str
    directory: str
    port: int
    server: int
    names: list[str]
    started: int
    title: str


@dataclass
class Application:
    """What it says; no I/O but by ``lines``, and no clock.

    Attributes:
        truth: about it.
        lines: reads what it tells of the host.
        sequence: number of the last heartbeat; of the first one it is 1, or 0 in version 3.0.
        requests: how many came, by their command.
    """

    truth: Truth
    lines: Callable[[], list[str]]
    sequence: int = -1
    requests: dict[int, int] = field(default_factory=dict)
    _kept: list[str] = field(default_factory=list)
    _build: int = 0

    def __post_init__(self) -> None:
        if self.truth.version != "3.0":
            self.sequence = 0

    def heartbeat(self, now: float, period: float) -> bytes:
        """The next heartbeat."""
        self.sequence += 1
        truth = self.truth
        if truth.version == ALIVE:
            started, whole = truth.started, max(1, round(period))
            beat = Alive(
                truth.title, 1, started, int(now), self.sequence, whole, NO_QUESTIONS, 0, 0
            )
            return encode_alive(beat)
        fields = {
            "seq": self.sequence,
            "sp": truth.server,
            "up": int(now - truth.started),
            "cur": int(now),
            "pid": truth.pid,
            "cwd": truth.directory,
            "ver": truth.version,
            "img": truth.image,
            "stcmd": truth.command,
        }
        return _json({key: str(value) for key, value in fields.items()})

    def answer(self, datagram: bytes) -> bytes | None:
        """The answer to a request; None if it is none, or bears the number of an old heartbeat."""
        if len(datagram) != REQUEST.size or self.truth.version == ALIVE:
            return None
        command, sequence, offset, handle = REQUEST.unpack(datagram)
        self.requests[command] = self.requests.get(command, 0) + 1
        if self.truth.version == "3.0":  # which takes any number, and has no names
            told = {"offset": offset, "pvs": [], "total": 0, "handle": handle}
            return _json(told) if command == LIST_PVS else None
        current = (self.sequence - sequence) % WRAP <= 1
        if current and command == LIST_PVS:
            return self._names(offset, handle)
        if current and command == NETSTAT and self.truth.version == WITH_LINES:
            return self._line(offset, handle)
        return None

    def _names(self, offset: int, handle: int) -> bytes:
        names = self.truth.names
        return _json(
            {
                "handle": str(handle),
                "offset": str(offset),
                "pvs": names[offset : offset + NAMES_AT_ONCE],
                "total": str(len(names)),
            }
        )

    def _line(self, offset: int, handle: int) -> bytes:
        if offset == 0:
            self._build += 1
            self._kept = [f"build: {self._build}", *self.lines()]
        line = self._kept[offset] if offset < len(self._kept) else LAST_LINE
        return _json({"h": str(handle), "o": str(offset), "b": str(self._build), "l": line})


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def own_lines(proc: Path = Path("/proc")) -> list[str]:
    """What an application tells of itself: its sockets by TCP and UDP, its process."""
    me = proc / "self"
    links = [os.readlink(each) for each in _descriptors(me / "fd")]
    sockets = [link for link in links if link.startswith("socket:[")]
    inodes = {link[len("socket:[") : -1] for link in sockets}
    lines = []
    for kind in ("tcp", "udp"):
        head, *rows = (me / "net" / kind).read_text().splitlines()
        own = [row for row in rows if row.split()[9] in inodes]
        lines += [f"{kind}: {' '.join(row.split())}" for row in (head, *own)]
    pid = os.getpid()
    lines += [f"pid: {pid} {link}" for link in sockets]
    command = (me / "cmdline").read_bytes().replace(b"\0", b" ").decode("ascii", "replace")
    return [*lines, f"pid: {pid} cmdline: {command}", f"pid: {pid} cwd: {os.readlink(me / 'cwd')}"]


def _descriptors(directory: Path) -> list[Path]:
    """Open files; that of the directory itself is closed again."""
    return [each for each in directory.iterdir() if each.is_symlink()]


def command_line(
    to: tuple[str, int], *, version: str = WITH_LINES, period: float = PERIOD, **options: object
) -> list[str]:
    """The command that starts one; further options are those of the program."""
    command = [sys.executable, "-m", "socs.sim.heartbeat_app", "--to", f"{to[0]}:{to[1]}"]
    command += ["--version", version, "--period", str(period)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return command


def truth_of(output: str) -> Truth | None:
    """What a running application printed; None if it has not yet."""
    for line in output.splitlines(keepends=True):
        if line.startswith(RUNNING) and line.endswith("\n"):
            return Truth(**json.loads(line[len(RUNNING) :]))
    return None


def run(options: argparse.Namespace) -> None:
    """Send heartbeats and answer, until the process is ended."""
    host, _, port = options.to.partition(":")
    to = host, int(port or PORTS.get(options.version, HEARTBEATS))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.create_server((options.address, 0)) as server,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((options.address, 0))
        truth = Truth(
            options.version,
            os.getpid(),
            sys.orig_argv[0],
            " ".join(sys.orig_argv[1:]),
            str(Path.cwd()),
            sock.getsockname()[1],
            server.getsockname()[1],
            [f"{options.prefix}{number:05d}" for number in range(options.names)],
            int(time.time()),
            options.title,
        )
        print(RUNNING + json.dumps(asdict(truth)), flush=True)
        _serve(sock, to, Application(truth, own_lines), options.period)


def _serve(sock: socket.socket, to: tuple[str, int], app: Application, period: float) -> None:
    due = time.monotonic()
    while True:
        if time.monotonic() >= due:
            sock.sendto(app.heartbeat(time.time(), period), to)
            due += period
        ready, _, _ = select.select([sock], [], [], max(0.0, due - time.monotonic()))
        if ready:
            datagram, sender = sock.recvfrom(4096)
            answer = app.answer(datagram)
            if answer is not None:
                sock.sendto(answer, sender)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    options = argparse.ArgumentParser(prog="socs.sim.heartbeat_app", description=__doc__)
    options.add_argument("--to", default=BROADCAST, help="ADDRESS[:PORT] of heartbeats")
    options.add_argument("--version", choices=VERSIONS, default=WITH_LINES)
    options.add_argument("--period", type=float, default=PERIOD, help="of heartbeats [s]")
    options.add_argument("--names", type=int, default=0, help="how many it serves")
    options.add_argument("--prefix", default="SIM:", help="of its names")
    options.add_argument("--title", default="simulated", help="name in its alive record")
    options.add_argument("--address", default=LOOPBACK, help="to bind to")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    run(parser().parse_args(arguments))


if __name__ == "__main__":
    main()
