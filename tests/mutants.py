"""Does a test turn red when the thing that it tests is taken out? ``python -m tests.mutants``.

Each mutant is the program with one of its promises removed. The tests named beside it run against
a copy of the tree with that change; they must fail. Without the change the same tests must pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).parents[1]
COPIED = ("socs", "agents", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutant:
    """In ``file``, ``old`` (which must stand there once) becomes ``new``."""

    removed: str
    file: str
    old: str
    new: str
    tests: str


STREAM = "tests/integration/test_stream.py"
REGISTRAR = "tests/integration/test_registrar.py"
ARCHIVER_KILL = "tests/faults/test_archiver_kill.py"
CAMERA_STREAM = "tests/integration/test_slow_signal_stream.py"
MUTANTS = (
    Mutant(
        "the body of the datagram handler",
        "socs/pysmurf/stream.py",
        "        return self.ingest.take_in(batch.datagrams(), batch.senders())\n",
        "        return 0\n",
        f"{STREAM}::test_other_messages_are_handed_on_in_order",
    ),
    Mutant(
        "the spool: files go no further when they are not registered at once",
        "socs/db/spool.py",
        '                db.executemany("INSERT INTO entries (received, file)'
        ' VALUES (?, ?)", rows)\n',
        "",
        "tests/unit/db/test_spool.py::test_appended_entries_survive_the_process",
    ),
    Mutant(
        "the spool's fsync at each commit",
        "socs/db/spool_file.py",
        '            db.execute("PRAGMA synchronous=FULL")\n',
        '            db.execute("PRAGMA synchronous=OFF")\n',
        "tests/faults/test_spool_disk.py::test_every_commit_reaches_the_disk",
    ),
    Mutant(
        "the position that is committed with the rows",
        "socs/db/registrar.py",
        """                    batches.record(
                        connection, self._spool.identity, batch.number, len(rows), batch.digest
                    )
""",
        "",
        f"{REGISTRAR}::test_connection_cut_around_commit",
    ),
    Mutant(
        "the settling of a batch that a crash left open",
        "socs/db/registrar.py",
        "            if self._settle(batch):\n",
        "            self._spool.abandon(batch)\n            if False:\n",
        f"{REGISTRAR}::test_open_batch_of_a_dead_process_that_was_committed",
    ),
    Mutant(
        "the gap tracking",
        "socs/pysmurf/store.py",
        "        self._count_sequences()\n",
        "",
        f"{STREAM}::test_gap_while_the_monitor_was_down_is_reported",
    ),
    Mutant(
        "the tracking state that is saved with the files",
        "socs/pysmurf/store.py",
        "now=time.time(), streams=self._streams)",
        "now=time.time(), streams={})",
        f"{STREAM}::test_gap_while_the_monitor_was_down_is_reported",
    ),
    Mutant(
        "the check that a path leads below a root",
        "socs/dataroots.py",
        "        for root in self.roots:\n            real_root = ",
        "        return True\n        for root in self.roots:\n            real_root = ",
        f"{STREAM}::test_hostile_datagrams_are_counted_and_the_next_good_one_registered",
    ),
    Mutant(
        "the comparison of a copy with what was announced",
        "socs/archive/copy_worker.py",
        "        if md5(copy) == job.file.md5sum:\n",
        "        if md5(copy):\n",
        f"{ARCHIVER_KILL}::test_poison_comes_to_rest_and_holds_nobody_up",
    ),
    Mutant(
        "the look for a copy that is in its place already",
        "socs/archive/copy_worker.py",
        "            found = self._storage.find(job.place, job.file.md5sum)\n",
        "            found = None\n",
        f"{ARCHIVER_KILL}::test_killed_between_the_name_and_the_record",
    ),
    Mutant(
        "the care that no copy replaces another",
        "socs/archive/storage.py",
        "        os.link(part, path, follow_symlinks=False)\n",
        "        os.replace(part, path)\n",
        "tests/unit/test_storage.py::test_other_contents_get_a_number",
    ),
    Mutant(
        "the owner of a claim",
        "socs/db/claims.py",
        "        .where(among(ids, COPYING), table.c.owner == owner)\n        .with_for_update()",
        "        .where(table.c.file_id.in_(ids))\n        .with_for_update()",
        "tests/integration/test_claims.py::test_outcomes_of_a_claim_that_was_lost_do_not_count",
    ),
    Mutant(
        "the last look at a copy before the file is deleted where it was written",
        "socs/archive/archived.py",
        "    if found != md5sum:\n",
        "    if False:\n",
        "tests/integration/test_prune.py::test_never_when_the_copy_does_not_verify",
    ),
    Mutant(
        "the clock that brings out readouts when nothing comes any more",
        "socs/slow_signal/stream.py",
        "                    self._give_on(self._assembler.tick(now))\n",
        "                    pass\n",
        f"{CAMERA_STREAM}::test_what_nobody_waits_for_comes_out_by_the_clock",
    ),
    Mutant(
        "the count of subscribers' queues that are full",
        "socs/slow_signal/publish.py",
        "                self.overflows += 1\n",
        "",
        "tests/integration/test_readout_publishing.py"
        "::test_a_slow_subscriber_costs_only_itself_and_is_counted",
    ),
    Mutant(
        "the completion of files that a crash has left",
        "socs/slow_signal/store/series.py",
        "        self._names.tidy()\n        self._settle(now)\n",
        "        self._names.tidy()\n",
        "tests/unit/slow_signal/test_series.py::test_what_a_writer_left_is_completed_by_the_next",
    ),
    Mutant(
        "the note by which a file of readouts is registered once",
        "socs/db/finished_files.py",
        "        if key in self._spool.streams():\n            return False\n",
        "",
        "tests/unit/slow_signal/test_series.py"
        "::test_a_file_is_registered_once_however_often_it_comes",
    ),
    Mutant(
        "patience with a subscriber that was wrongly judged once",
        "socs/tango/link.py",
        "            if self._strikes >= self.patience - 1:\n",
        "            if self._strikes:\n",
        "tests/unit/tango/test_track.py::test_what_was_taken_for_lost_may_arrive",
    ),
    Mutant(
        "the order in which the events of one Tango server arrive",
        "socs/tango/link.py",
        "        elif overdue and hold:\n",
        "        elif False:\n",
        "tests/unit/tango/test_track.py::test_other_streams_wait_behind_a_backlog",
    ),
    Mutant(
        "the time in which a gateway was not heard",
        "socs/epics/knowledge/knowledge.py",
        "        if changed:\n            self.sight.stopped(name, before.ended)\n",
        "",
        "tests/unit/epics/test_knowledge.py"
        "::test_one_message_that_is_missing_is_a_time_in_which_nobody_listened",
    ),
    Mutant(
        "the subnets outside of which nobody is believed",
        "socs/epics/track/pvs.py",
        "        return answer.host in self._subnets and answer.sender in self._subnets\n",
        "        return True\n",
        "tests/unit/epics/test_pvs.py::test_answers_from_elsewhere_change_nothing",
    ),
    Mutant(
        "the cap that searches of one process have together",
        "socs/epics/search/udp_thread.py",
        "super().take(datagrams, now) and self._cap.take(datagrams, now)",
        "super().take(datagrams, now)",
        "tests/integration/test_epics_searching.py"
        "::test_two_that_share_nothing_are_under_one_cap_all_the_same",
    ),
)


def passes(tests: str, tree: Path) -> bool:
    """Run ``tests`` in ``tree``; True if they pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", tests]
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    result = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True)
    if result.returncode not in (0, 1):  # neither passed nor failed: not run at all
        raise SystemExit(result.stdout + result.stderr)
    return result.returncode == 0


def main() -> int:
    """Try all mutants; 0 if each is noticed."""
    survivors = 0
    for mutant in MUTANTS:
        with tempfile.TemporaryDirectory() as name:
            tree = Path(name)
            for part in COPIED:
                copy = shutil.copytree if (TREE / part).is_dir() else shutil.copy
                copy(TREE / part, tree / part)
            if not passes(mutant.tests, tree):
                raise SystemExit(f"{mutant.tests} fails without any change")
            path = tree / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                raise SystemExit(f"{mutant.file} has changed; mend the mutant {mutant.removed!r}")
            path.write_text(text.replace(mutant.old, mutant.new))
            noticed = not passes(mutant.tests, tree)
        survivors += not noticed
        print(f"{'red  ' if noticed else 'GREEN'}  without {mutant.removed}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
