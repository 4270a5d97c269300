"""From the files table into the archive: each file for itself, none held up by another.

The archiver claims rows that are not copied yet, has a mover bring the files to their places
(:mod:`socs.archive.copier` on this machine, :mod:`socs.archive.pull` from another), and writes
down what became of each. A file that cannot be copied waits and is tried again, or comes to rest
with its cause; the others go on meanwhile. What a crash leaves under way is claimed again, and
found in its place if it had got that far.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from socs.archive.ledger import WAITS, Ledger
from socs.archive.moving import Job, Mover, NotTried, Outcome, Placed, Refused
from socs.archive.paths import file_of, place_of
from socs.archive.settings import ArchiveSettings
from socs.archive.statistics import Statistics
from socs.archive.storage import NOT_PLACED, Storage
from socs.counters import ARCHIVE, ARCHIVE_CONSERVATION, ARCHIVE_NOW, Counters, imbalances
from socs.dataroots import MISSING
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.claims import Archived, Failure
from socs.db.engine import AlreadyStored, Database
from socs.errors import OurError, StorageUnavailable
from socs.problems import Problems, printable

RENEWALS = 5  # of a claim in the time for which it holds
LONGEST_WAIT = 3600.0  # s until the next attempt at a file
PAUSE = 5.0  # s until the next look at an archive or a source that was not there
ONE_FILE_PAUSE = 30.0  # s until the next attempt at a file that something else held up
STUCK = 60.0  # s after which a look at the archive, or at the database, hangs
GATHER = 0.05  # s for which outcomes are gathered into one transaction
BATCH = 200  # outcomes per transaction, at most
MAX_LINE = 500  # characters of a line for the log
CHANGED = "attempts_changed"

Answer = tuple[Job, Outcome]


class Archiver:
    """Thread that brings files of the table into ``storage``.

    Args:
        settings: what a site configures.
        database: holds the files table and that of the copies.
        storage: the archive.
        mover: brings the files there; stopped with the archiver.
        prepare: called before the first claim, until it does not raise an
            :class:`~socs.errors.OurError`.
        on_archived: called with the jobs that were archived and recorded, in the archiver's thread.
        report: called with a line for the log when something changes for the operator.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        database: Database,
        storage: Storage,
        mover: Mover,
        *,
        prepare: Callable[[], object] = lambda: None,
        on_archived: Callable[[Sequence[Job]], object] = lambda jobs: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings, self._database, self._storage = settings, database, storage
        self.mover = mover
        self._prepare, self._on_archived = prepare, on_archived
        self._tell = report
        self._problems = Problems(report)
        self.counters = Counters(ARCHIVE)
        self.statistics = Statistics(settings, self.counters)
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()  # one for each life
        self._in_hand: dict[int, Job] = {}
        self._claim_at = self._renew_at = 0.0  # monotonic [s]
        self._stepped_at = 0.0  # monotonic [s]
        self._put_off = ("", 0.0)  # why some files wait, and until when: monotonic [s]
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._ledger = Ledger(
            settings,
            database,
            counters=self.counters,
            stopping=self._stopping,
            on_problem=self._set_problem,
        )
        self._thread = threading.Thread(target=self._run, name="archiver", daemon=True)
        self.problem: str | None = None  # why nothing can be archived, or None
        self.defect: str | None = None  # why the thread began afresh last, if by a defect

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start archiving."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Stop; what is under way is done again after the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        elif self._thread.ident is None:  # never started
            self.mover.stop()

    def look_now(self) -> None:
        """Look for files at once, not after the poll interval."""
        self._claim_at = 0.0
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._begin_afresh()
                while not self._stopping.is_set():
                    self._step()
            except OurError as error:  # the database, or what `prepare` found
                if not self._stopping.is_set():
                    self._stopping.wait(self._ledger.wait_after(error))
            except Exception as error:  # noqa: BLE001  a defect: say so, and begin afresh
                self.defect = f"archiver: {type(error).__name__}: {error}"
                self._problems.report("defect", self.defect, time.monotonic())
                self._stopping.wait(WAITS[-1])
        self.mover.stop()
        self._finish()

    def _begin_afresh(self) -> None:
        """As after a restart: forget what is under way, and take back what was claimed."""
        self._answers = queue.SimpleQueue()
        self._forget()
        self._prepare()
        self._ledger.give_all_back()
        self._claim_at = self._renew_at = 0.0
        self._set_problem(None)

    def _finish(self) -> None:
        """Record what is done, and give back the rest: others need not wait until it runs out."""
        try:
            while self._in_hand and (answers := self._gather()):
                self._settle(answers)
            if self._in_hand:
                self._ledger.give_all_back()
        except OurError as error:
            self._report(f"claims are given back at the next start: {error}")
        else:
            self._forget()

    def _forget(self) -> None:
        """What is in hand is ours no longer."""
        self.counters.add("files_released", len(self._in_hand))
        self._in_hand.clear()

    def _step(self) -> None:
        now = self._stepped_at = time.monotonic()
        if self._in_hand and now >= self._renew_at:
            self._renew(now)
        self._hand_out(now)
        self.statistics.update(self._database, now)
        answers = self._gather()
        if answers:
            self._settle(answers)

    def _report(self, text: str) -> None:
        self._tell(printable(text, MAX_LINE))

    def _set_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            now = time.monotonic()
            if problem is not None and self.problem is None:
                self._problems.report("not archiving", f"not archiving: {problem}", now)
            elif problem is None:
                text = f"archiving to {self._storage.data_dir}"
                self._problems.report("archiving", text, now)
            self.problem = problem

    # -- claims ---------------------------------------------------------------------------------

    def _hand_out(self, now: float) -> None:
        """Claim files and give them to the mover, as many as it has room for."""
        room = min(self.mover.room(), self._settings.files_per_batch)
        if now < self._claim_at or not room:
            return
        if self._in_hand and room * 2 < self._settings.files_per_batch:
            return  # before long it will be a batch worth the effort
        if self.problem is not None:  # see with a few whether it is over
            room = min(room, 4)
        try:
            rows = self._ledger.claim(room)
        except AlreadyStored:  # another archiver was faster
            self._claim_at = now + random.uniform(0.01, 0.05)
            return
        except StorageUnavailable as error:
            if not self._in_hand:
                raise
            self._claim_at = now + self._ledger.wait_after(error)
            return
        self._claim_at = now if len(rows) >= room else now + self._settings.poll_interval
        if not rows and not self._in_hand:
            self._look_at_archive()
        jobs = []
        for row in rows:
            file = file_of(row)
            jobs.append(Job(file, place_of(file)))
            self._in_hand[file.id] = jobs[-1]
        self.counters.add("files_claimed", len(jobs))
        answers = self._answers
        self.mover.submit(self._fitting(jobs), lambda *answer: answers.put(answer))

    def _renew(self, now: float) -> None:
        try:
            self._ledger.renew(self._in_hand.keys())
        except StorageUnavailable as error:
            self._renew_at = now + self._ledger.wait_after(error)
        else:
            self._renew_at = now + self._settings.lease / RENEWALS

    def _look_at_archive(self) -> None:
        """With nothing to do, see whether it could be done."""
        try:
            self._storage.check()
        except StorageUnavailable as error:
            self._set_problem(str(error))
        else:
            self._set_problem(None)

    def _fitting(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of ``jobs`` whose path fits into the table; the others are refused."""
        fitting = []
        for job in jobs:
            path = self._storage.path(job.place)
            if len(path) + len(".1000") <= files.PATH_LENGTH:
                fitting.append(job)
            else:
                detail = f"its path in the archive has {len(path)} characters: {path}"
                self._answers.put((job, Refused(NOT_PLACED, detail)))
        return fitting

    # -- outcomes -------------------------------------------------------------------------------

    def _gather(self) -> list[Answer]:
        """Outcomes for one transaction; waits for the first, but not for long."""
        if not self._in_hand:
            wait = min(self._claim_at - time.monotonic(), 1.0)
            self._wake.wait(max(wait, 0.01))
            self._wake.clear()
            return []
        found: list[Answer] = []
        deadline = time.monotonic() + GATHER
        try:
            while len(found) < BATCH:
                found.append(self._answers.get(timeout=max(deadline - time.monotonic(), 0.0)))
        except queue.Empty:
            pass
        return found

    def _settle(self, answers: Sequence[Answer]) -> None:
        """Write down ``answers``, whatever it takes, unless told to stop."""
        archived: list[Archived] = []
        failed: list[Failure] = []
        put_off: list[tuple[Job, NotTried]] = []
        for job, outcome in answers:
            if isinstance(outcome, Placed):
                archived.append(Archived(job.file.id, outcome.path, outcome.size))
            elif isinstance(outcome, Refused):
                failed.append(self._failure(job, outcome))
            else:
                put_off.append((job, outcome))
        settled = self._ledger.settle(archived, failed)
        self._count([answer for answer in answers if not isinstance(answer[1], NotTried)], settled)
        self._release(put_off)
        if not self._in_hand:
            self.statistics.look_soon()
        faults = [outcome.detail for _, outcome in put_off if outcome.everything]
        if faults:
            self._claim_at = time.monotonic() + PAUSE
            self._set_problem(faults[-1])
        elif archived:
            self._set_problem(None)

    def _failure(self, job: Job, outcome: Refused) -> Failure:
        """What a failed attempt at a file leads to."""
        attempts = job.file.attempts + 1
        due = None
        if outcome.cause == CHANGED:
            state = copies.CHANGED
        elif attempts < self._settings.max_copy_attempts:
            state = copies.WAITING
            doubled = 2.0 ** min(attempts - 1, 30)
            due = time.time() + min(self._settings.retry_wait * doubled, LONGEST_WAIT)
        else:
            state = copies.MISSING if outcome.cause == MISSING else copies.FAILED
        if state != copies.WAITING:
            text = f"not archived ({outcome.cause}): {job.file.path}: {outcome.detail}"
            self._problems.report(outcome.cause, text, time.monotonic())
        detail = printable(outcome.detail, copies.DETAIL_LENGTH)
        return Failure(job.file.id, state, attempts, outcome.cause, detail, due, outcome.md5sum)

    def _release(self, put_off: Sequence[tuple[Job, NotTried]]) -> None:
        """Give files back that are not to blame, to be tried again before long."""
        groups: dict[NotTried, list[int]] = {}
        for job, outcome in put_off:
            groups.setdefault(outcome, []).append(job.file.id)
        for outcome, ids in groups.items():
            pause = PAUSE if outcome.everything else ONE_FILE_PAUSE
            now = time.monotonic()
            if not outcome.everything:  # the other is the problem, which is told as such
                self._problems.report("put off", outcome.detail, now)
                self._put_off = outcome.detail, now + pause + 2 * self._settings.poll_interval
            self._ledger.release(ids, due=time.time() + pause, detail=outcome.detail)
            self.counters.add("files_released", len(ids))
            self._out_of_hand(ids)

    def _out_of_hand(self, ids: Iterable[int]) -> None:
        for number in ids:
            self._in_hand.pop(number, None)

    def _count(self, answers: Sequence[Answer], settled: set[int]) -> None:
        done = []
        for job, outcome in answers:
            if job.file.id not in settled:
                self.counters.add("claims_lost")
            elif isinstance(outcome, Placed):
                self.counters.add_all(
                    {
                        "files_archived": 1,
                        "files_adopted": int(outcome.adopted),
                        "bytes_archived": outcome.size,
                    }
                )
                self.statistics.last_file_copied = outcome.path
                done.append(job)
            elif isinstance(outcome, Refused):
                self.counters.add(outcome.cause)
        self._out_of_hand(job.file.id for job, _ in answers)
        if done:
            self._on_archived(done)

    # -- what an operator sees ------------------------------------------------------------------

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name (:mod:`socs.counters`)."""
        gauges = {counter.name: 0 for counter in ARCHIVE_NOW} | self.statistics.gauges()
        looked_up = {"files_in_hand": len(self._in_hand), "link_errors": self.mover.link_errors}
        return {**self.counters.snapshot(), **gauges, **looked_up}

    def troubles(self) -> list[str]:
        """Why files are not archived; empty when all is well."""
        ended = [] if self._thread.is_alive() else ["the archiver has stopped by itself"]
        found = [text for text in (self.problem, self.defect) if text]
        now = time.monotonic()
        why, until = self._put_off
        if now < until:
            found.append(why)
        if self._stepped_at and now - self._stepped_at > STUCK and not found:
            found.append(f"{self._storage.data_dir} hangs")
        return list(dict.fromkeys(ended + found + self.mover.troubles()))

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON)."""
        numbers = self.numbers()
        return {
            "counters": numbers,
            "unaccounted": imbalances(numbers, ARCHIVE_CONSERVATION),
            "troubles": self.troubles(),
            "archive_stats": self.statistics.archive_stats(),
            "states": self.statistics.states,
            "notes": [
                f"no row of {target} in the files table yet: is --target right?"
                for target in self.statistics.unknown_targets
            ],
            "current": self.mover.current(),
            "failed_files": self.statistics.failed_files,
            "archive": {"data_dir": self._storage.data_dir, "targets": [*self._settings.targets]},
            "database": {
                "where": self._database.description,
                "state": "down" if self.statistics.problem else "up",
                "problem": self.statistics.problem,
            },
        }
