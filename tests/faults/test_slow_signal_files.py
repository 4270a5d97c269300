"""Whatever happens to the writer of files: what was flushed is there, once, and registered once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from socs.db.spool import Spool
from socs.errors import PeerError
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import SSDataReader, SSDataWriter, formats, recover
from socs.testing import wait_until
from tests.camera_data import random_walk
from tests.faults.mounts import private_mounts
from tests.faults.slow_signal_process import is_as_made, made

REPOSITORY = Path(__file__).parents[2]


class Victim:
    """The process that writes. Each life numbers its readouts from 1 000 000 times its own."""

    def __init__(self, directory: Path) -> None:
        self.folder, self.spool = directory / "data", directory / "spool"
        self.said = directory / "said"
        self.folder.mkdir()
        self.lives = 0
        self.flushed: list[range] = []  # of each life
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *options: object, before: tuple[str, ...] = ()) -> list[str]:
        self.lives += 1
        self.first = self.lives * 1_000_000
        return [
            *(*before, sys.executable, "-m", "tests.faults.slow_signal_process"),
            *map(str, (self.folder, self.spool, self.first, *options)),
        ]

    def start(self, *options: object, before: tuple[str, ...] = ()) -> None:
        command = self.command(*options, before=before)
        with self.said.open("w") as said:
            self.process = subprocess.Popen(command, stdout=said, cwd=REPOSITORY)

    def lines(self) -> list[str]:
        """What it has said."""
        return self.said.read_text().splitlines()

    def end(self) -> list[str]:
        """Wait for its end; what it said. Readouts that it said were flushed are noted."""
        assert self.process is not None
        self.process.wait(60)
        numbers = [int(line.split()[1]) for line in self.lines() if "written" in line]
        self.flushed.append(range(self.first, max(numbers, default=self.first - 1) + 1))
        return self.lines()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.end()

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.end()[-1] == "closed"

    def live_and_end_well(self) -> None:
        """A last life, which takes up what the others have left."""
        self.start("--count", 0)
        assert self.end() == ["started", "closed"]

    def check(self) -> None:
        """Every file opens; flushed readouts are there as they were; each file registered once."""
        assert not [
            name for name in os.listdir(self.folder) if name.endswith((".journal", ".part"))
        ]
        files = sorted(self.folder.glob("Camera*.hdf5"))
        contents = [read(path) for path in files]
        assert all(len(readouts) for readouts in contents)
        assert all(is_as_made(readouts) for readouts in contents)
        numbers = np.concatenate([np.zeros(0, np.uint64), *(r["number"] for r in contents)])
        assert len(numbers) == len(set(numbers.tolist())), "a readout is there twice"
        lost = {n for life in self.flushed for n in life} - set(numbers.tolist())
        assert not lost
        spool = Spool(self.spool)
        try:
            entries = spool.take(10_000, now=1e12, received_before=1e12)
            assert sorted(entry.file.path for entry in entries) == sorted(map(str, files))
            assert spool.streams() == {}
        finally:
            spool.close()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path)
    yield victim
    if victim.process is not None and victim.process.poll() is None:
        victim.process.kill()
        victim.process.wait()


def read(path: Path) -> Readouts:
    with SSDataReader(path) as reader:
        return reader.readouts()


# -- killed ---------------------------------------------------------------------------------------


def kill_at_random(victim: Victim, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        victim.start("--thread")
        count = chance.randrange(1, 200)
        wait_until(lambda: len(victim.lines()) > count, 30, "the writer to write")  # noqa: B023
        victim.kill()
    victim.live_and_end_well()
    victim.check()
    assert sum(map(len, victim.flushed)) > 100 * times


def test_killed_at_five_random_instants(victim: Victim) -> None:
    kill_at_random(victim, 5, seed=1)


@pytest.mark.slow
def test_killed_at_a_hundred_random_instants(victim: Victim) -> None:
    kill_at_random(victim, 100, seed=2)


CHANGES = "pwrite64,fsync,fdatasync,link,unlink,rename,renameat,ftruncate"


def kill_at_calls(victim: Victim, step: int, layout: str) -> None:
    """Killed just before one of its changes to the disk, all of them in turn."""
    when = step
    while True:
        options = f"inject={CHANGES}:signal=KILL:when={when}"
        trace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={CHANGES}", "-e", options)
        victim.start("--count", 400, "--layout", layout, before=trace)
        if victim.end()[-1:] == ["closed"]:
            break
        when += step
    victim.live_and_end_well()


def test_killed_at_some_changes_to_the_disk(victim: Victim) -> None:
    kill_at_calls(victim, step=41, layout="native")
    victim.check()


@pytest.mark.slow
def test_killed_at_each_change_to_the_disk(victim: Victim) -> None:
    kill_at_calls(victim, step=1, layout="native")
    victim.check()


@pytest.mark.parametrize("layout", ["seed", "ssdaq"])
def test_files_for_exchange_survive_as_well(victim: Victim, layout: str) -> None:
    victim.start("--count", 200_000, "--layout", layout)
    wait_until(lambda: len(victim.lines()) > 60, 30, "the writer to write")
    victim.kill()
    victim.live_and_end_well()
    numbers = np.concatenate(
        [read(path)["number"] for path in sorted(victim.folder.glob("*.hdf5"))]
    )
    assert set(victim.flushed[0]) <= set(numbers.tolist())
    assert len(set(numbers.tolist())) == len(numbers)


# -- read meanwhile -------------------------------------------------------------------------------


def test_a_reader_beside_the_writer_sees_what_is_flushed(victim: Victim) -> None:
    victim.start("--thread", "--limit", 0)
    path = victim.folder / "Camera00001.hdf5"
    journal = path.with_name(path.name + ".journal")
    wait_until(lambda: journal.exists() and journal.stat().st_size > 200, 20, "the journal")
    with SSDataReader(path) as reader:
        seen, looks = 0, 0
        while seen < 3000:
            wait_until(lambda: len(reader) > seen, 20, "more", period=0.001)  # noqa: B023
            now = len(reader)
            fresh = reader.readouts(seen, now)
            assert is_as_made(fresh)
            assert (fresh["number"] == np.arange(seen, now) + victim.first).all()
            seen, looks = now, looks + 1
        assert looks > 10
        for number in np.random.default_rng(1).integers(0, seen, 100):
            assert (reader[number] == expected(victim.first + number)).all()
        victim.terminate()
        assert is_as_made(reader.readouts())  # the one that was open goes on
        with SSDataReader(path) as complete:
            assert complete.readouts().tobytes() == reader.readouts().tobytes()


def expected(number: int) -> np.ndarray:
    readout = made(np.array([number], np.uint64))
    return (readout["counts"][0] * (0.03815 * 2.0)).astype(np.float32)


# -- cut ------------------------------------------------------------------------------------------


def test_a_journal_that_is_cut_anywhere_yields_what_is_before(tmp_path: Path) -> None:
    readouts = random_walk(500)
    writer = SSDataWriter(tmp_path / "x.hdf5", buffer=20)
    writer.write_readouts(readouts)
    for start in range(0, 500, 20):
        writer.write_readouts(readouts[start : start + 20])
    writer._file.close()
    journal = tmp_path / "x.hdf5.journal"
    whole = journal.read_bytes()
    everything = np.concatenate([readouts, readouts])
    chance = random.Random(1)
    counts = set()
    for cut in sorted(chance.randrange(len(whole)) for _ in range(100)):
        journal.write_bytes(whole[:cut])
        done = recover(tmp_path, tell=lambda text: None)
        count = sum(completed.readouts for completed in done)
        for completed in done:
            assert read(Path(completed.path)).tobytes() == everything[:count].tobytes()
        counts.add(count)
        for path in tmp_path.iterdir():
            path.unlink()
    assert len(counts) > 15


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_a_file_that_is_cut_anywhere_is_refused_or_read_as_it_was(
    tmp_path: Path, layout: str
) -> None:
    readouts = random_walk(130)
    path = tmp_path / "x.hdf5"
    with SSDataWriter(path, layout=layout) as writer:
        writer.write_readouts(readouts)
    whole = path.read_bytes()
    complete = read(path)
    chance = random.Random(1)
    for cut in [0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(100))]:
        path.write_bytes(whole[:cut])
        try:
            found = read(path)
        except PeerError:
            continue
        assert found.tobytes() == complete[: len(found)].tobytes()
    assert os.listdir(tmp_path) == ["x.hdf5"]


# -- the disk is full -----------------------------------------------------------------------------


@pytest.mark.timeout(300)  # on a busy machine
@pytest.mark.parametrize("layout", ["native", "seed"])
def test_a_full_disk_loses_nothing_that_was_flushed_and_is_forgotten(
    victim: Victim, tmp_path: Path, layout: str
) -> None:
    status = tmp_path / "status.json"

    def numbers() -> dict:
        return json.loads(status.read_text()) if status.exists() else {}

    with private_mounts() as mounts:
        mounts.mount("-t", "tmpfs", "-o", "size=8m", "none", victim.folder)
        folder = mounts.seen(victim.folder)
        options = ("--thread", "--limit", 1, "--status", status, "--pause", 0.005)
        victim.start(
            *options, "--layout", layout, before=(*mounts.inside, "--wd=" + str(REPOSITORY))
        )
        wait_until(lambda: numbers().get("readouts_written", 0) > 500, 60, "readouts")
        wait_until(lambda: "No space left" in str(numbers()["troubles"]), 60, "the disk to be full")
        full = numbers()
        wait_until(lambda: numbers()["offered"] > full["offered"] + 100, 60, "readouts to go on")
        assert numbers()["alive"]
        check_and_remove(folder, tmp_path, layout)  # an operator makes room
        written = numbers()["readouts_written"]
        wait_until(lambda: numbers()["readouts_written"] > written, 60, "it to go on")
        victim.terminate()
        end = numbers()
        assert (
            end["offered"]
            == sum(
                end[name]
                for name in ("readouts_written", "readouts_unwritten", "readouts_queue_full")
            )
            + end["status"]["waiting"]
        )
        check_and_remove(folder, tmp_path, layout)


FULL_AT_EACH_POINT = """
import os, sys
from pathlib import Path
from socs.errors import StorageUnavailable
from socs.slow_signal.store import SSDataReader, SSDataWriter, formats
from tests.camera_data import random_walk

folder, layout = Path(sys.argv[1]), sys.argv[2]
pages_in_all, step, count = map(int, sys.argv[3:])
readouts = random_walk(count)
counts = readouts["counts"].tobytes()
refused = 0
for pages in range(0, pages_in_all, step):
    ballast = os.open(folder / "ballast", os.O_CREAT | os.O_RDWR)
    writer = SSDataWriter(folder / "x.hdf5", layout=layout)
    os.posix_fallocate(ballast, 0, 4096 * pages + 1)
    for start in range(0, count, 70):
        try:
            writer.write_readouts(readouts[start : start + 70])
        except StorageUnavailable:  # it keeps them
            refused += 1
            os.ftruncate(ballast, 0)
    try:
        writer.close()
    except StorageUnavailable:
        refused += 1
        assert not (folder / "x.hdf5").exists()
        os.ftruncate(ballast, 0)
        writer.close()
    with SSDataReader(folder / "x.hdf5") as reader:
        assert reader.column("counts").tobytes() == counts, pages
    os.close(ballast)
    os.unlink(folder / "ballast")
    os.unlink(folder / "x.hdf5")
    assert os.listdir(folder) == []
assert len(os.listdir("/proc/self/fd")) < 20
print(refused)
"""


@pytest.mark.parametrize(
    ("layout", "pages", "step", "count"),
    [
        pytest.param("native", 1024, 31, 700, id="native"),
        pytest.param("native", 1024, 9, 700, id="native, finely", marks=pytest.mark.slow),
        pytest.param("seed", 670, 45, 310, id="seed", marks=pytest.mark.slow),
    ],
)
def test_whenever_the_disk_becomes_full_a_complete_file_is_whole(
    tmp_path: Path, layout: str, pages: int, step: int, count: int
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    arguments = [*map(str, (folder, layout, pages, step, count))]
    with private_mounts() as mounts:
        mounts.mount("-t", "tmpfs", "-o", f"size={4 * pages + 60}k", "none", folder)
        inside = [*mounts.inside, f"--wd={REPOSITORY}"]
        done = subprocess.run(
            [*inside, sys.executable, "-c", FULL_AT_EACH_POINT, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def check_and_remove(folder: Path, elsewhere: Path, layout: str) -> None:
    """Every file with a final name is whole, and all its values are right."""
    for path in sorted(folder.glob("*.hdf5")):
        copy = elsewhere / "copy.hdf5"
        copy.write_bytes(path.read_bytes())
        readouts = read(copy)
        assert len(readouts)
        if layout == "seed":  # which has no time
            readouts["cpu_ns"] = made(readouts["number"])["cpu_ns"]
        assert is_as_made(readouts)
        path.unlink()
