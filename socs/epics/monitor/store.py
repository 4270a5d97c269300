"""What the PV monitor keeps: events, snapshots, statistics, and what people expect of hosts.

All of this touches a disk or the database, and may take long. It is called by threads that nobody
waits for.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from socs.counters import EPICS_STORE_CONSERVATION, imbalances
from socs.db.engine import Database
from socs.db.finished_files import FileRegister, FinishedFile, FinishedFiles
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.epics.accounts.snapshot import Columns
from socs.epics.monitor.catch_up import MARGIN
from socs.epics.store import event_spool, snapshots, statistics, tables
from socs.epics.store.event_rows import NEEDS_ACK, event_of
from socs.epics.store.event_writer import EventWriter, WriterSettings
from socs.epics.store.history import MOST as MOST_OF_PAGE
from socs.epics.store.history import Wanted, select_events
from socs.epics.store.hosts import select_expected
from socs.epics.store.purge import PurgeAges
from socs.epics.store.snapshots import Snapshots, SnapshotSettings
from socs.epics.store.statistics import DailyStatistics, StatisticsSettings
from socs.epics.track.events import Event
from socs.epics.track.hosts import Expected
from socs.errors import ConfigError, StorageUnavailable
from socs.part_files import sync_directory

EXPECTED = "expected.json"  # the last that the database said, for starts without it
GUARD = ".lock"  # in the folder of snapshots; whose process has it locked writes there
MOST_CAUGHT_UP = 200_000  # events after a snapshot

T = TypeVar("T")


@dataclass(frozen=True)
class StoreSettings:
    """What is kept, and where.

    Attributes:
        data_dir: of the spools, and of what is needed at the next start.
        folder: of snapshots and statistics; made if it is missing.
        constants: what goes into every row of the files table.
        spool_quota: bytes on disk that files which wait for the database may use.
        events_quota: the same for events.
        create_table: create tables that are missing.
        snapshot_period: from one snapshot to the next [s].
        keep_snapshots: so many of the last ones stay.
        ages: for how long things are kept.
        needs_ack: (subject, kind) of events that somebody must acknowledge.
    """

    data_dir: Path
    folder: Path
    constants: RowConstants
    spool_quota: int = DEFAULT_QUOTA
    events_quota: int = event_spool.DEFAULT_QUOTA
    create_table: bool = True
    snapshot_period: float = SnapshotSettings.period
    keep_snapshots: int = SnapshotSettings.keep
    ages: PurgeAges = field(default_factory=PurgeAges)
    needs_ack: frozenset[tuple[str, str]] = NEEDS_ACK


class MonitorStore:
    """Events, snapshots, statistics. All methods but `put` are for one thread at a time.

    Args:
        settings: see there.
        database: of the events, and of the files table.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: a setting is wrong, or another process has the spool or the folder.
        StorageUnavailable: the spool's disk refuses.
    """

    def __init__(
        self,
        settings: StoreSettings,
        database: Database,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings, self.database = settings, database
        self.events = EventWriter(
            settings.data_dir,
            database,
            WriterSettings(
                quota=settings.events_quota,
                create_tables=settings.create_table,
                needs_ack=settings.needs_ack,
            ),
            report=report,
        )
        with ExitStack() as opened:
            opened.callback(self.events.close)
            self._guard = opened.enter_context(_guard(settings.folder))
            self.register = FileRegister(
                snapshots.KIND,
                settings.data_dir,
                database,
                [str(settings.folder)],
                settings.constants,
                spool_quota=settings.spool_quota,
                create_table=settings.create_table,
                report=report,
            )
            opened.callback(self.register.close)
            self._make_files(report)
            opened.pop_all()  # all is well: nothing is closed
        self._last_snapshot: float | None = None

    def _make_files(self, report: Callable[[str], None]) -> None:
        settings = self.settings
        self._days = FinishedFiles(self.register.spool, statistics.KIND)
        self.snapshots = Snapshots(
            SnapshotSettings(
                settings.folder, period=settings.snapshot_period, keep=settings.keep_snapshots
            ),
            on_finished=self.register.take,
            on_settled=self.register.settled,
            report=report,
        )
        self.statistics = DailyStatistics(
            StatisticsSettings(settings.folder),
            counters=self.snapshots.counters,
            on_finished=self._take_day,
            on_settled=lambda file: self._days.settled(),
            report=report,
        )

    def start(self) -> None:
        """Start what brings events and files into the database."""
        self.events.start()
        self.register.start()

    def close(self) -> None:
        """Finish what is at hand; the rest stays on disk.

        Raises:
            StorageUnavailable: the spool's disk refuses; all is stopped, though.
        """
        self.statistics.close()
        self.events.close()
        self._guard.close()
        self.register.stop()

    def _take_day(self, file: FinishedFile) -> None:
        if self._days.finished(file):
            self.register.counters.add("files_spooled")

    # -- at the start ---------------------------------------------------------------------------

    def restore(self, take: Callable[[Columns], T]) -> T | None:
        """What ``take`` makes of the last snapshot; see :meth:`Snapshots.restore`."""
        self.snapshots.recover()
        return self.snapshots.restore(take, time.time())

    def told_since(self, moment: float) -> list[Event]:
        """Events told since a snapshot of that moment, in their order: stored ones, waiting ones.

        Some are earlier. Call it before `start`.

        Raises:
            StorageUnavailable: the database does not tell.
        """
        tables.ensure_tables(self.database, create=self.settings.create_table)
        since = moment - MARGIN
        found: list[Event] = []
        page = select_events(self.database, Wanted(since=since), most=MOST_OF_PAGE)
        while True:
            found += [each.event for each in page.events]
            if page.next is None or len(found) >= MOST_CAUGHT_UP:
                break
            page = select_events(
                self.database, Wanted(since=since), most=MOST_OF_PAGE, after=page.next
            )
        return found[::-1] + self.waiting_since(moment)

    def waiting_since(self, moment: float) -> list[Event]:
        """The same, only those that wait on disk."""
        rows = self.events.spool.waiting(MOST_CAUGHT_UP)
        events = [event_of(msgspec.structs.asdict(row)) for row in rows]
        return [event for event in events if event.time >= moment - MARGIN]

    # -- what people expect ---------------------------------------------------------------------

    def expected(self) -> dict[int, Expected]:
        """What should be on each host, as the database says; it is noted for `expected_before`.

        Raises:
            StorageUnavailable: ask again later.
        """
        found = select_expected(self.database)
        path = self.settings.data_dir / EXPECTED
        part = path.with_suffix(".part")
        try:
            part.write_bytes(msgspec.json.encode({str(key): each for key, each in found.items()}))
            os.replace(part, path)
            sync_directory(path.parent)
        except OSError as error:
            raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from error
        return found

    def expected_before(self) -> dict[int, Expected]:
        """What the database said last; nothing if that is not known."""
        try:
            octets = (self.settings.data_dir / EXPECTED).read_bytes()
            found = msgspec.json.decode(octets, type=dict[str, Expected])
            return {int(key): each for key, each in found.items()}
        except (OSError, ValueError, msgspec.DecodeError):
            return {}

    # -- what happens ---------------------------------------------------------------------------

    def put(self, events: Sequence[Event], now: float) -> None:
        """Keep ``events``; they are on disk when this returns. It never raises."""
        self.events.put(events, now)

    def write_snapshot(self, columns: Columns, now: float) -> bool:
        """Write all that is known; False if the disk refuses, which `troubles` tells."""
        done = self.snapshots.write(columns, now)
        self._last_snapshot = now if done else self._last_snapshot
        return done

    # -- what an operator sees ------------------------------------------------------------------

    def numbers(self) -> dict[str, int]:
        """Counters and gauges by name, but those of the files table."""
        return {**self.events.numbers(), **self.snapshots.counters.snapshot()}

    def troubles(self) -> list[str]:
        """Why something is not kept; empty when all is well."""
        problems = (self.snapshots.problem, self.statistics.problem)
        return [*self.events.troubles(), *filter(None, problems)]

    def status_with(self, monitor: Mapping[str, Any]) -> dict[str, Any]:
        """The status of all that is kept, and that of the ``monitor``, in one.

        Raises:
            StorageUnavailable: the spool's disk refuses.
        """
        numbers = self.numbers()
        paths = self.snapshots.paths(time.time())
        return self.register.status_with(
            {
                **monitor,
                "counters": {**monitor["counters"], **numbers},
                "unaccounted": {
                    **monitor["unaccounted"],
                    **imbalances(numbers, EPICS_STORE_CONSERVATION),
                },
                "troubles": [*monitor["troubles"], *self.troubles()],
                "events_database": self.events.status()["database"],
                "snapshots": {
                    "folder": str(self.settings.folder),
                    "last": self._last_snapshot,
                    "newest": str(paths[0]) if paths else None,
                    "kept": len(paths),
                },
            }
        )


def _guard(folder: Path) -> ExitStack:
    """Keeps other monitors away from ``folder``, until it is closed.

    A disk that refuses is no reason not to start: snapshots will say so, and try again.

    Raises:
        ConfigError: another process has it; both would throw the other's snapshots away.
    """
    kept = ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = kept.enter_context((folder / GUARD).open("ab"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        kept.close()
        raise ConfigError(
            f"--folder: another PV monitor writes to {folder}; give each its own"
        ) from None
    except OSError:
        kept.close()
    return kept
