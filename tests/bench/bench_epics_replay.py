"""Capture files of EPICS read in bulk: ``python -m tests.bench.bench_epics_replay [FILE.pcap]``.

The same requests, one way after the other, in one process; CPU time of it:

- ``caproto``: its `Broadcaster` decodes; nothing is counted (if it is installed).
- ``struct loop``: what one would write by hand: decode, cut the name, count it, keep its last
  source.
- ``gathering``: what a gateway makes of them: decoded, names numbered, added up to summaries.
- ``knowledge``: the same, and what a monitor makes of those: totals by class for each name, first
  and last time, the last sources that asked for it and how often, totals for each source.
- ``replay``: the same out of the file, as ``socs epics replay`` does it: packets taken apart and
  datagrams copied as well.

All but the last have the datagrams in memory. Each way has fresh memory each time; the best of the
repeats counts, all of them are in the range shown. Without FILE there is one made up: see
`tests.bench.epics_capture`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from socs.cli.epics_capture import ANY, BATCH, Capture
from socs.epics.accounts.names import MOST_NAMES
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.track.settings import TrackSettings
from socs.wire.captured import CapturedBatch
from socs.wire.pcap import PcapFile, PcapWriter
from tests.bench.bench_epics_decode import caproto_broadcaster, struct_loop
from tests.bench.epics_capture import BEGINS, SPACING, Datagram, batches, capture

CA_PORT, BROADCAST = 5064, 0x0A3300FF
Way = Callable[[], float]


def write(path: Path, count: int) -> None:
    """A capture file with ``count`` datagrams."""
    datagrams, _ = capture(count)
    at = itertools.count()
    with PcapWriter(path) as writer:
        for batch in batches(datagrams, BATCH):
            times = BEGINS + SPACING * np.array([next(at) for _ in range(len(batch))])
            writer.write(captured(batch.data, batch.sizes, batch.hosts, batch.ports, times))


def captured(data, sizes, hosts, ports, times) -> CapturedBatch:
    """Broadcasts."""
    count = len(sizes)
    to = np.full(count, BROADCAST, np.uint32), np.full(count, CA_PORT, np.uint16)
    return CapturedBatch(data, sizes, hosts, ports, float(times[-1]), None, *to, times)


def read(path: Path) -> tuple[list[CapturedBatch], list[Datagram]]:
    """All of a file, twice: as batches and one by one."""
    kept, single = [], []
    with PcapFile(path, [CA_PORT], batch=BATCH) as file:
        for batch in file.batches():
            kept.append(batch.copy(np.ones(len(batch), np.bool_)))
            single += [
                Datagram(*sender, batch.datagram(row)) for row, sender in enumerate(batch.senders())
            ]
    return kept, single


def gathered(taken: Iterable[CapturedBatch], knowledge: Knowledge | None = None) -> float:
    """CPU time for a summary of each batch, and for ``knowledge`` to take them."""
    settings = GatheringSettings(new_names=MOST_NAMES)
    begun = time.process_time()
    gathering = None
    for batch in taken:
        gathering = gathering or Gathering(
            settings, gateway="bench", boot="bench", began=float(batch.times[0]), secret=1
        )
        gathering.ca(batch)
        for summary in gathering.take(batch.received):
            if knowledge is not None:
                knowledge.take(summary, summary.ended)
    return time.process_time() - begun


def known(taken: list[CapturedBatch], requests: int) -> float:
    knowledge = Knowledge(KnowledgeSettings(TrackSettings((ANY,))), secret=1)
    spent = gathered(taken, knowledge)
    check(knowledge, requests)
    return spent


def replayed(path: Path, requests: int) -> float:
    begun = time.process_time()
    whole = Capture([path])
    for _ in whole.read():
        pass
    spent = time.process_time() - begun
    check(whole.knowledge, requests)
    return spent


def check(knowledge: Knowledge, requests: int) -> None:
    """Every request is accounted for, by name and by source."""
    inventory = knowledge.inventory
    by_name, by_source = int(inventory.asked.sum()), int(inventory.sources.requests.sum())
    if not by_name == by_source == requests:
        raise SystemExit(f"of {requests}, {by_name} are known by name, {by_source} by source")


def main(args: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="with searches of Channel Access only")
    parser.add_argument("--datagrams", type=int, default=100_000, help="of the one made up")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(args)
    print(f"load of this machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as directory:
        path = options.file or Path(directory) / "made-up.pcap"
        if options.file is None:
            write(path, options.datagrams)
        compare(path, options.repeats)


def compare(path: Path, repeats: int) -> None:
    """Print the table of one file."""
    taken, datagrams = read(path)
    whole = Capture([path])
    for _ in whole.read():
        pass
    requests = whole.counters["ca_requests"]
    caproto = caproto_broadcaster()
    ways: dict[str, Way | None] = {
        "caproto": None if caproto is None else lambda: caproto(datagrams, BATCH),
        "struct loop": lambda: struct_loop(datagrams, BATCH),
        "gathering": lambda: gathered(taken),
        "knowledge": lambda: known(taken, requests),
        "replay": lambda: replayed(path, requests),
    }
    names = len(whole.knowledge.inventory)
    print(f"{len(datagrams):,} datagrams, {requests:,} requests for {names:,} names")
    print(f"{'':12} {'requests/CPU s':>14} {'range':>25} {'ns each':>8} {'x caproto':>10}")
    first = None
    for name, way in ways.items():
        if way is None:
            print(f"{name:12} not installed: pip install caproto")
            continue
        rates = sorted(requests / way() for _ in range(repeats))
        first = first or (rates[-1] if name == "caproto" else None)
        times = f"{rates[-1] / first:10.1f}" if first else ""
        spread = f"{rates[0]:,.0f} - {rates[-1]:,.0f}"
        print(f"{name:12} {rates[-1]:14,.0f} {spread:>25} {1e9 / rates[-1]:8.0f} {times}")


if __name__ == "__main__":
    main()
