"""Assembler and file writer in the background, as ``control-ssdaq`` starts and stops them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import sqlalchemy as sa
import zmq

from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.slow_signal.layout import MODULES
from socs.slow_signal.listen import SSReadoutListener
from socs.testing import wait_until
from tests.ssdaq_commands import Workplace, at_work


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with at_work(tmp_path) as made:
        yield made


def counter(place: Workplace, name: str) -> int:
    return place.status()["counters"][name]


def test_the_whole_way_of_a_camera(place: Workplace) -> None:
    assert "Starting readout assembler..." in place.control("start", "roa", "-d", place.config)
    assert "Starting readout writer..." in place.control("start", "dw", "-d", place.config)

    def writes() -> bool:
        place.play("--sets", 1)
        return bool(list(place.directory.glob("data/[!.]*")))

    wait_until(writes, 30, "a file")
    place.control("roa-ctrl", "reset-count")  # which begins another
    truth = place.play("--sets", 20)
    assert "The readout assembler has ended" in place.control("stop", "roa")
    assert "The readout writer has ended" in place.control("stop", "dw")
    found = place.readouts("data/SlowSignalData00002.hdf5")
    assert len(found) == 200 == truth.whole_readouts
    assert (found["present"] == 0xFFFFFFFF).all()
    assert np.array_equal(found["number"], np.arange(1, 201))
    assert np.array_equal(found["tack"], truth.first_tack + np.arange(200) * truth.step)
    assert np.array_equal(found["counts"], truth.counts(found["tack"]))
    assert "missed 0" in place.log("dw")
    assert "files are not registered" in place.log("dw")
    assert not list(place.directory.glob("*.pid"))
    assert not (place.directory / "ssdaq-control").exists()


def test_commands_to_a_live_assembler(place: Workplace) -> None:
    place.start("roa")
    listener = SSReadoutListener(port=place.tcp, ip="127.0.0.1")
    listener.start()
    try:

        def heard() -> bool:
            place.send_set()
            return not listener._readouts.empty()

        wait_until(heard, 20, "the subscription")
        assert place.control("roa-ctrl", "pause-pub") == "Paused readout publishing\n"
        withheld = counter(place, "readouts_withheld")
        place.send_set()
        wait_until(lambda: counter(place, "readouts_withheld") == withheld + 10)
        assert place.status()["publishing"] is False
        assert place.control("roa-ctrl", "restart-pub") == "Unpaused readout publishing\n"
        assert place.control("roa-ctrl", "reset-count") == "Readout count reset\n"
        place.send_set()
        numbers = [listener.get_readout(timeout=60).readout_number]
        while len(numbers) < 20 or numbers[-1] != 10:  # the first ones were sent before
            numbers.append(listener.get_readout(timeout=60).readout_number)
        assert numbers[-10:] == [*range(1, 11)]
    finally:
        listener.close()


def test_the_control_client_of_ssdaq_works(place: Workplace) -> None:
    place.start("roa")
    with zmq.Context() as context:
        for request, reply in [
            (b"reset_ro_count 1", b"Readout count reset"),
            (b"set_publish_readouts False", b"Paused readout publishing"),
            (b"set_publish_readouts True", b"Unpaused readout publishing"),
        ]:
            with context.socket(zmq.REQ) as client:
                client.connect(f"ipc://{place.directory}/ssdaq-control")
                client.send(request)
                assert client.poll(10_000)
                assert client.recv() == reply


def test_the_daemon_is_a_daemon_and_the_only_one(place: Workplace) -> None:
    os.umask(before := os.umask(0))
    os.umask(0)
    try:
        place.start("roa")
    finally:
        os.umask(before)
    process = psutil.Process(place.pid("roa"))
    assert os.getsid(process.pid) == process.pid  # no terminal's
    assert process.cwd() == "/"
    assert process.ppid() != os.getpid()
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert "Umask:\t0022" in status
    opened = {number: os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)}
    log = str(place.directory / "roa.log")
    assert opened == {0: "/dev/null", 1: log, 2: log}
    assert (place.directory / "ssdaq_daemon.pid").read_text() == f"{process.pid}\n"
    assert (place.directory / "ssdaq-control").stat().st_mode & 0o777 == 0o600
    for words in (["-d", place.config], [place.config]):
        printed = place.control("start", "roa", *words, status=1)
        assert re.search(f"control-ssdaq: .* runs already, as process {process.pid} ", printed)
    assert place.pid("roa") == process.pid
    assert place.status()["troubles"] == []


def test_nothing_to_stop(place: Workplace) -> None:
    assert "does not run" in place.control("stop", "roa")
    assert "does not run" in place.control("stop", "dw")
    for command in ("reset-count", "pause-pub", "restart-pub", "status"):
        printed = place.control("roa-ctrl", command, status=1)
        assert "is a readout assembler running?" in printed


def flushed(place: Workplace) -> bool:
    """Is there a packet's readouts in a journal?"""
    journals = place.directory.glob("data/*.journal")
    return any(path.stat().st_size > 2000 for path in journals)


def test_killed_and_started_again(place: Workplace) -> None:
    place.start("roa", "dw")
    place.begins_a_file()
    wait_until(lambda: flushed(place), 20, "readouts that survive")
    before = place.pid("roa"), place.pid("dw")
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: place.pid("roa") is None and place.pid("dw") is None)
    assert (place.directory / "ssdaq_daemon.pid").exists()  # stale
    assert (place.directory / "ssdaq-control").exists()
    assert "is a readout assembler running?" in place.control("roa-ctrl", "status", status=1)
    place.start("roa", "dw")
    assert {place.pid("roa"), place.pid("dw")}.isdisjoint({*before, None})
    assert place.status()["troubles"] == []
    place.control("stop", "roa")
    place.control("stop", "dw")
    names = [path.name for path in place.directory.glob("data/[!.]*")]
    assert names == ["SlowSignalData00001.hdf5"]  # recovered
    assert len(place.readouts())


def test_a_stale_pid_file_gets_nobody_killed(place: Workplace) -> None:
    with subprocess.Popen(["sleep", "100"]) as bystander:
        (place.directory / "ssdaq_daemon.pid").write_text(f"{bystander.pid}\n")
        assert "does not run" in place.control("stop", "roa")
        place.start("roa")
        place.control("stop", "roa")
        assert bystander.poll() is None
        bystander.kill()


def test_the_last_readouts_come_out_at_the_end(place: Workplace) -> None:
    place.start("roa", "dw")
    place.begins_a_file()
    placed = counter(place, "parts_placed")
    place.send_set(range(5))  # incomplete: would wait for 4 s
    wait_until(lambda: counter(place, "parts_placed") == placed + 50)
    place.control("stop", "roa")
    place.control("stop", "dw")
    last = place.readouts()[-10:]
    assert (last["present"] == 0b11111).all()


def test_prefix_and_folder_of_the_command_line_count(place: Workplace) -> None:
    place.start("roa")
    place.control("start", "dw", "-d", place.config, "-f", "mine", "-o", "elsewhere")
    place.begins_a_file("elsewhere/mine*")
    place.control("stop", "dw")
    assert list(place.directory.glob("elsewhere/mine00001.hdf5"))
    assert not list(place.directory.glob("data/*.hdf5"))


def test_what_is_wrong_is_told_where_it_was_started(place: Workplace) -> None:
    text = place.config.read_text()
    place.config.write_text(text.replace("ip: 127.0.0.1", "ip: 192.0.2.1"))
    printed = place.control("start", "roa", "-d", place.config, status=1)
    assert "ZMQReadoutPublisherLocal: cannot listen on tcp://192.0.2.1" in printed
    assert "Traceback" not in printed
    assert printed.splitlines()[-1] in place.log("roa")
    assert place.pid("roa") is None


def test_pinned_to_a_core(place: Workplace) -> None:
    core = max(os.sched_getaffinity(0))
    text = place.config.read_text()
    place.config.write_text(
        text.replace(
            "ReadoutAssemblerDaemon:",
            f"ReadoutAssemblerDaemon:\n  set_taskset: true\n  core_id: {core}",
        )
    )
    place.start("roa")
    threads = Path(f"/proc/{place.pid('roa')}/task").iterdir()
    assert {frozenset(os.sched_getaffinity(int(thread.name))) for thread in threads} == {
        frozenset({core})
    }


CUSTOM = """
class Counts:
    def __init__(self, name, path):
        self.path = path
    def publish(self, readout):
        with open(self.path, "a") as file:
            file.write(f"{readout.readout_number}\\n")
        if readout.readout_number == 5:
            raise ValueError("five")
"""


def test_custom_publishers_of_the_daemon(place: Workplace) -> None:
    (place.directory / "mine.py").write_text(CUSTOM)
    place.env["PYTHONPATH"] = str(place.directory)
    out = place.directory / "numbers"
    custom = f"    Mine:\n      class: mine.Counts\n      path: {out}\n"
    place.config.write_text(place.config.read_text() + custom)
    place.start("roa")
    place.send_set()
    place.send_set()
    wait_until(lambda: out.exists() and len(out.read_text().split()) == 20)
    (status,) = place.status()["custom_publishers"]
    assert (status["name"], status["errors"], status["dropped"]) == ("Mine", 1, 0)
    place.control("stop", "roa")
    assert out.read_text().split() == [str(number) for number in range(1, 21)]
    place.config.write_text(place.config.read_text().replace("mine.Counts", "mine.None"))
    printed = place.control("start", "roa", "-d", place.config, status=1)
    assert "ReadoutPublishers: Mine: class: cannot load mine.None" in printed


def rows(directory: Path) -> list[str]:
    database = Database({"SOCS_DATA_DIR": str(directory)})
    try:
        with database.read() as connection:
            return list(connection.execute(sa.select(files.table.c.path)).scalars())
    finally:
        database.close()


def test_files_are_registered_where_a_database_is_configured(tmp_path: Path) -> None:
    with at_work(tmp_path, SOCS_DATA_DIR=str(tmp_path / "table")) as place:
        place.start("roa", "dw")
        place.begins_a_file()
        place.control("stop", "roa")
        place.control("stop", "dw")
        assert "files are registered in SQLite" in place.log("dw")
        expected = sorted(map(str, tmp_path.glob("data/*.hdf5")))
        assert expected
        assert sorted(rows(tmp_path / "table")) == expected


def test_files_with_an_absolute_prefix_are_where_it_says_and_registered(tmp_path: Path) -> None:
    with at_work(tmp_path, SOCS_DATA_DIR=str(tmp_path / "table")) as place:
        place.start("roa")
        prefix = tmp_path / "there" / "mine"
        place.control("start", "dw", "-d", place.config, "-f", prefix)
        place.begins_a_file("there/mine*")
        place.control("stop", "dw")
        (path,) = tmp_path.glob("there/mine*.hdf5")
        assert rows(tmp_path / "table") == [str(path)]


def test_ssdatawriter_ends_with_yes_with_a_signal_and_at_the_end_of_input(
    place: Workplace,
) -> None:
    place.start("roa")
    endings = {
        "yes": lambda writer: writer.stdin.write(b"no\nye") + writer.stdin.write(b"s\n"),
        "eof": lambda writer: writer.stdin.close(),
        "term": lambda writer: writer.send_signal(signal.SIGTERM),
    }
    for name, end in endings.items():
        command = ["ssdatawriter", f"data/{name}-", "-l", str(place.tcp), "-i", "127.0.0.1"]
        with subprocess.Popen(
            command,
            env=place.env,
            cwd=place.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        ) as writer:
            try:
                assert writer.stdout.readline() == b"To stop type `yes`: \n"
                place.begins_a_file(f"data/{name}-*")
                assert writer.poll() is None
                end(writer)
                assert writer.wait(60) == 0
            finally:
                writer.kill()
        (path,) = place.directory.glob(f"data/{name}-*")
        assert path.suffix == ".hdf5"
        assert len(place.readouts(f"data/{path.name}"))


def test_ssdaq_and_the_example_listener(place: Workplace) -> None:
    words = ["ssdaq", "-l", place.udp, "-p", place.tcp, "-i", "127.0.0.1", "-V", "-r"]
    with subprocess.Popen(list(map(str, words)), env=place.env, stderr=subprocess.PIPE) as ssdaq:
        try:
            for line in ssdaq.stderr:
                if b"publishes at" in line:
                    break
            assert place.status()["listening"]["address"] == f"0.0.0.0:{place.udp}"
            words = ["ss-example-listener", "-l", place.tcp, "-i", "127.0.0.1", "-t", 3, "-n", 4]
            with subprocess.Popen(
                [*map(str, words), "-V", "ERROR"],
                env=place.env,
                stdout=subprocess.PIPE,
                text=True,
            ) as listener:
                try:

                    def ended() -> bool:
                        place.send_set()
                        return listener.poll() is not None

                    wait_until(ended, 20, "four readouts")
                    printed = listener.stdout.read()
                finally:
                    listener.kill()
            assert listener.returncode == 0
            lines = printed.splitlines()
            assert lines[0] == "Press `ctrl-C` to stop"
            assert len([line for line in lines if line.startswith("Readout number ")]) == 4
            assert lines.count(str(MODULES)) == 4
            ssdaq.send_signal(signal.SIGINT)
            assert ssdaq.wait(60) == 0
        finally:
            ssdaq.kill()
