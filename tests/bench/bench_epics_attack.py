"""Ten million invented names: ``python -m tests.bench.bench_epics_attack``.

Somebody asks for names that nobody serves, each once, 400 000 of them a second from a few hundred
made-up addresses, while clients ask for 20 000 real ones twice a second. A gateway's `Gathering`
and a monitor's `Knowledge` take both in one process, in a time made up, with messages between.

Memory (RSS of the process, which is both of them) must end to grow. Each request must be counted:
by name, or for its source only, and why. Real names that were known before the attack must be
counted on; those that begin to be asked for in the midst of it find no room as soon as the monitor
knows as many names as it may. A quarter of an hour after the attack the monitor forgets the
invented ones (`Upkeep.make_room`), and knows those, too. The table tells
what part of all requests for real names so far was counted by name.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import numpy as np
import psutil

from socs.epics.accounts.inventory import InventoryLimits
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.monitor.upkeep import ASKED_AGAIN, CROWDED
from socs.epics.summary import decode, encode
from socs.epics.track.settings import TrackSettings
from socs.wire.batch import Batch
from tests.bench.epics_capture import HEADER, MINOR, request

INVENTED = 10_000_000
PER_SECOND = 400_000
REAL = 20_000  # names
INTERVAL = 0.5  # s from summary to summary
QUIET = 4  # intervals before the attack, and after it
REQUESTS = 20  # in a datagram
AT_ONCE = 1000  # datagrams in a batch
ATTACKERS, CLIENTS = 300, 50  # addresses
BEGINS = 1_700_000_000.0
DIGITS = 8
MIB = 1 << 20


class Searches:
    """Batches of searches for ``PREFIX:00000000`` and so on.

    Args:
        prefix: of the names.
        hosts: addresses that ask in turn.
    """

    def __init__(self, prefix: str, hosts: int, first: str) -> None:
        name = f"{prefix}:{'0' * DIGITS}".encode()
        one, version = request(name, 1), HEADER.pack(0, 0, 1, MINOR, 1, 0)
        self._row = np.frombuffer(version + one * REQUESTS, np.uint8)
        ends = HEADER.size * 2 + len(name) + np.arange(REQUESTS) * len(one)
        self._places = ends[:, None] - DIGITS + np.arange(DIGITS)
        self._hosts, self._first = hosts, int(IPv4Address(first))

    def batches(self, numbers: np.ndarray, now: float) -> Iterator[Batch]:
        """Datagrams that ask for the names with these ``numbers``, a multiple of `REQUESTS`."""
        for part in np.array_split(numbers, -(-len(numbers) // (AT_ONCE * REQUESTS))):
            rows = len(part) // REQUESTS
            digits = part[:, None] // 10 ** np.arange(DIGITS - 1, -1, -1) % 10 + ord("0")
            data = np.repeat(self._row[None, :], rows, axis=0)
            data[:, self._places] = digits.reshape(rows, REQUESTS, DIGITS)
            who = np.arange(rows) % self._hosts
            yield Batch(
                data,
                np.full(rows, data.shape[1], np.uint32),
                (self._first + who).astype(np.uint32),
                np.full(rows, 40_000, np.uint16),
                now,
            )


class Both:
    """A gateway and a monitor, with a clock of their own.

    Attributes:
        requests: sent so far.
        cpu: time that each took [s].
    """

    def __init__(self) -> None:
        self.now = BEGINS
        self.gathering = Gathering(
            GatheringSettings(), gateway="bench", boot="bench", began=self.now, secret=1
        )
        settings = KnowledgeSettings(TrackSettings(("10.0.0.0/8",)), InventoryLimits())
        self.knowledge = Knowledge(settings, since=self.now, secret=2)
        self.requests = 0
        self.cpu = {"gateway": 0.0, "monitor": 0.0}

    def interval(self, *some: tuple[Searches, np.ndarray]) -> None:
        """Half a second in which this is asked for."""
        self.now += INTERVAL
        for searches, numbers in some:
            self.requests += len(numbers)
            for batch in searches.batches(numbers, self.now - INTERVAL / 2):
                begun = time.process_time()
                self.gathering.ca(batch)
                self.cpu["gateway"] += time.process_time() - begun
        begun = time.process_time()
        messages = [encode(summary) for summary in self.gathering.take(self.now)]
        told = time.process_time()
        for message in messages:
            self.knowledge.take(decode(message), self.now)
        self.knowledge.tick(self.now)
        if self.knowledge.wants():  # to be told all names anew
            self.gathering.begin_epoch()
        self.cpu["gateway"] += told - begun
        self.cpu["monitor"] += time.process_time() - told

    def make_room(self, later: float) -> None:
        """Let time pass [s], and forget what nobody has asked for meanwhile."""
        self.now += later
        inventory = self.knowledge.inventory
        if len(inventory) > CROWDED * inventory.limits.names:
            self.knowledge.forget(inventory.only_asked(self.now - ASKED_AGAIN))

    def known(self, prefix: bytes, numbers: np.ndarray) -> int:
        """How often names with these numbers have been asked for, as is known by name."""
        inventory = self.knowledge.inventory
        found = [inventory.names.number(b"%b:%0*d" % (prefix, DIGITS, n)) for n in numbers.tolist()]
        return int(inventory.asked[[number for number in found if number >= 0]].sum())

    def reasons(self) -> dict[str, int]:
        """Why requests are not known by name, and how many are."""
        found = {
            name: amount
            for name, amount in self.gathering.tally.counts.items()
            if name.startswith("requests_nameless")
        }
        counts = self.knowledge.inventory.counts
        told_without = sum(found.values())
        return {
            "by name": counts["requests_valid"] + counts["requests_invalid"],
            **found,
            "no room in the monitor": counts["requests_not_kept"] - told_without,
            "unknown": counts["requests_unknown"],
        }


class Scene:
    """Who asks for what, and the table of what became of it.

    Attributes:
        both: gateway and monitor.
        invented: names so far.
    """

    def __init__(self) -> None:
        self.both, self.invented = Both(), 0
        self._process = psutil.Process()
        self._real = Searches("REAL", CLIENTS, "10.0.1.1")
        self._attack = Searches("INVENTED", ATTACKERS, "10.9.0.1")
        self._parts = np.split(np.arange(REAL), 2)  # known before, and new ones
        self._asked = [0, 0]

    def interval(self, parts: int, invented: int = 0) -> None:
        """All ask for the first ``parts`` of the real names, and for so many invented ones."""
        asked = [(self._real, self._parts[part]) for part in range(parts)]
        for part in range(parts):
            self._asked[part] += len(self._parts[part])
        if invented:
            asked.append((self._attack, np.arange(self.invented, self.invented + invented)))
        self.invented += invented
        self.both.interval(*asked)

    def show(self) -> None:
        """A line of the table."""
        share = "".join(
            f"{self.both.known(b'REAL', part) / asked:8.1%}" if asked else "       -"
            for part, asked in zip(self._parts, self._asked, strict=True)
        )
        rss, names = self._process.memory_info().rss / MIB, len(self.both.knowledge.inventory)
        print(f"{self.invented:10,} {names:10,} {rss:10.0f} {share}", flush=True)


def main(invented: int = INVENTED) -> None:
    """Print how it goes."""
    print("  invented  names known  RSS [MiB]   old     new")
    scene, step = Scene(), int(PER_SECOND * INTERVAL)
    for _ in range(QUIET):
        scene.interval(1)
    scene.show()
    while scene.invented < invented:
        scene.interval(1 if 2 * scene.invented < invented else 2, step)
        if scene.invented % (invented // 10) < step:
            scene.show()
    scene.both.make_room(ASKED_AGAIN)
    for _ in range(QUIET):
        scene.interval(2)
    print("after the attack")
    scene.show()
    both = scene.both
    by_source, why = int(both.knowledge.inventory.sources.requests.sum()), both.reasons()
    print(f"{both.requests:,} requests, {by_source:,} counted for their sources;")
    print("; ".join(f"{name}: {amount:,}" for name, amount in why.items()))
    for name, spent in both.cpu.items():
        print(f"{name}: {spent / both.requests * 1e9:.0f} ns/request")
    if by_source != both.requests or sum(why.values()) != by_source:
        raise SystemExit("they are not all counted")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=INVENTED, help="that are invented")
    main(parser.parse_args().names)
