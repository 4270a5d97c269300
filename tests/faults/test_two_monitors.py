"""Two monitors hear of the same files and share one database; killed in turn, they stay apart."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from socs.sim.pysmurf_publisher import Publisher
from socs.testing import wait_until
from socs.testing.mariadb import MariaDB
from tests.faults.test_kill_stream import Traffic, Victim

NAMES = ("first", "second")
FILES = 1000
RATE = 500  # announcements per second to each monitor


class Monitor:
    """A stream process of its own port and spool, and the traffic to it."""

    def __init__(self, name: str, directory: Path, environ: dict[str, str]) -> None:
        (directory / name).mkdir()
        (directory / name / "data").symlink_to(directory / "data")
        self.name = name
        self.victim = Victim(directory / name, environ)
        self.traffic = Traffic(directory, self.victim.port, RATE, FILES)
        options = {"BACKEND": "udp", "UDP_PORT": self.victim.port, "ID": name}
        self.traffic.publisher.close()
        self.victim.start()
        self.traffic.publisher = Publisher("killed", options)

    def is_settled(self) -> bool:
        """All that was taken is registered; all that was sent was taken, or counts as lost."""
        seen = self.victim.read()
        mine = [p for p in seen["publishers"] if p["id"] == self.name]
        unfinished = ("files_pending", "files_waiting", "files_unsaved")
        if not mine or any(seen["numbers"][name] for name in unfinished):
            return False
        return mine[0]["received"] + self.lost() == self.traffic.sent

    def lost(self) -> int:
        """Messages sent while it was dead, as it reports them."""
        (mine,) = (p for p in self.victim.read()["publishers"] if p["id"] == self.name)
        return mine["sequence_lost"] + mine["joined_late"]


@pytest.fixture
def monitors(mariadb_private: MariaDB, tmp_path: Path) -> Iterator[list[Monitor]]:
    (tmp_path / "data").mkdir()
    monitors = []
    try:
        for name in NAMES:
            monitors.append(Monitor(name, tmp_path, mariadb_private.env()))
        yield monitors
    finally:
        for monitor in monitors:
            monitor.victim.kill()


def kill_in_turn(monitors: list[Monitor], server: MariaDB, times: int, seed: int) -> None:
    chance = random.Random(seed)
    with ExitStack() as stack:
        for monitor in monitors:
            stack.enter_context(monitor.traffic)
        for number in range(times):
            pause = threading.Event()
            pause.wait(chance.uniform(0.1, 0.6))  # the instant is what is random here
            victim = monitors[number % 2].victim
            victim.kill()
            victim.start()
    for monitor in monitors:
        monitor.traffic.announce()  # shows the last gap
        wait_until(monitor.is_settled, 30, f"the {monitor.name} monitor to have done its work")
        stored = server.query(
            "SELECT path, timestamp FROM pysmurf_files_v1 WHERE pub_id = %s", monitor.name
        )
        assert len(stored) == len(set(stored)), "an announcement was registered twice"
        # All but the start message name a file.
        assert len(stored) == monitor.traffic.sent - monitor.lost() - 1
        monitor.traffic.publisher.close()
    ((_, waited),) = server.query("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_time_max'")
    assert int(waited) < 1000  # ms


def test_each_monitor_registers_each_file_once(
    monitors: list[Monitor], mariadb_private: MariaDB
) -> None:
    kill_in_turn(monitors, mariadb_private, times=4, seed=1)


@pytest.mark.slow
def test_two_monitors_killed_forty_times(monitors: list[Monitor], mariadb_private: MariaDB) -> None:
    kill_in_turn(monitors, mariadb_private, times=40, seed=2)
