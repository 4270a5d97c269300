"""Which applications are asked for what, and when; and what they told.

An application is asked for its names when it is first heard, after each start, and once a day. Some
application of a host is asked for the lines that describe the host when a server there started, or
it is not known what serves at a port: at best one that is run by root, as that one knows most.
Who did not tell all is asked again after a while.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from socs.epics.applications.conversations import ENDINGS, LARGEST, What
from socs.epics.applications.host_processes import HostProcesses
from socs.epics.decode.heartbeat import WITH_LINES, WITHOUT_NAMES, Heartbeat
from socs.epics.knowledge.wishes import Ask
from socs.epics.summary import AnswerPart
from socs.epics.track.applications import Application, Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.events import ApplicationEvent, Event, ServerEvent
from socs.errors import ConfigError

COUNTS = (
    "asks_wished",
    "asks_refused",
    "told_complete",
    "told_partial",
    "told_nothing",
    "told_torn",
)
MOST_HOSTS = 65_536  # of which is known which gateway hears them
MOST_PARTS = 16  # conversations of which parts are awaited
STARTS = frozenset({"NEW", "DETECTED", "RESTARTED"})
LOOK_PERIOD = 1.0  # s between looks for who is due, if nothing happens
SETTLED = frozenset({"complete", "full"})  # endings after which there is no more to be had
ROOT = "LinuxMonitor"  # in the program of an application that is run by root


@dataclass(frozen=True)
class InterviewSettings:
    """When applications are asked. Times in seconds.

    Attributes:
        enabled: ask at all.
        names_every: an application is asked for its names that often, if it does not start anew.
        lines_every: a host is asked for its lines that often, if no server there starts anew.
        lines_apart: a host is asked for its lines once in this time, whatever happens; longer than
            the gateway's own limit, which begins when it has got our wish.
        again: who did not answer, or not all, is asked again after this.

    Raises:
        ConfigError: a time is not above 0.
    """

    enabled: bool = False
    names_every: float = 86_400.0
    lines_every: float = 86_400.0
    lines_apart: float = 75.0
    again: float = 1_800.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "enabled" and not value > 0:
                raise ConfigError(f"{name}: {value} is not above 0")


@dataclass
class Interview:
    """How an application was asked for names, or for lines.

    Attributes:
        asked: when last, UNIX time [s].
        awaited: nothing came of it yet.
        told: when it told something, or that it has nothing; NaN: never.
        ending: how that ended, see `.conversations.ENDINGS`; empty: never yet.
        texts: how many names or lines it told.
        total: how many names it has, as it says.
    """

    asked: float = -math.inf
    awaited: bool = False
    told: float = math.nan
    ending: str = ""
    texts: int = 0
    total: int = 0

    def due(self, now: float, every: float, again: float) -> bool:
        """Is it time to ask."""
        settled = self.ending in SETTLED and not self.awaited
        return now - self.asked >= (every if settled else again)


@dataclass
class _Host:
    """When a host may be asked for lines.

    ``changed`` is when a server there started last; until ``awaited`` an answer may come, and until
    ``apart`` nobody there is asked again.
    """

    changed: float = -math.inf
    awaited: float = -math.inf
    apart: float = -math.inf

    def ready(self, now: float) -> bool:
        """May somebody there be asked."""
        return now >= max(self.awaited, self.apart)


@dataclass
class _Parts:
    """What came so far of a conversation; of names only how many, as they are known already."""

    lines: list[str] = field(default_factory=list)
    texts: int = 0
    size: int = 0


class Interviews:
    """Who is asked when, and what came of it.

    Args:
        settings: see there.
        applications, beacons: who can be asked, and which ports there are.

    Attributes:
        processes: what serves where.
        names: by key of the application, how it was asked for its names.
        lines: the same for the lines of its host.
        counts: see `COUNTS`.
    """

    def __init__(
        self, settings: InterviewSettings, applications: Applications, beacons: Beacons
    ) -> None:
        self.settings = settings
        self.processes = HostProcesses(applications)
        self.names: dict[str, Interview] = {}
        self.lines: dict[str, Interview] = {}
        self.counts = dict.fromkeys(COUNTS, 0)
        self._applications, self._beacons = applications, beacons
        self._hosts: dict[int, _Host] = {}
        self._by_gateway: dict[int, str] = {}
        self._parts: dict[tuple[str, int, int], _Parts] = {}
        self._look_at = -math.inf

    # -- what happens -----------------------------------------------------------------------------

    def heard(self, gateway: str, host: int) -> None:
        """A gateway heard a heartbeat of this host; it can ask there."""
        if host not in self._by_gateway and len(self._by_gateway) >= MOST_HOSTS:
            del self._by_gateway[next(iter(self._by_gateway))]
        self._by_gateway[host] = gateway

    def follow(self, event: Event) -> None:
        """Something happened; does anybody have to be asked anew."""
        if isinstance(event, ServerEvent) and event.kind in STARTS:
            self._changed(event.host, event.time)
            if event.kind != "DETECTED":
                self.processes.started(event.host, event.port)
        elif isinstance(event, ApplicationEvent) and event.kind in STARTS:
            self._changed(event.host, event.time)
            for kind in (self.names, self.lines):
                if event.key in kind:
                    kind[event.key].asked = -math.inf

    def refused(self, ask: Ask) -> None:
        """A gateway did not ask. It is wished again when the time for that has come."""
        self.counts["asks_refused"] += 1
        if ask.what == "lines" and ask.host in self._hosts:
            self._hosts[ask.host].awaited = -math.inf

    def told(self, told: AnswerPart, app: Application | None, time: float) -> None:
        """An application told something, or a part of it.

        Args:
            told: see there.
            app: whose heartbeats come from there; None if nobody's do any more.
            time: when, UNIX time by our clock [s].
        """
        parts = self._gathered(told)
        if parts is None or not told.ending:
            return
        ending = told.ending if told.ending in ENDINGS else "cut"
        self.counts[f"told_{_how(ending, parts.texts)}"] += 1
        if told.kind == "lines":
            self._hosts.setdefault(told.host, _Host()).awaited = -math.inf
            if app is not None and parts.lines:
                complete = ending == "complete" and not told.skipped
                self.processes.take(told.host, app.key, parts.lines, time, complete=complete)
        if app is not None:
            kind = self.names if told.kind == "names" else self.lines
            interview = kind.setdefault(app.key, Interview())
            interview.awaited, interview.ending = False, ending
            if ending != "silent":  # else what was told before is all we have
                interview.told, interview.texts = time, parts.texts
                interview.total = told.total

    def _gathered(self, told: AnswerPart) -> _Parts | None:
        """All parts up to this one; None if one is missing."""
        key = told.kind, told.host, told.port
        parts = self._parts.pop(key, None) or _Parts()
        if parts.texts != told.first or parts.size > LARGEST:
            self.counts["told_torn"] += bool(told.ending)
            return None
        parts.texts += len(told.texts)
        if told.kind == "lines":
            parts.lines += told.texts
            parts.size += sum(map(len, told.texts))
        if not told.ending:
            self._parts[key] = parts
            if len(self._parts) > MOST_PARTS:
                del self._parts[next(iter(self._parts))]
        return parts

    def set_back(self, now: float) -> None:
        """The clock was set back, and shows ``now``: nothing was asked later than that."""
        self._look_at = -math.inf
        for interview in [*self.names.values(), *self.lines.values()]:
            interview.asked = min(interview.asked, now)
            interview.told = min(interview.told, now)  # NaN stays: it must come first
        for host in self._hosts.values():
            host.changed = min(host.changed, now)
            host.awaited = min(host.awaited, now + self.settings.again)
            host.apart = min(host.apart, now + self.settings.lines_apart)

    def _changed(self, host: int, time: float) -> None:
        self._hosts.setdefault(host, _Host()).changed = time
        self._look_at = -math.inf

    # -- what is to be done -----------------------------------------------------------------------

    def due(self, now: float, live: Iterable[str]) -> list[Ask]:
        """Whom to ask now, through gateways that are ``live``."""
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_PERIOD
        self._forget()
        if not self.settings.enabled:
            return []
        asks: list[Ask] = []
        with_lines: dict[int, list[Application]] = {}
        for app, told in self._reached(frozenset(live)):
            if told.version != WITHOUT_NAMES:
                interview = self.names[app.key]
                if interview.due(now, self.settings.names_every, self.settings.again):
                    asks.append(self._ask("names", app, interview, now))
            if told.version == WITH_LINES:
                with_lines.setdefault(app.beat.host, []).append(app)
        ready = {host: apps for host, apps in with_lines.items() if self._hosts[host].ready(now)}
        unmapped = self._unmapped(ready.keys()) if ready else set()
        for host, apps in ready.items():
            asks += self._lines(self._hosts[host], apps, now, unmapped=host in unmapped)
        self.counts["asks_wished"] += len(asks)
        return asks

    def _forget(self) -> None:
        known = self._applications.known
        for kind in (self.names, self.lines):
            for key in kind.keys() - known.keys():
                del kind[key]
            for key in known.keys() - kind.keys():
                kind[key] = Interview()
        hosts = {app.beat.host for app in known.values()}
        for host in self._hosts.keys() - hosts:
            del self._hosts[host]
        for host in hosts - self._hosts.keys():
            self._hosts[host] = _Host()

    def _reached(self, live: frozenset[str]) -> Iterator[tuple[Application, Heartbeat]]:
        """Applications that can be asked at present."""
        for app in self._applications.known.values():
            gateway = self._by_gateway.get(app.beat.host)
            if app.state == "ALIVE" and isinstance(app.told, Heartbeat) and gateway in live:
                yield app, app.told

    def _unmapped(self, hosts: Collection[int]) -> set[int]:
        """Those of these hosts on which a server runs that is not known."""
        alive = (each for each in self._beacons.servers.values() if each.state == "ALIVE")
        places = {(each.host, each.port) for each in alive if each.host in hosts}
        return {host for host, _ in places - self.processes.of(places).keys()}

    def _lines(
        self, host: _Host, apps: list[Application], now: float, *, unmapped: bool
    ) -> list[Ask]:
        """Whom of a host to ask for lines: the best one, others if that is not enough."""
        settings = self.settings
        for place, app in enumerate(sorted(apps, key=_goodness)):
            interview = self.lines[app.key]
            due = interview.due(now, settings.lines_every, settings.again)
            if (due or interview.asked < host.changed) and (place == 0 or unmapped):
                host.awaited = now + settings.again
                host.apart = now + settings.lines_apart
                return [self._ask("lines", app, interview, now)]
        return []

    def _ask(self, what: What, app: Application, interview: Interview, now: float) -> Ask:
        interview.asked, interview.awaited = now, True
        beat = app.beat
        gateway = self._by_gateway[beat.host]
        return Ask(gateway, what, beat.host, app.sender, beat.sequence, beat.port)


def _how(ending: str, texts: int) -> str:
    if ending == "complete":
        return "complete"
    return "partial" if texts else "nothing"


def _goodness(app: Application) -> tuple[bool, str]:
    """Who knows most of its host is first."""
    return not (isinstance(app.told, Heartbeat) and ROOT in app.told.image), app.key
