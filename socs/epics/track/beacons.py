"""Servers by their beacons, Channel Access and PV Access: new, lost, resumed, restarted.

What happens to a server depends on its state and on what was noticed; see
:data:`~socs.epics.track.life.LIFE`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.epics.networks import Networks
from socs.epics.track.beacon_ids import Numbering, uptime
from socs.epics.track.conditions import Conditions
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import CA, PVA, Evidence, ServerEvent
from socs.epics.track.life import LIFE, Noticed, Room, State
from socs.epics.track.settings import TrackSettings

COUNTS = (
    "beacons_taken",
    "beacons_repeated",
    "beacons_late",
    "beacons_missing",
    "beacons_elsewhere",
    "beacons_no_room",
    "servers_displaced",
)
PERIOD_SHARE = 1 / 8  # of a new spacing in the period, as libca has it
STEADY = 0.99  # a spacing of so many periods is no more one of those that double

USES = {CA: "beacons", PVA: "pva"}  # where beacons are sent, by protocol

Key = tuple[int, int, int]  # protocol, host, port


@dataclass(eq=False)
class Server:
    """One server.

    Attributes:
        protocol, host, port: what it is known by.
        state: see `LIFE`.
        first, heard: when its first and last beacon came, UNIX time [s].
        started: when it started, as far as is known, UNIX time [s]; NaN if not.
        numbering: of Channel Access.
        guid: of PV Access; new at each start.
        changes: of PV Access: how often its set of names changed.
        named: address that its beacons give, 0 if none.
        beacons: how many came since it started, or since it was detected.
        period: spacing of its beacons, NaN if not known [s]. Of Channel Access the mean, once it
            has been up for a while; of PV Access the last one.
        samples: spacings in that mean.
        restarts: how many were noticed.
        lost: when it was noticed to be lost, UNIX time [s]; NaN if it is not.
        gap: the last spacing in which it was taken for lost, NaN if there was none [s].
    """

    protocol: int
    host: int
    port: int
    first: float
    state: State = "UNKNOWN"
    heard: float = math.nan
    started: float = math.nan
    numbering: Numbering | None = None
    guid: bytes = b""
    changes: int = 0
    named: int = 0
    beacons: int = 0
    period: float = math.nan
    samples: int = 0
    interval_wrong: bool = False
    restarts: int = 0
    lost: float = math.nan
    gap: float = math.nan

    @property
    def key(self) -> Key:
        """Protocol, host, port."""
        return self.protocol, self.host, self.port

    def evidence(self) -> dict[str, int | float | str]:
        """What is known of it, for events."""
        told: dict[str, int | float | str] = {"heard": self.heard, "beacons": self.beacons}
        if self.numbering is not None:
            told["id"] = self.numbering.last
        if self.guid:
            told |= {"guid": self.guid.hex(), "changes": self.changes}
        return told


class Beacons:
    """All servers that send beacons.

    Args:
        settings: thresholds.
        sight: when we listened.

    Attributes:
        servers: by protocol, host and port.
        counts: see `COUNTS`.
        conditions: what is wrong at present: ``WRONG_INTERFACE`` and ``ADDRESS_MISMATCH``.
    """

    def __init__(self, settings: TrackSettings, sight: Coverage) -> None:
        self.servers: dict[Key, Server] = {}
        self.counts = dict.fromkeys(COUNTS, 0)
        self.conditions = Conditions(settings.condition_ends_after)
        self._settings, self._sight = settings, sight
        self._subnets = Networks(settings.subnets, "subnets")
        self._room: Room[Key] = Room(settings.most_servers)

    def feed_ca(
        self, beacons: NDArray[np.void], senders: NDArray[np.uint32], now: float
    ) -> list[ServerEvent]:
        """Take Channel Access beacons.

        Args:
            beacons: :data:`~socs.epics.decode.ca.CA_BEACON`.
            senders: who sent each datagram of the batch.
            now: UNIX time [s].
        """
        events: list[ServerEvent] = []
        rows = zip(beacons.tolist(), senders[beacons["datagram"]].tolist(), strict=True)
        for (_, number, named, port, minor), host in rows:
            server = self._server((CA, host, port), named, now, events)
            if server is not None:
                events += self._ca(server, number, minor, now)
        return events

    def feed_pva(
        self, beacons: NDArray[np.void], senders: NDArray[np.uint32], now: float
    ) -> list[ServerEvent]:
        """Take PV Access beacons, :data:`~socs.epics.decode.pva.PVA_BEACON`."""
        events: list[ServerEvent] = []
        rows = zip(beacons, senders[beacons["datagram"]].tolist(), strict=True)
        for beacon, host in rows:
            key = (PVA, host, int(beacon["port"]))
            server = self._server(key, int(beacon["host"]), now, events)
            if server is not None:
                events += self._pva(server, bytes(beacon["guid"].tobytes()), beacon, now)
        return events

    def tick(self, now: float) -> list[ServerEvent]:
        """Who has been silent for too long."""
        events: list[ServerEvent] = []
        for server in self.servers.values():
            if server.state != "ALIVE":
                continue
            seen_from = max(server.heard, self._sight.since(server.host, USES[server.protocol]))
            limit = self.patience(server)
            if now - seen_from >= limit:
                told = server.evidence() | {"silent": now - server.heard, "limit": limit}
                events += self._notice(server, "silent", "no beacon for too long", told, now)
        self.conditions.tick(now)
        self._room.tick()
        return events

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing was heard later than that."""
        for server in self.servers.values():
            # What is not known is NaN, which stays: it must come first.
            for name in ("first", "heard", "started", "lost"):
                setattr(server, name, min(getattr(server, name), now))
            if server.numbering is not None:
                server.numbering.at = min(server.numbering.at, now)
                server.numbering.started = min(server.numbering.started, now)
        self.conditions.set_back(now)

    def forget(self, key: Key) -> bool:
        """Forget a server that is lost; was there one."""
        server = self.servers.get(key)
        if server is None or (server.state, "forgotten") not in LIFE:
            return False
        del self.servers[key]
        return True

    def alive(self, host: int) -> Iterator[Server]:
        """The servers of this host that are alive."""
        return (s for s in self.servers.values() if s.host == host and s.state == "ALIVE")

    def patience(self, server: Server) -> float:
        """For how long this server may be silent [s]."""
        settings = self._settings
        if server.protocol == CA:
            measured = settings.ca_lost_periods * server.period
            return max(settings.ca_lost_after, measured if measured > 0 else 0.0)
        # A sequence number of one byte says nothing of its age; what was seen of a start does.
        # Beacons do not come exactly in time; half a period more or less decides.
        starting = settings.pva_start_period * (settings.pva_start_beacons - 1.5)
        often = server.heard - server.started < starting
        often = often and server.period <= 2.5 * settings.pva_start_period
        return settings.pva_start_lost_after if often else settings.pva_lost_after

    # -- one beacon -------------------------------------------------------------------------------

    def _server(self, key: Key, named: int, now: float, events: list[ServerEvent]) -> Server | None:
        """Whose beacon it is; None if it must not count."""
        protocol, host, port = key
        rare = self._settings.pva_lost_after if protocol == PVA else 0.0
        if host not in self._subnets:
            self.counts["beacons_elsewhere"] += 1
            if self.conditions.begins("WRONG_INTERFACE", key, now, rare):
                cause = "sender is outside of the subnets of servers"
                events.append(ServerEvent(now, "WRONG_INTERFACE", cause, {}, *key))
            return None
        server = self.servers.get(key)
        if server is None:
            self.counts["servers_displaced"] += self._room.make(self.servers)
            if not self._room.is_there(self.servers):
                self.counts["beacons_no_room"] += 1
                return None
            server = self.servers[key] = Server(protocol, host, port, now)
        self.counts["beacons_taken"] += 1
        server.named = named
        if named not in {0, host}:
            patience = max(rare, self.patience(server))
            if self.conditions.begins("ADDRESS_MISMATCH", key, now, patience):
                cause = "beacon names another address than its sender"
                events.append(ServerEvent(now, "ADDRESS_MISMATCH", cause, {"named": named}, *key))
        return server

    def _ca(self, server: Server, number: int, minor: int, now: float) -> list[ServerEvent]:
        settings, numbering = self._settings, server.numbering
        if numbering is None:
            return self._first_ca(server, number, now)
        told = server.evidence() | {"new_id": number, "minor": minor}
        judged = numbering.judge(
            number,
            now,
            period=max(settings.ca_period, server.period if server.samples else 0.0),
            start_window=settings.start_window,
            reordered_within=settings.reordered_within,
            reordered_ids=settings.reordered_ids,
        )
        if judged.verdict in {"same", "late"}:
            self.counts["beacons_late" if judged.verdict == "late" else "beacons_repeated"] += 1
            server.heard = now
            return self._notice(server, "running", judged.cause, told, now)
        events = []
        restarted = judged.verdict == "restart"
        if not restarted:
            events += self._measure(server, number, judged.missing, now)
            if self._sight.saw(server.host, numbering.at, now, USES[server.protocol]):
                self.counts["beacons_missing"] += judged.missing
        numbering.take(number, now, restarted=restarted)
        if restarted:
            self._begin_anew(server, now - uptime(number, settings.ca_period))
        server.heard, server.beacons = now, server.beacons + 1
        noticed: Noticed = "restarted" if restarted else "running"
        return self._notice(server, noticed, judged.cause, told, now) + events

    def _first_ca(self, server: Server, number: int, now: float) -> list[ServerEvent]:
        age = uptime(number, self._settings.ca_period)
        begun = now - age
        seen = begun >= self._sight.since(server.host, USES[server.protocol])
        server.numbering = Numbering(number, now, now if number == 0 else math.nan, number != 0)
        server.heard, server.started, server.beacons = now, begun, 1
        told = {"id": number, "uptime": age}
        if seen:
            return self._notice(server, "started", "beacon number of a start", told, now)
        return self._notice(server, "running", "was up before we listened", told, now)

    def _pva(self, server: Server, guid: bytes, beacon: np.void, now: float) -> list[ServerEvent]:
        told = server.evidence() | {"new_guid": guid.hex()}
        known, sequence = server.guid, int(beacon["sequence"])
        spacing = now - server.heard
        server.guid, server.changes, server.heard = guid, int(beacon["changes"]), now
        server.beacons += 1
        if known == guid:
            server.period = spacing
            return self._notice(server, "running", "the same GUID", told, now)
        young = sequence < self._settings.pva_start_beacons
        begun = now - self._settings.pva_start_period * sequence if young else math.nan
        if known:
            self._begin_anew(server, begun)
            server.beacons = 1
            return self._notice(server, "restarted", "another GUID", told, now)
        told = {"guid": guid.hex(), "sequence": sequence}
        since = self._sight.since(server.host, USES[server.protocol])
        if begun >= since and now - since > self._settings.pva_lost_after:
            server.started = begun
            return self._notice(server, "started", "first beacons, none before", told, now)
        return self._notice(server, "running", "may have been up before we listened", told, now)

    def _begin_anew(self, server: Server, started: float) -> None:
        server.started, server.beacons = started, 0
        server.period, server.samples, server.interval_wrong = math.nan, 0, False
        server.restarts += 1

    def _measure(self, server: Server, number: int, missing: int, now: float) -> list[ServerEvent]:
        """Take the spacing of two beacons in a row into the period; is that right or wrong now."""
        expected, numbering = self._settings.ca_period, server.numbering
        assert numbering is not None
        counted = numbering.counted or number != 0
        steady = uptime(number, expected) - uptime(number - 1, expected) > STEADY * expected
        if missing or (counted and not steady):
            return []
        if not self._sight.saw(server.host, numbering.at, now, USES[server.protocol]):
            return []
        spacing = now - numbering.at
        if server.state == "LOST":
            # It was away, or sends rarely: then the next one is as long.
            same = abs(spacing - server.gap) <= self._settings.interval_tolerance * spacing
            server.gap = spacing
            if not same:
                return []
        share = max(PERIOD_SHARE, 1 / (server.samples + 1))
        known = server.period if server.samples else 0.0
        server.period = known + (spacing - known) * share
        server.samples += 1
        if server.samples < self._settings.interval_samples:
            return []
        wrong = abs(server.period - expected) > self._settings.interval_tolerance * expected
        if wrong == server.interval_wrong:
            return []
        server.interval_wrong = wrong
        kind = "INTERVAL_WRONG" if wrong else "INTERVAL_RIGHT"
        cause = "mean spacing of beacons" + (" is not the period" if wrong else " is the period")
        told = {"period": server.period, "expected": expected, "samples": server.samples}
        return [ServerEvent(now, kind, cause, told, *server.key)]

    def _notice(
        self, server: Server, noticed: Noticed, cause: str, told: Evidence, now: float
    ) -> list[ServerEvent]:
        server.state, kind = LIFE[server.state, noticed]
        if server.state == "LOST":
            server.lost = now
        elif not math.isnan(server.lost):
            told = {**told, "lost": server.lost}
            server.lost = math.nan
        return [ServerEvent(now, kind, cause, told, *server.key)] if kind else []
