"""``socs demo`` as a user runs it: a program, its output, its status, and what it leaves."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from socs.testing import wait_until

START, END = 60, 60  # seconds that a demo may take to start and to end on a busy machine


@contextmanager
def demo(directory: Path, *options: str) -> Iterator[subprocess.Popen]:
    """A running demo; killed in the end if it still runs."""
    command = [sys.executable, "-m", "socs.cli.main", "demo", "--dir", str(directory), *options]
    environ = {name: value for name, value in os.environ.items() if name != "OCS_CONFIG_DIR"}
    # what a user may have set for real work must not be touched by a demo
    environ |= {"MYSQL_HOST": "192.0.2.1", "MYSQL_USER": "real", "SMURFPUB_BACKEND": "null"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=environ, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def children(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    """None of them runs; a dead one may still wait for its parent, or init, to notice."""

    def running() -> list[psutil.Process]:
        return [each for each in processes if each.is_running() and not is_zombie(each)]

    wait_until(lambda: not running(), 5, "the end of all processes")


def is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def count_rows(directory: Path) -> int:
    """Rows registered so far; 0 before there is a table."""
    try:
        return change_table(directory, "SELECT count(*) FROM pysmurf_files_v1")[0][0]
    except sqlite3.OperationalError:
        return 0


def change_table(directory: Path, statement: str) -> list[tuple]:
    path = directory / "data" / "files.sqlite"
    uri = f"file:{path}?mode=rw"  # never made by looking
    with closing(sqlite3.connect(uri, uri=True, timeout=20)) as connection, connection:
        return connection.execute(statement).fetchall()


def archived_files(directory: Path) -> int:
    """Files in the archive, without markers and those of the other streams."""
    others = (".hdf5", ".jsonl", ".npz")
    found = (path for path in (directory / "archive").rglob("*") if path.suffix not in others)
    return sum(path.is_file() and "suprsync" not in path.parts for path in found)


def wait_for_rows(directory: Path, process: subprocess.Popen, count: int) -> None:
    def enough() -> bool:
        assert process.poll() is None, process.communicate()
        return count_rows(directory) >= count

    wait_until(enough, START, f"{count} rows", period=0.1)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """(status, stdout, stderr) once it has ended."""
    out, err = process.communicate(timeout=START + END)
    return process.returncode, out, err


@pytest.mark.timeout(180)
def test_a_timed_demo_with_losses_and_duplicates_proves_itself(tmp_path):
    directory = tmp_path / "demo"
    options = ["--for", "5", "--rate", "80", "--size", "100:3000", "--json"]
    with demo(directory, *options, "--drop", "0.05", "--duplicate", "0.05") as process:
        wait_for_rows(directory, process, 1)
        started = children(process)
        status, out, err = ended(process)
    assert (status, err) == (0, ""), out
    (line,) = out.splitlines()
    found = json.loads(line)
    assert found["ok"] is True
    assert found["announced"] == found["registered"] == found["verified"] > 100
    assert found["archived"] == found["announced"]
    assert found["lost"] == found["dropped"] > 0
    assert found["recognised"] == found["duplicated"] > 0
    assert found["script"]["arrived"]["active_channels"] == [0, 1, 2]
    assert found["script"]["lines"] == 2
    camera = found["parts"]["camera"]
    assert camera["played"] == camera["stored"] == camera["out"] > 100
    assert camera["heard"] == camera["published"] > 100
    assert camera["parts_missing"] == 10 * camera["packets_dropped"] > 0
    assert camera["parts_doubled"] == 10 * camera["packets_doubled"] > 0
    assert camera["archived"] == camera["files"] > 1
    assert camera["wrong"] == 0
    tango = found["parts"]["tango"]
    assert tango["pushed"] == tango["told_published"] == tango["told_received"] > 100
    assert tango["lost"] == tango["told_lost"] == 0
    assert tango["archived"] == tango["files"] > 0
    assert {"pysmurf-monitor counters", "pysmurf-monitor pysmurf_session_data"} <= set(
        found["feeds"]
    )
    assert len(started) >= 5
    assert_gone(started)
    epics = found["parts"]["epics"]
    assert (epics["served"], epics["online"], epics["never_seen"]) == (20, 20, 1)
    ioc1, ioc2, missing = epics["who"]
    for served in (ioc1, ioc2):
        assert re.fullmatch(r"\S+ is ONLINE, served by CA \S+, asked for by \S+", served)
    assert re.fullmatch(r"\S+:NOT:THERE is NEVER_SEEN, asked for by 127\.0\.0\.1:\d+", missing)
    files = camera["files"] + tango["files"] + epics["files"]
    assert count_rows(directory) == found["registered"] + files
    assert not (directory / "files").exists()  # all went well
    (copied,) = change_table(directory, "SELECT count(*) FROM pysmurf_files_v1 WHERE copied")
    assert copied[0] == found["archived"] + files
    assert archived_files(directory) == found["archived"]


@pytest.mark.slow  # what is found and told of it is tested with the demo's numbers
@pytest.mark.timeout(180)
def test_a_slow_subscriber_of_tango_is_named_with_what_it_lost(tmp_path):
    with demo(tmp_path / "demo", "--for", "9", "--fault", "tango-slow") as process:
        status, out, err = ended(process)
    assert (status, err) == (0, ""), out
    told = r"told: subscriber \S+/slow lost \d+ of sim/pub/2's value1.change"
    assert re.search(told, " ".join(out.split()))
    assert "all by the subscriber that was slow" in " ".join(out.split())


@pytest.mark.slow  # the same
@pytest.mark.timeout(180)
def test_process_variables_of_a_killed_ioc_are_lost_and_no_others(tmp_path):
    with demo(tmp_path / "demo", "--for", "15", "--fault", "epics-ioc", "--json") as process:
        status, out, err = ended(process)
    assert (status, err) == (0, ""), out
    epics = json.loads(out)["parts"]["epics"]
    assert (epics["online"], epics["killed"], epics["lost"]) == (10, 10, 10)
    assert " is LOST, last served by CA " in epics["who"][1]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],  # SIGTERM: see below
)
def test_a_signal_ends_it_with_the_same_summary(tmp_path, number):
    with demo(tmp_path / "demo", "--keep") as process:
        wait_for_rows(tmp_path / "demo", process, 150)  # 3 s
        started = children(process)
        process.send_signal(number)
        status, out, err = ended(process)
    assert (status, err) == (0, ""), out
    assert "ocs-client-cli listen 'observatory..feeds.'" in out
    assert "socs files tail" in out
    (rows,) = re.findall(
        r"OK: (\d+) files, each registered and archived once with the right md5", out
    )
    written = (tmp_path / "demo" / "files").rglob("*")
    assert int(rows) == sum(path.is_file() for path in written)
    assert int(rows) == archived_files(tmp_path / "demo")
    assert re.search(r"^ *2\.\d s  announced \d+  registered \d+", out, re.MULTILINE)
    assert_gone(started)


@pytest.mark.timeout(180)
def test_a_lost_row_and_a_changed_file_are_noticed(tmp_path):
    """The comparison can fail: without it the demo would prove nothing."""
    directory = tmp_path / "demo"
    with demo(directory, "--json") as process:
        wait_for_rows(directory, process, 20)
        delete = "DELETE FROM pysmurf_files_v1 WHERE id = 1"
        change = "UPDATE pysmurf_files_v1 SET md5sum = zeroblob(16) WHERE id = 2"
        (row,) = change_table(directory, "SELECT path FROM pysmurf_files_v1 WHERE id = 2")
        change_table(directory, delete)
        change_table(directory, change)
        process.send_signal(signal.SIGTERM)
        status, out, _ = ended(process)
    found = json.loads(out)
    assert status == 1
    assert found["ok"] is False
    assert (found["missing"], found["wrong"], found["surplus"]) == (1, 1, 0)
    assert (directory / "files").exists()  # to look at
    assert Path(row[0]).exists()


@pytest.mark.timeout(180)
def test_a_signal_while_it_starts_leaves_nothing(tmp_path):
    with demo(tmp_path / "demo") as process:
        wait_until(lambda: len(children(process)) >= 2, START, "the router")
        started = children(process)
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert (status, err) == (130, "")
    assert out.endswith("interrupted before it ran: stopping what was started ...\n")
    assert_gone(started)


@pytest.mark.timeout(180)
def test_a_second_signal_cuts_the_waiting_short_and_the_result_says_so(tmp_path):
    with demo(tmp_path / "demo") as process:
        wait_for_rows(tmp_path / "demo", process, 1)
        change_table(tmp_path / "demo", "DELETE FROM pysmurf_files_v1 WHERE id = 1")  # waited for
        process.send_signal(signal.SIGINT)
        while not process.stdout.readline().startswith("waiting until all"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert (status, err) == (1, "")
    assert "FAILED: " in out
    assert "Ctrl-C cut the waiting short" in out


@pytest.mark.timeout(180)
def test_without_a_router_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SOCS_CROSSBAR", str(tmp_path / "none"))
    with demo(tmp_path / "demo") as process:
        status, _, err = ended(process)
    assert status == 1
    assert err.startswith("socs: crossbar is not at")
    assert "make demo" in err
