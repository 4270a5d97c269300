"""EPICS search requests per CPU second: ``python -m tests.bench.bench_epics_decode``.

The same capture, one way after the other, in one process:

- ``caproto``: its `Broadcaster` decodes; nothing is counted (if it is installed).
- ``struct loop``: what one would write by hand: decode, cut the name, count it, keep its last
  source.
- ``ours, decode``: arrays of requests from batches in memory, as the receiver hands them over.
- ``ours, all``: decode and account: totals by class for each name, first and last time, the last
  sources that asked for it and how often, totals for each source, validity of names.
- ``ours, packing``: the same, and the copying of each datagram into the batch as well.

"begin" is the first part of the capture, in which almost each name is new; "all" is all of it. Each
way has fresh memory each time; the best of the repeats counts, all of them are in the range shown.
"""

from __future__ import annotations

import argparse
import os
import resource
import struct
import time
from collections.abc import Callable
from typing import Any

try:
    import caproto
except ImportError:
    caproto = None

from socs.epics.accounts.inventory import Inventory
from socs.epics.decode import ca
from tests.bench.epics_capture import Datagram, batches, capture
from tests.epics_requests import searched_ca

HEADER = struct.Struct("!HHHHII")
Way = Callable[[list[Datagram], int], float]


def struct_loop(datagrams: list[Datagram], rows: int) -> float:
    begun = time.process_time()
    counts: dict[bytes, int] = {}
    last: dict[bytes, tuple[int, int]] = {}
    for host, port, contents in datagrams:
        source, at, end = (host, port), 0, len(contents)
        while at + 16 <= end:
            command, size, _, _, _, _ = HEADER.unpack_from(contents, at)
            at += 16
            if command == 6:
                name = contents[at : at + size].partition(b"\0")[0].partition(b".")[0]
                counts[name] = counts.get(name, 0) + 1
                last[name] = source
            at += size
    return time.process_time() - begun


def caproto_broadcaster() -> Way | None:
    """A way, if caproto is installed."""
    if caproto is None:
        return None

    def way(datagrams: list[Datagram], rows: int) -> float:
        ours: Any = caproto.Broadcaster(our_role=caproto.SERVER)
        begun = time.process_time()
        found = 0
        for host, port, contents in datagrams:
            commands = ours.recv(contents, (str(host), port))
            found += len(commands)
            ours.process_commands(commands)
        return time.process_time() - begun

    return way


def decode_only(datagrams: list[Datagram], rows: int) -> float:
    taken = batches(datagrams, rows)
    begun = time.process_time()
    for batch in taken:
        ca.decode(batch)
    return time.process_time() - begun


def ours(datagrams: list[Datagram], rows: int) -> float:
    taken = batches(datagrams, rows)
    return _account(taken, time.process_time())


def ours_packing(datagrams: list[Datagram], rows: int) -> float:
    begun = time.process_time()
    return _account(batches(datagrams, rows), begun)


def _account(taken: list[Any], begun: float) -> float:
    inventory = Inventory(secret=1)
    for batch in taken:
        searched_ca(inventory, batch, ca.decode(batch))
    spent = time.process_time() - begun
    asked = int(inventory.asked.sum())
    if asked != sum(inventory.counts[name] for name in ("requests_valid", "requests_invalid")):
        raise SystemExit(f"{asked} requests accounted for: {inventory.counts}")
    return spent


def main(args: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datagrams", type=int, default=100_000)
    parser.add_argument("--begin", type=int, default=20_000, help="datagrams of the first part")
    parser.add_argument("--longest", type=int, default=1024, help="bytes of a datagram")
    parser.add_argument("--rows", type=int, default=4096, help="datagrams in a batch")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(args)
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}")
    datagrams, _ = capture(options.datagrams, longest=options.longest)
    ways: dict[str, Way | None] = {
        "caproto": caproto_broadcaster(),
        "struct loop": struct_loop,
        "ours, decode": decode_only,
        "ours, all": ours,
        "ours, packing": ours_packing,
    }
    for title, part in (("begin", datagrams[: options.begin]), ("all", datagrams)):
        requests = sum(_requests(datagram.contents) for datagram in part)
        print(
            f"\n{title}: {len(part):,} datagrams, {requests:,} requests; batches of {options.rows}"
        )
        print(f"{'':14} {'requests/s':>12} {'range':>25} {'ns each':>8} {'x caproto':>10}")
        first = None
        for name, way in ways.items():
            if way is None:
                print(f"{name:14} not installed: pip install caproto")
                continue
            rates = sorted(requests / way(part, options.rows) for _ in range(options.repeats))
            first = first or (rates[-1] if name == "caproto" else None)
            times = f"{rates[-1] / first:10.1f}" if first else ""
            spread = f"{rates[0]:,.0f} - {rates[-1]:,.0f}"
            print(f"{name:14} {rates[-1]:12,.0f} {spread:>25} {1e9 / rates[-1]:8.0f} {times}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process, captures among it: {peak:,.0f} MiB")


def _requests(contents: bytes) -> int:
    count, at = 0, 0
    while at + 16 <= len(contents):
        command, size, *_ = HEADER.unpack_from(contents, at)
        count += command == 6
        at += 16 + size
    return count


if __name__ == "__main__":
    main()
