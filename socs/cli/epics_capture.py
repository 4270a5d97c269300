"""EPICS traffic of capture files, as a gateway and a monitor would know it, without either.

::

    PcapFile --batches--> Gathering --summaries--> Knowledge --> events

All times are those of the capture. Between two files that are not close in time nobody listened;
silence within a file is silence.
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from socs import counters as c
from socs.counters import Counters
from socs.epics.accounts.names import MOST_NAMES
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.gathering_settings import GatheringSettings
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.ports import EpicsPorts
from socs.epics.summary import MOST_ROWS
from socs.epics.track.events import Event, HostEvent
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError, PeerError
from socs.wire.captured import CapturedBatch
from socs.wire.pcap import PcapFile

GATEWAY = "capture"
BATCH = 4096  # packets
SPAN = 1.0  # s from the first to the last datagram of a batch: a request, then its answer
MOST_WAITING = MOST_ROWS  # datagrams of a summary, so that each has room for all rows
MOST_STEPS = 1000  # in which a silence is passed
MOST_EVENTS = 100_000  # that are kept; further ones are counted
TABLES = (c.PCAP, c.EPICS_CA, c.EPICS_PVA, c.EPICS_HEARTBEATS, c.EPICS_GATHERING)
ANY = "0.0.0.0/0"


@dataclass(frozen=True)
class CaptureSettings:
    """How to read.

    Attributes:
        ports: of the site when the files were made.
        subnets: where servers are; others are counted, and change nothing.
        interval: from one look for what is silent to the next [s].
        apart: two files with more time between them were not one capture [s].
    """

    ports: EpicsPorts = field(default_factory=EpicsPorts)
    subnets: tuple[str, ...] = (ANY,)
    interval: float = 2.0
    apart: float = 5.0


class Progress(NamedTuple):
    """How far it is: in which file, the part of all bytes, and the time in the capture [s]."""

    path: Path
    part: float
    time: float


class Capture:
    """Reads capture files, the earliest first.

    Args:
        paths: of the files.
        settings: see there.

    Attributes:
        knowledge: what is known; None before the first datagram.
        began, ended: times of the first and the last datagram, UNIX time [s].
        events: what happened, in order; the first `MOST_EVENTS`. None of hosts, as nobody says
            what is expected of them.
        kinds: how often what happened, by subject's class and kind.
        counters: of everything here, by name.
        faults: for each cause, the last datagram with that fault: its sender and first bytes.
        cut_off: what is missing at the end of files, for people.
        damaged: files of which the rest cannot be read, and why.
    """

    def __init__(self, paths: Sequence[Path], settings: CaptureSettings | None = None) -> None:
        self.settings = settings or CaptureSettings()
        self.paths = list(paths)
        self.knowledge: Knowledge | None = None
        self.began = self.ended = -math.inf
        self.events: list[Event] = []
        self.kinds: Counter[tuple[type[Event], str]] = Counter()
        self.counters = Counters(*TABLES)
        self.faults: dict[str, str] = {}
        self.cut_off: list[str] = []
        self.damaged: list[str] = []
        self._uses = {port: use for use, port in self.settings.ports.by_use().items()}
        self._gathering: Gathering | None = None
        self._told = -math.inf  # the time of the last summary
        self._waiting = 0  # datagrams since then
        self._files = 0

    def read(self) -> Iterator[Progress]:
        """Read all; how far it is, again and again.

        Raises:
            ConfigError: a file cannot be read or is none, two overlap in time, or none of them has
                a datagram of these ports.
        """
        begins = {path: begin for path in self.paths if (begin := self._begin_of(path))}
        whole = sum(path.stat().st_size for path in begins) or 1
        before = 0
        for path in sorted(begins, key=lambda each: begins[each]):
            if begins[path] < self.ended - self.settings.interval:
                raise ConfigError(
                    f"{path} begins before an earlier file ends: look at each of them alone, "
                    "or join them in the order of time first"
                )
            with PcapFile(
                path, list(self._uses), batch=BATCH, span=min(self.settings.interval, SPAN),
                counters=self.counters,
            ) as file:  # fmt: skip
                yield from (
                    Progress(path, (before + file.read_to) / whole, self.ended)
                    for _ in self._read(file, path)
                )
                before += file.size
        if self.knowledge is None:
            ports = ", ".join(map(str, sorted(self._uses)))
            what = "; ".join([*self.damaged, *self.cut_off]) or "all of them are read"
            raise ConfigError(f"no datagram from or to the ports {ports} is in the files: {what}")
        self._tell(self.ended)

    def _begin_of(self, path: Path) -> float | None:
        """The time of the first datagrams; None if there are none, which is noted."""
        with PcapFile(path, list(self._uses), batch=BATCH) as file:
            try:
                batch = next(file.batches(), None)
            except PeerError as error:
                if not file.read_to:
                    raise ConfigError(f"{path}: {error}") from error
                self.damaged.append(f"{path}: {error}")
                return None
            if batch is None:
                self.counters.add_all(file.counters.snapshot())
                self.cut_off += [f"{path}: {file.cut_off}"] if file.cut_off else []
                return None
            assert batch.times is not None
            return float(batch.times.min())

    def _read(self, file: PcapFile, path: Path) -> Iterator[None]:
        first = True
        try:
            for batch in file.batches():
                assert batch.times is not None
                begin = float(batch.times.min())
                if first and begin > self.ended + self.settings.apart:
                    self._begin(begin)
                first = False
                self._take(batch, begin)
                yield
        except PeerError as error:
            self.damaged.append(f"{path}: {error}")
        if file.cut_off:
            self.cut_off.append(f"{path}: {file.cut_off}")

    # -- the way of a batch -----------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        """Somebody listens from ``now`` on."""
        secret = secrets.randbits(64)
        if self.knowledge is None:
            known = KnowledgeSettings(TrackSettings(self.settings.subnets))
            self.knowledge = Knowledge(known, since=now, secret=secret)
            self.began = now
        else:
            self._tell(self.ended)
        self._files += 1
        self._gathering = Gathering(
            GatheringSettings(
                new_names=MOST_NAMES,
                heartbeat_bytes=1 << 24,
                server_port=self.settings.ports.ca,
                beacon_port=self.settings.ports.beacons,
            ),
            gateway=GATEWAY,
            boot=f"{GATEWAY}-{self._files}",
            began=now,
            secret=secret,
        )
        self._told = self.ended = now

    def _take(self, batch: CapturedBatch, begin: float) -> None:
        assert self._gathering is not None
        self._pass_silence(begin)
        if self._waiting + len(batch) > MOST_WAITING:
            self._tell(self.ended)
        for port, part in batch.by_port(list(self._uses)):
            getattr(self._gathering, self._uses[port])(part)
        self.ended = max(self.ended, batch.received)
        self._waiting += len(batch)
        if self.ended - self._told >= self.settings.interval:
            self._tell(self.ended)

    def _pass_silence(self, until: float) -> None:
        """Come up to that time in steps, so that what is silent is noticed when it is."""
        interval = self.settings.interval
        if until - self._told <= interval:
            return
        if self._waiting:
            self._tell(self.ended)
        start = self._told
        steps = min(math.ceil((until - start) / interval), MOST_STEPS)
        for step in range(1, steps + 1):
            self._tell(start + (until - start) * step / steps)

    def _tell(self, now: float) -> None:
        assert self._gathering is not None
        assert self.knowledge is not None
        events: list[Event] = []
        for summary in self._gathering.take(now):
            events += self.knowledge.take(summary, summary.ended)
        events += self.knowledge.tick(now)
        self._told, self._waiting = now, 0
        self._note(events)
        self.counters.add_all(self._gathering.tally.counts)
        self._gathering.tally.counts.clear()
        self.faults |= self._gathering.faults

    def _note(self, events: Sequence[Event]) -> None:
        told = [
            event
            for event in events
            if not isinstance(event, HostEvent) and event.cause != "first message"
        ]
        self.kinds.update((type(event), event.kind) for event in told)
        self.events += told[: MOST_EVENTS - len(self.events)]

    @property
    def events_left_out(self) -> int:
        """How many happened that are not kept."""
        return self.kinds.total() - len(self.events)
