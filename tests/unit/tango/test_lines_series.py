"""Files of lines: rotation, names, what a crash left, a disk that refuses."""

import errno
import os
from pathlib import Path

import pytest

from socs.attempts import RETRY
from socs.counters import TANGO_FILES, TANGO_FILES_CONSERVATION, Counters, imbalances
from socs.db.finished_files import FinishedFiles
from socs.db.spool import Spool
from socs.errors import ConfigError, StorageUnavailable
from socs.part_files import part_of
from socs.tango.store import series
from socs.tango.store.series import KIND, LinesSeries, SeriesSettings
from socs.tango.store.writer import LinesWriter
from socs.testing import wait_until
from tests.numbered_lines import full_after, line, numbers_in

NOW = 1_800_000_000.25
UTC = "20270115T080000Z"


class Made:
    """A series, and what it told."""

    def __init__(self, folder: Path, **settings) -> None:
        self.finished: list = []
        self.settled: list = []
        self.refuse = False
        self.counters = Counters(TANGO_FILES)
        self.told: list[str] = []
        self.series = LinesSeries(
            SeriesSettings(folder, **settings),
            counters=self.counters,
            on_finished=self.take,
            on_settled=self.settled.append,
            problems=series.Problems(self.told.append),
            clock=lambda: NOW,
        )

    def take(self, file) -> None:
        if self.refuse:
            raise StorageUnavailable("no room in the spool")
        self.finished.append(file)


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def test_a_file_has_its_name_when_it_is_complete(made, tmp_path):
    assert made.series.append(line(1), 0.0)
    part = tmp_path / f"tango-{UTC}.0.jsonl.part"
    assert numbers_in(part) == [1]
    made.series.tick(1.0)
    assert made.finished == []
    made.series.rotate()
    made.series.tick(2.0)
    (file,) = made.finished
    assert file.path == str(tmp_path / f"tango-{UTC}.0.jsonl")
    assert file.time == int(NOW)
    assert made.settled == [file]
    assert [path.name for path in tmp_path.iterdir()] == [f"tango-{UTC}.0.jsonl"]
    assert made.series.status()["last_file"] == file.path


def test_a_new_file_begins_by_size_by_age_and_on_request(tmp_path):
    made = Made(tmp_path, max_bytes=40, max_age=10.0)
    for number in range(4):  # 13 bytes each
        made.series.append(line(number), 0.0)
    made.series.tick(9.0)
    assert len(made.finished) == 1
    made.series.tick(10.0)
    assert [numbers_in(Path(file.path)) for file in made.finished] == [[0, 1], [2, 3]]
    made.series.append(b'{"number": 4, "long": "' + b"x" * 100 + b'"}', 11.0)
    made.series.append(line(5), 11.0)
    made.series.close(12.0)
    assert [numbers_in(Path(file.path)) for file in made.finished[2:]] == [[4], [5]]
    assert made.counters["line_files_completed"] == 4


def test_without_lines_there_is_no_file(made, tmp_path):
    made.series.rotate()
    made.series.tick(0.0)
    made.series.close(1.0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced(made, tmp_path):
    taken = tmp_path / f"tango-{UTC}.0.jsonl"
    made.series.append(line(1), 0.0)
    taken.write_text("of somebody else")
    made.series.close(1.0)
    assert taken.read_text() == "of somebody else"
    (file,) = made.finished
    assert file.path.endswith(f"{UTC}.1.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == [taken.name, Path(file.path).name]


def test_what_a_crash_left_is_completed(tmp_path):
    before = Made(tmp_path)
    before.series.append(line(1), 0.0)
    before.series._current.close()  # as if killed
    part = tmp_path / f"tango-{UTC}.0.jsonl.part"
    with part.open("ab") as file:
        file.write(b'{"num')
    (tmp_path / "tango-notes.part").write_text("not ours")
    after = Made(tmp_path)
    after.series.tick(0.0)
    (file,) = after.finished
    assert numbers_in(Path(file.path)) == [1]
    assert after.counters["lines_torn"] == after.counters["line_files_recovered"] == 1
    assert not part.exists()
    assert (tmp_path / "tango-notes.part").read_text() == "not ours"


def test_a_file_of_another_living_writer_is_left_to_it(tmp_path):
    one, other = Made(tmp_path), Made(tmp_path)
    one.series.append(line(1), 0.0)
    other.series.tick(0.0)
    other.series.append(line(2), 0.0)
    other.series.close(1.0)
    one.series.close(1.0)
    assert [numbers_in(Path(made.finished[0].path)) for made in (one, other)] == [[1], [2]]


def test_who_was_killed_before_all_knew_tells_it_again(tmp_path):
    """With the same path and id, so that the spool knows it."""
    spool = Spool(tmp_path / "spool")
    files = FinishedFiles(spool, KIND)
    before = Made(tmp_path)
    before.series.append(line(1), 0.0)
    before.series.rotate()
    before.refuse = True
    before.series.tick(0.0)
    assert before.series.troubles() == ["no room in the spool"]
    assert before.series.status()["unsettled_files"] == 1
    before.refuse = False
    before.series.tick(RETRY)
    assert files.finished(before.finished[0])
    # Killed before `.part` was deleted:
    path = Path(before.finished[0].path)
    os.link(path, part_of(path))
    after = Made(tmp_path)
    after.series.tick(0.0)
    assert after.finished == before.finished
    assert not files.finished(after.finished[0])
    assert not part_of(path).exists()
    files.settled()
    assert spool.streams() == {}
    assert spool.counts()["queued"] == 1
    spool.close()


def test_where_files_cannot_have_two_names(made, monkeypatch):
    def refuse(*names):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(series.os, "link", refuse)
    made.refuse = True
    made.series.append(line(1), 0.0)
    made.series.rotate()
    made.series.tick(0.0)
    made.refuse = False
    made.series.close(5.0)
    (file,) = made.finished
    assert numbers_in(Path(file.path)) == [1]


def test_a_disk_that_refuses_is_told_and_tried_again(made, tmp_path, monkeypatch):
    made.series.append(line(1), 0.0)
    with monkeypatch.context() as patch:
        full_after(patch, 3)
        assert not made.series.append(line(2), 1.0)
    assert "No space left" in made.series.troubles()[0] in made.told[0]
    assert not made.series.append(line(2), 1.5)  # not yet
    assert made.series.append(line(2), 2.0)
    assert made.series.troubles() == []
    made.series.close(3.0)
    assert numbers_in(Path(made.finished[0].path)) == [1, 2]


@pytest.mark.parametrize("settings", [{"prefix": "a/b"}, {"max_bytes": 0}, {"max_age": -1.0}])
def test_settings_are_checked(tmp_path, settings):
    with pytest.raises(ConfigError):
        SeriesSettings(tmp_path, **settings)


# -- the thread -----------------------------------------------------------------------------------


def test_the_writer_writes_rotates_and_counts(tmp_path):
    finished: list = []
    with LinesWriter(SeriesSettings(tmp_path), on_finished=finished.append) as writer:
        writer.start()
        for number in range(100):
            assert writer.write(line(number))
        writer.rotate()
        wait_until(lambda: finished)
        writer.write(line(100))
    assert [numbers_in(Path(file.path)) for file in finished] == [[*range(100)], [100]]
    numbers = writer.numbers()
    assert numbers["lines_written"] == 101
    assert imbalances(numbers, TANGO_FILES_CONSERVATION) == {}


def test_the_writer_holds_nobody_up_and_counts_what_finds_no_room(tmp_path):
    writer = LinesWriter(SeriesSettings(tmp_path), queue_bytes=30)
    assert [writer.write(line(number)) for number in range(4)] == [True, True, False, False]
    assert writer.numbers()["lines_waiting"] == 2
    writer.close()
    assert not writer.write(line(4))
    numbers = writer.numbers()
    assert (numbers["lines_queue_full"], numbers["lines_unwritten"]) == (3, 2)
    assert imbalances(numbers, TANGO_FILES_CONSERVATION) == {}


def test_lines_wait_for_a_disk_that_is_full(tmp_path, monkeypatch):
    with LinesWriter(SeriesSettings(tmp_path), report=lambda text: None) as writer:
        writer.start()
        writer.write(line(0))
        wait_until(lambda: writer.numbers()["lines_written"] == 1)
        with monkeypatch.context() as patch:
            full_after(patch, 4)
            writer.write(line(1))
            writer.write(line(2))
            wait_until(writer.troubles)
            (part,) = tmp_path.glob("*.part")
            assert numbers_in(part) == [0]
        wait_until(lambda: writer.numbers()["lines_written"] == 3)
        wait_until(lambda: not writer.troubles())
    (path,) = tmp_path.iterdir()
    assert numbers_in(path) == [0, 1, 2]
