"""The disk of the builder's files is full: people are told, and everything else goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from socs.sim.camera_truth import read_camera_truth
from socs.slow_signal.layout import Readouts
from socs.testing import wait_until
from tests.faults.mounts import private_mounts
from tests.faults.slow_signal_builder import (
    REPOSITORY,
    BuilderProcess,
    Listener,
    camera,
    check_files,
    read_all,
)
from tests.harness import rows

PACKET_RATE = 4800  # Hz; 1500 readouts/s
ROOM = "8m"


@pytest.mark.slow
def test_a_full_disk_is_told_and_forgotten_and_publishing_goes_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with ExitStack() as stack:
        mounts = stack.enter_context(private_mounts())
        mounts.mount("-t", "tmpfs", "-o", f"size={ROOM}", "none", tmp_path / "data")
        folder = mounts.seen(tmp_path / "data")
        before = (*mounts.inside, f"--wd={REPOSITORY}")
        builder = BuilderProcess(tmp_path, env, ("--limit", 1, "--flush-every", 0.1), before)
        stack.callback(builder.end)
        listener = stack.enter_context(Listener(builder.publishing))
        builder.start()
        wait_until(builder.has_started, 60, "the process to listen")
        moved = tmp_path / "moved"
        moved.mkdir()
        with camera(tmp_path, builder.port, PACKET_RATE):
            wait_until(lambda: "No space left" in troubles(builder), 60, "the disk to be full")
            wait_until(lambda: lost(builder) > 1000, 60, "losses to be counted")
            heard = listener.heard
            wait_until(lambda: listener.heard > heard + 3000, 60, "messages to go on")
            status = builder.status()
            assert status["stream"]["unaccounted"] == {}
            assert status["stream"]["counters"]["kernel_drops"] == 0
            assert status["stream"]["counters"]["readouts_unstored"] == 0
            wait_until(lambda: builder.status()["register"]["last_files"], 60, "rows")
            make_room(builder, folder, moved)
            written, count = builder.counted("readouts_written"), len(rows(env))
            wait_until(lambda: builder.counted("readouts_written") > written + 1000, 60, "more")
            wait_until(lambda: len(rows(env)) > count, 60, "more rows")
            last = builder.status()["stream"]["counters"]
        make_room(builder, folder, moved)
        builder.stop()  # with a disk that is full again, perhaps
        builder.start()
        wait_until(builder.has_started, 60, "the process to listen")
        wait_until(builder.is_at_rest, 60, "what is left to be completed and registered")
        builder.stop()
        make_room(builder, folder, moved)
        assert list(folder.iterdir()) == [folder / ".Cameralast-number"]
    truth = read_camera_truth(tmp_path / "truth.json")
    listener.check(truth)
    # No value is wrong, nothing is there twice, and what is not there was counted.
    files = read_all(moved)
    stored = check_files(pieces(files), truth)
    assert stored >= last["readouts_written"]  # and some more after that look
    assert truth.readouts > stored + 1000
    assert sorted(path for path, _ in rows(env)) == sorted(
        str(builder.data / Path(path).name) for path in files
    )


def troubles(builder: BuilderProcess) -> str:
    return str(builder.status()["stream"]["troubles"])


def lost(builder: BuilderProcess) -> int:
    """Readouts that could not be kept."""
    return builder.counted("readouts_unwritten") + builder.counted("readouts_queue_full")


def make_room(builder: BuilderProcess, folder: Path, moved: Path) -> None:
    """Move the files away that are in the table."""
    for path, _ in rows(builder.environ):
        found = folder / Path(path).name
        if found.exists():
            shutil.copy(found, moved)
            found.unlink()


def pieces(files: Mapping[str, Readouts]) -> dict[str, Readouts]:
    """The readouts of files, cut where some were lost."""
    found = {}
    for path, readouts in files.items():
        gaps = np.flatnonzero(np.diff(readouts["number"].astype(np.int64)) != 1) + 1
        found |= {f"{path} {i}": each for i, each in enumerate(np.split(readouts, gaps))}
    return found
