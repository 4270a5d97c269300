import gc
import hashlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from socs.sim.pacing import Repeat, run_paced
from socs.sim.pysmurf_files import FileSource, npy_header
from socs.sim.pysmurf_publisher import LossyPublisher, Publisher, main
from socs.sim.pysmurf_truth import Truth, read_truth
from socs.testing import wait_until

KEYS = ["host", "id", "script", "time", "seq_no", "type", "payload"]
FILE_KEYS = {
    "path",
    "type",
    "format",
    "timestamp",
    "action",
    "action_ts",
    "plot",
    "pysmurf_version",
}


class Ear:
    """A UDP socket that keeps what it hears."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(30)
        self.port = self.socket.getsockname()[1]

    @property
    def options(self):
        return {"BACKEND": "udp", "ID": "crate1", "UDP_HOST": "127.0.0.1", "UDP_PORT": self.port}

    def next(self):
        return json.loads(self.socket.recv(65536))

    def all(self):
        """Everything up to the message ``stop``."""
        messages = [self.next()]
        while messages[-1]["type"] != "stop":
            messages.append(self.next())
        return messages


@pytest.fixture
def ear():
    ear = Ear()
    yield ear
    ear.socket.close()


def test_message_format(ear):
    with Publisher("script.py", ear.options) as publisher:
        publisher.publish({"a": 1}, "session_data")
        publisher.publish([1])
        publisher.log("hello")
    messages = ear.all()
    assert [list(message) for message in messages] == [KEYS] * 5
    assert [message["type"] for message in messages] == [
        "start",
        "session_data",
        "general",
        "log",
        "stop",
    ]
    assert [message["payload"] for message in messages] == [
        {},
        {"a": 1},
        [1],
        {"message": "hello"},
        {},
    ]
    assert [message["seq_no"] for message in messages] == [0, 1, 2, 3, 4]
    assert {message["id"] for message in messages} == {"crate1"}
    assert {message["script"] for message in messages} == {"script.py"}
    assert {message["host"] for message in messages} == {socket.gethostname()}


def test_stop_is_sent_when_deleted(ear):
    publisher = Publisher("script.py", ear.options)
    publisher.publish({})
    del publisher
    gc.collect()
    assert [message["type"] for message in ear.all()] == ["start", "general", "stop"]


def test_files_and_actions(ear):
    with Publisher("script.py", ear.options) as publisher:
        publisher.register_file("/a", "tuning", "npy", 12.5, True)
        with publisher.set_action("outer", 77), publisher.set_action("inner", 88):
            publisher.register_file("/b", "tuning")
        publisher.register_file("/c", "tuning")
    _, first, second, third, _ = (message["payload"] for message in ear.all())
    assert set(first) == FILE_KEYS
    assert first["path"] == "/a"
    assert (first["format"], first["timestamp"], first["plot"]) == ("npy", 12.5, True)
    assert (first["action"], first["action_ts"]) == (None, None)
    assert (second["action"], second["action_ts"]) == ("outer", "77")
    assert (third["action"], third["action_ts"]) == (None, None)


def test_settings_from_the_environment(ear, monkeypatch):
    for prefix in ("SMURFPUB_", "OTHER_"):
        monkeypatch.setenv(f"{prefix}BACKEND", "udp")
        monkeypatch.setenv(f"{prefix}ID", f"id of {prefix}")
        monkeypatch.setenv(f"{prefix}UDP_PORT", str(ear.port))
    with Publisher("a"):
        pass
    with Publisher("b", env_root="OTHER_"):
        pass
    with Publisher("c", {"ID": "given"}):
        pass
    ids = [message["id"] for message in [ear.next() for _ in range(6)][::2]]
    assert ids == ["id of SMURFPUB_", "id of OTHER_", "given"]


def test_null_backend_discards(monkeypatch):
    monkeypatch.delenv("SMURFPUB_BACKEND", raising=False)
    with Publisher("script.py") as publisher:
        assert not publisher.publish({})
    assert publisher.seq_no == 3


def test_too_large_becomes_backend_error(ear, capsys):
    truth = Truth()
    with LossyPublisher("script.py", ear.options, truth=truth) as publisher:
        assert not publisher.publish("x" * 64_000)
    messages = ear.all()
    assert [(message["type"], message["seq_no"]) for message in messages] == [
        ("start", 0),
        ("backend_error", 2),
        ("stop", 3),
    ]
    assert "dropped large UDP packet" in messages[1]["payload"]["message"]
    assert "dropped large UDP packet" in capsys.readouterr().err
    assert truth.dropped == {"general": 1}


def test_losses_and_duplicates_are_the_truth(ear):
    truth = Truth()
    options = {"truth": truth, "drop": 0.2, "duplicate": 0.1, "seed": 5}
    with LossyPublisher("script.py", ear.options, **options) as publisher:
        for number in range(1000):
            publisher.publish(number, "log" if number % 2 else "general")
    messages = ear.all()
    numbers = [message["seq_no"] for message in messages]
    assert 150 < truth.dropped.total() < 250
    assert 50 < truth.duplicated.total() < 150
    assert len(messages) == truth.datagrams
    assert len(set(numbers)) == truth.sent.total()
    assert numbers[-1] + 1 == truth.messages == 1002
    for msgtype in ("log", "general"):
        sent = {message["seq_no"] for message in messages if message["type"] == msgtype}
        assert len(sent) == truth.sent[msgtype] == 500 - truth.dropped[msgtype]


def test_the_same_seed_makes_the_same_choices(ear):
    def choices(seed):
        options = {"truth": Truth(), "drop": 0.5, "seed": seed}
        with LossyPublisher("script.py", ear.options, **options) as publisher:
            sent = [publisher.publish({}) for _ in range(50)]
        ear.all()
        return sent

    assert choices(1) == choices(1)
    assert choices(1) != choices(2)


def test_files_are_real(ear, tmp_path):
    truth = Truth()
    with LossyPublisher("script.py", ear.options, truth=truth, drop=0.3) as publisher:
        source = FileSource(publisher, tmp_path, truth=truth, size=(100, 5000))
        for _ in range(50):
            source.announce(source.write())
    announced = {
        message["payload"]["path"]: message["payload"]
        for message in ear.all()
        if message["type"] == "data_file"
    }
    assert len(truth.unannounced) == truth.dropped["data_file"] > 0
    assert set(announced) == set(truth.announced)
    on_disk = {str(path): path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(on_disk) == set(truth.announced) | set(truth.unannounced)
    assert truth.bytes_written == sum(path.stat().st_size for path in on_disk.values())
    for path, md5 in truth.announced.items():
        content = on_disk[path].read_bytes()
        assert hashlib.md5(content).hexdigest() == md5
        date, ctime, outputs, name = Path(path).relative_to(tmp_path).parts
        assert date.isdigit()
        assert ctime.isdigit()
        assert outputs == "outputs"
        if announced[path]["format"] == "npy":
            assert name.endswith(".npy")
            assert np.load(path).nbytes == len(content) - 128


@pytest.mark.parametrize("size", [128, 129, 4096, 10**9])
def test_npy_header_is_what_numpy_expects(size, tmp_path):
    header = npy_header(size)
    path = tmp_path / "a.npy"
    path.write_bytes(header)
    with path.open("rb") as stream:
        assert np.lib.format.read_magic(stream) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        assert stream.tell() == 128
    assert (shape, fortran, dtype) == ((size - 128,), False, np.uint8)
    assert npy_header(127) == b""


def test_two_sources_in_one_directory_do_not_meet(tmp_path):
    for _ in range(3):
        with Publisher("script.py", {"BACKEND": "null"}) as publisher:
            FileSource(publisher, tmp_path, truth=Truth()).write()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 3


def test_pacing_keeps_the_mean_rates(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    when = []
    files = Repeat(lambda: when.append(clock[0]), 10.0, start=100.0)
    other = Repeat(int, 2.0, start=100.0)
    never = Repeat(int, 0.0, start=100.0)
    run_paced(files, [other, never], 31, lambda: False)
    assert when == pytest.approx([100 + n / 10 for n in range(31)])
    assert (other.done, never.done) == (7, 0)
    clock[0] += 1.0  # a pause
    run_paced(files, [other], 41, lambda: False)
    assert clock[0] == pytest.approx(104.0)
    assert files.done == 41  # the ten that were late came at once


def test_a_burst_leaves_time_for_the_others(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    files = Repeat(lambda: clock.__setitem__(0, clock[0] + 0.001), float("inf"), start=0.0)
    other = Repeat(int, 10.0, start=0.0)
    run_paced(files, [other], 1000, lambda: False)
    assert clock[0] == pytest.approx(1.0)
    assert other.done == 10


def test_command_line(ear, tmp_path, capsys):
    truth_file = tmp_path / "truth.json"
    command = f"--root {tmp_path / 'data'} --port {ear.port} --files 200 --rate burst --drop 0.1"
    command += f" --duplicate 0.1 --truth {truth_file} --metadata-rate 1000 --session-rate 1000"
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert main([*command.split(), "--id", "crate2"]) == 0
    assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    messages = ear.all()
    truth = read_truth(truth_file)
    assert truth.finished
    assert len(messages) == truth.datagrams
    assert {message["id"] for message in messages} == {"crate2"}
    paths = {m["payload"]["path"] for m in messages if m["type"] == "data_file"}
    assert paths == set(truth.announced)
    assert len(truth.announced) == truth.sent["data_file"]
    assert len(truth.announced) + len(truth.unannounced) == 200
    for msgtype in ("metadata", "session_data", "session_log"):
        assert truth.sent[msgtype] == len({m["seq_no"] for m in messages if m["type"] == msgtype})
    for path, md5 in truth.announced.items():
        assert hashlib.md5(Path(path).read_bytes()).hexdigest() == md5
    assert "files" in capsys.readouterr().out


def test_prepared_files_exist_before_the_first_announcement(ear, tmp_path):
    main(f"--root {tmp_path} --port {ear.port} --files 20 --rate 100 --prepare".split())
    files = [message for message in ear.all() if message["type"] == "data_file"]
    paths = [Path(message["payload"]["path"]) for message in files]
    written = max(path.stat().st_mtime for path in paths)
    assert written < files[0]["time"] + 0.05  # announcing them took 0.2 s
    numbers = [int(path.stem.rpartition("_")[2]) for path in paths]
    assert numbers == list(range(20))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_with_the_truth(ear, tmp_path, number):
    truth_file = tmp_path / "truth.json"
    command = [sys.executable, "-m", "socs.sim.pysmurf_publisher", "--rate", "20"]
    command += ["--port", str(ear.port), "--root", str(tmp_path / "data"), "--truth", truth_file]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as source:
        try:
            assert ear.next()["type"] == "start"
            assert ear.next()["type"] == "data_file"
            # a live display sees it grow before it ends
            wait_until(lambda: read_truth(truth_file).announced, 5, "truth about files")
            assert not read_truth(truth_file).finished
            source.send_signal(number)
            assert source.wait(60) == 0
        finally:
            source.kill()
    truth = read_truth(truth_file)
    assert truth.finished
    assert truth.sent["stop"] == 1
    assert 2 + len(ear.all()) == truth.datagrams


@pytest.mark.parametrize(
    "wrong",
    ["--rate -1", "--rate fast", "--size 5:4", "--size x", "--drop 1.5", "--prepare"],
)
def test_wrong_options_are_refused(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--root", str(tmp_path), *wrong.split()])
    assert wrong.split()[0] in capsys.readouterr().err
