"""A gateway that tells what it is made to hear: summaries with the plain truth beside them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from socs.epics import summary as s
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.summary import AnswerPart, Beat, Found, Summary
from socs.epics.track.events import CA
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0

_boots = itertools.count()


def knowledge(**settings) -> Knowledge:
    return Knowledge(KnowledgeSettings(SETTINGS, **settings), secret=1)


@dataclass
class FakeGateway:
    """Adds up what it is told to hear, as a gateway does.

    ``clock`` is how far its clock is ahead of the truth.
    """

    name: str = "gw"
    networks: tuple[str, ...] = ()
    began: float = T0
    clock: float = 0.0
    left_out: tuple[str, ...] = ()
    boot: str = ""
    number: int = 0
    epoch: int = 0
    totals: Counter = field(default_factory=lambda: Counter(requests=0, datagrams=0))

    def __post_init__(self) -> None:
        self.boot = self.boot or f"boot {next(_boots)}"
        self._numbers: dict[bytes, int] = {}
        self._clear()

    def _clear(self) -> None:
        self.new: list[bytes] = []
        self.asked: Counter[tuple[bytes, tuple[int, int]]] = Counter()
        self.datagrams: Counter[tuple[int, int]] = Counter()
        self.ca: list[tuple] = []
        self.pva: list[tuple] = []
        self.answers: list[tuple] = []
        self.beats: list[Beat] = []
        self.found: list[Found] = []
        self.told: list[AnswerPart] = []

    def restart(self, now: float) -> FakeGateway:
        """Another one in its place, from ``now`` on."""
        return FakeGateway(self.name, self.networks, now, self.clock, self.left_out)

    def begin_epoch(self) -> None:
        self.epoch += 1
        self._numbers.clear()
        self.new.clear()
        assert not self.asked

    def ask(self, names: Iterable[bytes], host: str = "10.0.9.9", port: int = 40000) -> None:
        """A datagram with requests comes."""
        source = address(host), port
        self.datagrams[source] += 1
        for name in names:
            self.number_of(name)
            self.asked[name, source] += 1

    def number_of(self, name: bytes) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self._numbers)
            self.new.append(name)
        return self._numbers[name]

    def ca_beacon(self, time: float, number: int, host: int, port: int = 5064) -> None:
        self.ca.append((time + self.clock, host, number, 0, port, 13))

    def pva_beacon(
        self, time: float, sequence: int, guid: bytes, host: int, port: int = 5075
    ) -> None:
        self.pva.append((time + self.clock, host, 0, port, 0, sequence % 256, guid))

    def answer(
        self, name: bytes, time: float, host: str, port: int = 5064, protocol: int = CA
    ) -> None:
        """Somebody's search is answered."""
        server = address(host)
        number = self.number_of(name)
        self.answers.append((number, protocol, server, port, server, bytes(12), time + self.clock))

    def heartbeat(self, time: float, host: int, told: dict[str, object], port: int = 40000) -> None:
        datagram = json.dumps({key: str(value) for key, value in told.items()}).encode()
        self.beats.append(Beat("json", time + self.clock, host, port, datagram))

    def search_ended(
        self, name: bytes, servers: Sequence[tuple[str, int]], time: float, protocol: int = CA
    ) -> None:
        """A search of its own is over."""
        found = tuple((address(host), port, address(host), b"") for host, port in servers)
        clock = time + self.clock
        self.found.append(Found(protocol, name, found, 1, clock - 1.0, clock))

    def take(self, now: float, *, last: bool = False) -> Summary:
        """All since the last one."""
        sources = {source: row for row, source in enumerate(self.datagrams)}
        of_source = Counter(dict.fromkeys(sources, 0))
        rows = []
        for (name, source), count in self.asked.items():
            of_source[source] += count
            rows.append((self._numbers[name], sources[source], count))
        told = [(*source, count, of_source[source]) for source, count in self.datagrams.items()]
        self.totals["requests"] += sum(of_source.values())
        self.totals["datagrams"] += sum(self.datagrams.values())
        summary = Summary(
            self.name,
            self.boot,
            self.number,
            self.epoch,
            self.began + self.clock,
            now + self.clock,
            self.networks,
            last,
            len(self._numbers) - len(self.new),
            tuple(self.new),
            np.array(rows, s.REQUESTS),
            np.array(told, s.SOURCES),
            np.array(self.answers, s.ANSWERS),
            np.array(self.ca, s.CA_BEACONS),
            np.array(self.pva, s.PVA_BEACONS),
            tuple(self.beats),
            tuple(self.found),
            tuple(self.told),
            dict(self.totals),
            left_out=self.left_out,
        )
        self._clear()
        self.number, self.began = self.number + 1, now
        return s.decode(s.encode(summary))
