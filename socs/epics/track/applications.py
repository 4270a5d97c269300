"""IOC applications by their heartbeats, of both kinds: new, lost, resumed, restarted, moved.

An application is known by its host, program, start-up file and directory, or by the name in its
alive record; so it stays the same when its port changes. What happens to it depends on its state
and on what was noticed; see :data:`~socs.epics.track.life.LIFE`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.networks import Networks, host_text
from socs.epics.track.conditions import Conditions
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import ApplicationEvent, Evidence
from socs.epics.track.life import LIFE, Noticed, Room, State
from socs.epics.track.settings import TrackSettings

COUNTS = (
    "heartbeats_taken",
    "heartbeats_repeated",
    "heartbeats_missing",
    "heartbeats_older",
    "heartbeats_elsewhere",
    "heartbeats_no_room",
    "applications_displaced",
)


ALIVE = "alive:"  # begins the key of an application that is known by its alive record


def use_of(key: str) -> str:
    """Where the heartbeats of this application come, see :class:`socs.epics.ports.EpicsPorts`."""
    return "alive" if key.startswith(ALIVE) else "heartbeats"


@dataclass(frozen=True)
class Beat:
    """A heartbeat of any kind, as far as it tells the state.

    Attributes:
        key: what the application is known by.
        title: the same for people.
        host, port: where it is, and where its server listens; port 0 if that is not told.
        run: what is another one after each start: the process, or the time of the start.
        begun: when it started, UNIX time [s].
        sequence: number of the heartbeat.
        limit: how long it may be silent [s].
        offset: how far its clock is ahead of ours [s].
        ordered: a greater ``run`` is a later one.
    """

    key: str
    title: str
    host: int
    port: int
    run: int
    begun: float
    sequence: int
    limit: float
    offset: float
    ordered: bool

    @property
    def use(self) -> str:
        """See `use_of`."""
        return use_of(self.key)


@dataclass(eq=False)
class Application:
    """One application.

    Attributes:
        beat: its last heartbeat.
        told: that heartbeat as it was decoded.
        sender: port it came from; a heartbeat's sender answers requests there.
        state: see `LIFE`.
        first, heard: when the first and the last one came, UNIX time [s].
        restarts: how many were noticed.
        missing: heartbeats that did not arrive.
        lost: when it was noticed to be lost, UNIX time [s]; NaN if it is not.
    """

    beat: Beat
    told: Heartbeat | Alive
    sender: int
    first: float
    heard: float
    state: State = "UNKNOWN"
    restarts: int = 0
    missing: int = 0
    lost: float = math.nan

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.beat.key

    def uptime(self, now: float) -> float:
        """Since when it has been running [s]."""
        return (now if self.state == "ALIVE" else self.heard) - self.beat.begun


class Applications:
    """All applications that send heartbeats.

    Args:
        settings: thresholds.
        sight: when we listened.

    Attributes:
        known: by key.
        counts: see `COUNTS`.
        conditions: what is wrong at present: ``DUPLICATE`` and ``CLOCK_WRONG``.
    """

    def __init__(self, settings: TrackSettings, sight: Coverage) -> None:
        self.known: dict[str, Application] = {}
        self.counts = dict.fromkeys(COUNTS, 0)
        ends_after = max(settings.condition_ends_after, 2 * settings.heartbeat_lost_after)
        self.conditions = Conditions(ends_after)
        self._settings, self._sight = settings, sight
        self._subnets = Networks(settings.subnets, "subnets")
        self._room: Room[str] = Room(settings.most_applications)

    def heartbeat(
        self, heartbeat: Heartbeat, host: int, port: int, now: float
    ) -> list[ApplicationEvent]:
        """A heartbeat of the JSON kind came from ``host`` and ``port``."""
        title = f"{host_text(host)} {heartbeat.image} {heartbeat.command}"
        beat = Beat(
            f"json:{heartbeat.identity(host):016x}",
            f"{title} in {heartbeat.directory}",
            host,
            heartbeat.port,
            heartbeat.pid,
            now - heartbeat.uptime,
            heartbeat.sequence,
            self._settings.heartbeat_lost_after,
            heartbeat.clock - now,
            ordered=False,
        )
        return self._feed(beat, heartbeat, port, now)

    def alive(self, alive: Alive, host: int, port: int, now: float) -> list[ApplicationEvent]:
        """A heartbeat of an alive record came from ``host`` and ``port``."""
        settings = self._settings
        period = min(max(alive.period, 1), settings.alive_longest_period)
        beat = Beat(
            f"{ALIVE}{alive.name}",
            alive.name,
            host,
            0,
            alive.started,
            now - max(alive.clock - alive.started, 0),
            alive.count,
            settings.alive_lost_periods * period,
            alive.clock - now,
            ordered=True,
        )
        return self._feed(beat, alive, port, now)

    def tick(self, now: float) -> list[ApplicationEvent]:
        """Who has been silent for too long."""
        events: list[ApplicationEvent] = []
        for app in self.known.values():
            seen_from = max(app.heard, self._sight.since(app.beat.host, app.beat.use))
            if app.state == "ALIVE" and now - seen_from >= app.beat.limit:
                told = {"silent": now - app.heard, "limit": app.beat.limit}
                events += self._notice(app, "silent", "no heartbeat for too long", told, now)
        self.conditions.tick(now)
        self._room.tick()
        return events

    def clock_set(self, by: float) -> None:
        """The clock was set, and shows so much more: that much later all of them started."""
        for app in self.known.values():
            app.beat = replace(app.beat, begun=app.beat.begun + by)

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing was heard later than that."""
        for app in self.known.values():
            app.first, app.heard = min(app.first, now), min(app.heard, now)
            app.lost = min(app.lost, now)  # NaN, if it is not known, stays: it must come first
            app.beat = replace(app.beat, begun=min(app.beat.begun, now))
        self.conditions.set_back(now)

    def running(self, host: int) -> Iterator[Application]:
        """The applications of this host that are alive."""
        return (a for a in self.known.values() if a.beat.host == host and a.state == "ALIVE")

    def forget(self, key: str) -> bool:
        """Forget an application that is lost; was there one."""
        app = self.known.get(key)
        if app is None or (app.state, "forgotten") not in LIFE:
            return False
        del self.known[key]
        return True

    # -- one heartbeat ----------------------------------------------------------------------------

    def _feed(
        self, beat: Beat, told: Heartbeat | Alive, sender: int, now: float
    ) -> list[ApplicationEvent]:
        if beat.host not in self._subnets:
            self.counts["heartbeats_elsewhere"] += 1
            return []
        app = self.known.get(beat.key)
        if app is None:
            return self._first(beat, told, sender, now)
        self.counts["heartbeats_taken"] += 1
        last = app.beat
        noticed, cause = self._compare(last, beat)
        if noticed == "older" and app.state == "LOST":
            noticed, cause = "running", "the later start is silent, and an earlier one still runs"
        evidence = {"sequence": last.sequence, "new_sequence": beat.sequence}
        evidence |= {"run": last.run, "new_run": beat.run}
        if noticed == "older":
            self.counts["heartbeats_older"] += 1
            if self.conditions.begins("DUPLICATE", beat.key, now):
                return [self._event(app, "DUPLICATE", cause, evidence, now)]
            return []
        same = beat.run == last.run
        if noticed == "running" and same and beat.sequence <= last.sequence:
            self.counts["heartbeats_repeated"] += 1
            app.heard = now
            return self._notice(app, "running", cause, evidence, now)
        if noticed == "running" and same and self._sight.saw(last.host, app.heard, now, last.use):
            self.counts["heartbeats_missing"] += beat.sequence - last.sequence - 1
            app.missing += beat.sequence - last.sequence - 1
        app.beat, app.told, app.sender, app.heard = beat, told, sender, now
        events = []
        if noticed == "restarted":
            app.restarts += 1
            events += self._notice(app, "restarted", cause, evidence, now)
        else:
            events += self._notice(app, "running", cause, evidence, now)
        return [*events, *self._moved(app, last, now), *self._clock(app, now)]

    def _first(
        self, beat: Beat, told: Heartbeat | Alive, sender: int, now: float
    ) -> list[ApplicationEvent]:
        self.counts["applications_displaced"] += self._room.make(self.known)
        if not self._room.is_there(self.known):
            self.counts["heartbeats_no_room"] += 1
            return []
        self.counts["heartbeats_taken"] += 1
        app = self.known[beat.key] = Application(beat, told, sender, now, now)
        evidence = {"sequence": beat.sequence, "uptime": now - beat.begun}
        if beat.begun >= self._sight.since(beat.host, beat.use):
            events = self._notice(app, "started", "started since we listen", evidence, now)
        else:
            events = self._notice(app, "running", "was up before we listened", evidence, now)
        return events + self._clock(app, now)

    def _compare(self, last: Beat, beat: Beat) -> tuple[str, str]:
        """What the heartbeat ``beat`` says after ``last``, and why."""
        tolerance = self._settings.start_tolerance
        if beat.run == last.run:
            later = beat.begun > last.begun + tolerance
            if not beat.ordered and later and beat.sequence <= last.sequence:
                return "restarted", "same process number, but a later start"
            return "running", "same run"
        earlier = beat.run < last.run if beat.ordered else beat.begun < last.begun - tolerance
        if earlier:
            return "older", "an earlier start still sends heartbeats"
        return "restarted", "a later start" if beat.ordered else "another process"

    def _moved(self, app: Application, last: Beat, now: float) -> list[ApplicationEvent]:
        beat = app.beat
        same_host = beat.host == last.host or beat.run == last.run  # one run may have two addresses
        if same_host and beat.port == last.port:
            return []
        told = {
            "from": f"{host_text(last.host)}:{last.port}",
            "to": f"{host_text(beat.host)}:{beat.port}",
        }
        return [self._event(app, "MOVED", "another host or port", told, now)]

    def _clock(self, app: Application, now: float) -> list[ApplicationEvent]:
        offset = app.beat.offset
        if abs(offset) < self._settings.clock_tolerance:
            return []
        if not self.conditions.begins("CLOCK_WRONG", app.key, now):
            return []
        return [self._event(app, "CLOCK_WRONG", "its clock differs", {"offset": offset}, now)]

    def _notice(
        self, app: Application, noticed: Noticed, cause: str, told: Evidence, now: float
    ) -> list[ApplicationEvent]:
        app.state, kind = LIFE[app.state, noticed]
        if app.state == "LOST":
            app.lost = now
        elif not math.isnan(app.lost):
            told = {**told, "lost": app.lost}
            app.lost = math.nan
        return [self._event(app, kind, cause, told, now)] if kind else []

    def _event(
        self, app: Application, kind: str, cause: str, told: Evidence, now: float
    ) -> ApplicationEvent:
        evidence = {**told, "title": app.beat.title}
        beat = app.beat
        return ApplicationEvent(now, kind, cause, evidence, beat.key, beat.host, beat.port)
