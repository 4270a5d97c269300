"""EPICS traffic live: ``python -m tests.bench.bench_epics_live``.

Two hundred hosts on loopback ask for 100 000 names, in datagrams of 16 requests on average, from a
process of their own (`tests.bench.epics_sender`). A gateway in another process hears them by
sockets or by capturing, and makes its summaries as messages; what becomes of these is not part of
this.

Every datagram must be heard or counted as dropped by the kernel, and the summaries must hold
exactly the requests that were heard. CPU is that of the gateway's process, all its threads: per
request, and of one core while the clients sent. RSS is its memory at half of the time, and at the
end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import psutil

from socs.epics.gateway.gateway import Gateway
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.ports import EpicsPorts
from socs.epics.summary import Summary, encode
from socs.sim.iocs import free_ports
from tests.bench.epics_sender import ClientsProcess

RATES = (5_000, 15_000, 30_000)  # datagrams/s
SECONDS = 10.0
WAYS = ("sockets", "capture")
MIB = 1 << 20


# -- the gateway's process ------------------------------------------------------------------------


@dataclass
class Encoded:
    """Makes messages of summaries, and counts what is in them.

    Attributes:
        totals: of the last one.
        asked: requests with a name, in all rows.
        messages, octets: how many, and how many bytes in their tables.
    """

    totals: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    messages: int = 0
    octets: int = 0

    def take(self, summary: Summary) -> None:
        message = encode(summary)
        self.octets += sum(len(each) for each in message.values() if isinstance(each, bytes))
        self.asked += int(summary.requests["count"].sum())
        self.totals = dict(summary.totals)
        self.messages += 1


def run_gateway(way: str, ports: list[int]) -> None:
    """Listen; at each line on the standard input tell how it stands, at their end stop."""
    encoded = Encoded()
    settings = GatewaySettings("bench", listen=way, ports=EpicsPorts(*ports))
    gateway = Gateway(settings, encoded.take, lambda text: print(text, file=sys.stderr))
    gateway.start()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(state_of(gateway, encoded)), flush=True)
    gateway.stop()
    print(json.dumps(state_of(gateway, encoded)), flush=True)


def state_of(gateway: Gateway, encoded: Encoded) -> dict[str, Any]:
    """What is told of a gateway while it runs, and at its end."""
    process = psutil.Process()
    status = gateway.status()
    return {
        "counters": status["counters"],
        "unaccounted": status["unaccounted"],
        "cpu": sum(process.cpu_times()[:2]),
        "rss": process.memory_info().rss,
        **vars(encoded),
    }


class GatewayProcess:
    """`run_gateway` in another process."""

    def __init__(self, way: str, ports: EpicsPorts) -> None:
        numbers = [str(port) for port in ports.by_use().values()]
        command = [sys.executable, "-m", "tests.bench.bench_epics_live", "--gateway", way, *numbers]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if not self._process.stdout.readline():
            raise SystemExit(f"the gateway cannot listen by {way}")

    def state(self) -> dict[str, Any]:
        """See `state_of`."""
        print(file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def end(self) -> dict[str, Any]:
        """Stop it; its last state."""
        output, _ = self._process.communicate(timeout=60)
        return json.loads(output)


# -- a trial --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """Rates [1/s], CPU [s per request; of one core], memory [bytes], and what went wrong."""

    datagrams: float
    requests: float
    dropped: int
    per_request: float
    share: float
    rss: tuple[int, int]
    octets: float
    faults: str


def trial(way: str, rate: float, seconds: float) -> Trial:
    """Have the clients send at ``rate`` datagrams per second."""
    ports = free_ports()
    gateway = GatewayProcess(way, ports)
    with ClientsProcess(ports.ca) as clients:
        before = gateway.state()
        clients.begin(rate, seconds)
        time.sleep(seconds / 2)
        half = gateway.state()
        datagrams, requests, took, *_ = clients.end()
    deadline = time.monotonic() + 10
    while arrived(state := gateway.state()) < datagrams and time.monotonic() < deadline:
        time.sleep(0.05)
    last = gateway.end()
    cpu = state["cpu"] - before["cpu"]
    return Trial(
        datagrams / took,
        requests / took,
        last["counters"]["kernel_drops"],
        cpu / max(last["asked"], 1),
        cpu / took,
        (half["rss"], last["rss"]),
        last["octets"] / took,
        faults_of(last, datagrams, requests),
    )


def arrived(state: dict[str, Any]) -> int:
    """Datagrams that were taken apart, or dropped by the kernel."""
    return state["counters"]["datagrams_gathered"] + state["counters"]["kernel_drops"]


def faults_of(last: dict[str, Any], datagrams: int, requests: int) -> str:
    """What does not fit together; empty if all does."""
    counters, found = last["counters"], []
    if arrived(last) != datagrams:
        found.append(f"{datagrams - arrived(last)} datagrams are neither heard nor dropped")
    if not counters["kernel_drops"] and counters["ca_requests"] != requests:
        found.append(f"{counters['ca_requests']} of {requests} requests were read")
    if last["asked"] != counters["ca_requests"] or last["totals"]["requests"] != last["asked"]:
        found.append(f"summaries hold {last['asked']} of {counters['ca_requests']} requests")
    if last["unaccounted"]:
        found.append(f"unaccounted: {last['unaccounted']}")
    return "; ".join(found)


def main(rates: tuple[float, ...] = RATES, seconds: float = SECONDS) -> None:
    """Print the table."""
    print(f"{seconds:g} s each; CPU of the gateway's process")
    print("way      datagrams/s  requests/s  dropped  ns/request  CPU   RSS half, end [MiB]  MB/s")
    for way in WAYS:
        for rate in rates:
            done = trial(way, rate, seconds)
            half, end = (size / MIB for size in done.rss)
            print(
                f"{way:8} {done.datagrams:11,.0f} {done.requests:11,.0f} {done.dropped:8}"
                f"  {done.per_request * 1e9:10.0f} {done.share:4.0%} {half:10.0f} {end:10.0f}"
                f" {done.octets / 1e6:7.1f}  {done.faults or 'all accounted for'}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, nargs="+", default=RATES, help="datagrams/s")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each")
    given = parser.parse_args()
    if given.gateway:
        run_gateway(given.gateway[0], [int(port) for port in given.gateway[1:]])
    else:
        main(tuple(given.rate), given.seconds)
