"""The whole way of the slow signal: a camera, the stream, its subscribers and its files."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from socs.counters import imbalances
from socs.errors import ConfigError, StorageUnavailable
from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.slow_signal.layout import MV_PER_COUNT, is_present
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.readout import MESSAGES
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.store import SSDataReader, series
from socs.slow_signal.stream import EQUATIONS, SlowSignalStream
from socs.testing import wait_until
from tests.slow_signal_packets import check_values, packet, sets

SEED = MESSAGES["seed"]


class Ear(threading.Thread):
    """A subscriber that keeps every message."""

    def __init__(self, endpoint: str, context: zmq.Context) -> None:
        super().__init__(name="ear")
        self._socket = context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.subscribe(b"")
        self._socket.connect(endpoint)
        self._stopping = threading.Event()
        self.messages: list[bytes] = []

    def run(self) -> None:
        while not self._stopping.is_set() or self._socket.poll(0):
            if self._socket.poll(50):
                self.messages.append(self._socket.recv())
        self._socket.close()

    def stop(self, after: int = 0) -> None:
        """Hear no more, once it has heard so many readouts or has waited long enough for them."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: len(self.readouts()) >= after, 5, "all readouts")
        self._stopping.set()
        self.join()

    def readouts(self) -> np.ndarray:
        """All of them; those with number 0 were sent to see whether it hears."""
        heard = np.frombuffer(b"".join(self.messages), SEED)
        return heard[heard["number"] > 0]


@contextmanager
def context() -> Iterator[zmq.Context]:
    made = zmq.Context()
    try:
        yield made
    finally:
        made.destroy(0)


@contextmanager
def streaming(directory: Path, *, ear: bool = True, **changed) -> Iterator[SlowSignalStream]:
    """A stream on free ports that writes below ``directory``, with a subscriber as ``ear``."""
    asked = {
        "listen_ip": "0.0.0.0",
        "listen_port": 0,
        "publishers": [PublisherSettings("a", "127.0.0.1", 0, high_water_mark=100_000)],
        "writer": files(directory),
    } | changed
    lines: list[str] = []
    seconds: list = []
    with context() as zmq_context:
        stream = SlowSignalStream(
            StreamSettings(**asked),
            report=lines.append,
            on_second=seconds.append,
            context=zmq_context,
        )
        stream.lines, stream.seconds = lines, seconds
        stream.start()
        try:
            if ear:
                (publisher,) = stream.publishers
                stream.ear = Ear(publisher.endpoint, zmq_context)
                stream.ear.start()
                wait_until(lambda: hears(stream), 10, "the subscription")
            yield stream
        finally:
            stream.stop()
            if ear:
                stream.ear.stop(stream.numbers()["readouts_published"])


def hears(stream: SlowSignalStream) -> bool:
    (publisher,) = stream.publishers
    with stream._turn:
        publisher.send([memoryview(np.zeros(1, SEED).view(np.uint8))])
        publisher.published -= 1
    return bool(stream.ear.messages)


def files(directory: Path, **changed) -> WriterSettings:
    return WriterSettings(folder=str(directory / "files"), **{"file_enumerator": "order"} | changed)


def camera(directory: Path, stream: SlowSignalStream, *options: object) -> CameraTruth:
    """Run the camera to its end; what it did."""
    truth = directory / "truth.json"
    command = [sys.executable, "-m", "socs.sim.camera", "--port", str(stream.receiver.port)]
    subprocess.run([*command, "--truth", str(truth), *map(str, options)], check=True, timeout=100)
    return read_camera_truth(truth)


def settled(stream: SlowSignalStream, datagrams: int, timeout: float = 20) -> dict[str, int]:
    """Wait until so many datagrams have gone all the way; the numbers then."""

    def at_rest() -> dict[str, int] | None:
        numbers = stream.numbers()
        waits = ("readouts_queued", "readouts_unflushed", "readouts_buffered", "parts_held")
        there = numbers["datagrams_received"] >= datagrams
        return numbers if there and not any(numbers[name] for name in waits) else None

    return wait_until(at_rest, timeout, "everything to have gone all the way")


def written(directory: Path) -> np.ndarray:
    """All readouts in the files, in the order of the files' names."""
    found = []
    for path in sorted((directory / "files").glob("*.hdf5")):
        with SSDataReader(path) as reader:
            found.append(reader.readouts())
    return np.concatenate(found)


def send(stream: SlowSignalStream, datagrams: list[tuple[int, bytes]]) -> None:
    """Send (last number of the sender's address, contents)."""
    deliver(stream.receiver.port, datagrams)


def deliver(port: int, datagrams: list[tuple[int, bytes]]) -> None:
    for octet, contents in datagrams:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as module:
            module.bind((f"127.0.1.{octet}", 0))
            module.sendto(contents, ("127.0.0.1", port))


def check_heard(heard: np.ndarray, truth: CameraTruth) -> None:
    """Has every module that is there the values it sent, in every readout?"""
    there = heard["tacks"][:, :, 0] > 0
    assert (truth.indices(heard["tack"]) >= 0).all()
    expected = np.where(there[:, :, None], truth.counts(heard["tack"]) * MV_PER_COUNT, np.nan)
    assert np.array_equal(heard["data"], expected, equal_nan=True)
    assert np.array_equal(heard["tacks"][:, :, 1], np.where(there, truth.aux(heard["tack"]), 0))


def test_every_readout_arrives_whole_at_subscribers_and_in_files(tmp_path: Path) -> None:
    with streaming(tmp_path) as stream:
        truth = camera(tmp_path, stream, "--packet-rate", 2000, "--sets", 250, "--seed", 8)
        settled(stream, truth.datagrams)
        status = json.loads(json.dumps(stream.status()))
    numbers = stream.numbers()
    assert numbers["kernel_drops"] == 0
    assert numbers["readouts_complete"] == numbers["readouts_out"] == truth.whole_readouts == 2500
    assert numbers["readouts_published"] == numbers["readouts_written"] == 2500
    assert imbalances(numbers, EQUATIONS) == {}
    heard, stored = stream.ear.readouts(), written(tmp_path)
    for readouts in (heard, stored):
        assert readouts["number"].tolist() == list(range(1, 2501))
        assert truth.indices(readouts["tack"]).tolist() == list(range(2500))
    check_heard(heard, truth)
    assert np.array_equal(stored["counts"], truth.counts(stored["tack"]))
    assert np.array_equal(stored["tacks"], heard["tacks"])
    assert status["unaccounted"] == {}
    assert status["troubles"] == []
    assert [m["parts_placed"] for m in status["modules"]] == [2500] * 32


def test_faults_are_counted_exactly_and_no_value_is_wrong(tmp_path: Path) -> None:
    faults = ("--drop", 0.01, "--duplicate", 0.01, "--reorder", 0.01, "--delay", 0.01)
    # within flush_time the camera has gone on by more than buffer_time
    with streaming(tmp_path, flush_time=30.0, expected_modules=set(range(32)) - {5}) as stream:
        options = ("--packet-rate", 3200, "--sets", 300, "--seed", 4, "--silent", 5)
        truth = camera(tmp_path, stream, *options, *faults)
        wait_until(lambda: stream.numbers()["datagrams_received"] == truth.datagrams)
    numbers = stream.numbers()
    assert numbers["kernel_drops"] == 0
    assert min(map(truth.total, ("dropped", "duplicated", "reordered", "delayed"))) > 50
    assert numbers["parts_duplicate"] == 10 * truth.total("duplicated")
    assert numbers["parts_late"] == 10 * truth.total("delayed")
    assert numbers["parts_missing"] == 10 * (truth.total("dropped") + truth.total("delayed"))
    hurt = numbers["readouts_out"] - numbers["readouts_complete"]
    assert numbers["readouts_out"] == truth.readouts
    assert 0 < hurt == numbers["readouts_timed_out"] + numbers["readouts_flushed"]
    assert imbalances(numbers, EQUATIONS) == {}
    heard, stored = stream.ear.readouts(), written(tmp_path)
    assert len(heard) == len(stored) == truth.readouts
    check_heard(heard, truth)
    present = is_present(stored["present"])
    assert np.count_nonzero(~present) == numbers["parts_missing"] + truth.readouts
    assert np.array_equal(
        stored["counts"], np.where(present[:, :, None], truth.counts(stored["tack"]), 0)
    )


def test_what_nobody_waits_for_comes_out_by_the_clock(tmp_path: Path) -> None:
    with streaming(tmp_path, flush_time=0.3) as stream:
        send(stream, sets([0], range(31)))
        wait_until(lambda: len(stream.ear.readouts()) == 10, 10)
        assert stream.numbers()["readouts_flushed"] == 10


def test_stop_drains(tmp_path: Path) -> None:
    """What is in the kernel, being put together, queued: all of it is published and stored."""
    with streaming(tmp_path, flush_time=100.0) as stream:
        send(stream, sets(range(3), range(31)))
    numbers = stream.numbers()
    assert numbers["readouts_out"] == numbers["readouts_written"] == 30
    assert numbers["readouts_flushed"] == 30
    assert imbalances(numbers, EQUATIONS) == {}
    assert len(stream.ear.readouts()) == 30
    check_values(written(tmp_path))


def test_a_disk_that_hangs_delays_nobody(tmp_path: Path, monkeypatch) -> None:
    going_on = threading.Event()
    flush = series.FileSeries._flush_some

    def hanging(self: series.FileSeries) -> None:
        going_on.wait(30)
        flush(self)

    monkeypatch.setattr(series.FileSeries, "_flush_some", hanging)
    with streaming(tmp_path) as stream:
        stream._writers[0]._room = 4_800_000  # bytes, 1000 readouts
        truth = camera(tmp_path, stream, "--packet-rate", 6400, "--sets", 300)
        wait_until(lambda: len(stream.ear.readouts()) == truth.readouts == 3000, 10)
        numbers = stream.numbers()
        assert numbers["readouts_written"] == 0
        assert numbers["readouts_queue_full"] > 1000
        going_on.set()
        settled(stream, truth.datagrams)
    numbers = stream.numbers()
    assert imbalances(numbers, EQUATIONS) == {}
    assert numbers["readouts_written"] + numbers["readouts_queue_full"] == 3000
    assert len(written(tmp_path)) == numbers["readouts_written"]


def test_a_subscriber_that_hangs_delays_nobody(tmp_path: Path) -> None:
    few = [PublisherSettings("a", "127.0.0.1", 0, high_water_mark=10)]
    with streaming(tmp_path, publishers=few) as stream, context() as other:
        hanging = other.socket(zmq.SUB)
        hanging.set(zmq.RCVHWM, 1)
        hanging.set(zmq.RCVBUF, 4096)
        hanging.subscribe(b"")
        (publisher,) = stream.publishers
        hanging.connect(publisher.endpoint)
        assert hanging.poll(0) == 0
        wait_until(lambda: hears(stream) and hanging.poll(0), 10)
        truth = camera(tmp_path, stream, "--packet-rate", 3200, "--sets", 200)
        settled(stream, truth.datagrams)
    numbers = stream.numbers()
    assert numbers["readouts_complete"] == numbers["readouts_written"] == 2000
    assert numbers["publisher_overflows"] > 0


def test_bad_packets_are_counted_and_told(tmp_path: Path) -> None:
    with streaming(tmp_path) as stream:
        bad = [(100, b""), (100, b"x" * 100), (150, packet(0, 0)[1]), (101, b"\0" * 1440)]
        send(stream, bad)
        send(stream, sets([0], range(32)))
        numbers = settled(stream, 36)
    causes = ("packet_empty", "packet_bad_size", "module_out_of_range", "tacks_inconsistent")
    assert {name: numbers[name] for name in causes} == dict.fromkeys(causes, 1)
    assert numbers["readouts_complete"] == 10
    for cause in causes:
        assert any(cause in line and "127.0.1." in line for line in stream.lines)


def test_relaxed_addresses(tmp_path: Path) -> None:
    with streaming(tmp_path, relaxed_ip_range=True, expected_modules=[0]) as stream:
        send(stream, [(132, packet(0, 0)[1])])
        assert settled(stream, 1)["readouts_complete"] == 10


def test_an_operator_resets_the_count_and_withholds_and_begins_files(tmp_path: Path) -> None:
    with streaming(tmp_path) as stream:
        send(stream, sets([0], range(32)))
        settled(stream, 32)
        stream.set_publishing(False)
        send(stream, sets([1], range(32)))
        settled(stream, 64)
        stream.set_publishing(True)
        stream.reset_readout_count()
        send(stream, sets([2], range(32)))
        settled(stream, 96)
        assert stream.new_file()
        send(stream, sets([3], range(32)))
        numbers = settled(stream, 128)
        assert numbers["readouts_withheld"] == 10
    assert stream.numbers()["data_files_completed"] == 3
    heard = stream.ear.readouts()["number"].tolist()
    assert heard == [*range(1, 11), *range(1, 21)]
    assert written(tmp_path)["number"].tolist() == [*range(1, 21), *range(1, 21)]
    check_values(written(tmp_path))


def test_the_writer_is_changed_and_no_readout_is_lost(tmp_path: Path) -> None:
    with streaming(tmp_path, ear=False) as stream:
        send(stream, sets([0], range(32)))
        settled(stream, 32)
        stream.set_writer(files(tmp_path, layout="seed"))
        assert stream.numbers()["data_files_completed"] == 1  # at once, not at the end
        send(stream, sets([1], range(32)))
        settled(stream, 64)
        with pytest.raises(ConfigError, match="layout"):
            stream.set_writer(files(tmp_path, layout="none"))
        send(stream, sets([2], range(32)))
        settled(stream, 96)
        stream.set_writer(None)
        assert not stream.new_file()
        send(stream, sets([3], range(32)))
        numbers = settled(stream, 128)
        assert numbers["readouts_unstored"] == 10
        assert stream.status()["writer"] is None
        stream.set_writer(files(tmp_path))
        send(stream, sets([4], range(32)))
        settled(stream, 160)
    assert imbalances(stream.numbers(), EQUATIONS) == {}
    assert stream.numbers()["data_files_completed"] == 3
    assert written(tmp_path)["number"].tolist() == [*range(1, 31), *range(41, 51)]
    stream.set_writer(files(tmp_path))  # after the end, this begins nothing
    assert not stream._writers[-1].alive


def test_finished_files_are_handed_over_until_they_are_taken(tmp_path: Path) -> None:
    taken: list = []

    def take(completed) -> None:
        taken.append(completed)
        if len(taken) == 1:
            raise StorageUnavailable("not yet")

    stream = SlowSignalStream(
        StreamSettings(listen_ip="0.0.0.0", listen_port=0, writer=files(tmp_path)),
        on_finished=take,
    )
    stream.start()
    try:
        send(stream, sets([0], range(32)))
        settled(stream, 32)
        stream.new_file()
        send(stream, sets([1], range(32)))
        wait_until(lambda: len(taken) == 2, 10)
    finally:
        stream.stop()
    assert [each.readouts for each in taken] == [10, 10, 10]
    assert taken[0] == taken[1] != taken[2]


def test_seconds_tell_what_there_was(tmp_path: Path) -> None:
    with streaming(tmp_path, flush_time=0.2) as stream:
        truth = camera(tmp_path, stream, "--packet-rate", 3200, "--sets", 200, "--drop", 0.01)
        settled(stream, truth.datagrams)
    seconds = stream.seconds
    assert sum(second.readouts for second in seconds) == 2000
    assert sum(second.incomplete for second in seconds) == 2000 - truth.whole_readouts > 0
    assert sum(s.changes.get("parts_missing", 0) for s in seconds) == 10 * truth.total("dropped")
    for second in seconds:
        assert second.duration > 0
        if second.readouts:
            assert second.amplitudes.readouts == min(500, second.readouts)
            assert second.preview.shape == (32, 16)
            assert 0 < np.nanmin(second.amplitudes.mean) < 1000


def test_a_defect_in_whoever_is_told_ends_nothing(tmp_path: Path) -> None:
    with streaming(tmp_path) as stream:
        stream._on_second = lambda second: 1 / 0
        wait_until(lambda: stream.numbers()["seconds_untold"] > 1, 10)
        send(stream, sets([0], range(31)))
        wait_until(lambda: stream.numbers()["readouts_flushed"] == 10, 10)
    assert any("ZeroDivisionError" in line for line in stream.lines)


def test_troubles_name_a_setting_that_does_not_fit_and_threads_that_ended(tmp_path: Path) -> None:
    with streaming(tmp_path, readout_tw=1e9) as stream:
        send(stream, sets(range(3), range(32)))
        settled(stream, 96)
        (told,) = stream.troubles()
        assert "readout_tw" in told
        stream.receiver.stop()
        wait_until(lambda: "the receiver has stopped by itself" in stream.troubles())


def is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_settings_that_cannot_be_leave_nothing_behind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"listen_port.*{port}"):
            SlowSignalStream(StreamSettings(listen_ip="127.0.0.1", listen_port=port))
    for wrong in (
        {"writer": files(tmp_path, layout="none")},
        {"publishers": [PublisherSettings("a", "127.0.0.1", 0)] * 2},
        {
            "publishers": [PublisherSettings("a", "127.0.0.1", port)],
            "writer": files(tmp_path, layout="none"),
        },
    ):
        with pytest.raises(ConfigError):
            SlowSignalStream(StreamSettings(listen_ip="127.0.0.1", listen_port=port, **wrong))
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        wait_until(lambda kind=kind: is_free(port, kind), 5, "the port")  # ZMQ closes a bit later


def test_seconds_tell_of_counters_and_not_of_what_is_there_at_the_moment(tmp_path: Path) -> None:
    with streaming(tmp_path, flush_time=100.0) as stream:
        send(stream, sets([0], range(31)))

        def told() -> list:
            return [each for each in stream.seconds if "parts_decoded" in each.changes]

        (second, *_) = wait_until(told)
        assert stream.numbers()["parts_buffered"] == 310
    assert second.changes["parts_placed"] == 310
    assert "parts_buffered" not in second.changes


SUSPENDED = """
import sys
from socs.slow_signal.settings import StreamSettings
from socs.slow_signal.stream import SlowSignalStream

stream = SlowSignalStream(StreamSettings(listen_ip="0.0.0.0", listen_port=0, flush_time=1.0))
stream.start()
print(stream.receiver.port, flush=True)
while line := sys.stdin.readline():
    print(stream.numbers()[line.strip()], flush=True)
stream.stop()
"""


def test_after_a_pause_what_waits_in_the_kernel_comes_first(tmp_path: Path) -> None:
    """The clock alone would take readouts for overdue whose last packets have arrived."""
    with subprocess.Popen(
        [sys.executable, "-c", SUSPENDED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(name: str) -> int:
            print(name, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        try:
            port = int(process.stdout.readline())
            deliver(port, sets([0], range(31)))
            wait_until(lambda: ask("parts_buffered") == 310)
            process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            deliver(port, [packet(31, 0)])
            wait_until(lambda: time.monotonic() > stopped + 2.5)
        finally:
            process.send_signal(signal.SIGCONT)
        wait_until(lambda: ask("readouts_out") == 10)
        assert ask("readouts_complete") == 10
        process.stdin.close()
