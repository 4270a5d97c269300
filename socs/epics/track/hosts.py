"""Hosts with IOCs: is everything there that should be, and nothing else?

What should be on a host are applications, by their keys, and servers, by protocol and port. The
status is the first of :data:`STATUS` that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from socs.epics.track.applications import Applications, use_of
from socs.epics.track.beacons import USES, Beacons
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import PROTOCOLS, HostEvent
from socs.epics.track.settings import TrackSettings

# status: when a host has it, unless an earlier one holds
STATUS = {
    "BLIND": "nobody listens to it at present; what was known before is not changed",
    "WAITING": "something expected was not heard yet, but we do not listen for long",
    "MISSING": "an application or a server that is expected is not running",
    "NO_DATA": "nothing is expected, and nothing runs that we know of",
    "UNEXPECTED": "all that is expected runs, and something that is neither expected nor ignored",
    "RUNNING": "all that is expected runs, and nothing else",
}

NOT_TOLD = ("BLIND", "WAITING")  # statuses without an event

Port = tuple[int, int]  # protocol, port


@dataclass(frozen=True)
class Expected:
    """What should be on a host.

    Attributes:
        applications: keys of those that must run.
        ports: servers that must run.
        ignored: keys of applications, and ports, that may run.
        maintenance: somebody works on it; events say so.
    """

    applications: frozenset[str] = frozenset()
    ports: frozenset[Port] = frozenset()
    ignored: frozenset[str | Port] = frozenset()
    maintenance: bool = False

    @property
    def anything(self) -> bool:
        """Is anything expected at all."""
        return bool(self.applications or self.ports)


@dataclass(frozen=True)
class Standing:
    """How a host stands: its status, and what is missing and unexpected, for people."""

    status: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


@dataclass
class Hosts:
    """All hosts.

    Args:
        beacons: servers.
        applications: applications.
        sight: when we listened.
        settings: thresholds.

    Attributes:
        expected: what should be on each host, by its address.
        standing: how each stood when it was judged last.
        told: how each stood in its last event.
    """

    beacons: Beacons
    applications: Applications
    sight: Coverage
    settings: TrackSettings
    expected: dict[int, Expected] = field(default_factory=dict)
    standing: dict[int, Standing] = field(default_factory=dict)
    told: dict[int, Standing] = field(default_factory=dict)

    def judge(self, now: float) -> list[HostEvent]:
        """Judge all hosts; events of those whose standing is another one than was told last.

        Nothing is told of a host while its status is one of `NOT_TOLD`.
        """
        applications: dict[int, dict[str, str]] = {}
        for app in self.applications.known.values():
            if app.state == "ALIVE":
                applications.setdefault(app.beat.host, {})[app.key] = app.beat.title
        ports: dict[int, set[Port]] = {}
        for server in self.beacons.servers.values():
            if server.state == "ALIVE":
                ports.setdefault(server.host, set()).add((server.protocol, server.port))
        known = {app.beat.host for app in self.applications.known.values()}
        known |= {server.host for server in self.beacons.servers.values()}
        known |= self.expected.keys()
        for standings in (self.standing, self.told):
            for host in standings.keys() - known:
                del standings[host]
        events = []
        for host in sorted(known):
            running, listening = applications.get(host, {}), ports.get(host, set())
            standing = self._stand(host, running, listening, now)
            self.standing[host] = standing
            if standing.status in NOT_TOLD or standing == self.told.get(host):
                continue
            self.told[host] = standing
            events.append(self._event(host, standing, now))
        return events

    def _stand(
        self, host: int, running: Mapping[str, str], listening: set[Port], now: float
    ) -> Standing:
        if now < self.sight.since(host):
            return Standing("BLIND")
        expected = self.expected.get(host, Expected())
        applications, ports = expected.applications - running.keys(), expected.ports - listening
        missing = (*sorted(applications), *sorted(map(_port_text, ports)))
        if missing:
            uses = {*map(use_of, applications), *(USES[protocol] for protocol, _ in ports)}
            heard_for = now - max(self.sight.since(host, use) for use in uses)
            long = heard_for >= self.settings.host_patience
            return Standing("MISSING" if long else "WAITING", missing)
        if not expected.anything:
            return Standing("RUNNING" if running or listening else "NO_DATA")
        keys = running.keys() - expected.applications - expected.ignored
        others = listening - expected.ports - expected.ignored
        unexpected = sorted(running[key] for key in keys) + sorted(map(_port_text, others))
        return Standing("UNEXPECTED" if unexpected else "RUNNING", (), tuple(unexpected))

    def _event(self, host: int, standing: Standing, now: float) -> HostEvent:
        told = {"missing": ", ".join(standing.missing)} if standing.missing else {}
        if standing.unexpected:
            told["unexpected"] = ", ".join(standing.unexpected)
        evidence: dict[str, int | float | str] = {**told}
        if self.expected.get(host, Expected()).maintenance:
            evidence["maintenance"] = 1
        return HostEvent(now, standing.status, STATUS[standing.status], evidence, host)


def _port_text(port: Port) -> str:
    return f"{PROTOCOLS[port[0]]} port {port[1]}"
