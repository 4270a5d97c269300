"""What a snapshot lacks: events that were told between it and the end of the run that wrote it.

After a crash the last snapshot may be hours old. What was told since then is in the database, and
is taken up from there, so that nothing is told twice, and nothing is taken for new that is known.

It is not all that was known: numbers of requests and times of a last beacon are those of the
snapshot. Of an application that it does not have, an event holds too little to go on with; it is
made known by its next heartbeat, which is not told then (`ToldBefore`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from socs.epics.track.applications import Applications
from socs.epics.track.beacon_ids import Numbering, uptime
from socs.epics.track.beacons import Beacons, Server
from socs.epics.track.events import (
    CA,
    ApplicationEvent,
    Event,
    HostEvent,
    PvEvent,
    PvsEvent,
    ServerEvent,
)
from socs.epics.track.hosts import Hosts, Standing
from socs.epics.track.life import LIFE
from socs.epics.track.pvs import STATES, TRANSITIONS, Pvs
from socs.epics.track.settings import TrackSettings

MARGIN = 300.0  # s before a snapshot; gateways tell what is some seconds old

_LIVES = {kind: state for state, kind in LIFE.values() if kind}
_STATES = {kind: state for state, kind in TRANSITIONS.values() if kind}
_BEFORE = {kind: {old for (old, _), (_, told) in TRANSITIONS.items() if told == kind}
           for kind in _STATES}  # fmt: skip
_BEGUN = frozenset({"NEW", "DETECTED"})


class ToldBefore:
    """Knows applications that are not known, but were told.

    Args:
        tolerance: an application's start may be later or earlier by this [s].
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._started: dict[str, tuple[float, float]] = {}  # earliest and latest, by key

    def __len__(self) -> int:
        return len(self._started)

    def note(self, event: ApplicationEvent) -> None:
        """``event`` was told, of an application that is not known."""
        if event.kind in _BEGUN:
            begun = event.time - float(event.evidence.get("uptime") or 0.0)
            self._started[event.key] = begun, begun
        elif event.kind == "RESTARTED" and event.key in self._started:
            self._started[event.key] = self._started[event.key][1], event.time
        elif _LIVES.get(event.kind) == "LOST":
            self._started.pop(event.key, None)

    def has(self, event: Event) -> bool:
        """Is this nothing but what was told; asked once."""
        if not isinstance(event, ApplicationEvent) or event.kind not in _BEGUN:
            return False
        begun = event.time - float(event.evidence.get("uptime", 0.0))
        earliest, latest = self._started.pop(event.key, (math.inf, -math.inf))
        return earliest - self._tolerance <= begun <= latest + self._tolerance


def catch_up(
    pvs: Pvs, hosts: Hosts, settings: TrackSettings, events: Iterable[Event]
) -> tuple[int, ToldBefore]:
    """Take up ``events`` in their order; those that the snapshot has already change nothing.

    Args:
        pvs: process variables as the snapshot has them.
        hosts: hosts, with servers and applications, as the snapshot has them.
        settings: thresholds.
        events: told at the time of the snapshot, or later; some may be earlier.

    Returns:
        How many changed something, and what must not be told again.
    """
    told = ToldBefore(settings.start_tolerance)
    taken = 0
    for event in events:
        if isinstance(event, PvEvent):
            taken += _pv(pvs, event)
        elif isinstance(event, PvsEvent):
            taken += _pvs(pvs, event)
        elif isinstance(event, ServerEvent):
            taken += _server(hosts.beacons, event, settings)
        elif isinstance(event, ApplicationEvent):
            taken += _application(hosts.applications, event, told)
        elif isinstance(event, HostEvent):
            taken += _host(hosts, event)
    return taken, told


def _pv(pvs: Pvs, event: PvEvent) -> bool:
    known = pvs.inventory
    number = known.names.add(event.name)
    if number < 0 or (event.kind not in _STATES and event.kind != "MOVED"):
        return False
    if known.changed[number] >= event.time or known.last_seen[number] > event.time:
        return False  # the snapshot is later
    state = _STATES.get(event.kind)
    if state is not None:
        known.state[number], known.changed[number] = STATES.index(state), event.time
    if state == "LOST":
        known.misses[number] = min(int(event.evidence.get("misses", 0)), 255)
    elif event.host:
        _seen(pvs, np.array([number]), event)
    return True


def _seen(pvs: Pvs, numbers: np.ndarray, event: PvEvent | PvsEvent) -> None:
    """The server of ``event`` has answered for these."""
    known, column = pvs.inventory, event.protocol - CA
    known.host[numbers], known.port[numbers] = event.host, event.port
    known.protocol[numbers] = event.protocol
    known.host_of[numbers, column], known.port_of[numbers, column] = event.host, event.port
    first = known.first_seen[numbers] == 0
    known.first_seen[numbers[first]] = event.time
    known.last_seen[numbers] = event.time
    known.misses[numbers] = 0
    known.servers.add(numbers, event.protocol, event.host, event.port, event.time)


def _pvs(pvs: Pvs, event: PvsEvent) -> bool:
    """All of a server if that is so many as were told; else those whose names were told."""
    known = pvs.inventory
    state = _STATES.get(event.kind)
    if state is None:
        return False
    end = known.end
    before = [STATES.index(old) for old in _BEFORE[event.kind]]
    those = known.names.known[:end] & np.isin(known.state[:end], before)
    those &= (known.host[:end] == event.host) & (known.port[:end] == event.port)
    those &= known.changed[:end] < event.time
    numbers = np.flatnonzero(those)
    if len(numbers) != event.count:
        named = [known.names.add(name) for name in event.examples]
        numbers = np.array([n for n in named if n >= 0 and known.changed[n] < event.time], np.int64)
    if not len(numbers):
        return False
    known.state[numbers], known.changed[numbers] = STATES.index(state), event.time
    if state != "LOST" and event.host:
        _seen(pvs, numbers, event)
    return True


def _server(beacons: Beacons, event: ServerEvent, settings: TrackSettings) -> bool:
    state = _LIVES.get(event.kind)
    key = event.protocol, event.host, event.port
    server = beacons.servers.get(key)
    if state is None or (server is not None and not server.heard < event.time):
        return False
    if server is None:
        if len(beacons.servers) >= settings.most_servers:
            return False
        server = beacons.servers[key] = Server(*key, first=event.time)
    told = event.evidence
    server.state = state
    if state == "LOST":
        server.lost = event.time
        server.heard = max(float(told.get("heard") or 0.0), server.first)
        return True
    server.heard, server.lost = event.time, math.nan
    number = told.get("new_id", told.get("id"))
    if event.protocol == CA and number is not None:
        _number(server, int(number), event.time)
    server.guid = bytes.fromhex(str(told.get("new_guid", told.get("guid", "")))) or server.guid
    if event.kind == "RESTARTED":
        server.restarts += 1
        server.period, server.samples, server.interval_wrong = math.nan, 0, False
        server.started = event.time - uptime(int(number or 0), settings.ca_period)
    elif "uptime" in told:
        server.started = event.time - float(told["uptime"] or 0.0)
    return True


def _number(server: Server, number: int, at: float) -> None:
    counted = number != 0 or (server.numbering is not None and server.numbering.counted)
    server.numbering = Numbering(number, at, at if number == 0 else math.nan, counted)


def _application(applications: Applications, event: ApplicationEvent, told: ToldBefore) -> bool:
    application = applications.known.get(event.key)
    if application is None:
        told.note(event)
        return False
    state = _LIVES.get(event.kind)
    if state is None or application.heard >= event.time:
        return False
    application.state = state
    if state == "LOST":
        application.lost = event.time
        return True
    application.heard, application.lost = event.time, math.nan
    run, sequence = event.evidence.get("new_run"), event.evidence.get("new_sequence")
    if run is not None and sequence is not None:
        beat = replace(application.beat, run=int(run), sequence=int(sequence))
        if event.kind == "RESTARTED":
            beat = replace(beat, begun=event.time)  # at the latest
            application.restarts += 1
        application.beat = beat
    return True


def _host(hosts: Hosts, event: HostEvent) -> bool:
    def listed(key: str) -> tuple[str, ...]:
        return tuple(filter(None, str(event.evidence.get(key, "")).split(", ")))

    standing = Standing(event.kind, listed("missing"), listed("unexpected"))
    if hosts.told.get(event.host) == standing:
        return False
    hosts.told[event.host] = standing
    return True
