"""EPICS traffic from the socket to the inventory: ``python -m tests.bench.bench_epics_path``.

The agents PVGateway and PVMonitor in a site of their own, with its router between them, while two
hundred hosts on loopback ask for 100 000 names (`tests.bench.epics_sender`): five processes.

Every datagram must be known to the monitor or counted as dropped: the sum, the requests by name,
and datagrams and requests of each source, as the sender says and as the monitor answers.

CPU times are of whole processes, all their threads, from when the clients begin until the monitor
knows all. ``ns/request`` is that by the requests sent. RSS after a quarter of the time, when every
name is known, at half of it, and at its end. ``latency``: sometimes somebody asks for a name that
nobody knew; wall time until the monitor's Task `pv_info` knows it, which is asked again and again,
the median and the worst.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ocs
import psutil

from socs.sim.iocs import free_ports
from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until
from tests.bench.epics_capture import request
from tests.bench.epics_sender import ClientsProcess, Sent

GATEWAY, MONITOR, ROUTER, CLIENTS = "gateway", "monitor", "router", "clients"
RATE = 31_000.0  # datagrams/s
SECONDS = 60.0
WARM_UP = 3.0  # s at the same rate before the measurement: all is imported, all memory is there
MARKER, MARKER_HOST = "BENCH:MARKER:{}", "127.0.2.1"
MARKER_PERIOD, POLL = 3.0, 0.05  # s
SOURCES = 1000  # the most that the monitor lists at a time
SETTLED = 60.0  # s after the end for all that waits
MIB = 1 << 20


class Observatory:
    """The site with its two agents."""

    def __init__(self, directory: Path, way: str) -> None:
        self.ports = free_ports()
        ports = [
            word
            for use, port in self.ports.by_use().items()
            for word in (f"--port-{use}", str(port))
        ]
        kept = ["--gateway", GATEWAY, "--folder", str(directory / "kept")]
        agents = [
            AgentInstance("PVGateway", GATEWAY, ["--listen", way, *ports]),
            AgentInstance("PVMonitor", MONITOR, kept),
        ]
        self.site = Site(directory / "site", instances=agents)
        self._env = {"SOCS_DATA_DIR": str(directory / "state")}
        self.processes: dict[str, list[psutil.Process]] = {}

    def start(self) -> None:
        """Until the monitor hears the gateway."""
        self.site.start_router()
        router = psutil.Process(self.site.router.pid)
        self.processes[ROUTER] = [router, *router.children(recursive=True)]
        for name in (GATEWAY, MONITOR):
            child = self.site.start_agent(name, env=self._env)
            self.processes[name] = [psutil.Process(child.pid)]
        for name in (GATEWAY, MONITOR):
            self.site.wait_joined(name, 60)
        self._gateway, self._monitor = self.site.client(GATEWAY), self.site.client(MONITOR)
        wait_until(lambda: self._gateways()[0]["state"] == "LIVE", 60, "the gateway")

    def _gateways(self) -> list[dict[str, Any]]:
        return self.monitor().get("gateways") or [{"state": ""}]

    def gateway(self) -> dict[str, Any]:
        """Session data of the gateway's Process."""
        return self._gateway.listen.status().session.get("data") or {}

    def monitor(self) -> dict[str, Any]:
        """Session data of the monitor's Process."""
        return self._monitor.monitor.status().session.get("data") or {}

    def ask(self, task: str, **params: Any) -> dict[str, Any]:
        """Session data of a Task of the monitor."""
        reply = getattr(self._monitor, task)(**params)
        if reply[0] != ocs.OK or not reply.session["success"]:
            raise SystemExit(f"{task}: {reply}")
        return reply.session["data"]

    def sources(self) -> dict[str, tuple[int, int]]:
        """Datagrams and requests of each source, as the monitor knows them."""
        found = self.ask("clients", most=SOURCES)["rows"]
        return {row["source"]: (row["datagrams"], row["requests"]) for row in found}

    def knows(self, name: str) -> bool:
        """Has the monitor heard of ``name``."""
        return bool(self._monitor.pv_info(name=name).session["success"])

    def cpu(self) -> dict[str, float]:
        """CPU time of each process so far [s]."""
        return {name: sum(map(cpu_of, each)) for name, each in self.processes.items()}

    def rss(self) -> dict[str, int]:
        """Memory of each process [bytes]."""
        return {
            name: sum(process.memory_info().rss for process in each)
            for name, each in self.processes.items()
        }


def cpu_of(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


@contextmanager
def observatory(way: str) -> Iterator[Observatory]:
    with tempfile.TemporaryDirectory() as directory:
        made = Observatory(Path(directory), way)
        with made.site:
            made.start()
            yield made


class Markers:
    """Asks for names that nobody knew, and waits until the monitor does.

    Attributes:
        latencies: of those that were found [s].
        sent: how many were asked for.
    """

    def __init__(self, made: Observatory) -> None:
        self._made = made
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((MARKER_HOST, 0))
        self.latencies: list[float] = []
        self.sent = 0

    def close(self) -> None:
        self._socket.close()

    def send(self) -> None:
        """One, until it is found."""
        name = MARKER.format(self.sent)
        self.sent += 1
        begun = time.monotonic()
        self._socket.sendto(request(name.encode(), self.sent), ("127.0.0.1", self._made.ports.ca))
        wait_until(lambda: self._made.knows(name), SETTLED, f"{name} to be known", period=POLL)
        self.latencies.append(time.monotonic() - begun)

    def sources(self) -> dict[str, tuple[int, int]]:
        """As `Sent.sources`."""
        host, port = self._socket.getsockname()
        return {f"{host}:{port}": (self.sent, self.sent)}


@dataclass
class Trial:
    """What was measured; see this module.

    Attributes:
        sent: after the warm-up; ``took`` is the time of that.
        settled: from the end of sending until all was known [s].
        cpu: of each process [s].
        rss: of each, after a quarter, a half, all of the time [bytes].
        queued: most summaries that waited in the monitor, as far as it was looked at.
        dropped: datagrams that the kernel dropped.
        lost: datagrams in summaries that did not come to the monitor.
        missing: datagrams that the monitor does not know.
        faults: what does not fit together.
    """

    sent: Sent
    settled: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    rss: list[dict[str, int]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    queued: int = 0
    names: int = 0
    dropped: int = 0
    lost: int = 0
    missing: int = 0
    faults: list[str] = field(default_factory=list)


def trial(way: str, rate: float, seconds: float) -> Trial:
    """Have the clients send, and follow it to the monitor."""
    with observatory(way) as made, ClientsProcess(made.ports.ca) as clients:
        made.processes[CLIENTS] = [psutil.Process(clients.pid)]
        clients.begin(rate, WARM_UP)
        before = clients.end()
        settle(made, before.datagrams)
        markers, begun = Markers(made), made.cpu()
        start = time.monotonic()
        clients.begin(rate, seconds)
        rss, queued = watch(made, markers, start, seconds)
        done = Trial(clients.end(), rss=rss, latencies=markers.latencies)
        ended = time.monotonic()
        truth = added(before.sources, done.sent.sources, markers.sources())
        settle(made, sum(datagrams for datagrams, _ in truth.values()))
        done.settled = time.monotonic() - ended
        done.cpu = {name: spent - begun[name] for name, spent in made.cpu().items()}
        done.rss.append(made.rss())
        done.queued = queued
        judge(done, made, truth)
        markers.close()
        return done


def watch(
    made: Observatory, markers: Markers, start: float, seconds: float
) -> tuple[list[dict[str, int]], int]:
    """Send markers until shortly before the end; memory on the way, and the longest queue."""
    rss: list[dict[str, int]] = []
    queued = 0
    looks = [start + seconds / 4, start + seconds / 2]
    while (now := time.monotonic()) < start + seconds - MARKER_PERIOD:
        if looks and now >= looks[0]:
            looks.pop(0)
            rss.append(made.rss())
        queued = max(queued, int(made.monitor()["measures"]["summaries_queued"]))
        markers.send()
        time.sleep(max(now + MARKER_PERIOD - time.monotonic(), 0.0))
    rss += [made.rss() for _ in looks]
    return rss, queued


def added(*several: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The sums by source."""
    sums: dict[str, tuple[int, int]] = {}
    for one in several:
        for source, (datagrams, requests) in one.items():
            known = sums.get(source, (0, 0))
            sums[source] = known[0] + datagrams, known[1] + requests
    return sums


def settle(made: Observatory, datagrams: int) -> None:
    """Wait until the gateway has heard all ``datagrams``, and the monitor has all that it told."""

    def all_known() -> bool:
        gateway, monitor = made.gateway()["counters"], made.monitor()["counters"]
        heard = gateway["datagrams_gathered"] + gateway["kernel_drops"]
        known = sum(each[0] for each in made.sources().values())
        told = gateway["datagrams_gathered"] - monitor["datagrams_missed"]
        taken = monitor["requests_told"] + monitor["requests_missed"]
        return heard >= datagrams and known >= told and taken >= gateway["ca_requests"]

    try:
        wait_until(all_known, SETTLED, "all to be known", period=0.25)
    except TimeoutError as error:
        print(error, file=sys.stderr)  # what is missing is told with the rest


def judge(done: Trial, made: Observatory, truth: dict[str, tuple[int, int]]) -> None:
    """Compare what the monitor knows with what was sent."""
    gateway, monitor, sources = made.gateway(), made.monitor(), made.sources()
    heard, counters, faults = gateway["counters"], monitor["counters"], done.faults
    done.names = int(monitor["measures"]["pvs"])
    done.dropped, done.lost = heard["kernel_drops"], counters["datagrams_missed"]
    sent, known = (sum_of(each.values()) for each in (truth, sources))
    done.missing = sent[0] - known[0]
    if done.missing != done.dropped + done.lost:
        faults.append(f"{sent[0]} datagrams sent, {known[0]} known")
    if heard["ca_requests"] - counters["requests_missed"] != known[1]:
        faults.append(f"{heard['ca_requests']} requests heard, {known[1]} known by source")
    by_name = counters["requests_valid"] + counters["requests_invalid"]
    nameless = counters["requests_unknown"] + counters["requests_not_kept"]
    if by_name + nameless != known[1]:
        faults.append(f"{by_name} requests known by name, {nameless} without, not {known[1]}")
    if not done.missing and sources != truth:
        wrong = [name for name in truth | sources if truth.get(name) != sources.get(name)]
        faults.append(f"{len(wrong)} sources are wrong, such as {wrong[0]}")
    for each in (gateway, monitor):
        if each["unaccounted"]:
            faults.append(f"unaccounted: {each['unaccounted']}")


def sum_of(amounts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """All datagrams, all requests."""
    pairs = list(amounts)
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)


def show(done: Trial) -> None:
    """Print the tables."""
    sent = done.sent
    print(
        f"sent {sent.datagrams:,} datagrams with {sent.requests:,} requests in {sent.took:.1f} s: "
        f"{sent.datagrams / sent.took:,.0f} and {sent.requests / sent.took:,.0f} a second; "
        f"all was known {done.settled:.1f} s later"
    )
    print(
        f"datagrams dropped by the kernel {done.dropped}, in summaries that were lost {done.lost}, "
        f"not known {done.missing}; {'; '.join(done.faults) or 'all accounted for'}"
    )
    print("           CPU s  of one core  ns/request   RSS 1/4, 1/2, end [MiB]")
    for name, spent in done.cpu.items():
        rss = "".join(f"{each[name] / MIB:8.0f}" for each in done.rss)
        show_row(name, spent, sent, rss)
    show_row("all", sum(done.cpu.values()), sent, "")
    show_row("but clients", sum(done.cpu.values()) - done.cpu[CLIENTS], sent, "")
    print(
        f"names {done.names:,}; most summaries waiting {done.queued}; latency of "
        f"{len(done.latencies)} names: median {statistics.median(done.latencies):.2f} s, "
        f"worst {max(done.latencies):.2f} s"
    )


def show_row(name: str, spent: float, sent: Sent, rss: str) -> None:
    share, each = spent / sent.took, spent / sent.requests
    print(f"{name:11} {spent:5.1f} {share:11.0%} {each * 1e9:11.0f} {rss}", flush=True)


def main(rate: float = RATE, seconds: float = SECONDS, way: str = "sockets") -> None:
    """Print what was measured."""
    print(f"by {way}; load of this machine before: {os.getloadavg()[0]:.1f}", flush=True)
    show(trial(way, rate, seconds))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=RATE, help="datagrams/s")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--way", choices=("sockets", "capture"), default="sockets")
    given = parser.parse_args()
    main(given.rate, given.seconds, given.way)
