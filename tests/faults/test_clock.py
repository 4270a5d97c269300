"""The clock of the monitor's machine is set while files arrive: none waits for it, none is lost.

The stream runs under libfaketime, which sets its wall clock only; files keep the kernel's times,
as on a file server whose clock is right.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from socs.testing import wait_until
from tests.faults.test_kill_stream import Traffic, Victim, timestamps

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
STEPS = ["-1h", "+1d"]  # of the clock, as libfaketime reads them
STEPS += [pytest.param(step, marks=pytest.mark.slow) for step in ("-5m", "+1h")]
PATIENCE = 10.0  # s; far less than any step
FILES = 100  # before a step, and after it


@pytest.fixture
def victim(mariadb, tmp_path: Path) -> Victim:
    """A stream whose clock is what the file ``clock`` says."""
    if LIBRARY is None:
        pytest.skip("faketime is not installed")
    set_clock(tmp_path, "+0")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    victim = Victim(tmp_path, mariadb.env() | faked)
    victim.start()
    yield victim
    victim.kill()


def set_clock(directory: Path, offset: str) -> None:
    (directory / "clock.new").write_text(offset)
    (directory / "clock.new").rename(directory / "clock")


def wake_ups(pid: int) -> int:
    """How often threads of ``pid`` have waited for something so far."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("voluntary"))
        count += int(line.split()[1])
    return count


def registered(victim: Victim, count: int) -> bool:
    return victim.numbers()["files_registered"] == count


def each_file_is_one_row(victim: Victim, traffic: Traffic) -> None:
    times = timestamps(victim.environ)
    assert len(times) == len(set(times)) == traffic.sent - 1  # all but the start message
    numbers = victim.numbers()
    assert numbers["sequence_lost"] == numbers["joined_late"] == numbers["files_failed"] == 0
    traffic.publisher.close()


@pytest.mark.parametrize("step", STEPS)
def test_files_pass_while_the_clock_is_set(victim: Victim, tmp_path: Path, step: str) -> None:
    traffic = Traffic(tmp_path, victim.port, rate=0, count=4 * FILES)
    for _ in range(FILES):
        traffic.announce()
    set_clock(tmp_path, step)
    for _ in range(FILES):
        traffic.announce()
    wait_until(lambda: registered(victim, 2 * FILES), PATIENCE, "all files")
    set_clock(tmp_path, "+0")
    for _ in range(FILES):
        traffic.announce()
    wait_until(lambda: registered(victim, 3 * FILES), PATIENCE, "all files")
    each_file_is_one_row(victim, traffic)


@pytest.mark.parametrize("step", STEPS)
def test_file_that_comes_later_does_not_wait_for_the_clock(
    victim: Victim, tmp_path: Path, step: str
) -> None:
    traffic = Traffic(tmp_path, victim.port, rate=0, count=4 * FILES)
    late = Path(traffic.paths[traffic.sent])
    aside = late.rename(late.with_suffix(".aside"))
    traffic.announce()
    wait_until(lambda: victim.numbers()["files_waiting"], PATIENCE)
    set_clock(tmp_path, step)
    aside.rename(late)
    wait_until(lambda: registered(victim, 1), PATIENCE, "the late file")
    each_file_is_one_row(victim, traffic)


@pytest.mark.parametrize("step", STEPS)
def test_no_timer_runs_wild_after_the_clock_is_set(
    victim: Victim, tmp_path: Path, step: str
) -> None:
    traffic = Traffic(tmp_path, victim.port, rate=0, count=4 * FILES)
    late = Path(traffic.paths[traffic.sent])
    late.unlink()
    for _ in range(FILES):
        traffic.announce()
    wait_until(lambda: registered(victim, FILES - 1), PATIENCE)
    set_clock(tmp_path, step)
    pid, attempts = victim.process.pid, victim.numbers()["attempts_missing"]
    counts: list[int] = []  # one every half second

    def quiet() -> bool:
        counts.append(wake_ups(pid))
        return len(counts) > 1 and counts[-1] - counts[-2] < 100

    # At rest there are about 15: the test program's ten looks a second, a few timers of a second.
    wait_until(quiet, PATIENCE, "half a second without a timer that runs wild", period=0.5)
    assert victim.numbers()["attempts_missing"] - attempts <= 5
    traffic.publisher.close()
