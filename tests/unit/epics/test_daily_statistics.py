"""Statistics: a line a minute, a file a day, each handed over once when its day is over."""

import json
import os
from pathlib import Path

import pytest

from socs.epics.store.statistics import DailyStatistics, StatisticsSettings
from socs.errors import ConfigError, StorageUnavailable
from socs.part_files import part_of

DAY = 86_400.0
MIDNIGHT = 1_795_219_200.0  # 2026-11-21
TODAY, YESTERDAY = "epics-statistics-20261121.0.jsonl", "epics-statistics-20261120.0.jsonl"


@pytest.fixture
def told() -> list:
    return []


def opened(folder: Path, told: list, **how) -> DailyStatistics:
    return DailyStatistics(StatisticsSettings(folder, **how), on_finished=told.append)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_change_at_midnight_utc(tmp_path: Path, told: list) -> None:
    with opened(tmp_path, told) as statistics:
        assert statistics.due(MIDNIGHT - 60)
        assert statistics.add({"online": 1}, MIDNIGHT - 60)
        assert not statistics.due(MIDNIGHT - 1)
        assert statistics.tick(MIDNIGHT - 0.001)
        assert told == []
        assert statistics.due(MIDNIGHT)
        assert statistics.add({"online": 2}, MIDNIGHT)
        assert statistics.tick(MIDNIGHT)
        (file,) = told
        assert (file.path, file.time) == (str(tmp_path / YESTERDAY), MIDNIGHT - DAY)
        assert sorted(os.listdir(tmp_path)) == [YESTERDAY, f"{TODAY}.part"]
    assert lines(tmp_path / YESTERDAY) == [{"time": MIDNIGHT - 60, "online": 1}]
    assert lines(tmp_path / f"{TODAY}.part") == [{"time": MIDNIGHT, "online": 2}]
    assert statistics.counters["minute_files_completed"] == 1
    assert statistics.counters["minute_lines_written"] == 2


def test_a_restart_goes_on_and_cuts_off_a_torn_line(tmp_path: Path, told: list) -> None:
    with opened(tmp_path, told) as statistics:
        statistics.add({"n": 1}, MIDNIGHT + 60)
    with open(tmp_path / f"{TODAY}.part", "ab") as file:
        file.write(b'{"time": 179')
    with opened(tmp_path, told) as statistics:
        statistics.add({"n": 2}, MIDNIGHT + 120)
    assert [line["n"] for line in lines(tmp_path / f"{TODAY}.part")] == [1, 2]
    with opened(tmp_path, told) as statistics:
        assert statistics.tick(MIDNIGHT + 5 * DAY)
    assert [Path(file.path).name for file in told] == [TODAY]
    assert os.listdir(tmp_path) == [TODAY]


def test_refused_file_comes_again(tmp_path: Path, told: list) -> None:
    willing = False

    def tell(file) -> None:
        if not willing:
            raise StorageUnavailable("spool full")
        told.append(file)

    with DailyStatistics(StatisticsSettings(tmp_path), on_finished=tell) as statistics:
        statistics.add({}, MIDNIGHT - 60)
        assert not statistics.tick(MIDNIGHT)
        assert statistics.problem == "spool full"
        assert statistics.add({}, MIDNIGHT), "which does not stop new lines"
        willing = True
        assert statistics.tick(MIDNIGHT)
        assert statistics.problem is None
    assert len(told) == 1
    assert not part_of(tmp_path / YESTERDAY).exists()


def test_a_clock_set_back_changes_no_complete_file(tmp_path: Path, told: list) -> None:
    with opened(tmp_path, told) as statistics:
        statistics.add({"n": 1}, MIDNIGHT - 60)
        statistics.tick(MIDNIGHT)
        statistics.add({"n": 2}, MIDNIGHT)
        before = (tmp_path / YESTERDAY).read_bytes()
        assert statistics.due(MIDNIGHT - 30)
        statistics.add({"n": 3}, MIDNIGHT - 30)
        statistics.add({"n": 4}, MIDNIGHT + 60)
        statistics.tick(MIDNIGHT + 60)
    assert (tmp_path / YESTERDAY).read_bytes() == before
    second = tmp_path / "epics-statistics-20261120.1.jsonl"
    assert [line["n"] for line in lines(second)] == [3]
    assert [line["n"] for line in lines(tmp_path / f"{TODAY}.part")] == [2, 4]
    assert len(told) == 2


def test_lines_that_the_disk_refuses_are_counted(tmp_path: Path, told: list) -> None:
    (tmp_path / "file").write_text("")
    with opened(tmp_path / "file" / "folder", told) as statistics:
        assert not statistics.add({}, MIDNIGHT)
        assert statistics.counters["minute_lines_lost"] == 1
        assert "cannot make" in statistics.problem
        assert not statistics.tick(MIDNIGHT)


def test_other_files_are_left_alone(tmp_path: Path, told: list) -> None:
    for name in ("epics-statistics-2026.0.jsonl.part", "other-20261120.0.jsonl.part", "x.part"):
        (tmp_path / name).write_text("{}")
    with opened(tmp_path, told) as statistics:
        statistics.tick(MIDNIGHT)
    assert told == []
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("wrong", [{"prefix": "a/b"}, {"period": -1.0}])
def test_settings_that_cannot_be_meant(wrong, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        StatisticsSettings(tmp_path, **wrong)
