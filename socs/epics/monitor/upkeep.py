"""What the PV monitor does from time to time: snapshots, statistics, looking up, throwing away.

Two threads of their own do it, as disk and database may take long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from socs.closing import Closing
from socs.counters import Counters
from socs.epics.knowledge.knowledge import Knowledge
from socs.epics.monitor import measures
from socs.epics.monitor.pv_search import PvSearch
from socs.epics.monitor.store import MonitorStore
from socs.epics.monitor.taking_up import gathered
from socs.epics.monitor.turns import Turns
from socs.epics.store.purge import DAY, purge_tables
from socs.errors import OurError, StorageUnavailable
from socs.memory import give_back

PERIOD = 0.25  # s between looks for what is due
EXPECTED_PERIOD = 60.0  # s between two looks at what people expect
FIRST_SNAPSHOT = 60.0  # s after the start
CROWDED = 0.95  # of the names that can be known; when there are more, invented ones go
CROWDED_PERIOD = 60.0  # s between looks for that
ASKED_AGAIN = 900.0  # s; who wants a process variable asks for it more often: clients every 300 s
FIRST_PURGE = 3600.0  # s after the start; by then the clock is right
DEFECT_PAUSE = 60.0  # s after a defect
FIND_PERIOD = 1.0  # s between looks for new names, at least
FIND_SHARE = 5.0  # at least so many times as long as the last look took


log = logging.getLogger(__name__)


@dataclass
class _Times:
    """When what is due next, by the monotonic clock [s]."""

    snapshot: float
    expected: float
    crowded: float
    purge: float


class Upkeep(Closing):
    """Keeps things.

    Args:
        knowledge: of the monitor.
        turns: who has it may change what is known.
        search: finds process variables.
        store: where things are kept.
        counters: must know :data:`socs.counters.EPICS_MONITOR`.
        values: of a line of statistics.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        turns: Turns,
        search: PvSearch,
        store: MonitorStore,
        counters: Counters,
        *,
        values: Callable[[measures.Rates], dict[str, float]],
    ) -> None:
        self._knowledge, self._turns, self._search = knowledge, turns, search
        self._store, self._counters = store, counters
        self._values = values
        self._rates = measures.Rates()
        self.look_up = threading.Event()  # set: look at what people expect
        self._stopping = threading.Event()
        self._snapshots = threading.Lock()
        self._problems: dict[str, str] = {}  # what was not done: why
        self._threads = [
            threading.Thread(target=run, name=f"pv-monitor-{name}", daemon=True)
            for name, run in (("keep", self._keep), ("find", self._find))
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End; the last snapshot is `snapshot_now`'s."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def troubles(self) -> list[str]:
        """Why something could not be done."""
        ended = [] if all(t.is_alive() for t in self._threads) else ["a thread ended by itself"]
        return [*ended, *dict(self._problems).values()]

    def snapshot_now(self) -> bool:
        """Write all that is known to a file; False if the disk refuses."""
        with self._snapshots:
            now = time.time()
            with self._turns:
                columns = gathered(self._knowledge, now)
            done = self._store.write_snapshot(columns, now)
        del columns
        give_back()
        return done

    def purge(self, now: float) -> None:
        """Throw away what is past its age.

        Raises:
            StorageUnavailable: the database does not do its part; it is done next time.
        """
        ages, inventory = self._store.settings.ages, self._knowledge.inventory
        names = self._search.purge(lambda: inventory.idle(now - ages.names))
        with self._turns:
            sources = inventory.sources.forget(now - ages.sources)
        self._counters.add("names_purged", names)
        self._counters.add("sources_purged", sources)
        gone = purge_tables(self._store.database, ages, now)
        self._counters.add("ioc_events_purged", gone["events"])
        self._counters.add("ioc_logs_purged", gone["logs"])

    def make_room(self, now: float) -> None:
        """When hardly any more names can be known, forget those that nobody asks for or serves."""
        inventory = self._knowledge.inventory
        if len(inventory) > CROWDED * inventory.limits.names:
            gone = self._search.purge(lambda: inventory.only_asked(now - ASKED_AGAIN))
            self._counters.add("names_crowded_out", gone)

    # -- threads ----------------------------------------------------------------------------------

    def _keep(self) -> None:
        began = time.monotonic()
        times = _Times(
            snapshot=began + FIRST_SNAPSHOT,
            expected=began + EXPECTED_PERIOD,
            crowded=began + ASKED_AGAIN,  # all had the time to ask
            purge=began + FIRST_PURGE,
        )
        while not self._stopping.wait(PERIOD):
            self._supervised("keeping", lambda: self._look(times, time.time(), time.monotonic()))

    def _look(self, times: _Times, now: float, clock: float) -> None:
        """Do what is due."""
        if clock >= times.snapshot and self._store.snapshots.due(now):
            self.snapshot_now()
        if self._store.statistics.due(now):
            self._store.statistics.add(self._values(self._rates), now)
            self._store.statistics.tick(now)
        if self.look_up.is_set() or clock >= times.expected:
            self.look_up.clear()
            times.expected = clock + EXPECTED_PERIOD
            self._attempt("expected", self._read_expected)
        if clock >= times.crowded:
            times.crowded = clock + CROWDED_PERIOD
            self.make_room(now)
        if clock >= times.purge:
            times.purge = clock + DAY
            self._attempt("purge", lambda: self.purge(time.time()))

    def _supervised(self, what: str, act: Callable[[], object]) -> None:
        """Call ``act``; a defect is told and counted, and after a while all goes on."""
        try:
            act()
        except Exception as error:  # a defect, or no memory
            self._counters.add("upkeep_errors")
            self._problems[what] = f"{what}: {type(error).__name__}: {error}"
            log.exception("upkeep, %s: a defect", what)
            self._stopping.wait(DEFECT_PAUSE)
        else:
            self._problems.pop(what, None)

    def _attempt(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except OurError as error:
            self._counters.add("upkeep_errors")
            self._problems[what] = str(error)
        else:
            self._problems.pop(what, None)

    def _read_expected(self) -> None:
        found = self._store.expected()
        with self._turns:
            self._knowledge.hosts.expected.clear()
            self._knowledge.hosts.expected.update(found)

    def read_expected(self) -> None:
        """Look at what people expect, now; if the database is away, later."""
        with suppress(StorageUnavailable):
            self._read_expected()

    def _find(self) -> None:
        pause = FIND_PERIOD
        while not self._stopping.wait(pause):
            began = time.monotonic()
            self._supervised("finding", self._refresh)
            pause = max(FIND_PERIOD, FIND_SHARE * (time.monotonic() - began))

    def _refresh(self) -> None:
        if self._search.refresh():
            give_back()
