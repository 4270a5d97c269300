"""Somebody deletes or moves files of readouts that are being written: people are told, at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from socs.counters import SLOW_SIGNAL_FILES, Counters
from socs.part_files import part_of
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import Completed, SSDataReader
from socs.slow_signal.store.naming import Names, journal_of
from socs.slow_signal.store.series import FileSeries, SeriesSettings
from tests.camera_data import random_walk

SYNC = 10.0  # s


class Written:
    """A series whose first file holds 40 readouts, all of them flushed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.readouts: Readouts = random_walk(60)
        self.finished: list[Completed] = []
        self.series = FileSeries(
            Names(folder, "Camera", None),
            SeriesSettings(sync_every=SYNC, flush_every=0.0),
            counters=Counters(SLOW_SIGNAL_FILES),
            on_finished=self.finished.append,
        )
        self.series.start(0.0)
        self.series.write(self.readouts[:40], 1.0)
        self.series.tick(2.0)
        assert self.series.waiting == 0
        self.path = folder / "Camera.hdf5"
        assert journal_of(self.path).exists()

    def numbers(self) -> list[list[int]]:
        found = []
        for each in self.finished:
            with SSDataReader(each.path) as reader:
                found.append(reader.column("number").tolist())
        return found


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "files")


def test_a_deleted_journal_is_told_with_the_next_sync(written: Written) -> None:
    written.series.tick(SYNC)
    assert written.series.troubles() == []
    journal_of(written.path).unlink()
    written.series.tick(2 * SYNC)
    (trouble,) = written.series.troubles()
    assert "Camera.hdf5.journal was deleted" in trouble
    written.series.close(2 * SYNC)
    assert written.numbers() == [written.readouts["number"][:40].tolist()]


def test_what_was_deleted_is_written_again_while_the_writer_lives(written: Written) -> None:
    journal_of(written.path).unlink()
    part_of(written.path).unlink()
    written.series.new_file()
    written.series.write(written.readouts[40:], 3.0)
    written.series.tick(4.0)
    written.series.close(5.0)
    numbers = written.readouts["number"]
    assert sorted(written.numbers()) == [numbers[:40].tolist(), numbers[40:].tolist()]


def test_a_folder_that_was_deleted_is_told_and_costs_nothing_if_it_comes_back(
    written: Written,
) -> None:
    shutil.rmtree(written.path.parent)
    written.series.tick(SYNC)
    assert "Camera.hdf5.journal was deleted" in written.series.troubles()[0]
    written.series.new_file()
    written.series.tick(SYNC + 1)
    written.path.parent.mkdir()
    written.series.tick(SYNC + 5)
    written.series.tick(2 * SYNC + 1)
    assert written.series.troubles() == []
    assert written.numbers() == [written.readouts["number"][:40].tolist()]
    with SSDataReader(written.path) as reader:
        assert np.array_equal(reader.column("tack"), written.readouts["tack"][:40])
    written.series.close(3 * SYNC)
