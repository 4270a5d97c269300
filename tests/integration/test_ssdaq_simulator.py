"""SSDAQ's simulator of a module, unchanged, drives our builder; see :mod:`tests.ssdaq_peer`."""

from __future__ import annotations

import socket
import struct
import threading
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from socs.counters import imbalances
from socs.slow_signal.layout import MV_PER_COUNT, Readouts, is_present, millivolts
from socs.slow_signal.settings import WriterSettings
from socs.slow_signal.store import SSDataReader
from socs.slow_signal.stream import EQUATIONS
from socs.testing import LOOPBACK, free_port, wait_until
from tests.ssdaq_peer import Peer, peer_of, streaming, versions

MODULES = (0, 7, 31)
PACKETS = 5  # of each module; the seed's simulator repeats its TACKs after 12


class Tap(threading.Thread):
    """Takes down what simulators send, and sends it on from the addresses that modules have.

    They all send from 127.0.0.1, as nobody gives them addresses of their own; each has a port here.
    """

    def __init__(self, to: int) -> None:
        super().__init__(name="udp-tap")
        self._to, self._stopping = to, threading.Event()
        self._inlets = {module: self._socket(LOOPBACK) for module in MODULES}
        self._outlets = {module: self._socket(f"127.0.1.{100 + module}") for module in MODULES}
        self.ports = {module: each.getsockname()[1] for module, each in self._inlets.items()}
        self.packets: dict[int, list[bytes]] = {module: [] for module in MODULES}

    @staticmethod
    def _socket(address: str) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        made.settimeout(0.02)
        return made

    def run(self) -> None:
        while not self._stopping.is_set():
            for module, inlet in self._inlets.items():
                try:
                    packet = inlet.recv(65_535)
                except TimeoutError:
                    continue
                if len(self.packets[module]) < PACKETS:
                    self.packets[module].append(packet)
                    self._outlets[module].sendto(packet, (LOOPBACK, self._to))

    def close(self) -> None:
        self._stopping.set()
        self.join()
        for each in (*self._inlets.values(), *self._outlets.values()):
            each.close()

    def parts(self) -> dict[int, dict[int, tuple[int, list[int]]]]:
        """Of each primary TACK, each module's second TACK and counts as on the wire."""
        found: dict[int, dict[int, tuple[int, list[int]]]] = defaultdict(dict)
        for module, packets in self.packets.items():
            for packet in packets:
                for tack, *rest in struct.iter_unpack(">Q32HQ32H", packet):
                    found[tack][module] = rest[32], rest[:32] + rest[33:]
        return dict(found)


def simulator(peer: Peer, module: int, port: int) -> tuple[object, ...]:
    return (peer.simulator, "-d", port, "-c", free_port(), "-i", LOOPBACK, "-t", module)


@pytest.mark.parametrize("layout", versions())
def test_its_simulator_drives_our_builder(layout: str, tmp_path: Path) -> None:
    peer = peer_of(layout)
    files = WriterSettings(folder=str(tmp_path / "files"))
    changed = {"expected_modules": MODULES, "writer": files, "publishers": ()}
    with ExitStack() as stack:
        stream = stack.enter_context(streaming(**changed))
        tap = Tap(stream.receiver.port)
        tap.start()
        stack.callback(tap.close)
        for module, port in tap.ports.items():
            said = tmp_path / f"said{module}"
            stack.enter_context(peer.started(said, *simulator(peer, module, port)))
        sent = PACKETS * len(MODULES)
        wait_until(lambda: stream.numbers()["packets_decoded"] == sent, 40, "all packets")
        numbers = stream.stop()
        status = stream.status()
    parts = tap.parts()
    whole = sum(len(modules) == len(MODULES) for modules in parts.values())
    assert numbers["datagrams_received"] == sent
    assert numbers["parts_placed"] == numbers["parts_out"] == 10 * sent  # none was refused
    assert numbers["readouts_complete"] == whole >= 10
    assert numbers["readouts_written"] == numbers["readouts_out"] == len(parts)
    assert imbalances(numbers, EQUATIONS) == {}
    assert status["troubles"] == []
    (path,) = (tmp_path / "files").iterdir()
    with SSDataReader(path) as reader:
        stored = reader.readouts()
    assert stored["tack"].tolist() == sorted(parts)
    for readout in stored:
        modules = parts[int(readout["tack"])]
        assert np.flatnonzero(is_present(readout["present"])).tolist() == sorted(modules)
        for module, (second, wire) in modules.items():
            assert readout["tacks"][module].tolist() == [readout["tack"], second]
            assert np.array_equal(readout["counts"][module], np.array(wire, np.uint16) ^ 0x8000)
    check_walk(stored)


def check_walk(stored: Readouts) -> None:
    """What its source says of the amplitudes: from 0 to 400 mV, and 4 mV more or less each time."""
    for module in MODULES:
        there = is_present(stored["present"])[:, module]
        walk = millivolts(stored[there])[:, module]
        assert 0 <= walk.min() < walk.max() <= 400 + 4 * 10 * PACKETS
        assert 0 < np.abs(np.diff(walk, axis=0)).max() <= 4 + MV_PER_COUNT
