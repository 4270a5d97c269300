"""The files of a writer, on simulated time: begun, limited, completed, handed over, taken up."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from socs.counters import (
    SLOW_SIGNAL_FILES,
    SLOW_SIGNAL_FILES_CONSERVATION,
    Counters,
    imbalances,
)
from socs.db.spool import Spool
from socs.errors import ConfigError, StorageUnavailable
from socs.problems import Problems
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import Completed, Registration, SSDataReader, formats
from socs.slow_signal.store.naming import Names
from socs.slow_signal.store.series import MAX_WAITING, FileSeries, SeriesSettings
from tests.camera_data import BEGIN, random_walk

NOW = 1_700_000_000.0
DATE = "Camera2023-11-14.22.13"


class Writer:
    """A series with a clock that stands unless it is moved, and what it was told and asked."""

    def __init__(self, folder: Path, enumerator: str | None = "date", **settings) -> None:
        self.folder, self.now = folder, 100.0
        self.finished: list[Completed] = []
        self.settled: list[Completed] = []
        self.said: list[str] = []
        self.refuse: Exception | None = None
        self.counters = Counters(SLOW_SIGNAL_FILES)
        self.series = FileSeries(
            Names(folder, "Camera", enumerator),
            SeriesSettings(**settings),
            counters=self.counters,
            on_finished=self.take,
            on_settled=self.settled.append,
            problems=Problems(self.said.append, 0.0),
            clock=lambda: NOW + self.now - 100,
        )
        self.series.start(self.now)

    def take(self, completed: Completed) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.finished.append(completed)

    def write(self, readouts: Readouts) -> None:
        self.series.write(readouts, self.now)

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.series.tick(self.now)

    def close(self) -> None:
        self.series.close(self.now)

    def balanced(self) -> bool:
        values = {**self.counters.snapshot(), "readouts_unflushed": self.series.status()["waiting"]}
        return not imbalances(values, SLOW_SIGNAL_FILES_CONSERVATION)

    def files(self) -> list[str]:
        return sorted(name for name in os.listdir(self.folder) if not name.startswith("."))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Writer]:
    (tmp_path / "data").mkdir()
    return lambda *args, **settings: Writer(tmp_path / "data", *args, **settings)


def read(path: str | os.PathLike[str]) -> Readouts:
    with SSDataReader(path) as reader:
        return reader.readouts()


def test_what_is_written_is_flushed_in_time_and_handed_over_when_complete(make) -> None:
    writer = make()
    readouts = random_walk(30)
    writer.write(readouts[:20])
    assert writer.files() == []
    writer.tick(0.9)
    assert writer.counters["readouts_written"] == 0
    writer.tick(0.2)
    assert writer.counters["readouts_written"] == 20
    path = writer.folder / f"{DATE}.hdf5"
    assert read(path).tobytes() == readouts[:20].tobytes()
    writer.write(readouts[20:])
    status = writer.series.status()
    assert (status["file"], status["readouts"], status["waiting"]) == (str(path), 20, 10)
    assert writer.finished == []
    writer.close()
    assert writer.files() == [path.name]
    assert read(path).tobytes() == readouts.tobytes()
    (completed,) = writer.finished
    assert completed.path == str(path)
    assert completed.readouts == 30
    assert completed.size == path.stat().st_size
    assert completed.first_time == BEGIN / 1e9
    assert completed.last_time == BEGIN / 1e9 + 2.9
    assert not completed.recovered
    assert writer.settled == writer.finished
    assert writer.balanced()
    assert writer.counters["data_files_completed"] == 1


def test_a_full_block_is_flushed_at_once(make) -> None:
    writer = make()
    for start in range(0, 130, 10):
        writer.write(random_walk(130)[start : start + 10])
    assert writer.counters["readouts_written"] == 70
    assert writer.series.status()["waiting"] == 60
    writer.close()


def test_a_new_file_begins_with_the_first_readout_and_on_request(make) -> None:
    writer = make()
    first, second, third = random_walk(70), random_walk(80), random_walk(90, first=5)
    writer.write(np.concatenate([first, second[:3]]))
    writer.write(second[3:])
    writer.series.new_file()
    writer.series.new_file()
    writer.write(third)
    writer.tick(60)
    writer.close()
    assert [completed.readouts for completed in writer.finished] == [70, 80, 90]
    assert writer.files() == [f"{DATE}.1.hdf5", f"{DATE}.2.hdf5", f"{DATE}.hdf5"]
    for completed, readouts in zip(writer.finished, (first, second, third), strict=True):
        assert read(completed.path).tobytes() == readouts.tobytes()


def test_a_first_readout_at_the_beginning_makes_no_empty_file(make) -> None:
    writer = make()
    writer.series.new_file()
    writer.write(random_walk(3))
    writer.close()
    assert len(writer.finished) == 1


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_files_keep_to_the_size_limit(make, layout: str) -> None:
    limit = 3 << 20
    writer = make("order", layout=layout, size_limit=limit)
    readouts = random_walk(4000 if layout == "native" else 1200, first=2)
    writer.write(readouts)
    writer.close()
    sizes = [os.path.getsize(completed.path) for completed in writer.finished]
    assert len(sizes) > 2
    assert all(0.6 * limit < size <= limit for size in sizes[:-1])
    numbers = np.concatenate([read(completed.path)["number"] for completed in writer.finished])
    assert (numbers == readouts["number"]).all()
    assert writer.files() == [f"Camera{n:05}.hdf5" for n in range(1, len(sizes) + 1)]


def test_a_limit_below_a_readout_makes_files_of_a_batch_each(make) -> None:
    writer = make(size_limit=1)
    writer.write(random_walk(100, first=2))
    writer.write(random_walk(100, first=2))
    writer.close()
    assert [completed.readouts for completed in writer.finished] == [100, 100]


def test_files_are_offered_until_they_are_taken(make) -> None:
    writer = make()
    writer.refuse = StorageUnavailable("spool: full")
    writer.write(random_walk(70))
    writer.series.new_file()
    writer.tick(1)
    assert writer.series.troubles() == ["spool: full"]
    assert writer.files() == [f"{DATE}.hdf5", f"{DATE}.hdf5.journal"]
    assert writer.series.status()["unregistered_files"] == 1
    writer.refuse = ValueError("a defect")
    writer.tick(2)
    assert writer.series.troubles() == ["ValueError: a defect"]
    writer.write(random_walk(70))
    writer.refuse = None
    writer.tick(2)
    assert [completed.readouts for completed in writer.finished] == [70]
    assert writer.series.troubles() == []
    writer.close()
    assert [completed.readouts for completed in writer.finished] == [70, 70]


def test_files_that_nobody_took_are_offered_by_the_next_writer(make) -> None:
    writer = make()
    writer.refuse = StorageUnavailable("spool: full")
    writer.write(random_walk(70))
    writer.close()
    assert writer.finished == []
    again = make()
    assert [completed.readouts for completed in again.finished] == [70]
    assert again.files() == [f"{DATE}.hdf5"]
    assert make().finished == []


def test_what_a_writer_left_is_completed_by_the_next(make) -> None:
    writer = make()
    readouts = random_walk(70)
    writer.write(readouts)
    writer.series._current.close()  # as when it is killed
    again = make()
    (completed,) = again.finished
    assert completed.recovered
    assert read(completed.path).tobytes() == readouts.tobytes()
    assert again.counters["data_files_recovered"] == 1
    again.write(random_walk(5))
    again.close()
    assert again.files() == [f"{DATE}.1.hdf5", f"{DATE}.hdf5"]


def test_nothing_is_left_of_a_number_that_was_being_noted(make) -> None:
    half = make("order").folder / ".Cameralast-number.part"
    half.write_text("1")
    make("order").series.start(0.0)
    assert not half.exists()


def test_journals_of_a_writer_that_lives_are_left_alone(make) -> None:
    writer = make()
    writer.write(random_walk(70))
    other = make()
    assert other.finished == []
    assert other.series.troubles() == []
    other.write(random_walk(70))
    other.close()
    writer.close()
    assert writer.files() == [f"{DATE}.1.hdf5", f"{DATE}.hdf5"]


def test_a_journal_that_cannot_be_completed_does_not_hold_up_others(make) -> None:
    writers = [make("order") for _ in range(3)]
    for writer in writers:
        writer.write(random_walk(70))
    for writer in writers:
        writer.series._current.close()
    bad = writers[0].folder / "Camera00001.hdf5.part"
    bad.mkdir()  # where its HDF5 file should be made
    again = make()
    names = sorted(Path(completed.path).name for completed in again.finished)
    assert names == ["Camera00002.hdf5", "Camera00003.hdf5"]
    assert "Camera00001.hdf5.part" in again.series.troubles()[0]
    bad.rmdir()
    again.tick(2)
    assert len(again.finished) == 3
    assert again.series.troubles() == []


def test_a_damaged_journal_is_told_and_counted(make) -> None:
    writer = make()
    (writer.folder / f"{DATE}.hdf5.journal").write_text("garbage")
    again = make()
    assert again.counters["data_files_damaged"] == 1
    (name,) = again.files()
    assert name.startswith(f"{DATE}.hdf5.journal.damaged-")
    assert make().files() == [name]


class FullDisk:
    """Lets writes to journals through while there is room [bytes]."""

    def __init__(self, monkeypatch) -> None:
        self.room, self._real = 10**9, os.pwrite
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, file: int, data: bytes, offset: int) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = self._real(file, data[: self.room], offset)
        self.room -= done
        return done


def test_a_full_disk_is_told_and_forgotten(make, monkeypatch) -> None:
    writer = make()
    disk = FullDisk(monkeypatch)
    readouts = random_walk(300)
    writer.write(readouts[:100])
    disk.room = 1000
    writer.write(readouts[100:200])
    path = writer.folder / f"{DATE}.hdf5"
    assert writer.series.troubles() == [f"cannot write {path}.journal: No space left on device"]
    assert "No space left" in writer.said[0]
    assert read(path).tobytes() == readouts[:100].tobytes()
    assert writer.series.status()["waiting"] == 100
    assert writer.counters["data_file_errors"] == 1
    writer.now += 0.9
    writer.write(readouts[200:270])
    assert writer.counters["data_file_errors"] == 1  # not tried again so soon
    writer.now += 0.2
    writer.write(readouts[270:280])
    assert writer.counters["data_file_errors"] == 2
    assert writer.series.status()["waiting"] == 180
    disk.room = 10**9
    writer.tick(1.1)
    assert writer.series.troubles() == []
    assert writer.series.status()["waiting"] == 0
    writer.write(readouts[280:])
    writer.close()
    assert read(path).tobytes() == readouts.tobytes()
    assert writer.counters["readouts_unwritten"] == 0
    assert writer.balanced()


def test_what_finds_no_room_in_memory_is_dropped_and_counted(make, monkeypatch) -> None:
    writer = make()
    disk = FullDisk(monkeypatch)
    disk.room = 0
    readouts = random_walk(500, first=2)
    for _ in range(20):
        writer.write(readouts)
    assert writer.series.status()["waiting"] == MAX_WAITING
    assert writer.counters["readouts_unwritten"] == 10_000 - MAX_WAITING
    assert writer.balanced()
    assert writer.files() == []
    disk.room = 10**9
    writer.tick(2)
    assert writer.counters["readouts_written"] == MAX_WAITING
    writer.close()
    assert writer.balanced()


def test_what_cannot_be_written_at_the_end_is_counted(make, monkeypatch) -> None:
    writer = make()
    disk = FullDisk(monkeypatch)
    disk.room = 0
    writer.write(random_walk(70))
    writer.close()
    assert writer.counters["readouts_unwritten"] == 70
    assert writer.balanced()
    assert writer.files() == []


def test_a_disk_that_loses_data_ends_the_file(make, monkeypatch) -> None:
    def broken(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = make(sync_every=5.0)
    writer.write(random_walk(70))
    monkeypatch.setattr(os, "fdatasync", broken)
    writer.tick(6)
    assert "Input/output error" in writer.series.troubles()[0]
    monkeypatch.undo()
    writer.write(random_walk(70, first=71))
    writer.tick(6)
    assert writer.series.troubles() == []
    writer.close()
    assert [completed.readouts for completed in writer.finished] == [70, 70]


def test_settings_are_checked_before_anything_is_written(make) -> None:
    with pytest.raises(ConfigError, match="layout"):
        make(layout="newest")
    with pytest.raises(ConfigError, match="attribute"):
        make(attributes={"a": object()})


# -- registration ---------------------------------------------------------------------------------


def completed(number: int = 1) -> Completed:
    return Completed(f"/data/{number}.hdf5", f"{number:032x}", 7, 100, 12.5, 13.5, "native")


def test_a_file_is_registered_once_however_often_it_comes(tmp_path: Path) -> None:
    for _ in range(2):
        spool = Spool(tmp_path)
        registration = Registration(spool, pub_id="camera", clock=lambda: NOW)
        registration.finished(completed())
        registration.finished(completed())
        spool.close()
    spool = Spool(tmp_path)
    (entry,) = spool.take(10, now=NOW + 1, received_before=NOW + 1)
    assert entry.received == NOW
    file = entry.file
    assert (file.path, file.action, file.format) == ("/data/1.hdf5", "slow_signal", "hdf5")
    assert (file.timestamp, file.action_timestamp, file.pub_id) == (12.5, 12, "camera")
    registration = Registration(spool)
    registration.settled(completed())
    assert spool.streams() == {}
    registration.finished(completed(2))
    assert spool.counts()["queued"] == 2
    spool.close()


def test_what_may_come_again_is_not_forgotten(tmp_path: Path) -> None:
    first, second = (
        Completed(str(tmp_path / f"{n}.hdf5"), f"{n:032x}", 7, 100, 1.0, 2.0, "native")
        for n in (1, 2)
    )
    (tmp_path / "1.hdf5.journal").touch()
    spool = Spool(tmp_path / "spool")
    registration = Registration(spool)
    registration.finished(first)
    registration.finished(second)
    registration.settled(second)
    registration.finished(first)
    assert spool.counts()["queued"] == 2
    (tmp_path / "1.hdf5.journal").unlink()
    registration.settled(second)
    assert spool.streams() == {}
    spool.close()


def test_a_spool_that_refuses_is_asked_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, quota=1)
    with pytest.raises(StorageUnavailable):
        Registration(spool).finished(completed())
    spool.quota = 1 << 30
    Registration(spool).finished(completed())
    assert spool.counts()["queued"] == 1
    spool.close()
