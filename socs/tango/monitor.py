"""The Tango event monitor, wired together: poller, tracker, files, files table.

::

    child process --samples--> tracker --events, tables--> whoever is told
                                  |
                                  +--lines of files--> spool --> files table

Knows nothing of OCS, so that it can be tested and killed without it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socs.counters import (
    TANGO_CONSERVATION,
    TANGO_FILES_CONSERVATION,
    TANGO_MONITOR,
    Counters,
    imbalances,
)
from socs.db.engine import Database
from socs.db.finished_files import FileRegister
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.errors import ConfigError
from socs.problems import Problems
from socs.tango import lines
from socs.tango.events import Event
from socs.tango.limits import FORGET_AFTER, MAX_NAMES
from socs.tango.names import parse_server
from socs.tango.polling.patterns import parse_pattern
from socs.tango.polling.poller import Poller
from socs.tango.polling.settings import PollSettings
from socs.tango.rows import dated, event_row
from socs.tango.server import Sample
from socs.tango.store.series import KIND, SeriesSettings
from socs.tango.store.writer import LinesWriter
from socs.tango.track import EventTracker
from socs.tango.transports import Transports

MAX_ROWS = 500  # of each table in the status
LEAVE_OUT_POLLS, LEAVE_OUT_TIME = 3, 10.0  # s; after names changed, until old ones are not asked
LAST_EVENTS = 100  # in the status
NEW_STREAMS = frozenset({"new_publisher", "restarted"})  # kinds of events

View = Mapping[str, Any]


@dataclass(frozen=True)
class MonitorSettings:
    """What a site configures.

    Attributes:
        poll: which servers, and how often.
        constants: what goes into every row of the files table.
        spool_dir: directory of the spool.
        spool_quota: bytes on disk that the spool may use.
        files: where lines are written; None for nowhere.
        line_format: one of :data:`socs.tango.lines.FORMATS`.
        create_table: create the files table if it is missing.
        max_names: streams, subscriptions and open connections that are followed.
        forget_after: names and servers not seen for so long are forgotten [s].
        feed_rows: of each table that are given out after a poll.
    """

    poll: PollSettings
    constants: RowConstants
    spool_dir: Path
    spool_quota: int = DEFAULT_QUOTA
    files: SeriesSettings | None = None
    line_format: str = lines.FORMATS[0]
    create_table: bool = True
    max_names: int = MAX_NAMES
    forget_after: float = FORGET_AFTER
    feed_rows: int = MAX_ROWS


class EventMonitor:
    """Polls device servers, tells what their events do, and writes it down.

    All methods may be called from any thread; only :meth:`start` and :meth:`stop` wait.

    Args:
        settings: what a site configures.
        database: holds the files table.
        on_told: called with events as they are found, and UNIX time minus their clock [s].
        on_poll: called after each poll with the tables of :meth:`view` and all counters.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: a setting is wrong, or pytango is not installed.
        StorageUnavailable: the spool's disk refuses.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        database: Database,
        *,
        on_told: Callable[[Sequence[Event], float], object] = lambda events, offset: None,
        on_poll: Callable[[View, Mapping[str, int]], object] = lambda view, numbers: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self.counters = Counters(TANGO_MONITOR)
        self._on_told, self._on_poll = on_told, on_poll
        self._problems = Problems(report)
        self._names = list(settings.poll.names)
        self._turn = threading.Lock()  # of the tracker, and of what follows
        self._tracker = EventTracker(
            settings.max_names, settings.poll.max_servers, settings.forget_after
        )
        self._samples: list[Sample] = []  # of the poll under way
        self._last_events: deque[dict[str, Any]] = deque(maxlen=LAST_EVENTS)
        self._naming = threading.Lock()  # one change of names at a time
        self._leave_out = 0, 0.0  # servers that are not asked: for so many polls, and until then
        self._answering: set[str] = set()  # publishers, in the last poll
        self._polled = threading.Condition()
        self._over_at_last = 0  # number of a poll
        self._stopped = False
        self._poller = Poller(settings.poll, self._take, self._over, report)
        self._transports = Transports(settings.poll.tango_host, self._streams)
        self._register: FileRegister | None = None
        self._writer: LinesWriter | None = None
        if settings.files is not None:
            self._register = FileRegister(
                KIND,
                settings.spool_dir,
                database,
                [str(settings.files.folder)],
                settings.constants,
                spool_quota=settings.spool_quota,
                create_table=settings.create_table,
                report=report,
            )
            try:
                self._writer = LinesWriter(
                    settings.files,
                    on_finished=self._register.take,
                    on_settled=self._register.settled,
                    report=report,
                )
            except BaseException:
                self._register.close()
                raise

    def start(self) -> None:
        """Start everything; the first poll is as soon as servers are connected."""
        if self._register is not None:
            self._register.start()
        if self._writer is not None:
            self._writer.start()
        self._poller.start()
        self._transports.start()

    def stop(self, timeout: float = 4.0) -> None:
        """Switch performance monitoring off, complete the file at hand, and end.

        Args:
            timeout: of each part [s]. What is not done then, the next start does.

        Raises:
            StorageUnavailable: the spool's disk refuses; all is stopped, though.
        """
        with self._polled:
            self._stopped = True
            self._polled.notify_all()
        self._transports.stop()
        self._poller.stop(timeout)
        if self._writer is not None:
            self._writer.close(timeout)
        if self._register is not None:
            self._register.stop(timeout)

    # -- what an operator does ------------------------------------------------------------------

    def poll_now(self, timeout: float) -> View | None:
        """Poll once more, now; the tables after it, or None if that takes longer [s] or all stops.

        A poll that is under way is none that was asked for.
        """
        with self._polled:
            begun = self._poller.counters["polls"]
            self._poller.poll_now()
            self._polled.wait_for(
                lambda: self._stopped or self._over_at_last > begun,
                min(timeout, threading.TIMEOUT_MAX),
            )
            done = self._over_at_last > begun
        return self.view() if done else None

    def set_performance(self, on: bool) -> None:
        """Have all servers measure times, or not."""
        self._poller.set_performance(on)
        with self._turn:
            self._tracker.clear_performance()

    def add_names(self, names: Iterable[str]) -> list[str]:
        """Monitor these as well; all names after that.

        Raises:
            ConfigError: one is no name; nothing has changed.
        """
        new = list(names)
        for name in new:
            parse_pattern(name)
        with self._naming:
            return self._set_names(list(dict.fromkeys(self._names + new)))

    def remove_names(self, names: Iterable[str]) -> list[str]:
        """Do not monitor these any more; all names after that.

        Raises:
            ConfigError: one is not among the names; nothing has changed.
        """
        gone = list(names)
        with self._naming:
            unknown = [name for name in gone if name not in self._names]
            if unknown:
                raise ConfigError(
                    f"{', '.join(unknown)}: not among the names: {', '.join(self._names) or 'none'}"
                )
            return self._set_names([name for name in self._names if name not in gone])

    def _set_names(self, names: list[str]) -> list[str]:
        self._poller.set_names(names)
        with self._turn:
            self._names = names
            self._leave_out = LEAVE_OUT_POLLS, time.monotonic() + LEAVE_OUT_TIME
        return names

    def rotate(self) -> bool:
        """Complete the file at hand; False if no files are written."""
        if self._writer is None:
            return False
        self._writer.rotate()
        return True

    # -- the way of the data --------------------------------------------------------------------

    def _take(self, sample: Sample) -> None:
        """In the poller's thread: a server was asked."""
        with self._turn:
            self._samples.append(sample)
            told = self._tracker.feed(sample)
        self._tell(told)

    def _over(self, number: int) -> None:
        """In the poller's thread: all servers were asked."""
        now = time.monotonic()
        with self._turn:
            samples, self._samples = self._samples, []
            told = self._tracker.reconcile(now)
            told += self._leave_out_unasked(samples, now)
            totals = self._tracker.totals()
        self._tell(told)
        self._write_poll(samples, totals)
        before, self._answering = (
            self._answering,
            {each.server for each in samples if each.snapshot and each.snapshot.published},
        )
        if self._answering - before or any(event.kind in NEW_STREAMS for event in told):
            self._transports.look_now()
        with self._polled:
            self._over_at_last = number
            self._polled.notify_all()
        self._call(self._on_poll, self.view(self.settings.feed_rows), self.numbers())

    def _leave_out_unasked(self, samples: Sequence[Sample], now: float) -> list[Event]:
        """Forget servers that are meant no more. Some polls may still ask those of before."""
        polls, until = self._leave_out
        if not polls and now > until:
            return []
        self._leave_out = max(0, polls - 1), until
        asked = {str(parse_server(sample.server)) for sample in samples}
        unasked = {row["server"] for row in self._tracker.servers()} - asked
        return [event for name in sorted(unasked) for event in self._tracker.remove(name, now)]

    def _tell(self, told: Sequence[Event]) -> None:
        if not told:
            return
        offset = time.time() - time.monotonic()
        self.counters.add("tells", len(told))
        with self._turn:
            self._last_events.extend(event_row(event, offset) for event in told)
        if self._writer is not None and self.settings.line_format == lines.FORMATS[0]:
            for event in told:
                self._writer.write(lines.event_line(event, offset))
        self._call(self._on_told, told, offset)

    def _write_poll(self, samples: Sequence[Sample], totals: Mapping[str, int]) -> None:
        if self._writer is None or not samples:
            return
        utc, offset = time.time(), time.time() - time.monotonic()
        if self.settings.line_format == lines.FORMATS[0]:
            self._writer.write(lines.poll_line(samples, utc, offset, totals))
        else:
            self._writer.write(lines.ska_line(samples, utc))

    def _call(self, function: Callable[..., object], *values: Any) -> None:
        try:
            function(*values)
        except Exception as error:  # noqa: BLE001  not ours, and monitoring goes on
            self.counters.add("tells_failed")
            self._problems.report("told", f"nobody could be told: {error!r}", time.monotonic())

    def _streams(self) -> dict[str, list[str]]:
        """All streams, by the admin device of their publisher."""
        found: dict[str, list[str]] = {}
        with self._turn:
            rows = self._tracker.streams(self.settings.max_names)
        for row in rows:
            found.setdefault(row["publisher"], []).append(row["stream"])
        return found

    # -- what an operator sees ------------------------------------------------------------------

    def view(self, max_rows: int = MAX_ROWS) -> View:
        """The tables, times as UNIX times [s], fit for JSON.

        All servers, and so many rows of each other table; ``rows_left_out`` tells how many more
        there are.
        """
        offset = time.time() - time.monotonic()
        with self._turn:
            tables = {
                "servers": self._tracker.servers(),
                "streams": self._tracker.streams(max_rows),
                "reconciliation": self._tracker.reconciliation(max_rows),
                "performance": self._tracker.performance(max_rows),
            }
            sizes = self._tracker.sizes()
        for row in (*tables["streams"], *tables["reconciliation"]):
            way = self._transports.way(row["stream"])
            row["transport"] = way.transport if way else "unknown"
            row["transport_doubt"] = way.doubt if way else ""
            row.setdefault("endpoint", way.endpoint if way else "")
        return {
            **{name: [dated(row, offset) for row in rows] for name, rows in tables.items()},
            "rows_left_out": {name: size - len(tables[name]) for name, size in sizes.items()},
        }

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name (:mod:`socs.counters`), but those of the files table."""
        with self._turn:
            totals = self._tracker.totals()
        writer = self._writer.numbers() if self._writer is not None else {}
        return {**totals, **self._poller.counters.snapshot(), **self.counters.snapshot(), **writer}

    def troubles(self) -> list[str]:
        """Why this monitor is degraded; empty when all is well."""
        found = self._poller.troubles()
        if not self._poller.alive:
            found.append("the poller has stopped by itself")
        if self._writer is not None:
            found += self._writer.troubles()
        return found

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON).

        Raises:
            StorageUnavailable: the spool's disk refuses.
        """
        numbers = self.numbers()
        equations = list(TANGO_CONSERVATION)
        if self._writer is not None:
            equations += TANGO_FILES_CONSERVATION
        with self._turn:
            names, events = list(self._names), list(self._last_events)
        found = {
            "counters": numbers,
            "unaccounted": imbalances(numbers, equations),
            "troubles": self.troubles(),
            "names": names,
            "polling": self._poller.status(),
            "events": events,
            **self.view(),
            "multicast": self._transports.status(),
            "writer": self._writer.status() if self._writer is not None else None,
        }
        return found if self._register is None else self._register.status_with(found)
