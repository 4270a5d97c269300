"""Random histories of IOCs with what must be told of them, by a plain account of the truth.

IOCs start, stop, restart at the same port or another, and serve names that others serve, too;
datagrams are lost or come twice; links are cut; at times nobody listens. An IOC that was known does
not start while nobody listens, as nobody could tell when it did.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.epics_packets import address
from tests.epics_servers import T0, schedule

LENGTH = 1500.0  # s
SINCE = T0 - 1000.0
LOSS, TWICE = 0.03, 0.1
SEARCH_EVERY, BEAT_EVERY = 20.0, 30.0

Told = list[tuple[str, float]]  # kind, time


@dataclass
class Run:
    """An IOC from its start to its stop."""

    ioc: Ioc
    start: float
    stop: float
    port: int
    number: int
    cut: tuple[float, float] = (0.0, 0.0)  # its datagrams do not arrive

    @property
    def guid(self) -> bytes:
        return f"{self.ioc.number:06d}{self.number:06d}".encode()


@dataclass
class Ioc:
    """One application, which may run several times."""

    number: int
    host: int
    names: list[int]
    runs: list[Run] = field(default_factory=list)


@dataclass
class History:
    """What really happened."""

    iocs: list[Ioc]
    blind: list[tuple[float, float]]
    random: random.Random

    def heard(self, time: float) -> bool:
        return not any(start <= time < end for start, end in self.blind)

    def runs(self) -> list[Run]:
        return [run for ioc in self.iocs for run in ioc.runs]


def history(seed: int) -> History:
    """A random one."""
    rnd = random.Random(seed)
    blind = []
    for begin in (T0 + rnd.uniform(150, 500), T0 + rnd.uniform(800, 1100)):
        if rnd.random() < 0.6:
            blind.append((begin, begin + rnd.uniform(5, 250)))
    iocs = [Ioc(n, address(f"10.0.0.{1 + n % 3}"), rnd.sample(range(8), 4)) for n in range(5)]
    for ioc in iocs:
        port, now = 5064 + ioc.number, T0 + rnd.uniform(1, 400)
        for number in range(rnd.randint(1, 5)):
            near = any(start - 3 < now < end + 3 for start, end in blind)
            if number and near:
                now = max(end for start, end in blind if start - 3 < now < end + 3) + 3.5
            elif near:
                now = next(start for start, end in blind if start - 3 < now < end + 3) + 4.0
            stop = now + rnd.choice([rnd.uniform(6, 40), rnd.uniform(40, 700)])
            run = Run(ioc, now, min(stop, T0 + LENGTH), port, number)
            ioc.runs.append(run)
            if run.stop - run.start > 300 and rnd.random() < 0.5:
                run.cut = (run.start + 20, run.stop - rnd.uniform(20, 100))
            now = stop + rnd.choice([rnd.uniform(2, 50), rnd.uniform(50, 300)])
            if now > T0 + LENGTH - 60:
                break
            if rnd.random() < 0.3:
                port = 40000 + 100 * ioc.number + number
    return History(iocs, blind, rnd)


@dataclass(frozen=True)
class Arrival:
    """A datagram that arrives: of which run, its number, at what time."""

    time: float
    run: Run
    number: int


def arrivals(true: History, times: Callable[[Run], Sequence[tuple[float, int]]]) -> list[Arrival]:
    """What arrives of the datagrams that each run sends, ``times`` after its start."""
    found = []
    for run in true.runs():
        for after, number in times(run):
            time = run.start + after
            if time >= run.stop:
                break
            arrives = true.heard(time) and not run.cut[0] <= time < run.cut[1]
            if arrives and true.random.random() >= LOSS:
                found.append(Arrival(time, run, number))
                if true.random.random() < TWICE:
                    found.append(Arrival(time + 0.0005, run, number))
    return sorted(found, key=lambda arrival: arrival.time)


def ca_beacons(run: Run) -> list[tuple[float, int]]:
    return list(itertools.takewhile(lambda each: each[0] < LENGTH, schedule()))


def pva_beacons(run: Run) -> list[tuple[float, int]]:
    early = [(15.0 * n, n) for n in range(10)]
    return early + [(135.0 + 180.0 * n, 9 + n) for n in range(1, 10)]


def heartbeats(run: Run) -> list[tuple[float, int]]:
    return [(0.5 + BEAT_EVERY * n, n + 1) for n in range(60)]


def ticks() -> list[float]:
    """Once a second, never at the time of anything else."""
    return [T0 + n + 0.123 for n in range(int(LENGTH) + 500)]


def life(
    arrived: Sequence[Arrival],
    true: History,
    patience: Callable[[list[Arrival], bool], float],
    *,
    sure_after: float = 0.0,
) -> Told:
    """What must be told of one server or application, of which ``arrived`` is all that came.

    ``patience`` says how long it may be silent, by what came of its present run and by whether the
    start of that was noticed. ``sure_after`` is how long one must have listened to say NEW.
    """
    told: Told = []
    events = [(a.time, a) for a in arrived] + [(t, None) for t in ticks()]
    present: list[Arrival] = []
    lost = started = False
    for now, arrival in sorted(events, key=lambda each: each[0]):
        ends = [end for _, end in true.blind if end <= now]
        since = max([SINCE, *ends])
        if arrival is None:
            if not present or lost or not true.heard(now):
                continue
            if now - max(present[-1].time, since) >= patience(present, started):
                lost = True
                told.append(("LOST", now))
            continue
        if not present:
            started = arrival.run.start >= since and now - since > sure_after
            told.append(("NEW" if started else "DETECTED", now))
            present = [arrival]
        elif arrival.run is not present[-1].run:
            started = True
            told.append(("RESTARTED", now))
            present = [arrival]
        else:
            if lost:
                told.append(("RESUMED", now))
            present.append(arrival)
        lost = False
    return told


def ca_patience(present: list[Arrival], started: bool) -> float:
    return 60.0


def heartbeat_patience(present: list[Arrival], started: bool) -> float:
    return 100.0


def pva_patience(present: list[Arrival], started: bool) -> float:
    """60 s in the first part of a start that was seen, else 360 s."""
    if not started or len(present) < 2 or present[0].number >= 10:
        return 360.0
    spacing = present[-1].time - present[-2].time
    early = present[-1].time - present[0].run.start < 135.0 - 1e-3
    return 60.0 if early and spacing <= 30.0 + 1e-3 else 360.0


def serving(true: History, name: int, now: float) -> list[Run]:
    """The runs that would answer a search for ``name``."""
    return [r for r in true.runs() if name in r.ioc.names and r.start <= now < r.stop]


def pv_told(true: History, name: int, searches: Sequence[float], misses: int = 2) -> Told:
    """What must be told of a name that is searched for at these times, by both protocols."""
    told: Told = []
    state, first, silent = "NEVER_SEEN", None, 0
    for now in searches:
        runs = sorted(serving(true, name, now), key=lambda run: (run.ioc.host, run.port))
        if not true.heard(now):
            continue
        if not runs:
            silent += 1
            if silent >= misses and state in {"ONLINE", "DUPLICATE"}:
                state = "LOST"
                told.append(("LOST", now))
            continue
        silent = 0
        place = (runs[0].ioc.host, runs[0].port)
        if len(runs) > 1:
            if state != "DUPLICATE":
                told.append(("DUPLICATE", now))
            state = "DUPLICATE"
        else:
            kind = {"NEVER_SEEN": "FOUND", "LOST": "REAPPEARED", "DUPLICATE": "SINGLE_AGAIN"}
            if state in kind:
                told.append((kind[state], now))
            if first not in {None, place} and state != "DUPLICATE":
                told += [("MOVED", now)] * 2  # by each protocol
            state = "ONLINE"
        first = place
    return told
