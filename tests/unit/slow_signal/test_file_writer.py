"""The file writer: takes readouts from any thread, and neither waits nor raises."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from socs.counters import SLOW_SIGNAL_FILES_CONSERVATION, imbalances
from socs.errors import ConfigError
from socs.slow_signal.store import Completed, SSDataReader, SSFileWriter, file_writer
from socs.slow_signal.store.series import FileSeries
from socs.testing import wait_until
from tests.camera_data import random_walk


def numbers_in(files: list[Completed]) -> list[int]:
    numbers = []
    for file in files:
        with SSDataReader(file.path) as reader:
            numbers += reader.column("number").tolist()
    return numbers


def balanced(writer: SSFileWriter) -> bool:
    values = {**writer.counters.snapshot(), "readouts_unflushed": writer.status()["waiting"]}
    return not imbalances(values, SLOW_SIGNAL_FILES_CONSERVATION)


def test_readouts_of_several_threads_are_all_written(tmp_path: Path) -> None:
    files: list[Completed] = []
    writer = SSFileWriter("Camera", tmp_path / "new" / "folder", "date", on_finished=files.append)
    writer.start()

    def write(first: int) -> None:
        for start in range(first, first + 500, 10):
            writer.write(random_walk(10, first=start))

    threads = [threading.Thread(target=write, args=(first,)) for first in (1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert not writer.alive
    assert sorted(numbers_in(files)) == [n for k in (1000, 2000, 3000) for n in range(k, k + 500)]
    assert writer.counters["readouts_written"] == 1500
    assert writer.problem is None
    assert balanced(writer)
    assert os.listdir(tmp_path / "new" / "folder") == [Path(files[0].path).name]


def test_what_is_written_can_be_read_soon(tmp_path: Path) -> None:
    with SSFileWriter("Camera", tmp_path, flush_every=0.05) as writer:
        writer.start()
        writer.write(random_walk(3))
        path = tmp_path / "Camera.hdf5"
        wait_until(lambda: writer.counters["readouts_written"] == 3)
        with SSDataReader(path) as reader:
            assert reader.readouts().tobytes() == random_walk(3).tobytes()
        wait_until(lambda: writer.status()["file"] == str(path))
        status = writer.status()
        assert (status["readouts"], status["waiting"], status["problem"]) == (3, 0, None)
        writer.new_file()
        wait_until(lambda: writer.status()["last_file"] == str(path))
        assert path.exists()
        writer.write(random_walk(4, first=4))
    assert sorted(os.listdir(tmp_path)) == ["Camera.1.hdf5", "Camera.hdf5"]


def test_a_size_limit_in_mib(tmp_path: Path) -> None:
    files: list[Completed] = []
    with SSFileWriter("C", tmp_path, filesize_lim=1.0, on_finished=files.append) as writer:
        writer.start()
        writer.write(random_walk(1300, first=2))
    assert len(files) == 3
    assert all(0.7 * 2**20 < file.size <= 2**20 for file in files[:-1])


def test_a_prefix_may_have_directories(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    files: list[Completed] = []
    with SSFileWriter("data/night", on_finished=files.append) as writer:
        writer.start()
        writer.write(random_walk(1))
    assert [file.path for file in files] == [str(tmp_path / "data" / "night.hdf5")]


def test_what_finds_no_room_in_the_queue_is_counted(tmp_path: Path) -> None:
    readouts = random_walk(10)
    writer = SSFileWriter("Camera", tmp_path, queue_bytes=35 * readouts[:1].nbytes)
    for _ in range(5):
        writer.write(readouts)  # nobody takes them yet
    assert writer.counters["readouts_queue_full"] == 20
    writer.start()
    writer.close()
    assert writer.counters["readouts_written"] == 30
    writer.write(readouts)
    assert writer.counters["readouts_queue_full"] == 30
    assert balanced(writer)


def test_a_defect_does_not_end_the_thread(tmp_path: Path, monkeypatch, caplog) -> None:
    real = FileSeries.write
    monkeypatch.setattr(FileSeries, "write", lambda *_: 1 / 0)
    writer = SSFileWriter("Camera", tmp_path)
    writer.start()
    writer.write(random_walk(3))
    wait_until(lambda: writer.counters["data_file_errors"] == 1)
    monkeypatch.setattr(FileSeries, "write", real)
    writer.write(random_walk(3, first=4))
    writer.close()
    assert "ZeroDivisionError" in caplog.text
    assert writer.counters["readouts_written"] == 3


def test_a_disk_that_hangs_is_told(tmp_path: Path, monkeypatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr(file_writer, "LONG", 0.1)
    monkeypatch.setattr(FileSeries, "write", lambda *_: goes_on.wait(10))
    writer = SSFileWriter("Camera", tmp_path)
    writer.start()
    writer.write(random_walk(3))
    wait_until(lambda: writer.problem is not None)
    assert str(tmp_path) in str(writer.problem)
    writer.write(random_walk(3))  # does not wait
    goes_on.set()
    wait_until(lambda: writer.problem is None)
    writer.close()


def test_what_was_never_begun_is_counted(tmp_path: Path) -> None:
    writer = SSFileWriter("Camera", tmp_path)
    writer.write(random_walk(3))
    writer.close()
    assert writer.counters["readouts_queue_full"] == 3


def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make the folder"):
        SSFileWriter("Camera", tmp_path / "file" / "folder")
    with pytest.raises(ConfigError, match="cannot begin"):
        SSFileWriter("data/", tmp_path)


def test_a_folder_that_goes_away_is_told_until_it_is_back(tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "folder"
    writer = SSFileWriter("Camera", folder, flush_every=0.05, report=said.append)
    folder.rmdir()
    writer.start()
    writer.write(random_walk(3))
    wait_until(lambda: writer.problem is not None)
    assert str(folder) in str(writer.problem)
    assert str(folder) in said[0]
    folder.mkdir()
    wait_until(lambda: writer.problem is None)
    wait_until(lambda: writer.counters["readouts_written"] == 3)
    writer.close()
    with SSDataReader(folder / "Camera.hdf5") as reader:
        assert (reader.column("number") == np.arange(1, 4)).all()
