"""A private network with several hosts on this machine, each a network namespace.

::

    with Lan(["ioc1", "ioc2", "client"]) as lan, EpicsSite(directory, hosts=lan) as site:
        site.add("one", pvs, host="ioc1")

Hosts have addresses 10.77.N.1, 10.77.N.2, ... and are joined by a bridge. A namespace lives as long
as a process in it, so nothing is left when the program ends, however it ends. Needs root.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from socs.closing import Closing
from socs.errors import OurError
from socs.sim.leash import Child, Leash

START_TIMEOUT = 10.0  # s
POLL_PERIOD = 0.005
NETWORK = "10.77.0"
MOST_HOSTS = 200
HUB = ""

Self = TypeVar("Self", bound="Lan")


class Lan(Closing):
    """Hosts that see each other and nothing else; a context manager.

    Args:
        hosts: their names, at most 200.

    Attributes:
        broadcast: address that reaches all of them.
        network: as ``10.77.0.0/24``.

    Raises:
        OurError: this system does not allow it; the message has its reason.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        if not 0 < len(hosts) <= MOST_HOSTS:
            raise OurError(f"{len(hosts)} hosts are not from 1 to {MOST_HOSTS}")
        self.broadcast = f"{NETWORK}.255"
        self.network = f"{NETWORK}.0/24"
        self._leash = Leash()
        self._log = tempfile.TemporaryDirectory(prefix="socs-lan-")
        self._holders: dict[str, Child] = {}
        self._addresses = {host: f"{NETWORK}.{n}" for n, host in enumerate(hosts, 1)}
        try:
            self._build(hosts)
        except BaseException:
            self.close()
            raise

    def address(self, host: str) -> str:
        """The IPv4 address of a host."""
        return self._addresses[host]

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """What to run so that ``command`` runs on ``host``, as the same process."""
        target = str(self._holders[host].pid)
        return ["nsenter", f"--target={target}", "--net", "--", *command]

    def namespace(self, host: str) -> Path:
        """The file that stands for the network of a host, as ``setns`` wants it."""
        return Path(f"/proc/{self._holders[host].pid}/ns/net")

    def disconnect(self, host: str) -> None:
        """Pull the cable of a host."""
        self._ip(host, "link", "set", "eth0", "down")

    def connect(self, host: str) -> None:
        """Put the cable of a host back in."""
        self._ip(host, "link", "set", "eth0", "up")

    def _build(self, hosts: Sequence[str]) -> None:
        for host in (HUB, *hosts):
            self._holders[host] = self._leash.start(
                ["unshare", "--net", "--", "sleep", "infinity"],
                log=Path(self._log.name) / "holder.log",
                env=os.environ,
            )
        for holder in self._holders.values():
            self._wait_for_namespace(holder)
        self._ip(HUB, "link", "add", "hub", "type", "bridge")
        self._ip(HUB, "link", "set", "hub", "up")
        for n, host in enumerate(hosts, 1):
            target = str(self._holders[host].pid)
            self._ip(host, "link", "set", "lo", "up")
            veth = ["link", "add", f"port{n}", "type", "veth"]
            self._ip(HUB, *veth, "peer", "name", "eth0", "netns", target)
            self._ip(HUB, "link", "set", f"port{n}", "master", "hub", "up")
            self._ip(host, "addr", "add", f"{self.address(host)}/24", "brd", "+", "dev", "eth0")
            self._ip(host, "link", "set", "eth0", "up")

    def _wait_for_namespace(self, holder: Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        ours = os.readlink("/proc/self/ns/net")
        while holder.alive and time.monotonic() < deadline:
            try:
                if os.readlink(f"/proc/{holder.pid}/ns/net") != ours:
                    return
            except OSError:
                break
            time.sleep(POLL_PERIOD)
        holder.kill()
        raise OurError(f"no network namespace: {holder.output().strip()}")

    def _ip(self, host: str, *words: str) -> None:
        done = subprocess.run(
            self.command(host, ["ip", *words]), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OurError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def close(self) -> None:
        """End all namespaces."""
        self._leash.close()
        self._log.cleanup()
