"""All that is known of EPICS on the networks of some gateways, from their summaries.

::

    take(summary, now)   -> events      what was heard, and what follows from it
    tick(now)            -> events      what follows from what was not heard
    wants()              -> wishes      what gateways should do

Trackers live in the time up to which every live gateway has reported, by our clock. A gateway that
is silent for too long is blind, and not waited for.

Requests count as often as gateways tell of them: let no two of them hear the same clients. All else
may be heard by several. A process variable that no gateway finds is lost only if one of those that
say so hears its server.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.accounts.name_rule import NameRule
from socs.epics.accounts.sources import SourceClasses
from socs.epics.applications.interviews import Interviews, InterviewSettings
from socs.epics.knowledge.feeding import Feeding
from socs.epics.knowledge.joining import Join, Joined
from socs.epics.knowledge.own_searches import OwnSearches, OwnSearchSettings
from socs.epics.knowledge.wishes import Ask, Resync, Search, Wish
from socs.epics.search.searcher import Priority
from socs.epics.summary import AnswerPart, Summary
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.coverage import Coverage
from socs.epics.track.events import Event, ServerEvent
from socs.epics.track.hosts import Hosts
from socs.epics.track.pvs import Pvs
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError

COUNTS = (
    "summaries_joined",
    "summaries_missed",
    "summaries_repeated",
    "summaries_of_old_boot",
    "summaries_strange",
    "requests_missed",
    "datagrams_missed",
    "clocks_set",
    "resyncs_wished",
)
REFUSED_LASTS = 60.0  # s since a message was refused
MOST_GATEWAYS = 256  # if any is admitted
SERVER_CHANGES = frozenset({"NEW", "RESTARTED", "LOST", "RESUMED"})


@dataclass(frozen=True)
class KnowledgeSettings:
    """Everything that a site configures. Times in seconds.

    Attributes:
        track: thresholds of the trackers.
        limits: how much is remembered.
        rule: which names are valid.
        classes: classes of sources by their networks.
        gateways: names of those that are listened to; none stands for any.
        gateway_patience: one that is silent for longer is blind.
        clock_tolerance: a gateway's clock that differs by more is corrected.
        tick_period: how often to look for what is silent.
        resync_period: a gateway is asked for all its names anew this often at most.
        window: what two gateways heard of one sender within this time may be the same.
        ask: when to ask applications for their names and processes.
        search: see there.

    Raises:
        ConfigError: a value is not possible.
    """

    track: TrackSettings
    limits: InventoryLimits = field(default_factory=InventoryLimits)
    rule: NameRule = field(default_factory=NameRule)
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    gateway_patience: float = 5.0
    clock_tolerance: float = 1.0
    tick_period: float = 0.5
    resync_period: float = 5.0
    window: float = 3.0
    ask: InterviewSettings = field(default_factory=InterviewSettings)
    search: OwnSearchSettings = field(default_factory=OwnSearchSettings)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float) and not value > 0:
                raise ConfigError(f"{name}: {value} is not above 0")


class _Before(NamedTuple):
    """A gateway before its message was taken."""

    boot: str
    live: bool
    ended: float
    hears: tuple[tuple[str, ...], tuple[str, ...]]


class Knowledge:
    """What is known.

    Args:
        settings: see there.
        since: nobody listened before, UNIX time [s].
        secret: see `socs.epics.accounts.texts.Seed`.

    Attributes:
        inventory, pvs, beacons, applications, hosts: what is known, by subject.
        sight: when we listened.
        joins: gateways by name: their state, clocks, and what was missed.
        searches: searches and polling.
        interviews: what applications were asked for, and what they told.
    """

    def __init__(
        self, settings: KnowledgeSettings, *, since: float = -math.inf, secret: int
    ) -> None:
        self.settings, track = settings, settings.track
        classes = SourceClasses(settings.classes)
        self.inventory = Inventory(settings.limits, settings.rule, classes, secret=secret)
        self.sight = Coverage(since)
        self.pvs = Pvs(self.inventory, track, self.sight)
        self.beacons = Beacons(track, self.sight)
        self.applications = Applications(track, self.sight)
        self.hosts = Hosts(self.beacons, self.applications, self.sight, track)
        self.searches = OwnSearches(self.pvs, settings.search, self.sight, seed=secret)
        self.joins: dict[str, Join] = {}
        self.interviews = Interviews(settings.ask, self.applications, self.beacons)
        self._feeding = Feeding(
            self.pvs,
            self.beacons,
            self.applications,
            sight=self.sight,
            window=settings.window,
            recent=track.answers_within + settings.window,
        )
        self._counts = dict.fromkeys(COUNTS, 0)
        self._now = self._horizon = self._ticked = -math.inf
        self._resynced: dict[str, float] = {}

    def take(self, summary: Summary, now: float) -> list[Event]:
        """Take a summary that arrived ``now``; what happened, in order."""
        self._now = max(self._now, now)
        join = self._join(summary.gateway)
        if join is None:
            self._counts["summaries_strange"] += 1
            return []
        before = _Before(join.boot, join.live, join.ended, (join.networks, join.left_out))
        joined = join.take(summary, now)
        if joined.refused:
            self._counts[joined.refused] += 1
            return []
        self._count(joined)
        events = self._follow(summary, join, joined, before)
        self._feeding.names(summary, join)
        self._feeding.requests(summary, join)
        heard = [*self._feeding.beacons(summary, join), *self._feeding.beats(summary, join)]
        heard += self._feeding.answers(summary, join)
        for found in sorted(summary.found, key=lambda each: each.ended):
            asked, ended = join.our(found.asked), max(join.our(found.ended), join.began)
            heard += self.searches.found(summary.gateway, found, asked, ended)
        heard.sort(key=lambda event: event.time)
        self._watch(heard)
        for beat in summary.beats:
            self.interviews.heard(summary.gateway, beat.host)
        for told in summary.told:
            self._told(told, join)
        return events + heard + self._advance()

    def tick(self, now: float) -> list[Event]:
        """Look for what did not come.

        Args:
            now: the time up to which all that has arrived was taken. If messages wait, that is when
                the first of them came.
        """
        self._now = max(self._now, now)
        events: list[Event] = []
        for name, join in self.joins.items():
            if join.live and now - join.arrived >= self.settings.gateway_patience:
                join.live = False
                events += self._blind(name, join, "no message for too long", now)
        events += self._advance()
        if events and not self._live():
            events += self.hosts.judge(self._ticked)
        return events + self.searches.tick(now)

    def clock_set(self, by: float, now: float) -> list[Event]:
        """Our clock was set, and shows ``now``, which is ``by`` more than before [s].

        What is silent gets its time anew, and nobody listened until gateways report again.
        """
        self.applications.clock_set(by)
        self.set_back(now)
        for join in self.joins.values():
            join.our_clock_set(now)
        return [Event(now, "CLOCK_SET", "our clock was set", {"by": by})]

    def set_back(self, now: float) -> None:
        """Nothing that is known is later than ``now``, whatever the clock showed then."""
        self._now, self._horizon = now, min(self._horizon, now)
        self._ticked = min(self._ticked, now)
        self._resynced.clear()
        for part in (self.pvs, self.beacons, self.applications, self.searches, self.interviews):
            part.set_back(now)
        self._feeding.clock_set()

    def wants(self) -> list[Wish]:
        """What gateways should do. Each is told once."""
        wishes: list[Wish] = []
        for name, join in self.joins.items():
            last = self._resynced.get(name, -math.inf)
            if join.live and join.unknown and self._now - last >= self.settings.resync_period:
                self._resynced[name] = self._now
                self._counts["resyncs_wished"] += 1
                wishes.append(Resync(name))
        wishes += self.searches.wishes()
        return wishes + self.interviews.due(self._now, self._live())

    def refused(self, wish: Wish) -> list[Event]:
        """A gateway did not do what we wished; what follows from that."""
        if isinstance(wish, Ask):
            self.interviews.refused(wish)
        return self.searches.refused(wish, self._now) if isinstance(wish, Search) else []

    def search(self, names: Iterable[bytes], priority: Priority = Priority.PAGE) -> int:
        """Search for ``names``, which are known from now on; for how many."""
        known = [name for name in names if self.inventory.names.add(name) >= 0]
        return self.searches.ask(known, priority, self._now)

    def forget(self, numbers: NDArray[np.integer]) -> None:
        """Forget these process variables; their numbers will be given to others."""
        self.pvs.forget(numbers)
        self.searches.polling.forget(numbers)
        for join in self.joins.values():
            join.forget(numbers)

    def numbers(self) -> dict[str, int]:
        """All counters by name, see :mod:`socs.counters.epics_knowledge`."""
        found: dict[str, int] = {"searches_now": len(self.searches)}
        for counts in (
            self._counts,
            self._feeding.counts,
            self.inventory.counts,
            self.pvs.counts,
            self.beacons.counts,
            self.applications.counts,
            self.searches.counts,
            self.interviews.counts,
        ):
            found |= counts
        return found

    def troubles(self) -> list[str]:
        """What is wrong with gateways, for people."""
        told = []
        for name, join in self.joins.items():
            if not join.live:
                told.append(f"{name} {'has ended' if join.finished else 'does not report'}")
            elif join.clock.behind:
                behind = join.clock.behind
                way = "behind" if behind > 0 else "ahead"
                told.append(f"clock of {name} is {abs(behind):.1f} s {way}; corrected")
            if self._now - join.refused < REFUSED_LASTS:
                told.append(f"messages under the name of {name} are refused: are there two of it?")
        silent = set(self.settings.gateways) - self.joins.keys()
        return told + [f"{name} has not reported yet" for name in sorted(silent)]

    # -- gateways ---------------------------------------------------------------------------------

    def _join(self, gateway: str) -> Join | None:
        if gateway not in self.joins:
            admitted = self.settings.gateways
            if gateway not in admitted if admitted else len(self.joins) >= MOST_GATEWAYS:
                return None
            self.joins[gateway] = Join(self.settings.clock_tolerance)
        return self.joins[gateway]

    def _live(self) -> list[str]:
        return [name for name, join in self.joins.items() if join.live]

    def _count(self, joined: Joined) -> None:
        self._counts["summaries_joined"] += 1
        self._counts["summaries_missed"] += joined.missed
        self._counts["requests_missed"] += joined.requests_missed
        self._counts["datagrams_missed"] += joined.datagrams_missed
        self._counts["clocks_set"] += joined.clock_set

    def _follow(self, summary: Summary, join: Join, joined: Joined, before: _Before) -> list[Event]:
        """A gateway was heard; was it blind between, and what does it hear."""
        name, start = summary.gateway, join.began if joined.apart else before.ended
        changed = joined.apart or (join.networks, join.left_out) != before.hears
        events: list[Event] = []
        if changed:
            self.sight.stopped(name, before.ended)
        if changed or not before.live:
            self.sight.listens(name, start, join.networks, join.left_out)
        if join.boot != before.boot:
            events += self.searches.without(name, join.ended)
        if joined.apart or not before.live:
            self.searches.listens_again(name)
            told: dict[str, int | float | str] = {"gateway": name, "from": start}
            if joined.apart and before.boot:
                told |= {"blind_from": before.ended, "missed": joined.missed}
                told |= {"requests_missed": joined.requests_missed}
            if join.left_out:
                told["does_not_hear"] = ", ".join(join.left_out)
            cause = _cause(join, joined, before)
            events.append(Event(join.ended, "GATEWAY_LISTENS", cause, told))
        if summary.last:
            events += self._blind(name, join, "it said that it ends", join.ended)
        self.searches.gateways = self._live()
        return events

    def _blind(self, name: str, join: Join, cause: str, now: float) -> list[Event]:
        """Nothing is known of what a gateway would hear from now on."""
        self.sight.stopped(name, join.ended)
        self.searches.gateways = self._live()
        told: dict[str, int | float | str] = {"gateway": name, "blind_from": join.ended}
        told["networks"] = ", ".join(join.networks) or "all"
        blind = Event(now, "GATEWAY_BLIND", cause, told)
        return [blind, *self.searches.without(name, now)]

    # -- what follows -----------------------------------------------------------------------------

    def _advance(self) -> list[Event]:
        """Let the trackers come up to the time that every live gateway has reported."""
        live = [join.ended for join in self.joins.values() if join.live]
        self._horizon = max(self._horizon, min(live, default=-math.inf))
        if self._horizon - self._ticked < self.settings.tick_period:
            return []
        self._ticked = self._horizon
        events: list[Event] = [*self.beacons.tick(self._ticked), *self.pvs.tick(self._ticked)]
        events += [*self.applications.tick(self._ticked), *self.pvs.tick(self._ticked)]
        self._watch(events)
        return events + self.hosts.judge(self._ticked)

    def _watch(self, events: Iterable[Event]) -> None:
        """Look closer at what has changed."""
        for event in events:
            if isinstance(event, ServerEvent) and event.kind in SERVER_CHANGES:
                self.searches.server_changed((event.protocol, event.host, event.port))
            self.interviews.follow(event)

    def _told(self, told: AnswerPart, join: Join) -> None:
        app = self._feeding.application(told.host, told.port)
        if told.kind == "names":
            self._feeding.told_names(told, app)
        self.interviews.told(told, app, max(join.our(told.time), join.began))


def _cause(join: Join, joined: Joined, before: _Before) -> str:
    """Why a gateway that listens is told."""
    if not before.boot:
        return "first message"
    if join.boot != before.boot:
        return "it started anew"
    if joined.undated:
        return "our clock was set"
    return "messages are missing" if joined.apart else "its messages were only late"
