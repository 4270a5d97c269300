"""The PV monitor, wired together: queue, knowledge, what is kept.

::

    feeds --> queue --> [pv-monitor-take] knowledge --> events --> disk, database, whoever is told
                                 |  ^
              questions <--------+  +---- [pv-monitor-keep] snapshots, statistics, what is expected
                                    +---- [pv-monitor-find] names that came are found

Whoever has the turn of the knowledge does nothing that can take long with it; disk and database
come after. Knows nothing of OCS, so that it can be tested and killed without it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from socs.closing import Closing
from socs.counters import EPICS_KNOWLEDGE_CONSERVATION, EPICS_MONITOR_CONSERVATION, imbalances
from socs.db.engine import Database
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.knowledge.wishes import Wish
from socs.epics.monitor import measures
from socs.epics.monitor.asked_values import octets_of
from socs.epics.monitor.catch_up import ToldBefore
from socs.epics.monitor.host_book import HostBook
from socs.epics.monitor.our_clock import OurClock
from socs.epics.monitor.pv_search import PvSearch
from socs.epics.monitor.queries import Queries
from socs.epics.monitor.store import MonitorStore, StoreSettings
from socs.epics.monitor.summary_queue import DEFAULT_BYTES, Arrived, ClockSet, SummaryQueue
from socs.epics.monitor.taking_up import take_up
from socs.epics.monitor.turns import Turns
from socs.epics.monitor.upkeep import Upkeep
from socs.epics.rows import Row, gateway_row, polling_row
from socs.epics.search.searcher import Priority
from socs.epics.summary import decode
from socs.epics.track.events import Event
from socs.errors import Malformed, NotAllowed, StorageUnavailable
from socs.memory import give_back
from socs.problems import Problems

TICK = 0.25  # s between looks for what did not come
DRAIN = 2.0  # s at the end for messages that wait


@dataclass(frozen=True)
class PvMonitorSettings:
    """What a site configures.

    Attributes:
        gateways: names of those that are listened to.
        knowledge: thresholds and limits.
        store: what is kept, and where.
        queue_bytes: of messages that wait.
    """

    gateways: tuple[str, ...]
    knowledge: KnowledgeSettings
    store: StoreSettings
    queue_bytes: int = DEFAULT_BYTES


@dataclass
class _Parts:
    """What is there once the last snapshot has been taken up."""

    knowledge: Knowledge
    search: PvSearch
    queries: Queries
    told_before: ToldBefore
    upkeep: Upkeep
    rates: measures.Rates = field(default_factory=measures.Rates)


class PvMonitor(Closing):
    """Takes summaries of gateways, knows what they say, and tells what happens.

    All methods may be called from any thread; `put` never waits.

    Args:
        settings: see there.
        database: with the tables of EPICS and the files table.
        on_events: called with events when they are on the disk, from a thread.
        on_wishes: called with what gateways should do, from a thread.
        report: gets lines for the log, from any thread.

    Attributes:
        book: what people write down of hosts.

    Raises:
        ConfigError: a setting is wrong, or another process has the spool.
        StorageUnavailable: the spool's disk refuses.
    """

    def __init__(
        self,
        settings: PvMonitorSettings,
        database: Database,
        *,
        on_events: Callable[[Sequence[Event]], object] = lambda events: None,
        on_wishes: Callable[[Sequence[Wish]], object] = lambda wishes: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self._database = database
        self._on_events, self._on_wishes, self._tell = on_events, on_wishes, report
        self._problems = Problems(report)
        self._queue = SummaryQueue(settings.queue_bytes)
        self.counters = self._queue.counters
        self._clock = OurClock()
        self._turns = Turns()
        self._store = MonitorStore(settings.store, database, report)
        self.book = HostBook(database, self._expected_changed)
        self._parts: _Parts | None = None
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._events = 0  # told so far
        self._defect: str | None = None
        self._thread = threading.Thread(target=self._run, name="pv-monitor-take", daemon=True)

    def start(self) -> None:
        """Take up what was known, and begin; returns at once."""
        self._thread.start()

    def wait_ready(self, timeout: float) -> bool:
        """Wait until what was known is taken up; False if that takes longer [s]."""
        return self._ready.wait(timeout)

    def close(self) -> None:
        """Take what waits, keep all that is known, and end.

        Raises:
            StorageUnavailable: the spool's disk refuses; all is stopped, though.
        """
        self._stopping.set()
        self._queue.wake()
        if self._thread.is_alive():
            self._thread.join()
        if self._parts is not None:
            self._parts.upkeep.close()
            self._parts.upkeep.snapshot_now()
        self._store.close()

    def put(self, gateway: str, message: object, now: float) -> None:
        """Take a message of ``gateway``'s feed, which came ``now`` (UNIX time [s]). Never waits."""
        self._look_at_clock()
        self._queue.put(gateway, message, now)

    def _look_at_clock(self) -> bool:
        """Was our clock set? Then what comes from now on has other times than what waits."""
        by = self._clock.was_set()
        return bool(by) and self._queue.clock_set(by, time.time())

    # -- the way of the data --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._parts = parts = self._begin()
            self._ready.set()
            self._take_all(parts)
        except Exception as error:  # a defect
            self._defect = f"the monitor ended by itself: {type(error).__name__}: {error}"
            self._problems.report("defect", self._defect, time.monotonic())
            raise

    def _take_all(self, parts: _Parts) -> None:
        tick_at = 0.0
        while not self._stopping.is_set():
            arrived = self._queue.get(TICK)
            if arrived is not None:
                self._take(parts, arrived)
            if time.monotonic() >= tick_at:
                self._tick(parts)
                tick_at = time.monotonic() + TICK
        until = time.monotonic() + DRAIN
        while (arrived := self._queue.get(0)) is not None:
            if time.monotonic() < until:
                self._take(parts, arrived)
            else:
                self._queue.done(arrived, "summaries_dropped_end")

    def _take(self, parts: _Parts, arrived: Arrived) -> None:
        became, problem = "summaries_taken", ""
        events: list[Event] = []
        wishes: list[Wish] = []
        if isinstance(arrived.message, ClockSet):
            with self._turns:
                events = parts.knowledge.clock_set(arrived.message.by, arrived.time)
            self._pass_on(parts, events, wishes)
            return
        try:
            summary = decode(arrived.message)
            if summary.gateway != arrived.gateway:
                became, problem = "summaries_foreign", f"a summary of {summary.gateway!r}"
            else:
                with self._turns:
                    events = parts.knowledge.take(summary, arrived.time)
                    wishes = parts.knowledge.wants()
        except Malformed as error:
            became, problem = "summaries_malformed", str(error)
        except Exception as error:  # noqa: BLE001  a defect; the gap is noticed, and we go on
            became, problem = "summaries_failed", f"{type(error).__name__}: {error}"
        if problem:
            self._problems.report(became, f"{arrived.gateway}: {problem}", time.monotonic())
        self._pass_on(parts, events, wishes)
        self._queue.done(arrived, became)

    def _tick(self, parts: _Parts) -> None:
        if self._look_at_clock():
            return  # that is taken first
        try:
            with self._turns:
                events = parts.knowledge.tick(self._queue.waits_since(time.time()))
                wishes = parts.knowledge.wants()
        except Exception as error:  # noqa: BLE001  a defect; the next look may go, and we take on
            self.counters.add("looks_failed")
            problem = f"what ended was not looked for: {type(error).__name__}: {error}"
            self._problems.report("looks_failed", problem, time.monotonic())
            return
        self._pass_on(parts, events, wishes)

    def _pass_on(self, parts: _Parts, events: Sequence[Event], wishes: Sequence[Wish]) -> None:
        if len(parts.told_before):
            fresh = [event for event in events if not parts.told_before.has(event)]
            self.counters.add("ioc_events_told_before", len(events) - len(fresh))
            events = fresh
        if events:
            self._store.put(events, time.time())
            self._events += len(events)
            self._call(self._on_events, events)
        if wishes:
            self._call(self._on_wishes, wishes)

    def _call(self, function: Callable[..., object], *values: Any) -> None:
        try:
            function(*values)
        except Exception as error:  # noqa: BLE001  not ours, and monitoring goes on
            self._problems.report("told", f"nobody could be told: {error!r}", time.monotonic())

    def refused(self, wish: Wish) -> None:
        """A gateway did not do what we wished."""
        if self._stopping.is_set():
            return
        parts = self._there()
        with self._turns:
            events = parts.knowledge.refused(wish)
        self._pass_on(parts, events, ())

    # -- the start ------------------------------------------------------------------------------

    def _begin(self) -> _Parts:
        """What was known at the end of the last run, and what works on with it."""
        began = time.monotonic()
        known = take_up(self.settings.knowledge, self._store, self._tell)
        knowledge, turns, store = known.knowledge, self._turns, self._store
        self.counters.add("ioc_events_caught_up", known.caught_up)
        search = PvSearch(knowledge.pvs, turns, knowledge.forget)
        give_back()
        store.start()
        upkeep = Upkeep(
            *(knowledge, turns, search, store, self.counters),
            values=lambda rates: self._measures(knowledge, rates),
        )
        upkeep.start()
        self._tell(
            f"{len(knowledge.inventory)} process variables are known after "
            f"{time.monotonic() - began:.1f} s; {known.caught_up} events were later than the "
            "snapshot"
        )
        queries = Queries(knowledge, turns, search, self._database, self.book)
        return _Parts(knowledge, search, queries, known.told_before, upkeep)

    # -- what an operator does ------------------------------------------------------------------

    def _there(self) -> _Parts:
        if self._parts is None:
            raise StorageUnavailable("what was known is still being taken up; ask again soon")
        return self._parts

    @property
    def queries(self) -> Queries:
        """Answers questions.

        Raises:
            StorageUnavailable: it has not taken up yet what was known.
        """
        return self._there().queries

    @property
    def search(self) -> PvSearch:
        """Finds process variables, and forgets them; it raises the same."""
        return self._there().search

    def _expected_changed(self) -> None:
        if self._parts is not None:
            self._parts.upkeep.read_expected()

    def forget_server(self, protocol: int, host: int, port: int) -> None:
        """Forget a server; raises `NotAllowed` if it is not known, or not lost."""
        with self._turns:
            if not self._there().knowledge.beacons.forget((protocol, host, port)):
                raise NotAllowed("server: it is not known, or not lost", "not_lost")

    def forget_application(self, key: str) -> None:
        """Forget an application; raises the same."""
        with self._turns:
            if not self._there().knowledge.applications.forget(key):
                raise NotAllowed("application: it is not known, or not lost", "not_lost")

    def update(self, names: Iterable[str]) -> int:
        """Have gateways search for these names now; for how many.

        Raises:
            NotAllowed: no gateway can search now.
        """
        wanted = [octets_of(name, "names") for name in names]
        with self._turns:
            asked = self._there().knowledge.search(wanted, Priority.PAGE)
        if not asked:
            raise NotAllowed("no gateway can search now: see their troubles and --search of each")
        return asked

    def poll(self, *, on: bool | None = None) -> Row:
        """Switch polling on or off, or begin a round now; how it stands.

        Raises:
            NotAllowed: a round is to begin, but polling is off.
        """
        with self._turns:
            polling = self._there().knowledge.searches.polling
            if on is not None:
                polling.enabled = on
            elif not polling.enabled:
                raise NotAllowed("polling is off: see --poll, or the Task poll")
            else:
                polling.poll_now()
        return polling_row(polling)

    def snapshot_now(self) -> bool:
        """Write all that is known to a file; False if the disk refuses, as `status` tells."""
        return self._there().upkeep.snapshot_now()

    # -- what an operator sees ------------------------------------------------------------------

    def _measures(self, knowledge: Knowledge, rates: measures.Rates) -> dict[str, float]:
        numbers = self._queue.numbers()
        with self._turns:
            found = measures.totals(knowledge)
            counts = measures.counts(knowledge) | {"events": self._events}
            joins = [*knowledge.joins.values()]
        return {
            **found,
            **rates.of(counts, time.monotonic()),
            **measures.of_gateways(joins, len(self.settings.gateways), time.time()),
            "summaries_queued": numbers["summaries_queued"],
            "summary_bytes_queued": numbers["summary_bytes_queued"],
        }

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name, but those of what is kept."""
        found = self._queue.numbers()
        if self._parts is not None:
            with self._turns:
                found |= self._parts.knowledge.numbers()
        return found

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON).

        Raises:
            StorageUnavailable: the spool's disk refuses.
        """
        numbers = self.numbers()
        troubles = [self._defect] if self._defect else []
        found: dict[str, Any] = {"ready": self._parts is not None}
        equations = list(EPICS_MONITOR_CONSERVATION)
        if self._parts is None:
            troubles += [] if self._defect else ["what was known is being taken up"]
        else:
            equations += EPICS_KNOWLEDGE_CONSERVATION
            knowledge = self._parts.knowledge
            troubles += self._queue.troubles(time.time())
            with self._turns:
                troubles += knowledge.troubles()
                found["gateways"] = [
                    gateway_row(name, join) for name, join in sorted(knowledge.joins.items())
                ]
                found["polling"] = polling_row(knowledge.searches.polling)
            troubles += self._parts.upkeep.troubles()
            found["measures"] = self._measures(knowledge, self._parts.rates)
        return self._store.status_with(
            {
                **found,
                "counters": numbers,
                "unaccounted": imbalances(numbers, equations),
                "troubles": troubles,
            }
        )
