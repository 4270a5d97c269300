"""The spool against a model of it: nothing lost, nothing handed out twice, the counts right.

A step may be anything that a registrar, a clock, an operator or a crash does, in any order.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from socs.db.spool import LONGEST_WAIT, FileEntry, OpenBatch, Spool, SpooledFile

SETTLE = 0.5  # [s]


@dataclass
class Entry:
    """What the model knows of a file in the spool."""

    received: float
    state: str = "queued"
    due: float = 0.0
    cause: str = ""
    attempts: int = 0


class SpoolModel(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.spool = Spool(self.directory)
        self.now = 1_700_000_000.0
        self.number = 0
        self.model: dict[str, Entry] = {}
        self.out: dict[str, SpooledFile] = {}  # handed out, not in a batch
        self.batch: tuple[OpenBatch, list[SpooledFile]] | None = None
        self.batches: set[int] = set()

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.spool.close()
            shutil.rmtree(self.directory)

    # -- what happens ---------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 30, 700, -0.3, -20, -3600]))
    def time_passes_or_the_clock_is_set(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 7))
    def append(self, count: int) -> None:
        paths = [f"/data/{self.number + n}" for n in range(count)]
        self.number += count
        self.spool.append([FileEntry(path) for path in paths], now=self.now)
        self.model |= {path: Entry(self.now) for path in paths}

    @rule(limit=st.integers(1, 10))
    def take(self, limit: int) -> None:
        taken = self.spool.take(limit, now=self.now, received_before=self.now - SETTLE)
        assert len(taken) <= limit
        busy = self.out.keys() | {e.file.path for e in (self.batch[1] if self.batch else [])}
        for entry in taken:
            path = entry.file.path
            known = self.model[path]
            assert path not in busy
            assert (entry.received, entry.attempts) == (known.received, known.attempts)
            assert self.may_be_taken(known)
            self.out[path] = entry
        if len(taken) < limit:  # then nothing that is due was left
            left = [self.model[path] for path in self.model.keys() - busy - self.out.keys()]
            assert not [e for e in left if e.state == "waiting" and self.may_be_taken(e)]
            queued = [path for path in self.model if self.model[path].state == "queued"]
            for path in queued:  # the first that is not settled holds up the later ones
                if path not in busy and path not in self.out:
                    assert not self.may_be_taken(self.model[path])
                    break

    def may_be_taken(self, entry: Entry) -> bool:
        if entry.state == "queued":
            return not self.now - SETTLE < entry.received <= self.now
        return entry.state == "waiting" and not self.now < entry.due <= self.now + LONGEST_WAIT

    def some_out(self, data: st.DataObject) -> list[SpooledFile]:
        paths = data.draw(st.sets(st.sampled_from(sorted(self.out)), min_size=1))
        return [self.out.pop(path) for path in sorted(paths)]

    @precondition(lambda self: self.out)
    @rule(data=st.data(), wait=st.floats(0, 60))
    def postpone(self, data: st.DataObject, wait: float) -> None:
        entries = self.some_out(data)
        self.spool.postpone([(e, self.now + wait, "attempts_missing", "x") for e in entries])
        for entry in entries:
            known = self.model[entry.file.path]
            known.state, known.due = "waiting", self.now + wait
            known.attempts += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data(), cause=st.sampled_from(["attempts_missing", "attempts_refused"]))
    def fail(self, data: st.DataObject, cause: str) -> None:
        entries = self.some_out(data)
        self.spool.fail([(entry, cause, "x") for entry in entries])
        for entry in entries:
            known = self.model[entry.file.path]
            known.state, known.cause = "failed", cause
            known.attempts += 1

    @rule(cause=st.sampled_from([None, "attempts_missing", "attempts_refused"]))
    def retry(self, cause: str | None) -> None:
        failed = [e for e in self.model.values() if e.state == "failed"]
        again = [e for e in failed if cause in (None, e.cause)]
        assert self.spool.retry(cause=cause, now=self.now) == len(again)
        for entry in again:
            entry.state, entry.due, entry.attempts = "waiting", self.now, 0

    @precondition(lambda self: self.out and self.batch is None)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        entries = self.some_out(data)
        batch = self.spool.begin(entries)
        assert batch.number not in self.batches  # the database knows the old numbers
        self.batches.add(batch.number)
        self.batch = batch, entries

    @precondition(lambda self: self.batch is not None)
    @rule()
    def finish(self) -> None:
        batch, entries = self.batch
        self.spool.finish(batch)
        for entry in entries:
            del self.model[entry.file.path]
            self.out.pop(entry.file.path, None)  # handed out again by a restart
        self.batch = None

    @precondition(lambda self: self.batch is not None)
    @rule()
    def abandon(self) -> None:
        """The registrar still holds the entries, and tries them in another batch."""
        batch, entries = self.batch
        self.spool.abandon(batch)
        self.out |= {entry.file.path: entry for entry in entries}
        self.batch = None

    @rule(reopen=st.booleans())
    def begin_afresh(self, reopen: bool) -> None:
        """As after a defect, or a new process: the open batch is settled, all comes again."""
        if reopen:
            self.spool.close()
            self.spool = Spool(self.directory)
        expected = [self.batch[0]] if self.batch else []
        assert self.spool.open_batches() == expected
        if self.batch:
            self.finish()
        self.spool.rewind()
        self.out.clear()

    # -- what holds -----------------------------------------------------------------------------

    @invariant()
    def counts_are_right(self) -> None:
        if hasattr(self, "spool"):
            states = [entry.state for entry in self.model.values()]
            expected = {name: states.count(name) for name in ("queued", "waiting", "failed")}
            assert self.spool.counts() == expected

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "spool"):
            assert self.spool.paths() == self.model.keys()

    @invariant()
    def the_next_moment_is_no_later_than_the_first_due_entry(self) -> None:
        if hasattr(self, "spool"):
            busy = self.out.keys() | {e.file.path for e in (self.batch[1] if self.batch else [])}
            dues = [
                entry.due
                for path, entry in self.model.items()
                if entry.state == "waiting" and path not in busy
            ]
            moment = self.spool.next_due(settle=SETTLE)
            if dues:
                assert moment is not None
                assert moment <= min(dues)


TestSpoolModel = SpoolModel.TestCase
TestSpoolModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
