"""The examples of SSDAQ's README run with the package ``ssdaq`` that takes its place.

Mistakes in them are corrected: ``ssdaq`` was not imported, ``np.random`` was called, the writing
example drew 64-bit numbers with ``np.random``, and indentation mixed tabs and blanks.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ssdaq
import yaml
import zmq
from ssdaq import (
    SSReadout,
    SSReadoutAssembler,
    SSReadoutListener,
    ZMQReadoutPublisher,
)
from ssdaq.receivers import SSFileWriter

from socs.errors import ConfigError
from socs.slow_signal.settings import configuration
from socs.testing import wait_until
from tests.slow_signal_packets import sets
from tests.ssdaq_readme import LISTEN, READ, WRITE, YAML


def test_a_file_is_written_and_read(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("path/to").mkdir(parents=True)
    np.random.seed(1)
    exec(WRITE, {})
    exec(READ, {})
    np.random.seed(1)
    maxima = []
    for _ in range(10):
        maxima.append(np.float32(np.random.random((32, 64)).max()))
        np.random.randint(0, 2**63, (32, 2), dtype=np.uint64)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "This file has 100 readouts"
    assert [line.split()[0] for line in lines[1:]] == [str(i) for i in range(10)]
    assert [float(line.split()[1]) for line in lines[1:]] == pytest.approx(maxima, rel=1e-6)


# -- listening ------------------------------------------------------------------------------------


class Source(threading.Thread):
    """Publishes readouts numbered from 1, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(name="source")
        self.publisher = ZMQReadoutPublisher("127.0.0.1", 0)
        self.port = int(self.publisher.endpoint.rpartition(":")[2])
        self.stopping = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(0.01):
            number += 1
            self.publisher.publish(SSReadout(number * 1000, number))
        self.publisher.close()


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    made.start()
    yield made
    made.stopping.set()
    made.join()


def listen(source: Source, do_stuff: Callable[[SSReadout, SSReadoutListener], object]) -> None:
    """Run the example; ``do_stuff`` is what it does with a readout."""
    text = LISTEN.replace("5555", str(source.port))
    text = text.replace("#do stuff with readout", "do_stuff(readout, ro_list)")
    exec(text, {"do_stuff": do_stuff})


def test_the_listener_ends_when_it_is_closed(source: Source, capsys) -> None:
    heard: list[int] = []

    def do_stuff(readout: SSReadout, listener: SSReadoutListener) -> None:
        heard.append(readout.readout_number)
        if len(heard) == 5:
            listener.close()

    listen(source, do_stuff)
    assert heard == [*range(heard[0], heard[0] + 5)]
    assert capsys.readouterr().out == ""


def test_the_listener_ends_with_ctrl_c(source: Source, capsys) -> None:
    heard: list[int] = []
    this = threading.get_ident()

    def do_stuff(readout: SSReadout, listener: SSReadoutListener) -> None:
        heard.append(readout.readout_number)
        if len(heard) == 3:
            source.stopping.set()  # so that it waits for the next one
            threading.Timer(0.3, signal.pthread_kill, (this, signal.SIGINT)).start()

    listen(source, do_stuff)
    assert len(heard) >= 3
    assert capsys.readouterr().out == "\nClosing listener\n"


# -- configuration --------------------------------------------------------------------------------


def test_the_configuration_means_what_it_says() -> None:
    chosen = configuration(yaml.safe_load(YAML))
    writer, stream = chosen.writer, chosen.stream
    assert (writer.file_enumerator, writer.file_prefix) == ("date", "SlowSignalData")
    assert (writer.folder, writer.ip, writer.port) == ("/tmp/", "127.0.0.101", 5555)
    assert chosen.writer_daemon.stdout == chosen.writer_daemon.stderr == "/tmp/ssdaq_writer.log"
    assert chosen.assembler_daemon.stdout == chosen.assembler_daemon.stderr == "/tmp/ssdaq.log"
    assert (chosen.assembler_daemon.set_taskset, chosen.assembler_daemon.core_id) == (True, 0)
    assert (stream.listen_ip, stream.listen_port) == ("0.0.0.0", 2009)
    assert stream.relaxed_ip_range is False
    assert (stream.buffer_length, stream.readout_tw, stream.buffer_time) == (1000, 1e7, 4e9)
    found = [(each.name, each.ip, each.port, each.mode) for each in stream.publishers]
    assert found == [
        ("ZMQReadoutPublisherLocal", "127.0.0.101", 5551, "local"),
        ("ZMQReadoutPublisherOutbound", "141.34.29.161", 9999, "outbound"),
        ("ZMQReadoutPublisherRemote", "141.34.229.11", 9999, "remote"),
    ]


# -- the library ----------------------------------------------------------------------------------


def test_all_names_are_there() -> None:
    for name in ssdaq.__all__:
        assert getattr(ssdaq, name) is not None
    assert {"SSReadout", "SSDataReader", "SSDataWriter", "SSReadoutListener"} < {*ssdaq.__all__}


class Keeps:
    """A publisher of one's own, as SSDAQ wants it."""

    def __init__(self) -> None:
        self.got: list[SSReadout] = []
        self.loop: object = None
        self.closed = False

    def give_loop(self, loop: object) -> None:
        self.loop = loop

    def publish(self, readout: SSReadout) -> None:
        self.got.append(readout)

    def close(self) -> None:
        self.closed = True


def send(assembler: SSReadoutAssembler, numbers: range) -> None:
    for octet, contents in sets(numbers, range(32)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as module:
            module.bind((f"127.0.1.{octet}", 0))
            module.sendto(contents, ("127.0.0.1", assembler.stream.receiver.port))


def test_an_assembler_with_publishers_and_a_writer(tmp_path: Path) -> None:
    keeps = Keeps()
    publisher = ZMQReadoutPublisher("127.0.0.1", 0, "a")
    port = int(publisher.endpoint.rpartition(":")[2])
    writer = SSFileWriter("name", str(tmp_path), ip="127.0.0.1", port=port)
    writer.start()
    assembler = SSReadoutAssembler(
        publishers=[publisher, keeps],
        listen_port=0,
        readout_tw=1e6,
        control=tmp_path / "control",
        packet_debug_stream_file=str(tmp_path / "packets"),
    )
    assembler.start()
    sent = 0

    def written() -> bool:
        nonlocal sent
        send(assembler, range(sent, sent + 1))
        sent += 1
        return writer.received > 0

    wait_until(written, 20, "the writer's subscription")
    wait_until(lambda: len(keeps.got) == 10 * sent)
    assembler.close()
    assembler.close()
    wait_until(lambda: writer.received >= 10)
    writer.close()
    assert [each.readout_number for each in keeps.got] == [*range(1, 10 * sent + 1)]
    assert keeps.loop is not None
    assert keeps.closed
    status = assembler.status()
    assert status["publishers"][0]["published"] == 10 * sent
    assert status["custom_publishers"][0]["published"] == 10 * sent
    assert status["packet_log"]["written"] == 320 * sent
    with ssdaq.SSDataReader(tmp_path / "name.hdf5") as reader:
        assert reader.n_readouts == writer.received


def test_a_publisher_that_cannot_be_closed_keeps_nobody_from_closing() -> None:
    class Fails(Keeps):
        def close(self) -> None:
            raise ZeroDivisionError("by 0")

    told: list[str] = []
    last = Keeps()
    assembler = SSReadoutAssembler(
        publishers=[Fails(), last], listen_port=0, control=None, report=told.append
    )
    assembler.close()
    assert last.closed
    assert [line.partition(": ")[2] for line in told] == ["ZeroDivisionError: by 0"]


def test_addresses_are_free_again_after_what_is_wrong() -> None:
    publisher = ZMQReadoutPublisher("127.0.0.1", 0)
    port = int(publisher.endpoint.rpartition(":")[2])
    with pytest.raises(ConfigError, match="listen_ip"):
        SSReadoutAssembler(publishers=[publisher], listen_ip="192.0.2.1", control=None)

    def free() -> bool:
        try:
            ZMQReadoutPublisher("127.0.0.1", port).close()
        except ConfigError:
            return False
        return True

    wait_until(free, 10, "the port")


def test_paused_publishers_get_nothing(tmp_path: Path) -> None:
    keeps = Keeps()
    with SSReadoutAssembler(publishers=[keeps], listen_port=0, control=None) as assembler:
        assembler.start()
        assembler.stream.set_publishing(False)
        send(assembler, range(1))
        wait_until(lambda: assembler.stream.numbers()["readouts_withheld"] == 10)
        assembler.stream.set_publishing(True)
        send(assembler, range(1, 2))
        wait_until(lambda: len(keeps.got) == 10)
    assert [each.readout_number for each in keeps.got] == [*range(11, 21)]


def test_run_ends_with_close() -> None:
    assembler = SSReadoutAssembler(listen_port=0, control=None)
    ending = threading.Timer(0.2, assembler.close)
    ending.start()
    assembler.run()
    ending.join()
    assert assembler.status()["troubles"] == []


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no method publish"):
        SSReadoutAssembler(publishers=[object()], listen_port=0)
    with pytest.raises(ConfigError, match="readout_tw"):
        SSReadoutAssembler(readout_tw=-1, listen_port=0)
    with pytest.raises(ConfigError, match=r"cannot listen on tcp://192.0.2.1"):
        ZMQReadoutPublisher("192.0.2.1", 5555)
    with (
        SSReadoutAssembler(listen_port=0, control=tmp_path / "none" / "c") as assembler,
        pytest.raises(ConfigError, match="control socket"),
    ):
        assembler.start()


def test_a_publisher_of_one_s_own_readouts_is_heard_by_ssdaq_s_subscribers() -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.subscribe(b"")
        subscriber.set(zmq.LINGER, 0)
        with ZMQReadoutPublisher("127.0.0.1", 0, layout="ssdaq") as publisher:
            subscriber.connect(publisher.endpoint)

            def heard() -> bool:
                publisher.publish(SSReadout(5, 6, cpu_t_s=7, cpu_t_ns=8))
                return bool(subscriber.poll(50))

            wait_until(heard, 20, "a message")
            message = subscriber.recv()
    assert np.frombuffer(message[:32], "<u8").tolist() == [6, 5, 7, 8]
