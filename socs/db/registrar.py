"""From the spool into the files table: each file exactly once, none held up by another.

The registrar takes entries from the spool, has the files read by worker processes, and writes
what is ready in batches. A file that is not ready waits and is tried again; one that never gets
ready comes to rest as failed, for the operator to see and retry. While the database is away the
entries stay in the spool.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from socs._version import __version__
from socs.counters import Counters
from socs.dataroots import MISSING, UNREADABLE, DataRoots
from socs.db import batches
from socs.db import pysmurf_files_manager as files
from socs.db.engine import AlreadyStored, Database
from socs.db.file_readers import HANG, Answer, Found, Large, ReadersByRoot
from socs.db.fingerprint import GROWING
from socs.db.spool import LONGEST_WAIT, OpenBatch, Spool, SpooledFile
from socs.errors import OurError, RowRefused, StorageUnavailable
from socs.problems import Problems, fitting, printable

REFUSED = "attempts_refused"
HANGING = "attempts_hanging"
RETRIED = {MISSING, GROWING, UNREADABLE}  # everything else needs an operator
FIRST_WAIT = 1.0  # s until the second attempt at a file; doubles up to LONGEST_WAIT
LONGEST_PAUSE = 1.0  # s without a look for something to do
PROBE = 5.0  # s between looks at the database while there is nothing to register
DATABASE_WAITS = (0.1, 0.5, 1.0, 2.0)  # s between attempts at the database
GATHER = 0.02  # s for which a batch that is not full waits for files under way
MAX_LINE = 500  # characters of a line for the log
CHUNK = 128  # entries per worker task
STATUS_BYTES = 30_000  # of failed files in the status, as JSON

RegisteredFiles = Sequence[files.Row]


@dataclass(frozen=True)
class RowConstants:
    """What the registrar puts into every row, and its settings.

    Attributes:
        site: value of the column ``site``.
        instance_id: value of the column ``instance_id``.
        settle: seconds for which a file must have been left alone.
        file_attempts: attempts at a missing or unreadable file before it is *failed*.
        batch: rows per transaction, at most.
        workers: processes that read files, for each data root; large files have as many again.
    """

    site: str
    instance_id: str
    settle: float = 0.5
    file_attempts: int = 15
    batch: int = 1000
    workers: int = 2


class Registrar:
    """Thread that empties ``spool`` into ``database``.

    Args:
        spool: where announced files wait.
        database: holds the files table.
        roots: where files may be read.
        constants: what goes into every row, and settings.
        counters: must know :data:`socs.counters.FILES`.
        prepare: called before the first batch, again and again until it does not raise an
            :class:`~socs.errors.OurError`; for creating the table.
        on_registered: called with the rows of each committed batch.
        report: called with a line for the log when something changes for the operator.
    """

    def __init__(
        self,
        spool: Spool,
        database: Database,
        roots: DataRoots,
        constants: RowConstants,
        *,
        counters: Counters,
        prepare: Callable[[], object] = lambda: None,
        on_registered: Callable[[RegisteredFiles], None] = lambda rows: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._spool, self._database = spool, database
        self._settings = constants
        self._counters = counters
        self._prepare, self._on_registered = prepare, on_registered
        self._tell = report
        self._problems = Problems(report)
        self._ready: deque[tuple[SpooledFile, files.Row]] = deque()
        self._answers: queue.SimpleQueue[tuple[object, Sequence[SpooledFile], list[Answer]]]
        self._answers = queue.SimpleQueue()
        self._life = object()  # answers to requests of an earlier life are not ours
        self._readers = ReadersByRoot(roots, settle=constants.settle, workers=constants.workers)
        self._probe_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)
        self.problem: str | None = None  # why nothing can be registered, or None
        self.defect: str | None = None  # why the thread ended, if it ended by itself

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start registering."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> bool:
        """Finish the batch at hand and stop; what is left stays in the spool. True if it ended."""
        self._stopping.set()
        self._spool.arrived.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._readers.stop()
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Is the thread running?"""
        return self._thread.is_alive()

    def troubles(self) -> list[str]:
        """Why files are not being registered; empty when all is well."""
        hanging = [f"reading below {root} hangs" for root in self._readers.hanging()]
        return [text for text in (self.problem, self.defect) if text] + hanging

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._begin_afresh()
                while not self._stopping.is_set():
                    self._step()
            except OurError as error:  # the spool's disk, or what `prepare` or the probe found
                self._set_problem(str(error))
            except Exception as error:  # noqa: BLE001  a defect: say so, and begin afresh
                self.defect = f"registrar: {type(error).__name__}: {error}"
                self._problems.report("defect", self.defect, time.monotonic())
            self._stopping.wait(DATABASE_WAITS[-1])

    def _begin_afresh(self) -> None:
        """As after a restart: forget what is under way, settle what was left open."""
        self._life = object()
        self._ready.clear()
        self._prepare()
        for batch in self._spool.open_batches():
            if self._settle(batch):
                self._spool.finish(batch)
                self._counters.add("files_registered", len(batch.ids))
        self._spool.rewind()
        self._probe_at = time.monotonic() + PROBE
        self._set_problem(None)

    def _step(self) -> None:
        self._hand_out()
        self._collect()
        if self._ready:
            count = min(len(self._ready), self._settings.batch)
            self._write([self._ready.popleft() for _ in range(count)])

    def _report(self, text: str) -> None:
        self._tell(printable(text, MAX_LINE))

    def _set_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            if problem is not None and self.problem is None:
                self._report(f"not registering: {problem}")
            elif problem is None:
                self._report(f"registering again with {self._database.description}")
            self.problem = problem

    # -- files ----------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Give entries that are due to the readers, as long as little is ready to be written."""
        self._spool.arrived.clear()
        while len(self._ready) + self._readers.files() < 2 * self._settings.batch:
            now = time.time()
            received_before = now - self._settings.settle
            entries = self._spool.take(CHUNK, now=now, received_before=received_before)
            for root, group in self._by_root(entries).items():
                self._read(root, group)
            if len(entries) < CHUNK:
                break

    def _by_root(self, entries: Sequence[SpooledFile]) -> dict[str, list[SpooledFile]]:
        groups: dict[str, list[SpooledFile]] = {}
        for entry in entries:
            groups.setdefault(self._readers.root_of(entry.file.path), []).append(entry)
        return groups

    def _read(self, root: str, entries: list[SpooledFile], *, large: bool = False) -> None:
        """Have ``entries``, all below ``root``, read; or wait for a file server that hangs."""
        if self._readers.hangs(root):
            self._counters.add(HANGING, len(entries))
            due = time.time() + HANG
            self._spool.postpone([(entry, due, HANGING, "") for entry in entries])
            return
        life = self._life
        self._readers.read(
            root,
            [(e.file.path, e.detail if e.cause == GROWING else None) for e in entries],
            lambda answers: self._answers.put((life, entries, answers)),
            large=large,
        )

    def _collect(self) -> None:
        """Take what the readers have finished; wait for something to do if there is nothing."""
        if self._readers.files() or not self._answers.empty():
            timeout = 0.0 if len(self._ready) >= self._settings.batch else GATHER
            try:
                while True:
                    life, entries, answers = self._answers.get(timeout=timeout)
                    timeout = 0.0
                    if life is self._life:
                        self._sort(entries, answers)
            except queue.Empty:
                pass
        elif not self._ready:
            self._probe()
            due = self._spool.next_due(settle=self._settings.settle)
            pause = LONGEST_PAUSE if due is None else due - time.time()
            self._spool.arrived.wait(min(max(pause, 0.001), LONGEST_PAUSE))

    def _probe(self) -> None:
        """Notice a database that goes away while there is nothing to register."""
        if time.monotonic() >= self._probe_at:
            self._probe_at = time.monotonic() + PROBE
            self._database.ping()

    def _sort(self, entries: Sequence[SpooledFile], answers: Sequence[Answer]) -> None:
        """Each file is ready, waits, has failed, or goes to the readers of large files."""
        waiting, failed = [], []
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Found):
                self._ready.append((entry, self._row(entry, answer)))
            elif isinstance(answer, Large):
                self._read(self._readers.root_of(entry.file.path), [entry], large=True)
            else:
                self._counters.add(answer.cause)
                patience = entry.attempts + 1 < self._settings.file_attempts
                if answer.cause in RETRIED and (patience or answer.cause == GROWING):
                    pause = min(FIRST_WAIT * 2 ** min(entry.attempts, 10), LONGEST_WAIT)
                    waiting.append((entry, time.time() + pause, answer.cause, answer.detail))
                else:
                    failed.append((entry, answer.cause, answer.detail))
        self._spool.postpone(waiting)
        self._fail(failed)

    def _fail(self, failed: Sequence[tuple[SpooledFile, str, str]]) -> None:
        self._spool.fail(failed)
        for entry, cause, detail in failed:
            text = f"not registered ({cause}): {entry.file.path}: {detail}"
            self._problems.report(cause, text, time.monotonic())

    def _row(self, entry: SpooledFile, found: Found) -> files.Row:
        """Values in the order of :data:`socs.db.pysmurf_files_manager.COLUMNS`."""
        file = entry.file
        return (
            found.path,
            file.action,
            _first_time(file.timestamp, found.modified),
            file.action_timestamp,
            file.format,
            file.plot,
            self._settings.site,
            file.pub_id,
            self._settings.instance_id,
            False,
            0,
            found.md5sum,
            file.pysmurf_version,
            __version__,
        )

    # -- the database ---------------------------------------------------------------------------

    def _write(self, items: Sequence[tuple[SpooledFile, files.Row]]) -> None:
        """Commit ``items``, whatever it takes, unless told to stop; bisect around refused rows."""
        work = [list(items)]
        while work and not self._stopping.is_set():
            part = work.pop()
            try:
                self._write_until_settled(part)
            except RowRefused as error:
                if len(part) == 1:
                    self._counters.add(REFUSED)
                    self._fail([(part[0][0], REFUSED, str(error))])
                else:
                    middle = len(part) // 2
                    work += [part[middle:], part[:middle]]

    def _write_until_settled(self, items: Sequence[tuple[SpooledFile, files.Row]]) -> None:
        """One batch, again and again until it is known to be committed.

        Raises:
            RowRefused: a row is not acceptable; nothing of the batch was stored.
        """
        rows = [row for _, row in items]
        failures = 0
        while not self._stopping.is_set():
            batch = self._spool.begin([entry for entry, _ in items])
            try:
                with self._database.begin() as connection:
                    batches.record(
                        connection, self._spool.identity, batch.number, len(rows), batch.digest
                    )
                    files.add_entries(connection, rows)
                committed = True
            except RowRefused:
                self._spool.abandon(batch)
                raise
            except (StorageUnavailable, AlreadyStored) as error:
                if isinstance(error, StorageUnavailable):
                    self._counters.add("database_errors")
                    self._set_problem(str(error))
                    self._stopping.wait(DATABASE_WAITS[min(failures, len(DATABASE_WAITS) - 1)])
                failures += 1
                committed = self._settle(batch)
            if committed:
                self._set_problem(None)
                self._spool.finish(batch)
                self._counters.add("files_registered", len(rows))
                self._on_registered(rows)
                return

    def _settle(self, batch: OpenBatch) -> bool:
        """Find out what became of ``batch``; False if it is abandoned. Waits for the database."""
        while not self._stopping.is_set():
            try:
                committed = batches.settle(
                    self._database, self._spool.identity, batch.number, batch.digest
                )
            except batches.BatchNumberTaken:
                self._report("the spool is an old copy; it takes a new identity")
                self._spool.abandon(batch)
                self._spool.renew_identity()
                return False
            except StorageUnavailable as error:
                self._counters.add("database_errors")
                self._set_problem(str(error))
                self._stopping.wait(DATABASE_WAITS[-1])
            else:
                if not committed:
                    self._spool.abandon(batch)
                return committed
        return False

    # -- what an operator sees ------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """State of the database and of the spool, fit for session data."""
        return {
            "database": {
                "where": self._database.description,
                "state": "down" if self.problem else "up",
                "problem": self.problem,
            },
            "spool": {**self._spool.counts(), "bytes": self._spool.size()},
            "in_progress": len(self._ready) + self._readers.files(),
            "defect": self.defect,
            "failed_files": fitting(
                [
                    {
                        "path": entry.file.path,
                        "cause": entry.cause,
                        "detail": printable(entry.detail or ""),
                        "attempts": entry.attempts,
                    }
                    for entry in self._spool.failed()
                ],
                STATUS_BYTES,
            ),
        }


def _first_time(*moments: float | None) -> str:
    """The first of ``moments`` (UNIX times [s]) that the table can hold, as it holds it; else 0."""
    for moment in moments:
        if moment is not None:
            with suppress(ValueError, OverflowError, OSError):
                return files.utc_text(moment)
    return files.utc_text(0.0)
