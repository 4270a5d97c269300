"""From the trackers into the database: each event once, in order, over outages and crashes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from socs.closing import Closing
from socs.counters import EPICS_STORE, Counters
from socs.db.engine import AlreadyStored, Database
from socs.epics.store import tables
from socs.epics.store.event_rows import NEEDS_ACK, EventRow, row_of
from socs.epics.store.event_spool import (
    DEFAULT_QUOTA,
    EventSpool,
    EventSpoolFull,
    SpooledEvent,
)
from socs.epics.track.events import Event
from socs.errors import OurError, RowRefused, StorageUnavailable
from socs.problems import Problems, printable

PROBE = 5.0  # s between looks at the database while there is nothing to store
LONGEST_PAUSE = 1.0  # s without a look for something to do
WAITS = (0.1, 0.5, 1.0, 2.0)  # s between attempts at the database


@dataclass(frozen=True)
class WriterSettings:
    """How events are written.

    Attributes:
        batch: events per transaction, at most.
        quota: bytes on disk that waiting events may use.
        most_held: events kept in memory while the disk refuses them.
        create_tables: create tables that are missing.
        needs_ack: (subject, kind) of events that somebody must acknowledge.
    """

    batch: int = 500
    quota: int = DEFAULT_QUOTA
    most_held: int = 100_000
    create_tables: bool = True
    needs_ack: frozenset[tuple[str, str]] = NEEDS_ACK


class EventWriter(Closing):
    """Takes events at any time; a thread of its own brings them into the database.

    Args:
        directory: of the spool.
        database: with the tables.
        settings: see there.
        counters: must know :data:`socs.counters.EPICS_STORE`.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: the directory cannot be used, or another process has it.
    """

    def __init__(
        self,
        directory: Path,
        database: Database,
        settings: WriterSettings | None = None,
        *,
        counters: Counters | None = None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings = settings or WriterSettings()
        self._database = database
        self.counters = counters or Counters(EPICS_STORE)
        self._problems, self._tell = Problems(report), report
        self.spool = EventSpool(directory, quota=self._settings.quota)
        if self.spool.quarantined:
            report(f"the events' spool was damaged; it is kept as {self.spool.quarantined}")
        self.counters.add("ioc_events_at_start", self.spool.counts()["queued"])
        self._held: list[EventRow] = []  # what the disk refused, in order
        self._lock = threading.Lock()
        self._arrived, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="epics-events", daemon=True)
        self._probe_at = 0.0
        self._failures = 0
        self._disk: str | None = None
        self._problem: str | None = None
        self._defect: str | None = None

    # -- what its owner calls -------------------------------------------------------------------

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def put(self, events: Sequence[Event], now: float) -> None:
        """Take ``events`` in their order. They are on disk when this returns; it never raises.

        If the disk refuses them they are kept in memory, as long as there is room, and counted
        beyond that; `troubles` tells.
        """
        if events:
            self.counters.add("ioc_events_taken", len(events))
            with self._lock:
                self._held += map(row_of, events)
                self._put_down(now)
            self._arrived.set()

    def close(self) -> None:
        """Finish the batch at hand. What is left stays in the spool."""
        self._stopping.set()
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            if self._held:
                self._put_down(time.time())
                self.counters.add("ioc_events_dropped_disk", len(self._held))
                self._held.clear()
        self.spool.close()

    def troubles(self) -> list[str]:
        """Why events do not get into the database; empty when all is well."""
        found = [text for text in (self._disk, self._problem, self._defect) if text]
        if refused := self.spool.counts()["refused"]:
            found.append(f"{refused} events in {self.spool.path} were refused by the database")
        return found

    def numbers(self) -> dict[str, int]:
        """Counters and gauges by name (:mod:`socs.counters`)."""
        with self._lock:
            waiting = self.spool.counts()["queued"] + len(self._held)
        return {**self.counters.snapshot(), "ioc_events_waiting": waiting}

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for session data (JSON)."""
        return {
            "counters": self.numbers(),
            "troubles": self.troubles(),
            "database": {"where": self._database.description, "problem": self._problem},
        }

    # -- onto the disk --------------------------------------------------------------------------

    def _put_down(self, now: float) -> None:
        """What is held goes into the spool; the caller has the lock."""
        try:
            self.spool.append(self._held, now)
        except StorageUnavailable as error:
            full = isinstance(error, EventSpoolFull)
            self._disk = str(error)
            self._problems.report("disk", self._disk, time.monotonic())
            if (over := len(self._held) - self._settings.most_held) > 0:
                self.counters.add(f"ioc_events_dropped_{'full' if full else 'disk'}", over)
                del self._held[-over:]
        else:
            self._disk = None
            self._held.clear()

    # -- into the database ----------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                tables.ensure_tables(self._database, create=self._settings.create_tables)
                self._set_problem(None)
                while not self._stopping.is_set():
                    self._step()
            except OurError as error:  # the database, or the spool's disk
                self.counters.add("ioc_events_errors")
                self._set_problem(str(error))
            except Exception as error:  # noqa: BLE001  a defect: say so, and begin afresh
                self._defect = f"events' writer: {type(error).__name__}: {error}"
                self._problems.report("defect", self._defect, time.monotonic())
            self._stopping.wait(WAITS[min(self._failures, len(WAITS) - 1)])
            self._failures += 1

    def _step(self) -> None:
        self._arrived.clear()
        with self._lock:
            if self._held:
                self._put_down(time.time())
        events = self.spool.first(self._settings.batch)
        if events:
            self._store(events)
            self._failures, self._probe_at = 0, time.monotonic() + PROBE
        else:
            if time.monotonic() >= self._probe_at:
                self._database.ping()
                self._failures, self._probe_at = 0, time.monotonic() + PROBE
            self._arrived.wait(LONGEST_PAUSE)

    def _store(self, events: Sequence[SpooledEvent]) -> None:
        """All of ``events``, which are of one life, but for those that are refused for good.

        Raises:
            StorageUnavailable: nobody knows whether they are stored; call again later.
        """
        try:
            self._insert(events)
        except AlreadyStored:  # by an attempt of which we were not told how it ended
            numbers = self._stored(events)
            if not numbers:
                raise StorageUnavailable("stored already, but not to be found") from None
        except RowRefused as error:
            if len(events) == 1:
                self.counters.add("ioc_events_refused")
                self._problems.report("refused", str(error), time.monotonic())
                self.spool.refuse(events[0], str(error))
                return
            middle = len(events) // 2
            self._store(events[:middle])
            self._store(events[middle:])
            return
        else:
            numbers = [event.number for event in events]
        self.counters.add("ioc_events_stored", self.spool.remove(numbers))

    def _insert(self, events: Sequence[SpooledEvent]) -> None:
        rows = [_values(event) for event in events]
        logs = [
            _log(event)
            for event in events
            if (event.row.subject, event.row.kind) in self._settings.needs_ack
        ]
        with self._database.begin() as connection:
            connection.execute(tables.events.insert(), rows)
            if logs:
                connection.execute(tables.logs.insert(), logs)

    def _stored(self, events: Sequence[SpooledEvent]) -> list[int]:
        column = tables.events.c
        query = sa.select(column.number).where(
            column.spool_id == events[0].life,
            column.number.in_([event.number for event in events]),
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def _set_problem(self, problem: str | None) -> None:
        if problem is not None and self._problem is None:
            self._tell(printable(f"events wait on disk: {problem}", 500))
        elif problem is None and self._problem is not None:
            self._tell(f"events go to {self._database.description} again")
        self._problem = problem


def _values(event: SpooledEvent) -> dict[str, Any]:
    row = event.row
    return {
        "spool_id": event.life,
        "number": event.number,
        "time": row.time,
        "subject": row.subject,
        "kind": row.kind,
        "host": row.host,
        "port": row.port,
        "protocol": row.protocol,
        "name": row.name,
        "cause": row.cause,
        "details": row.details,
    }


def _log(event: SpooledEvent) -> dict[str, Any]:
    return {
        "uid": f"{event.life}/{event.number}",
        "host": event.row.host,
        "time": event.row.time,
        "kind": event.row.kind,
        "author": "",
        "text": event.row.text,
        "needs_ack": True,
    }
