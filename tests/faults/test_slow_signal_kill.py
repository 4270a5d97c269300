"""Killed at any moment, the builder loses nothing that it flushed, and doubles nothing.

A camera plays without a break while the process that publishes, stores and registers its readouts
is killed again and again.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.testing import wait_until
from tests.faults.slow_signal_builder import (
    BuilderProcess,
    Listener,
    camera,
    check_files,
    read_all,
)
from tests.harness import rows

PACKET_RATE = 1600  # Hz; 500 readouts/s
OPTIONS = ("--limit", 0.3, "--flush-every", 0.05)  # MiB: about 160 readouts; s


def kill_at_random(directory: Path, environ: Mapping[str, str], times: int, seed: int) -> None:
    chance = random.Random(seed)
    with ExitStack() as stack:
        victim = BuilderProcess(directory, environ, OPTIONS)
        stack.callback(victim.end)
        listener = stack.enter_context(Listener(victim.publishing))
        with camera(directory, victim.port, PACKET_RATE):
            for number in range(times):
                victim.start()
                if number % 4:  # else somewhere in its start, or while it takes up the rest
                    wait_until(victim.has_started, 60, "the process to listen", period=0.005)
                end = time.monotonic() + chance.uniform(0.0, 1.0)  # the random instant
                wait_until(lambda: time.monotonic() > end, 5, period=0.001)  # noqa: B023
                victim.kill()
            victim.start()
            wait_until(victim.has_started, 60, "the process to listen")
            wait_until(lambda: victim.counted("readouts_written") > 200, 60, "it to go on")
        truth = read_camera_truth(directory / "truth.json")
        finish(victim)
        check_end(victim, truth, times)
    listener.check(truth)
    assert listener.heard > 100 * times


def finish(victim: BuilderProcess) -> None:
    """After the last restart, all that the others have left is completed and registered."""
    wait_until(victim.is_at_rest, 60, "all that is complete to be registered")
    wait_until(lambda: victim.temporary() <= in_work(victim.status()), 10, "one file in work")
    status = victim.status()
    assert status["stream"]["unaccounted"] == status["register"]["unaccounted"] == {}
    assert status["stream"]["troubles"] == status["register"]["troubles"] == []
    victim.stop()
    assert victim.temporary() == set()


def in_work(status: dict) -> set[str]:
    """Names of what belongs to the file that is written now."""
    name = Path(status["stream"]["writer"]["file"]).name
    return {f"{name}.journal", f"{name}.part"}


def check_end(victim: BuilderProcess, truth: CameraTruth, times: int) -> None:
    """Files are whole, hold what was flushed, and are in the table, each once and as it is."""
    victim.start()  # the file that the stop completed is registered by the next life
    wait_until(victim.has_started, 60, "the process to listen")
    wait_until(lambda: not victim.status()["register"]["backlog"], 60, "the last file")
    victim.stop()
    files = read_all(victim.data)
    readouts = check_files(files, truth)
    lost = {
        path: flushed
        for path, flushed in victim.flushed.items()
        if len(files.get(path, ())) < flushed
    }
    assert not lost
    assert sum(victim.flushed.values()) > 20 * times
    assert readouts > 100 * times
    found = sorted(rows(victim.environ))
    paths = [path for path, _ in found]
    assert paths == sorted(files)
    md5s = [hashlib.md5(Path(path).read_bytes()).hexdigest() for path in paths]
    assert [md5 for _, md5 in found] == md5s


def test_killed_at_three_random_instants(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    kill_at_random(tmp_path, env, times=3, seed=1)


@pytest.mark.slow
def test_killed_at_a_hundred_random_instants(tmp_path: Path, files_env) -> None:
    kill_at_random(tmp_path, files_env, times=100, seed=2)
