"""The simulated camera as a process: what it says is what a builder finds."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.slow_signal.assemble import Assembler
from socs.slow_signal.decode import decode
from socs.slow_signal.layout import READOUT, Readouts
from socs.testing import wait_until
from socs.wire.udp import Batch, UdpReceiver


class Builder:
    """Puts together whatever comes; nothing of it may be left out."""

    def __init__(self) -> None:
        self.assembler = Assembler()
        self.out = [np.empty(0, READOUT)]
        self._lock = threading.Lock()
        self.receiver = UdpReceiver("0.0.0.0", 0, self.take, max_datagram=9216)

    def take(self, batch: Batch) -> None:
        self.out.append(self.assembler.feed(decode(batch), time.monotonic()))

    @property
    def received(self) -> int:
        return int(self.receiver.stats()["datagrams_received"])

    def finish(self) -> Readouts:
        self.receiver.stop()
        assert self.receiver.stats()["kernel_drops"] == 0
        return np.concatenate([*self.out, self.assembler.flush()])


@contextmanager
def builder() -> Iterator[Builder]:
    building = Builder()
    building.receiver.start()
    try:
        yield building
    finally:
        building.receiver.stop()


def command(directory: Path, building: Builder, *options: object) -> list[str]:
    return [
        *(sys.executable, "-m", "socs.sim.camera", "--port", str(building.receiver.port)),
        *("--truth", str(directory / "truth.json"), *map(str, options)),
    ]


def check(readouts: Readouts, truth: CameraTruth) -> None:
    """Has each module's part that is there the right values?"""
    assert len(readouts)
    there = (readouts["present"][:, None] >> np.arange(32) & 1).astype(bool)
    indices = truth.indices(readouts["tack"])
    assert indices.min() >= 0
    expected = truth.counts(readouts["tack"])
    assert np.array_equal(readouts["counts"], np.where(there[:, :, None], expected, 0))
    second = np.where(there, truth.aux(readouts["tack"]), 0)
    assert np.array_equal(readouts["tacks"][:, :, 1], second)


def test_all_modules_make_whole_readouts(tmp_path: Path) -> None:
    with builder() as building:
        options = ("--sets", 200, "--packet-rate", 6400)
        subprocess.run(command(tmp_path, building, *options), check=True, timeout=60)
        truth = read_camera_truth(tmp_path / "truth.json")
        wait_until(lambda: building.received == truth.datagrams)
        readouts = building.finish()
    assert truth.finished
    assert truth.whole_readouts == len(readouts) == 2000
    assert building.assembler.totals()["readouts_complete"] == 2000
    check(readouts, truth)


def test_faults_arrive_as_they_were_made(tmp_path: Path) -> None:
    faults = ("--drop", 0.02, "--duplicate", 0.02, "--reorder", 0.02, "--delay", 0.02)
    with builder() as building:
        options = ("--sets", 200, "--packet-rate", 3200, "--seed", 3, *faults)
        subprocess.run(command(tmp_path, building, *options), check=True, timeout=60)
        truth = read_camera_truth(tmp_path / "truth.json")
        wait_until(lambda: building.received == truth.datagrams)
        readouts = building.finish()
    check(readouts, truth)
    totals = building.assembler.totals()
    assert min(map(truth.total, ("dropped", "duplicated", "reordered", "delayed"))) > 50
    assert totals["parts_duplicate"] == 10 * truth.total("duplicated")
    assert totals["parts_late"] == 10 * truth.total("delayed")
    assert totals["parts_missing"] == 10 * (truth.total("dropped") + truth.total("delayed"))
    assert totals["readouts_complete"] == truth.whole_readouts


def test_it_ends_with_a_finished_truth_when_told_to(tmp_path: Path) -> None:
    with builder() as building:
        options = ("--packet-rate", 320, "--delay", 0.1, "--delay-sets", 1000)
        process = subprocess.Popen(command(tmp_path, building, *options), stdout=subprocess.PIPE)
        try:
            wait_until(lambda: building.received > 200, 20)
            assert not read_camera_truth(tmp_path / "truth.json").finished
        finally:
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate(timeout=60)
        truth = read_camera_truth(tmp_path / "truth.json")
        wait_until(lambda: building.received == truth.datagrams)
    assert process.returncode == 0
    assert truth.finished
    assert f"sent {truth.datagrams} datagrams" in printed.decode()
