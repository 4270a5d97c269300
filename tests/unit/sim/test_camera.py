import json
import socket
from collections import Counter

import numpy as np
import pytest

from socs.errors import ConfigError
from socs.sim.camera import Camera, main
from socs.sim.camera_settings import CameraSettings, Fates
from socs.sim.camera_truth import (
    DELAYED,
    DROPPED,
    DUPLICATED,
    REGULAR,
    REORDERED,
    SILENT,
    read_camera_truth,
)
from socs.sim.camera_walk import Walk
from socs.sim.datagram_sender import DatagramSender
from socs.slow_signal.layout import SIGN, WIRE

UTC = 1_700_000_000.05  # s


@pytest.fixture
def ear():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(30)
        yield ear


def settings(ear: socket.socket, **changed) -> CameraSettings:
    return CameraSettings(port=ear.getsockname()[1], walk=60, **changed)


def heard(ear: socket.socket, count: int) -> list[tuple[str, np.ndarray]]:
    """(sender's address, parts) of exactly ``count`` datagrams."""
    found = [ear.recvfrom(65536) for _ in range(count)]
    ear.setblocking(False)
    with pytest.raises(BlockingIOError):
        ear.recv(1)
    return [(sender[0], np.frombuffer(data, WIRE)) for data, sender in found]


def play(ear: socket.socket, sets: int, **changed) -> tuple[Camera, list[tuple[str, np.ndarray]]]:
    with Camera(settings(ear, **changed), UTC) as camera:
        for _ in range(sets):
            camera.send_set()
        camera.finish()
    return camera, heard(ear, camera.truth.datagrams)


@pytest.mark.parametrize("method", ["sendmmsg", "sendmsg"])
def test_every_packet_is_as_the_truth_says(ear, monkeypatch, method) -> None:
    monkeypatch.setattr(DatagramSender.__init__, "__defaults__", (method,))
    camera, packets = play(ear, 30, seed=5)  # more than once around the walk
    truth = camera.truth
    assert camera._sender.method == method
    assert len(packets) == truth.datagrams == 30 * 32
    assert truth.readouts == truth.whole_readouts == 300
    walk = Walk(truth.seed, truth.walk)
    for number, (sender, parts) in enumerate(packets):
        module = number % 32
        assert sender == f"127.0.1.{100 + module}"
        indices = np.arange(10) + number // 32 * 10
        tacks = parts["tack"].astype(np.uint64)
        assert truth.indices(tacks).tolist() == indices.tolist()
        counts = np.concatenate([parts["low"], parts["high"]], axis=1) ^ SIGN
        assert np.array_equal(counts, truth.counts(tacks, walk)[:, module])
        assert np.array_equal(parts["aux"], truth.aux(tacks)[:, module])


def test_tacks_are_multiples_of_the_step_and_begin_at_utc(ear) -> None:
    camera, packets = play(ear, 1)
    tacks = packets[0][1]["tack"].astype(int)
    assert set(np.diff(tacks)) == {100_000_000}
    assert tacks[0] % 1_000_000_000 == 0  # so that cameras of one module each agree
    assert 0 <= tacks[0] - UTC * 1e9 < 1e9
    assert 0 <= UTC * 1e9 - camera.truth.aux(packets[0][1]["tack"])[0, 0] < 1e3


def test_a_module_alone_sends_what_it_sends_among_all(ear) -> None:
    alone, packets = play(ear, 2, modules=[7])
    _, every = play(ear, 2)
    assert [sender for sender, _ in packets] == ["127.0.1.107"] * 2
    for (_, parts), (_, same) in zip(packets, every[7::32], strict=True):
        assert np.array_equal(parts, same)
    assert alone.truth.total("silent") == 2 * 31


def test_the_system_chooses_the_address_of_a_single_module(ear) -> None:
    _, packets = play(ear, 1, modules=[7], source="any")
    assert packets[0][0] == "127.0.0.1"


def test_faults_are_counted_exactly(ear) -> None:
    chances = {"drop": 0.1, "duplicate": 0.1, "reorder": 0.1, "delay": 0.1, "delay_sets": 5}
    camera, packets = play(ear, 40, silent=[3], seed=2, **chances)
    truth = camera.truth
    first = truth.first_tack
    order = [
        (int(sender[9:]), (int(parts["tack"][0]) - first) // 10**9) for sender, parts in packets
    ]
    times, fates = Counter(order), Fates(camera.settings)
    assert all(truth.total(kind) > 50 for kind in ("dropped", "duplicated", "reordered", "delayed"))
    assert truth.packets.sum(axis=0).tolist() == [40] * 32
    assert 3 not in {module for module, _ in order}
    assert truth.packets[SILENT].tolist() == [40 * (module == 3) for module in range(32)]
    for module in set(range(32)) - {3}:
        sent = [times[module, number] for number in range(40)]
        dropped, duplicated = truth.packets[DROPPED, module], sent.count(2)
        assert sent.count(0) == dropped
        assert duplicated == truth.packets[DUPLICATED, module]
        late = behind_others(order, module)
        at_the_end = fates.of_set(39)[module] == REORDERED
        assert late[1] == truth.packets[REORDERED, module] - at_the_end
        assert late[5] == truth.packets[DELAYED, module]
        assert late[0] + late[1] + late[5] == sum(sent)
    assert truth.whole_sets == 0


def behind_others(order: list[tuple[int, int]], module: int) -> Counter:
    """By how many sets packets of ``module`` came after those of others; how many of them each."""
    late, newest = Counter(), 0
    for sender, number in order:
        newest = max(newest, number)
        late[newest - number] += sender == module
    return late


def test_whole_sets_are_those_without_loss_or_delay(ear) -> None:
    camera, _ = play(ear, 60, drop=0.01, duplicate=0.2, seed=1)
    fates = Fates(camera.settings)
    whole = sum(DROPPED not in fates.of_set(number) for number in range(60))
    assert 20 < camera.truth.whole_sets == whole < 60


def test_fates_follow_from_the_seed_alone() -> None:
    faults = CameraSettings(drop=0.5, seed=9)
    one, other = Fates(faults), Fates(faults)
    sets = [700, 3, 700, 0]
    assert [one.of_set(number).tolist() for number in sets] == [
        other.of_set(number).tolist() for number in sets
    ]
    assert one.of_set(0).tolist() != one.of_set(1).tolist()
    assert (Fates(CameraSettings()).of_set(0) == REGULAR).all()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"modules": [32]}, "modules"),
        ({"modules": []}, "modules"),
        ({"silent": [1], "modules": [2]}, "silent"),
        ({"source": "any"}, "source"),
        ({"readouts_per_packet": 0}, "readouts_per_packet"),
        ({"readout_rate": 0}, "readout_rate"),
        ({"packet_rate": 0}, "packet_rate"),
        ({"walk": 1}, "walk"),
        ({"drop": 0.6, "delay": 0.6}, "drop, duplicate, reorder, delay"),
        ({"delay_sets": 0}, "delay_sets"),
        ({"first_tack": -1}, "first_tack"),
    ],
)
def test_wrong_settings_are_named(changed, named) -> None:
    with pytest.raises(ConfigError, match=f"^{named}: "):
        CameraSettings(**changed)


@pytest.mark.parametrize("source", ["10.1.2.3", "127.0.0.x", "255.255.255.250"])
def test_addresses_of_others_are_refused(ear, source) -> None:
    with (
        pytest.raises(ConfigError, match=r"source|from 10\.1\.2"),
        Camera(settings(ear, source=source, modules=[0, 1])) as camera,
    ):
        camera.send_set()


def test_command_line(ear, tmp_path, capsys) -> None:
    record = tmp_path / "truth.json"
    arguments = ["--port", str(ear.getsockname()[1]), "--sets", "3", "--packet-rate", "burst"]
    faults = ["--modules", "0-3,9", "--drop", "0.3", "--seed", "4", "--walk", "60"]
    assert main([*arguments, *faults, "--truth", str(record)]) == 0
    truth = read_camera_truth(record)
    packets = heard(ear, truth.datagrams)
    assert truth.finished
    assert {sender for sender, _ in packets} <= {f"127.0.1.{100 + m}" for m in (0, 1, 2, 3, 9)}
    assert truth.total("dropped") + truth.datagrams == 15
    assert truth.total("dropped") > 0
    assert json.loads(record.read_text())["settings"]["drop"] == "0.3"
    assert f"sent {truth.datagrams} datagrams" in capsys.readouterr().out


def test_command_line_says_what_is_wrong(capsys) -> None:
    assert main(["--source", "any", "--modules", "1,2"]) == 1
    assert "source: any cannot be" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--modules", "1-x"])
    assert "1-x" in capsys.readouterr().err
