"""What must be told of real servers and their process variables, from what was done to them.

It knows what was done and when; it does not know how the monitor finds out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from socs.epics.networks import host_text
from socs.epics.track.events import CA, PROTOCOLS, Event, HostEvent, PvEvent, ServerEvent
from socs.epics.track.settings import TrackSettings

SLACK = 6.0  # s; summaries and ticks take their time, and so does a busy machine
SHORT = 2.0  # s; between two looks at hosts there may be as much

Place = tuple[int, int]  # host, TCP port
Key = tuple[int, int, int]  # protocol, and that
Providers = Mapping[int, set[Place]]  # by protocol


@dataclass(frozen=True)
class Expected:
    """An event of one subject: one of these kinds, at some time between, of that place if any."""

    kinds: str
    earliest: float
    latest: float
    place: Place | None = None

    def fits(self, event: Event) -> bool:
        """Is it that."""
        where = getattr(event, "host", 0), getattr(event, "port", 0)
        return (
            event.kind in self.kinds.split("|")
            and self.earliest <= event.time <= self.latest
            and self.place in {None, where}
        )


@dataclass
class Stage:
    """One of these sequences of events is told."""

    alternatives: list[tuple[Expected, ...]]

    @property
    def latest(self) -> float:
        """When it is over at the latest."""
        return max((e.latest for each in self.alternatives for e in each), default=0.0)


def explained(events: Sequence[Event], stages: Sequence[Stage]) -> bool:
    """Are these events, and no others, what is expected."""
    if not stages:
        return not events
    return any(
        len(each) <= len(events)
        and all(e.fits(event) for e, event in zip(each, events, strict=False))
        and explained(events[len(each) :], stages[1:])
        for each in stages[0].alternatives
    )


@dataclass
class _Server:
    stages: list[Stage] = field(default_factory=list)
    lost: Stage | None = None  # if it is gone


@dataclass
class _Pv:
    state: str = "NEVER_SEEN"
    places: dict[int, set[Place]] = field(default_factory=dict)  # that answered last
    stages: list[Stage] = field(default_factory=list)

    def copy(self) -> _Pv:
        return _Pv(self.state, dict(self.places), self.stages)


CHANGES = {
    ("NEVER_SEEN", "ONLINE"): "FOUND",
    ("LOST", "ONLINE"): "REAPPEARED",
    ("DUPLICATE", "ONLINE"): "SINGLE_AGAIN",
}


class Truth:
    """All that is expected so far.

    Args:
        track: thresholds of the monitor.
        period: the longest between two beacons of a server, by protocol [s].
        since: when the monitor began to listen, UNIX time [s].
        overhears: answers to searches of others are heard, too.
    """

    def __init__(
        self, track: TrackSettings, period: Mapping[int, float], since: float, *, overhears: bool
    ) -> None:
        self._track, self._period, self._since = track, period, since
        self._overhears = overhears
        self._servers: dict[Key, _Server] = {}
        self._pvs: dict[str, _Pv] = {}

    # -- servers ----------------------------------------------------------------------------------

    def started(self, key: Key, began: float, done: float) -> None:
        """A server was started between these times."""
        latest = done + SLACK
        if key not in self._servers:
            kinds = "NEW" if key[0] == CA else self._first_of_pva(began, latest)
            self._servers[key] = _Server([Stage([(Expected(kinds, began, latest),)])])
            return
        server = self._servers[key]
        self._take_back(server, began, done + 1.0)
        server.stages.append(Stage([(Expected("RESTARTED", began, latest),)]))

    def _first_of_pva(self, began: float, latest: float) -> str:
        """One that may have been there before is not called new."""
        sure = self._since + self._track.pva_lost_after
        return "NEW" if began > sure + SLACK else "DETECTED" if latest < sure else "NEW|DETECTED"

    def gone(self, key: Key, began: float, done: float) -> None:
        """A server was ended, or frozen, between these times."""
        server = self._servers[key]
        limit = self._track.ca_lost_after if key[0] == CA else self._track.pva_lost_after
        earliest = began - self._period[key[0]] - 1.0 + limit
        server.lost = Stage([(Expected("LOST", earliest, done + limit + SLACK),)])
        server.stages.append(server.lost)

    def thawed(self, key: Key, now: float) -> None:
        """A frozen server goes on."""
        server = self._servers[key]
        lost = server.lost
        self._take_back(server, now, now + 1.0)
        if lost in server.stages:
            resumed = Expected("RESUMED", now, now + self._period[key[0]] + SLACK)
            lost.alternatives = [(*each, resumed) if each else () for each in lost.alternatives]

    def _take_back(self, server: _Server, earliest: float, latest: float) -> None:
        """It is heard again between these times: was it taken for lost before."""
        if server.lost is not None:
            ((lost,),) = server.lost.alternatives
            if latest < lost.earliest:
                server.stages.remove(server.lost)
            elif earliest <= lost.latest:
                server.lost.alternatives.append(())
            server.lost = None

    # -- process variables ------------------------------------------------------------------------

    def searched(self, name: str, steps: Sequence[Providers], began: float) -> None:
        """A name is searched for until all is clear.

        Args:
            steps: who served it since ``began``, one after the other; the last is still so. Those
                before may have been noticed, or not.
        """
        pv = self._pvs.setdefault(name, _Pv())
        *before, now = steps
        alternatives: list[tuple[Expected, ...]] = []
        for count in range(len(before), -1, -1):
            for noticed in itertools.combinations(before, count):
                end = pv.copy()
                told: list[tuple[Expected, ...]] = [()]
                for providers in (*noticed, now):
                    told = [a + b for a in told for b in self._change(end, providers, began)]
                alternatives += told
        self._pvs[name] = end  # of nothing but the last
        if any(alternatives):
            end.stages.append(Stage(list(dict.fromkeys(alternatives))))

    def _change(self, pv: _Pv, providers: Providers, began: float) -> list[tuple[Expected, ...]]:
        """What is told when these have been found; the state after that."""
        latest = began + 60.0
        most = max(map(len, providers.values()), default=0)
        before = pv.state
        if most == 0:
            pv.state = "NEVER_SEEN" if before == "NEVER_SEEN" else "LOST"
            return [(Expected("LOST", began, latest),)] if pv.state != before else [()]
        pv.state = "ONLINE" if most == 1 else "DUPLICATE"
        told: tuple[Expected, ...] = ()
        if pv.state != before:
            told = (Expected(CHANGES.get((before, pv.state), "DUPLICATE"), began, latest),)
        moved: list[Expected] = []
        unsure: list[Expected] = []
        for protocol, places in providers.items():
            old = pv.places.get(protocol, set())
            if most == 1 and before != "DUPLICATE" and old and places:
                (place,) = places
                # Of several, the first counts; if answers are overheard, the last.
                if self._overhears and len(old) > 1:
                    unsure.append(Expected("MOVED", began, latest, place))
                elif place != min(old):
                    moved.append(Expected("MOVED", began, latest, place))
            if places:
                pv.places[protocol] = set(places)
        some = [
            order
            for count in range(len(unsure) + 1)
            for chosen in itertools.combinations(unsure, count)
            for order in itertools.permutations([*moved, *chosen])
        ]
        return [(*told, *each) for each in some]

    def overheard(self, name: str, protocol: int, places: set[Place], began: float) -> None:
        """Somebody else searched for a name, by one protocol; all of these answered."""
        pv = self._pvs.setdefault(name, _Pv())
        if not places:
            return
        latest, old = began + 60.0, pv.places.get(protocol, set())
        found = Expected("FOUND", began, latest)
        if pv.state == "DUPLICATE" or len(places) > 1:
            others = [each for by, each in pv.places.items() if by != protocol]
            twice = any(len(each) > 1 for each in [places, *others])
            duplicate = Expected("DUPLICATE", began, latest)
            if pv.state == "NEVER_SEEN":
                pv.stages.append(Stage([(found, duplicate)]))
            elif pv.state == "ONLINE":
                pv.stages.append(Stage([(duplicate,)]))
            elif not twice:
                pv.stages.append(Stage([(Expected("SINGLE_AGAIN", began, latest),)]))
            pv.state = "DUPLICATE" if twice else "ONLINE"
        elif pv.state == "NEVER_SEEN":
            pv.stages.append(Stage([(found,)]))
            pv.state = "ONLINE"
        elif old and old != places:
            (place,) = places
            pv.stages.append(Stage([(Expected("MOVED", began, latest, place),)]))
        pv.places[protocol] = set(places)

    # -- what was told ----------------------------------------------------------------------------

    @property
    def states(self) -> dict[str, str]:
        """Of all process variables."""
        return {name: pv.state for name, pv in self._pvs.items()}

    @property
    def latest(self) -> float:
        """When all that is expected has been told at the latest."""
        servers = [stage.latest for each in self._servers.values() for stage in each.stages]
        return max(servers, default=0.0)

    def differences(self, events: Sequence[Event]) -> list[str]:
        """What was told and should not have been, or the other way round; empty if all is right."""
        servers: dict[Key, list[Event]] = {}
        pvs: dict[str, list[Event]] = {}
        other: list[Event] = []
        for event in events:
            if isinstance(event, ServerEvent):
                servers.setdefault((event.protocol, event.host, event.port), []).append(event)
            elif isinstance(event, PvEvent):
                pvs.setdefault(event.name.decode(), []).append(event)
            elif not isinstance(event, HostEvent):
                other.append(event)
        wrong = [f"{each}" for each in other] + _of_hosts(events)
        for key in servers.keys() | self._servers.keys():
            stages = self._servers[key].stages if key in self._servers else []
            if not explained(told := servers.get(key, []), stages):
                where = f"{PROTOCOLS[key[0]]} {host_text(key[1])}:{key[2]}"
                wrong.append(_difference(where, told, stages))
        for name in pvs.keys() | self._pvs.keys():
            stages = self._pvs[name].stages if name in self._pvs else []
            if not explained(told := pvs.get(name, []), stages):
                wrong.append(_difference(name, told, stages))
        return wrong


def _of_hosts(events: Sequence[Event]) -> list[str]:
    """What is told of hosts and does not follow from what is told of their servers."""
    alive: dict[int, set[Key]] = {}
    changes: dict[int, list[Expected]] = {}
    for event in events:
        if isinstance(event, ServerEvent):
            servers = alive.setdefault(event.host, set())
            before, key = bool(servers), (event.protocol, event.host, event.port)
            (servers.discard if event.kind == "LOST" else servers.add)(key)
            if before != bool(servers):
                status = "RUNNING" if servers else "NO_DATA"
                change = Expected(status, event.time - 1.0, event.time + SLACK)
                changes.setdefault(event.host, []).append(change)
    told: dict[int, list[Event]] = {}
    for event in events:
        if isinstance(event, HostEvent):
            told.setdefault(event.host, []).append(event)
    wrong = []
    for host in changes.keys() | told.keys():
        stages = _stages_of(changes.get(host, []))
        if not explained(told.get(host, []), stages):
            wrong.append(_difference(host_text(host), told.get(host, []), stages))
    return wrong


def _stages_of(changes: Sequence[Expected]) -> list[Stage]:
    """One for each, but what is over at once may be told or not."""
    stages: list[Stage] = []
    rest = list(changes)
    while rest:
        change = rest.pop(0)
        if rest and rest[0].earliest - change.earliest < SHORT:
            stages.append(Stage([(change, rest.pop(0)), ()]))
        else:
            stages.append(Stage([(change,)]))
    return stages


def _difference(subject: str, events: Iterable[Event], stages: Iterable[Stage]) -> str:
    told = [f"{event.kind} at {event.time:.1f} {dict(event.evidence)}" for event in events]
    wanted = [
        " or ".join(
            ", ".join(f"{e.kinds} {e.earliest:.1f}..{e.latest:.1f} {e.place or ''}" for e in each)
            or "nothing"
            for each in stage.alternatives
        )
        for stage in stages
    ]
    return f"{subject}\n    told: {'; '.join(told)}\n    expected: {'; '.join(wanted)}"
