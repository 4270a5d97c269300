"""Names of files: none that is or was in use."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from socs.errors import ConfigError, StorageUnavailable
from socs.slow_signal.store.naming import Names

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC
DATE = "Camera2023-11-14.22.13"


def first(names: Names, count: int = 1) -> list[str]:
    return [path.name for path in islice(names.candidates(NOW), count)]


def test_names_by_date_are_of_the_minute(tmp_path: Path) -> None:
    names = Names(tmp_path, "Camera", "date")
    assert first(names, 3) == [f"{DATE}.hdf5", f"{DATE}.1.hdf5", f"{DATE}.2.hdf5"]


@pytest.mark.parametrize("ending", ["", ".part", ".journal"])
def test_a_name_that_is_taken_gets_a_number(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"{DATE}.hdf5{ending}").touch()
    assert first(Names(tmp_path, "Camera", "date")) == [f"{DATE}.1.hdf5"]
    (tmp_path / f"Camera.hdf5{ending}").touch()
    (tmp_path / f"Camera.1.hdf5{ending}").symlink_to("nowhere")
    assert first(Names(tmp_path, "Camera", None)) == ["Camera.2.hdf5"]


def test_numbers_go_on(tmp_path: Path) -> None:
    names = Names(tmp_path, "Camera", "order")
    assert first(names, 2) == ["Camera00001.hdf5", "Camera00002.hdf5"]
    for name in ("Camera00041.hdf5", "Camera00007.hdf5", "Camera42.hdf5.journal", "Cam99999.hdf5"):
        (tmp_path / name).touch()
    assert first(names) == ["Camera00043.hdf5"]


def test_numbers_go_on_when_the_files_were_moved_away(tmp_path: Path) -> None:
    Names(tmp_path, "Camera", "order").given_out(tmp_path / "Camera00041.hdf5")
    assert first(Names(tmp_path, "Camera", "order")) == ["Camera00042.hdf5"]
    assert first(Names(tmp_path, "Other", "order")) == ["Other00001.hdf5"]


@pytest.mark.parametrize("prefix", ["", "a/b", "..", "a\0b"])
def test_a_prefix_is_part_of_a_name(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ConfigError, match="cannot begin"):
        Names(tmp_path, prefix, None)


def test_an_enumerator_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'time'; there are date, order"):
        Names(tmp_path, "Camera", "time")


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="gone: No such file"):
        first(Names(tmp_path / "gone", "Camera", "order"))
