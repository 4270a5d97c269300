"""The file that says which process runs a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from socs.cli.ssdaq.pid_file import AlreadyRuns, PidFile, running, stop
from socs.errors import ConfigError, OurError

HOLDS = """
import signal, sys
from pathlib import Path
from socs.cli.ssdaq.pid_file import PidFile
with PidFile(Path(sys.argv[1])):
    {on_term}
    print("up", flush=True)
    while True:
        signal.pause()
"""


@contextmanager
def holder(path: Path, on_term: str = "pass") -> Iterator[subprocess.Popen]:
    """A process that runs the job; killed at the end."""
    command = [sys.executable, "-c", HOLDS.format(on_term=on_term), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        try:
            yield process
        finally:
            process.kill()


def test_it_names_its_process_and_is_gone_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with PidFile(path) as file:
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o022 == 0
        file.close()
        assert not path.exists()
    assert running(path) is None


def test_there_is_only_one(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with holder(path) as process:
        assert running(path) == process.pid
        with pytest.raises(AlreadyRuns, match=f"as process {process.pid} "):
            PidFile(path)
        assert path.read_text() == f"{process.pid}\n"


def test_a_killed_process_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with holder(path) as process:
        process.kill()
        process.wait()
        assert path.read_text() == f"{process.pid}\n"
        assert running(path) is None
        with PidFile(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_a_number_in_the_file_gets_nobody_signalled(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with subprocess.Popen(["sleep", "100"]) as bystander:
        path.write_text(f"{bystander.pid}\n")
        assert not stop(path, 1.0, print)
        with PidFile(path):
            pass
        assert bystander.poll() is None
        bystander.kill()


def test_a_file_that_was_removed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with PidFile(path):
        path.unlink()
        path.write_text("of somebody else")
    assert path.read_text() == "of somebody else"


def test_links_are_not_followed(tmp_path: Path) -> None:
    path, target = tmp_path / "a.pid", tmp_path / "precious"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(ConfigError, match="is a link"):
        PidFile(path)
    with pytest.raises(ConfigError, match=r"cannot read the pid file"):
        running(path)
    assert target.read_text() == "precious"


def test_files_of_others_are_not_used(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.pid"
    path.write_text("1\n")
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(ConfigError, match="not a file of this user"):
        PidFile(path)
    assert path.read_text() == "1\n"


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot use the pid file .*: No such file"):
        PidFile(tmp_path / "none" / "a.pid")


def test_stop_asks_and_waits(tmp_path: Path) -> None:
    path = tmp_path / "a.pid"
    with holder(path) as process:
        assert stop(path, 20.0, print)
        assert process.wait() == -signal.SIGTERM


def test_stop_tells_and_gives_up(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.pid"
    monkeypatch.setattr("socs.cli.ssdaq.pid_file.PERIOD", 0.05)
    told: list[str] = []
    with holder(path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)") as process:
        with pytest.raises(OurError, match=f"gave up: process {process.pid} has not ended"):
            stop(path, 0.3, told.append)
        assert process.poll() is None
    assert told
    assert all(f"process {process.pid} is still ending" in line for line in told)


def test_stop_without_a_process(tmp_path: Path) -> None:
    assert not stop(tmp_path / "a.pid", 1.0, print)
