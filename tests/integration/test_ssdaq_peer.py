"""SSDAQ itself, unchanged, in both directions: its simulator, messages, files, commands.

It is not part of this repository: :mod:`tests.ssdaq_peer` says how to set it up. Everything is
tried with both of its versions; without it all this is skipped, and the rest of the tests compares
bytes with what is known of it.
"""

from __future__ import annotations

import json
import queue
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq

from socs.sim.camera import Camera
from socs.sim.camera_settings import CameraSettings
from socs.slow_signal import pixels
from socs.slow_signal.layout import MV_PER_COUNT, Readouts, is_present, millivolts
from socs.slow_signal.listen import SSReadoutListener
from socs.slow_signal.readout import MESSAGES, SECOND, SSReadout
from socs.slow_signal.settings import WriterSettings, read_configuration
from socs.slow_signal.ssdaq.control import NAME, ControlSocket, ask, commands_of
from socs.slow_signal.store import SSDataReader, SSDataWriter
from socs.slow_signal.stream import SlowSignalStream
from socs.testing import LOOPBACK, free_port, wait_until
from tests.camera_data import random_walk, without
from tests.ssdaq_peer import SCRIPT, Peer, peer_of, save, streaming, versions

COUNT = 1100  # readouts of a file: more than either writer keeps in memory
NOW = 1_700_000_000.0  # UNIX time of cameras
PROBE, END = 0, 1  # TACKs of messages numbered 0, which are no readouts


@pytest.fixture(params=versions())
def peer(request) -> Peer:
    return peer_of(request.param)


@pytest.fixture(params=versions()[:1])
def seed(request) -> Peer:
    """The version whose commands and configuration ours are like."""
    return peer_of(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For sockets, whose paths must be short."""
    made = Path(tempfile.mkdtemp())
    yield made
    shutil.rmtree(made)


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readouts() -> Readouts:
    """A walk; of some readouts modules are absent, of one all are."""
    made = random_walk(COUNT)
    made[5:9] = without(made[5:9], 0x7FFFFFFE)
    made[64:65] = without(made[64:65], 0)
    made["counts"][100, 3, :4] = 0, 1, 65_534, 65_535
    return made


def equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """By value; NaN is equal to NaN."""
    return np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")


def test_its_reader_reads_our_file(peer: Peer, readouts: Readouts, tmp_path: Path) -> None:
    path, target = tmp_path / "ours.hdf5", tmp_path / "read.npz"
    with SSDataWriter(path, {"place": "here"}, layout=peer.layout) as writer:
        writer.write_readouts(readouts)
    peer.run("read", path, target)
    found, amplitudes = np.load(target), millivolts(readouts).astype(np.float32)
    assert found["n_readouts"] == COUNT
    if peer.layout == "seed":
        assert equal(found["readout_number"], readouts["number"])
        assert equal(found["readout_time"], readouts["tack"])
        assert equal(found["readout_timestamps"], readouts["tacks"])
        assert equal(found["raw_readout"], amplitudes)
    else:
        mapped = amplitudes[..., pixels.ORDERS["ssl2asic_ch"]]
        assert equal(found["iro"], readouts["number"])
        assert equal(found["time"], readouts["tack"])
        seconds, rest = found["cpu_t_s"].astype(np.int64), found["cpu_t_ns"].astype(np.int64)
        assert equal(seconds * SECOND + rest, readouts["cpu_ns"])
        assert equal(found["raw_data"], amplitudes)
        assert equal(found["data"], mapped)
        assert equal(found["third"], mapped[3])
        assert equal(found["module"], mapped[:, 7].astype(np.float64))


def test_our_reader_reads_its_file(peer: Peer, readouts: Readouts, tmp_path: Path) -> None:
    path = tmp_path / "theirs.hdf5"
    readouts = readouts[:300]  # the seed's takes 5 ms for each
    peer.run("write", path, save(tmp_path / "readouts.npz", readouts))
    with SSDataReader(path, "raw") as reader:
        assert reader.layout == peer.layout
        assert reader.attrs["place"] == "here"
        found = reader.readouts()
        assert equal(reader.column("data"), millivolts(readouts).astype(np.float32))
        assert [data.tobytes() for data in reader] == [d.tobytes() for d in reader.column("data")]
        assert equal(reader[70], reader.column("data")[70])
        telescope = reader.telescope().tolist()
    same = ["number", "tack", "present", "counts"]
    same += ["tacks"] if peer.layout == "seed" else ["cpu_ns"]
    for name in same:
        assert equal(found[name], readouts[name]), name
    if peer.layout == "ssdaq":
        assert telescope == [(1700000000.25, 250000000, 1700000000, -2.5, 1.5)]


# -- messages -------------------------------------------------------------------------------------


def port_of(stream: SlowSignalStream) -> int:
    (publisher,) = stream.publishers
    return int(publisher.endpoint.rpartition(":")[2])


def mark(stream: SlowSignalStream, tack: int) -> None:
    """Publish a message that is no readout."""
    (publisher,) = stream.publishers
    message = np.zeros(1, MESSAGES[publisher.settings.layout])
    message["tack"] = tack
    with stream._turn:
        publisher.send([memoryview(message.view(np.uint8))])


class Listening:
    """Our listener; what it hears until :meth:`readouts`."""

    def __init__(self, port: int) -> None:
        self.thread = SSReadoutListener(port=port, ip=LOOPBACK)
        self.thread.start()

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.close()

    def begin(self, stream: SlowSignalStream) -> None:
        """Have the subscription arrive at our own publisher."""
        wait_until(lambda: mark(stream, PROBE) or self.thread.received, 20, "the subscription")

    def readouts(self, quiet: float = 0.5) -> list[SSReadout]:
        """What was heard, once nothing comes for so long [s]; without marks."""
        heard = []
        try:
            while True:
                heard.append(self.thread.get_readout(timeout=quiet))
        except queue.Empty:
            return [readout for readout in heard if readout.readout_number]


def column(heard: list[SSReadout], name: str) -> np.ndarray:
    return np.array([getattr(readout, name) for readout in heard])


def test_its_listener_hears_what_ours_hears(peer: Peer, tmp_path: Path) -> None:
    target, said = tmp_path / "heard.npz", tmp_path / "said"
    settings = CameraSettings(packet_rate=np.inf, drop=0.03, duplicate=0.02, seed=5, first_tack=0)
    files = WriterSettings(folder=str(tmp_path / "files"))
    with ExitStack() as stack:
        stream = stack.enter_context(streaming(peer.layout, writer=files, flush_time=0.2))
        ours = stack.enter_context(Listening(port_of(stream)))
        ours.begin(stream)
        process = stack.enter_context(peer.started(said, SCRIPT, "listen", port_of(stream), target))
        wait_until(lambda: mark(stream, PROBE) or "ready" in said.read_text(), 30, "its listener")
        to = {"port": stream.receiver.port}
        camera = stack.enter_context(Camera(CameraSettings(**vars(settings) | to)))
        for _ in range(40):
            camera.send_set()
        wait_until(lambda: stream.numbers()["readouts_out"] == 400, 20)
        heard = ours.readouts()
        mark(stream, END)
        process.wait(60)
        stream.stop()
    theirs = np.load(target)
    (path,) = (tmp_path / "files").iterdir()
    with SSDataReader(path) as reader:
        stored = reader.readouts()
    amplitudes = millivolts(stored)
    truth = camera.truth
    assert truth.indices(stored["tack"]).tolist() == list(range(400))
    lost = 10 * truth.total("dropped")
    assert np.count_nonzero(~is_present(stored["present"])) == lost > 100
    expected = truth.counts(stored["tack"]) * MV_PER_COUNT
    assert equal(amplitudes, np.where(np.isnan(amplitudes), np.nan, expected))
    for name, value in {
        "readout_number": stored["number"],
        "readout_timestamp": stored["tack"],
        "data": amplitudes,
        "timestamps": stored["tacks"],
        "iro": stored["number"],
        "time": stored["tack"],
        "cpu_t_s": (stored["cpu_ns"] // SECOND).astype(np.uint64),
        "cpu_t_ns": (stored["cpu_ns"] % SECOND).astype(np.uint64),
    }.items():
        if name in theirs:
            assert equal(theirs[name], value), name
            assert equal(column(heard, name).astype(value.dtype), value), name
    assert len(theirs.files) == (4 if peer.layout == "seed" else 5)


# -- assemblers -----------------------------------------------------------------------------------


def queued(port: int) -> int | None:
    """Bytes that wait at a UDP port of this machine; None if nobody listens there."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        _, local, _, _, queues, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port:
            return int(queues.rpartition(":")[2], 16)
    return None


def play(camera: Camera, sets: int) -> None:
    """Send sets, each when the one before was taken from the kernel: none is lost there."""
    for _ in range(sets):
        camera.send_set()
        wait_until(lambda: queued(camera.settings.port) == 0, 20, "the packets to be taken")


def from_its_assembler(
    udp: int, port: int, said: Path, settings: CameraSettings, sets: int = 20
) -> tuple[list[SSReadout], Camera]:
    """What we hear of an assembler that is ready soon, and the camera that has played for it."""
    begun = ("Fetching first packet", "Empty socket buffer")  # the newest version, the seed's
    with ExitStack() as stack:
        listening = stack.enter_context(Listening(port))
        wait_until(lambda: any(text in said.read_text() for text in begun), 30, "the assembler")
        wait_until(lambda: queued(udp) == 0, 20, "its port")
        camera = stack.enter_context(Camera(settings, NOW))
        wait_until(lambda: play(camera, 1) or listening.thread.received, 30, "a readout")
        play(camera, sets)
        return listening.readouts(), camera


def check_complete(heard: list[SSReadout], camera: Camera) -> None:
    """Is all of it there, one after the other, with the values that the camera sent?"""
    tacks = column(heard, "time").astype(np.uint64)
    assert (np.diff(camera.truth.indices(tacks)) == 1).all()
    assert (np.diff(column(heard, "iro")) == 1).all()
    assert equal(column(heard, "data"), camera.truth.counts(tacks) * MV_PER_COUNT)
    seconds = column(heard, "timestamps")
    if seconds.any():  # the newest version does not tell them
        assert equal(seconds[:, :, 0], np.repeat(tacks[:, None], 32, axis=1))
        assert equal(seconds[:, :, 1], camera.truth.aux(tacks))


def test_our_listener_hears_its_assembler(peer: Peer, tmp_path: Path, folder: Path) -> None:
    said, udp, port = tmp_path / "said", free_port(socket.SOCK_DGRAM), free_port()
    settings = json.dumps({"readout_tw": 1e7, "buffer_time": 2e9})
    with peer.started(said, SCRIPT, "assemble", udp, port, folder, settings):
        heard, camera = from_its_assembler(udp, port, said, CameraSettings(port=udp))
    last = camera.truth.indices(column(heard[-1:], "time").astype(np.uint64))[0]
    assert last >= camera.truth.readouts - 40  # it keeps what is younger than buffer_time
    if peer.layout == "seed":
        # It throws away the first packet of all, and puts no part into the oldest readout.
        assert camera.truth.indices(column(heard[:1], "time").astype(np.uint64))[0] < 200
        heard = heard[20:]
    assert len(heard) > 150
    check_complete(heard, camera)


YAML = """
ReadoutAssemblerDaemon:
  stdout: '/dev/null'
  stderr: '/dev/null'
  set_taskset: true #Using task set to force kernel not to swap cores
  core_id: 0 #which cpu core to use with taskset
ReadoutAssembler:
  SSReadoutAssembler:
    listen_ip: 0.0.0.0
    listen_port: {udp}
    relaxed_ip_range: false
    buffer_length: 1000
    readout_tw: !!float 1.e7 #nano seconds
    buffer_time: !!float 4e9
  ReadoutPublishers:
    ZMQReadoutPublisherLocal: #Name of the publisher (must be unique)
      ip: 127.0.0.1
      port: {port}
    ZMQReadoutPublisherRemote:
      ip: 127.0.0.1
      port: {remote}
      mode: remote
"""


def test_its_configuration_makes_the_same_readouts_of_the_same_packets(
    seed: Peer, tmp_path: Path, folder: Path
) -> None:
    said, config = tmp_path / "said", tmp_path / "config.yaml"
    udp, port, remote = free_port(socket.SOCK_DGRAM), free_port(), free_port()
    config.write_text(YAML.format(udp=udp, port=port, remote=remote))
    settings = CameraSettings(port=udp, seed=9, first_tack=10**12)
    with seed.started(said, SCRIPT, "control", folder, "start", "roa", config):
        theirs, camera = from_its_assembler(udp, port, said, settings)
    sets = camera.truth.sets
    with ExitStack() as stack:
        configured = read_configuration(config).stream
        context = zmq.Context()
        stack.callback(context.destroy, 0)
        stream = SlowSignalStream(configured, context=context)
        stream.start()
        stack.callback(stream.stop)
        listening = stack.enter_context(Listening(port))
        first = next(iter(stream.publishers))
        probe = [memoryview(np.zeros(1, MESSAGES["seed"]).view(np.uint8))]

        def heard() -> int:
            with stream._turn:
                first.send(probe)
            return listening.thread.received

        wait_until(heard, 20, "the subscription")
        play(stack.enter_context(Camera(settings, NOW)), sets)
        ours = {readout.time: readout for readout in listening.readouts()}
    assert len(ours) == 10 * sets
    theirs = theirs[20:]  # see above
    assert len(theirs) > 150
    for readout in theirs:
        mine = ours[readout.time]
        assert equal(mine.data, readout.data)
        assert equal(mine.timestamps, readout.timestamps)
    assert (np.diff([ours[readout.time].iro for readout in theirs]) == 1).all()
    assert (np.diff(column(theirs, "iro")) == 1).all()


# -- commands -------------------------------------------------------------------------------------


def test_its_command_reaches_our_control_socket(seed: Peer, folder: Path) -> None:
    with streaming() as stream, ControlSocket(commands_of(stream), folder / NAME):
        settings = CameraSettings(port=stream.receiver.port)
        with Listening(port_of(stream)) as listening, Camera(settings) as camera:
            listening.begin(stream)
            play(camera, 2)

            def told(word: str) -> str:
                return seed.run("control", folder, "roa-ctrl", word).strip()

            wait_until(lambda: stream.numbers()["readouts_out"] == 20)
            assert told("pause-pub") == "b'Paused readout publishing'"
            play(camera, 1)
            wait_until(lambda: stream.numbers()["readouts_out"] == 30)
            assert told("restart-pub") == "Unpaused readout publishing"
            play(camera, 1)
            wait_until(lambda: stream.numbers()["readouts_out"] == 40)
            assert told("reset-count") == "b'Readout count reset'"
            play(camera, 1)
            numbers = column(listening.readouts(), "iro").tolist()
    assert numbers == [*range(1, 21), *range(31, 41), *range(1, 11)]


def test_our_command_reaches_its_control_socket(seed: Peer, tmp_path: Path, folder: Path) -> None:
    said, udp, port = tmp_path / "said", free_port(socket.SOCK_DGRAM), free_port()
    settings = json.dumps({"readout_tw": 1e7, "buffer_time": 2e9})
    path = folder / NAME
    with seed.started(said, SCRIPT, "assemble", udp, port, folder, settings):
        heard, _ = from_its_assembler(udp, port, said, CameraSettings(port=udp), 1)
        assert heard
        assert ask("reset_ro_count 1", path) == "Readout count reset"
        assert ask("set_publish_readouts False", path) == "Paused readout publishing"
        assert ask("set_publish_readouts True", path) == "Unpaused readout publishing"
