"""Killed at any moment, the stream loses nothing that it took, and doubles nothing.

A publisher numbers its messages without a break while the process that registers them is killed
again and again. In the end every message is either a row, exactly one, or in the reported gaps.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.sim.ports import free_port
from socs.sim.pysmurf_publisher import Publisher
from socs.testing import PATIENCE, wait_until
from tests.faults.stream_process import POINTS

REPOSITORY = Path(__file__).parents[2]


class Traffic:
    """Announces files, numbered without a break, from a thread; files are written beforehand."""

    def __init__(self, directory: Path, port: int, rate: float, count: int = 2000) -> None:
        self.paths = []
        (directory / "data").mkdir(exist_ok=True)
        for number in range(count):
            path = directory / "data" / f"{number}.dat"
            path.write_bytes(number.to_bytes(4, "big"))
            self.paths.append(str(path))
        self.publisher = Publisher("killed", {"BACKEND": "udp", "UDP_PORT": port})
        self.sent = 1  # the start message
        self._rate, self._stop = rate, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        begin, first = time.monotonic(), self.sent
        while not self._stop.is_set():
            due = first + (time.monotonic() - begin) * self._rate
            while self.sent < due:
                self.announce()
            self._stop.wait(0.005)

    def announce(self) -> None:
        path = self.paths[self.sent % len(self.paths)]
        self.publisher.register_file(path, "t", "dat", timestamp=float(self.sent))
        self.sent += 1

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


class Victim:
    """The process that is killed; restarted on the same port and directory."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.directory, self.port = directory, free_port(socket.SOCK_DGRAM)
        self.environ = {**os.environ, **environ, "PYTHONPATH": str(REPOSITORY)}
        self.process: subprocess.Popen[bytes] | None = None
        self.slowest_start = 0.0

    def start(self, *point: object) -> None:
        numbers = self.directory / "numbers.json"
        numbers.unlink(missing_ok=True)
        begin = time.monotonic()
        command = [sys.executable, "-m", "tests.faults.stream_process", self.directory, self.port]
        self.process = subprocess.Popen([*map(str, [*command, *point])], env=self.environ)
        if not point:
            wait_until(numbers.exists, 20, "the process to listen again")
            self.slowest_start = max(self.slowest_start, time.monotonic() - begin)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0

    def numbers(self) -> dict[str, int]:
        return self.read()["numbers"]

    def read(self) -> dict:
        return json.loads((self.directory / "numbers.json").read_text())


@pytest.fixture
def victim(files_env, tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path, files_env)
    yield victim
    if victim.process is not None:
        victim.kill()


def accounted_for(publisher: dict) -> int:
    """Messages that were received, or reported as lost."""
    return publisher["received"] + publisher["sequence_lost"] + publisher["joined_late"]


def finish(victim: Victim, traffic: Traffic) -> None:
    """One more message to show the last gap; then compare what was sent with what is there."""
    traffic.announce()

    def caught_up() -> bool:
        publishers = victim.read()["publishers"]
        return bool(publishers) and accounted_for(publishers[0]) == traffic.sent

    def settled() -> bool:
        numbers = victim.numbers()
        return not any(numbers[f"files_{state}"] for state in ("pending", "waiting", "unsaved"))

    wait_until(caught_up, 30, "the last message")
    wait_until(settled, 30, "all that was taken to be registered")
    traffic.publisher.close()
    victim.stop()
    victim.start()
    (publisher,) = wait_until(lambda: victim.read()["publishers"], 10)
    times = timestamps(victim.environ)
    assert len(times) == len(set(times)), "a message was registered twice"
    assert accounted_for(publisher) == traffic.sent + 1
    assert publisher["message_duplicate"] == 0
    assert len(times) == publisher["received"] - 2  # all but start and stop name a file


def timestamps(environ: dict[str, str]) -> list:
    """The timestamps of all rows: each message of :class:`Traffic` has its own."""
    database = Database(environ)
    try:
        with database.begin() as connection:
            return [row["timestamp"] for row in files.select_files(connection, limit=10**6)]
    finally:
        database.close()


def kill_at_random(victim: Victim, directory: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    victim.start()
    with Traffic(directory, victim.port, rate=1000) as traffic:
        for _ in range(times):
            pause = threading.Event()
            pause.wait(chance.uniform(0.0, 0.5))  # the instant is what is random here
            victim.kill()
            victim.start()
    finish(victim, traffic)
    assert victim.slowest_start < 5 * PATIENCE


def test_killed_at_five_random_instants(victim: Victim, tmp_path: Path) -> None:
    kill_at_random(victim, tmp_path, times=5, seed=1)


@pytest.mark.slow
def test_killed_at_a_hundred_random_instants(victim: Victim, tmp_path: Path) -> None:
    kill_at_random(victim, tmp_path, times=100, seed=2)


def cases() -> Iterator[object]:
    """Each point with each database; at most points the database makes no difference."""
    for point in POINTS:
        yield pytest.param("mariadb", point)
        differs = point in ("rows inserted", "committed")
        yield pytest.param("sqlite", point, marks=() if differs else pytest.mark.slow)


@pytest.mark.parametrize(("files_env", "point"), [*cases()], indirect=["files_env"])
def test_killed_at_a_named_point(victim: Victim, tmp_path: Path, point: str) -> None:
    victim.start()
    with Traffic(tmp_path, victim.port, rate=1000) as traffic:
        wait_until(lambda: victim.numbers()["files_registered"], 10)
        victim.kill()
        for count in (1, 3, 8):
            victim.start(point, count)
            assert victim.process is not None
            assert victim.process.wait(60) == -signal.SIGKILL
        victim.start()
    finish(victim, traffic)
