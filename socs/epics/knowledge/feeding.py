"""What a summary holds, to whom it goes: requests, answers, beacons, heartbeats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.inventory import Asking, Inventory
from socs.epics.accounts.servers import keys_of_servers
from socs.epics.accounts.sources import keys_of
from socs.epics.accounts.texts import packed
from socs.epics.decode import alive, heartbeat
from socs.epics.decode.ca import CA_BEACON
from socs.epics.decode.pva import PVA_BEACON
from socs.epics.knowledge.joining import Join
from socs.epics.knowledge.routes import Routes
from socs.epics.summary import AnswerPart, Beat, Rows, Summary
from socs.epics.track.applications import Application, Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import CA, PVA, Event
from socs.epics.track.pvs import STATES, Answer, Pvs
from socs.errors import PeerError

COUNTS = (
    "requests_told",
    "names_beyond",
    "answers_told",
    "answers_unknown",
    "answers_late",
    "answers_weighed",
    "beacons_told",
    "beacons_twice",
    "beats_told",
    "beats_twice",
    "beats_refused",
    "names_told",
)

_ONLINE = STATES.index("ONLINE")


class Feeding:
    """Hands on what is in summaries.

    Args:
        pvs, beacons, applications: who gets it; ``pvs`` has the inventory.
        sight: learns which hosts each gateway hears.
        window: two gateways' clocks agree by this [s].
        recent: who answered within this time may have a name beside another server [s].

    Attributes:
        counts: see `COUNTS`.
    """

    def __init__(
        self,
        pvs: Pvs,
        beacons: Beacons,
        applications: Applications,
        *,
        sight: Coverage,
        window: float,
        recent: float,
    ) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self._pvs, self._beacons, self._applications = pvs, beacons, applications
        self._sight, self._routes = sight, Routes(window)
        self._window, self._recent = window, recent

    @property
    def _inventory(self) -> Inventory:
        return self._pvs.inventory

    def clock_set(self) -> None:
        """The clock was set."""
        self._routes.clear()

    def names(self, summary: Summary, join: Join) -> None:
        """Names that have got numbers."""
        numbers = join.define(summary.first_name, self._numbers_of(summary.names))
        self.counts["names_beyond"] += len(summary.names) - numbers

    def requests(self, summary: Summary, join: Join) -> None:
        """Requests: account for them by name and source."""
        sources, rows = summary.sources, summary.requests
        if not len(sources):
            return
        counts = rows["count"].astype(np.int64)
        in_rows = np.bincount(rows["source"], counts, minlength=len(sources)).astype(np.int64)
        requests = np.maximum(sources["requests"].astype(np.int64), in_rows)
        self.counts["requests_told"] += int(requests.sum())
        asking = Asking(
            keys_of(sources["host"], sources["port"]),
            sources["datagrams"].astype(np.int64),
            requests,
        )
        numbers = join.numbers(rows["name"])
        self._inventory.account(asking, numbers, rows["source"], counts, join.ended)

    def answers(self, summary: Summary, join: Join) -> list[Event]:
        """Answers to searches of others."""
        rows = summary.answers
        self.counts["answers_told"] += len(rows)
        numbers = join.numbers(rows["name"])
        events: list[Event] = []
        times = join.ours(rows["time"])
        again = self._again(numbers, rows, times)
        self.counts["answers_weighed"] += int(again.sum())
        order = np.argsort(times, kind="stable")
        for place in order[~again[order]].tolist():
            number, time, row = int(numbers[place]), float(times[place]), rows[place]
            if number < 0:
                self.counts["answers_unknown"] += 1
            elif time < self._inventory.last_seen[number] - self._window:
                self.counts["answers_late"] += 1
            else:
                self.counts["answers_weighed"] += 1
                events += self._pvs.overheard(number, _answer_of(row), time)
        return events

    def beacons(self, summary: Summary, join: Join) -> list[Event]:
        """Beacons of both protocols."""
        events: list[Event] = []
        for time, rows, senders in self._once(summary, summary.ca_beacons, join, CA):
            events += self._beacons.feed_ca(_as(rows, CA_BEACON), senders, time)
        for time, rows, senders in self._once(summary, summary.pva_beacons, join, PVA):
            events += self._beacons.feed_pva(_as(rows, PVA_BEACON), senders, time)
        return events

    def beats(self, summary: Summary, join: Join) -> list[Event]:
        """Heartbeats of both kinds."""
        events: list[Event] = []
        self.counts["beats_told"] += len(summary.beats)
        for beat in sorted(summary.beats, key=lambda each: each.time):
            time = max(join.our(beat.time), join.began)
            self._sight.heard(summary.gateway, beat.host)
            if self._routes.admits((beat.kind, beat.host, beat.port), summary.gateway, time):
                events += self._beat(beat, time)
            else:
                self.counts["beats_twice"] += 1
        return events

    def told_names(self, told: AnswerPart, app: Application | None) -> None:
        """An application told names that it serves; ``app`` is which, if it is still there."""
        self.counts["names_told"] += len(told.texts)
        names = [text.encode("utf-8", "surrogateescape") for text in told.texts]
        numbers = self._numbers_of([name for name in names if name])
        server = told.server or (app.beat.port if app is not None else 0)
        if server:
            self._pvs.told(numbers[numbers >= 0], CA, told.host, server)

    def application(self, host: int, port: int) -> Application | None:
        """The application whose heartbeats come from there."""
        found = (app for app in self._applications.running(host) if app.sender == port)
        return next(found, None)

    def _numbers_of(self, names: Sequence[bytes]) -> NDArray[np.int32]:
        octets = np.frombuffer(b"".join(names), np.uint8)
        sizes = np.array([len(name) for name in names], np.int64)
        texts = packed(octets, np.cumsum(sizes) - sizes, sizes)
        return self._inventory.take(texts.words, texts.at, texts.counts)

    def _once(
        self, summary: Summary, rows: Rows, join: Join, protocol: int
    ) -> Iterator[tuple[float, Rows, NDArray[np.uint32]]]:
        """Time, rows of that time and their senders, without what another gateway told before."""
        self.counts["beacons_told"] += len(rows)
        times = join.ours(rows["time"])
        order = np.argsort(times, kind="stable")
        rows, times = rows[order], times[order]
        hosts, ports = rows["sender"].tolist(), rows["port"].tolist()
        for host in set(hosts):
            self._sight.heard(summary.gateway, host)
        admitted = np.array(
            [
                self._routes.admits((protocol, host, port), summary.gateway, time)
                for host, port, time in zip(hosts, ports, times.tolist(), strict=True)
            ],
            np.bool_,
        )
        self.counts["beacons_twice"] += len(rows) - int(admitted.sum())
        rows, times = rows[admitted], times[admitted]
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(times)) + 1):
            if len(part):
                yield float(times[part[0]]), rows[part], rows["sender"][part].astype(np.uint32)

    def _again(
        self, numbers: NDArray[np.int32], rows: Rows, times: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Take all answers that say nothing but what is known; which these are.

        They are of the server that a name has, and no other one has answered not long ago.
        """
        known, column = self._inventory, (rows["protocol"] == PVA).astype(np.int64)
        keys = keys_of_servers(rows["protocol"], rows["host"], rows["port"])
        again: NDArray[np.bool_] = (numbers >= 0) & (known.state[numbers] == _ONLINE)
        again &= known.host_of[numbers, column] == rows["host"]
        again &= known.port_of[numbers, column] == rows["port"]
        again &= times >= known.last_seen[numbers] - self._window
        others, last = known.servers.keys[numbers], known.servers.last[numbers]
        others = (others != 0) & (others != keys[:, None])
        again &= ~(others & (times[:, None] - last <= self._recent)).any(axis=1)
        for key in np.unique(keys[again]).tolist():
            those = np.flatnonzero(again & (keys == key))
            answer = _answer_of(rows[those[0]])
            if not self._pvs.admits(answer) or (rows["sender"][those] != answer.sender).any():
                again[those] = False
                continue
            self._pvs.judge_all(np.unique(numbers[those]), answer, float(times[those].max()))
        return again

    def _beat(self, beat: Beat, time: float) -> list[Event]:
        try:
            if beat.kind == "alive":
                found = alive.decode(beat.datagram)
                return [*self._applications.alive(found, beat.host, beat.port, time)]
            told = heartbeat.decode(beat.datagram)
            if beat.kind == "json" and isinstance(told, heartbeat.Heartbeat):
                return [*self._applications.heartbeat(told, beat.host, beat.port, time)]
        except PeerError:
            pass  # the gateway took it for one; counted below
        self.counts["beats_refused"] += 1
        return []


def _as(rows: Rows, dtype: np.dtype[np.void]) -> Rows:
    """Rows of a summary as they were decoded."""
    found = np.zeros(len(rows), dtype)
    for name in dtype.names or ():
        found[name] = np.arange(len(rows)) if name == "datagram" else rows[name]
    return found


def _answer_of(row: np.void) -> Answer:
    guid = row["guid"].tobytes() if row["protocol"] == PVA else b""
    host, port = int(row["host"]), int(row["port"])
    return Answer(int(row["protocol"]), host, port, int(row["sender"]), guid)
