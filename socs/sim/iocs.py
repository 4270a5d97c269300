"""Real EPICS servers and clients, on loopback or each on a host of a :class:`socs.sim.lan.Lan`::

    with EpicsSite(directory) as site:
        site.add("one", {site.prefix + "A": "float", site.prefix + "B": "enum"})
        site.add("two", {site.prefix + "C": "waveform"}, server="caproto")
        site.start("one", "two")
        site.search("reader", [site.prefix + "A", site.prefix + "MISSING"], library="libca")
        site.connected("reader")  # {"...A": "127.0.0.1:15064"}
        site.kill("one")
        site.serving()  # {"...C": [Served(ioc="two", protocol="ca", host="127.0.0.1", port=...)]}

Each is a process of its own that dies with the program. A site has ports of its own, so that
several can run at the same time, and beside real servers. Nothing of EPICS is loaded into this
process. Needs the packages softioc, caproto and p4p (extras ``epics`` and ``test``).
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from socs.closing import Closing
from socs.epics.ports import EpicsPorts
from socs.errors import ConfigError, OurError
from socs.sim.leash import Child, Leash
from socs.sim.ports import LOOPBACK, free_port

START_TIMEOUT = 60.0  # s for all of those that are started together
STOP_TIMEOUT = 5.0
POLL_PERIOD = 0.02
BROADCAST = "127.255.255.255"  # reaches all sockets of this host

# Kinds of process variables; socs.sim.epics_server has their values.
Kind = Literal["float", "int", "string", "enum", "waveform"]
Server = Literal["softioc", "caproto", "p4p"]
Library = Literal["libca", "caproto", "p4p"]


class Hosts(Protocol):
    """Where programs run; :class:`socs.sim.lan.Lan` is one."""

    broadcast: str

    def address(self, host: str) -> str: ...
    def command(self, host: str, command: Sequence[str]) -> list[str]: ...


class OneHost:
    """All on loopback of this host."""

    broadcast = BROADCAST

    def address(self, host: str) -> str:
        """127.0.0.1, whatever the host."""
        return LOOPBACK

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """``command`` itself."""
        return list(command)


@dataclass(frozen=True)
class Served:
    """Who serves a name: TCP address of a running server, and its protocol, ``ca`` or ``pva``."""

    ioc: str
    protocol: str
    host: str
    port: int


@dataclass(frozen=True)
class Happening:
    """One line of the truth: ``what`` is started, stopped, killed, frozen or thawed.

    Attributes:
        time: UNIX time [s] before which it was not so.
        ports: TCP ports by protocol, 0 for one that is not served.
    """

    time: float
    ioc: str
    what: str
    host: str
    ports: Mapping[str, int]


@dataclass
class _Ioc:
    server: Server
    pvs: dict[str, Kind]
    host: str
    env: dict[str, str]
    child: Child | None = None
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive


class EpicsSite(Closing):
    """Some servers and clients; a context manager that leaves nothing running.

    Args:
        directory: for logs; made if missing.
        hosts: where they run; by default all on loopback.
        ports: of the site; by default free ones.
        beacon_period: longest time between two beacons of Channel Access [s].

    Attributes:
        prefix: begins names that no other site has.
        happened: all that was done to servers, in order.
    """

    def __init__(
        self,
        directory: Path,
        *,
        hosts: Hosts | None = None,
        ports: EpicsPorts | None = None,
        beacon_period: float = 15.0,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.hosts = hosts or OneHost()
        self.ports = ports or free_ports()
        self.prefix = f"T{secrets.token_hex(3).upper()}:"
        self.happened: list[Happening] = []
        self._pva_port = free_port()  # TCP
        self._beacon_period = beacon_period
        self._leash = Leash()
        self._iocs: dict[str, _Ioc] = {}
        self._clients: dict[str, Child] = {}

    def env(self) -> dict[str, str]:
        """The ``EPICS_`` variables of the site, for servers and clients of any kind."""
        ports, broadcast = self.ports, self.hosts.broadcast
        return {
            "EPICS_CA_SERVER_PORT": str(ports.ca),
            "EPICS_CAS_SERVER_PORT": str(ports.ca),
            "EPICS_CA_REPEATER_PORT": str(ports.beacons),
            "EPICS_CAS_BEACON_PORT": str(ports.beacons),
            "EPICS_CAS_BEACON_PERIOD": str(self._beacon_period),
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CAS_BEACON_ADDR_LIST": broadcast,
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_ADDR_LIST": broadcast,
            "EPICS_PVA_SERVER_PORT": str(self._pva_port),
            "EPICS_PVAS_SERVER_PORT": str(self._pva_port),
            "EPICS_PVA_BROADCAST_PORT": str(ports.pva),
            "EPICS_PVAS_BROADCAST_PORT": str(ports.pva),
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_PVAS_BEACON_ADDR_LIST": broadcast,
            "EPICS_PVA_AUTO_ADDR_LIST": "NO",
            "EPICS_PVA_ADDR_LIST": broadcast,
        }

    # -- servers ----------------------------------------------------------------------------------

    def add(
        self,
        ioc: str,
        pvs: Mapping[str, Kind],
        *,
        server: Server = "softioc",
        host: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Define a server; it is not started.

        Args:
            pvs: names and kinds.
            host: on which host of ``hosts``.
            env: ``EPICS_`` variables that are otherwise than those of the site.

        Raises:
            ConfigError: it runs; what it serves cannot be changed now.
        """
        if ioc in self._iocs and self._iocs[ioc].alive:
            raise ConfigError(f"{ioc} runs; end it before it serves something else")
        self._iocs[ioc] = _Ioc(server, dict(pvs), host, dict(env or {}))

    def start(self, *iocs: str) -> None:
        """Start servers, together, and wait until all serve. What runs already is left alone.

        Raises:
            OurError: one did not start; the message has the end of its log.
        """
        fresh = [name for name in iocs if not self._iocs[name].alive]
        began = time.time()
        for name in fresh:
            ioc = self._iocs[name]
            arguments = [ioc.server, json.dumps(ioc.pvs)]
            ioc.child = self._run(name, "socs.sim.epics_server", arguments, ioc.host, ioc.env)
        for name in fresh:
            told = self._line_of(name, self._child(name), "serving ")
            self._iocs[name].ports = json.loads(told)
            self._note(name, "started", began)

    def stop(self, ioc: str) -> None:
        """End a server by SIGTERM."""
        self._end(ioc, "stopped")

    def kill(self, ioc: str) -> None:
        """``kill -9`` a server."""
        self._end(ioc, "killed")

    def restart(self, ioc: str) -> None:
        """Kill a server and start it again."""
        self.kill(ioc)
        self.start(ioc)

    def freeze(self, ioc: str) -> None:
        """Freeze a server (SIGSTOP): it answers nothing, its ports stay taken."""
        self._child(ioc).pause()
        self._note(ioc, "frozen", time.time())

    def thaw(self, ioc: str) -> None:
        """Let a frozen server go on."""
        began = time.time()
        self._child(ioc).resume()
        self._note(ioc, "thawed", began)

    def serving(self) -> dict[str, list[Served]]:
        """Which names are served now, and by whom; in the order of definition."""
        found: dict[str, list[Served]] = {}
        for name, ioc in self._iocs.items():
            if not ioc.alive:
                continue
            address = self.hosts.address(ioc.host)
            for protocol, port in ioc.ports.items():
                for pv in ioc.pvs if port else ():
                    found.setdefault(pv, []).append(Served(name, protocol, address, port))
        return found

    def ports_of(self, ioc: str) -> dict[str, int]:
        """TCP ports of the last start, ``{"ca": ..., "pva": ...}``; 0 for what is not served."""
        return dict(self._iocs[ioc].ports)

    # -- clients ----------------------------------------------------------------------------------

    def search(
        self, client: str, names: Iterable[str], *, library: Library = "libca", host: str = ""
    ) -> None:
        """Start a client that searches for ``names`` until it is ended.

        Raises:
            OurError: it did not start; the message has the end of its log.
        """
        self.end_search(client)
        arguments = [library, *names]
        child = self._run(client, "socs.sim.epics_client", arguments, host, {})
        self._clients[client] = child
        self._line_of(client, child, "searching")

    def connected(self, client: str) -> dict[str, str]:
        """Names that a client is connected to: ``host:port`` of the server, empty if not told."""
        servers: dict[str, str] = {}
        for line in self._clients[client].output().splitlines():
            if not line.startswith('{"name"'):
                continue
            told = json.loads(line)
            if told["server"] is None:
                servers.pop(told["name"], None)
            else:
                servers[told["name"]] = told["server"]
        return servers

    def end_search(self, client: str) -> None:
        """End a client, if it runs."""
        if client in self._clients:
            self._clients[client].kill()

    # -- processes --------------------------------------------------------------------------------

    def _run(
        self, name: str, module: str, arguments: Sequence[str], host: str, env: Mapping[str, str]
    ) -> Child:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", module, *arguments]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_")}
        whole = inherited | {"PYTHONUNBUFFERED": "1"} | self.env() | dict(env)
        log = self.directory / f"{name}.log"
        return self._leash.start(self.hosts.command(host, command), log=log, env=whole)

    def _line_of(self, name: str, child: Child, start: str) -> str:
        """What follows ``start`` in the line of the log that begins so, once it is there."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            for line in child.output().splitlines(keepends=True):
                if line.startswith(start) and line.endswith("\n"):
                    return line[len(start) :]
            if not child.alive or time.monotonic() > deadline:
                child.kill()
                raise OurError(f"{name} did not start:\n{child.output()[-2000:]}")
            time.sleep(POLL_PERIOD)

    def _child(self, ioc: str) -> Child:
        child = self._iocs[ioc].child
        if child is None:
            raise ConfigError(f"{ioc} was never started")
        return child

    def _end(self, ioc: str, what: str) -> None:
        if not self._iocs[ioc].alive:
            return
        began = time.time()
        if what == "killed":
            self._child(ioc).kill()
        else:
            self._child(ioc).stop(STOP_TIMEOUT)
        self._note(ioc, what, began)

    def _note(self, name: str, what: str, when: float) -> None:
        ioc = self._iocs[name]
        address = self.hosts.address(ioc.host)
        self.happened.append(Happening(when, name, what, address, dict(ioc.ports)))

    def close(self) -> None:
        """End everything that was started."""
        self._leash.close()


def free_ports() -> EpicsPorts:
    """UDP ports on which nothing listens now, all different."""
    ports: set[int] = set()
    while len(ports) < len(EpicsPorts().by_use()):
        ports.add(free_port(socket.SOCK_DGRAM))
    return EpicsPorts(*ports)
