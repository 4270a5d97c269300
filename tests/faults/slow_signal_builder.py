"""The builder as a process to be tormented, and a camera that plays meanwhile."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from socs.sim.camera_truth import CameraTruth
from socs.sim.ports import free_port
from socs.slow_signal.layout import MV_PER_COUNT, Readouts, is_present
from socs.slow_signal.readout import MESSAGES
from socs.slow_signal.store import SSDataReader

REPOSITORY = Path(__file__).parents[2]
MESSAGE = MESSAGES["seed"]
WAITS = ("readouts_queued", "readouts_unflushed", "readouts_buffered")


class BuilderProcess:
    """``slow_signal_stream_process``; started again, it has the same ports and directory.

    Args:
        directory: of its files and its spool; its own.
        environ: chooses the files table.
        options: of its command line.
        before: words before the command.

    Attributes:
        flushed: readouts that it had flushed when it was killed, by file.
    """

    def __init__(
        self,
        directory: Path,
        environ: Mapping[str, str],
        options: Sequence[object] = (),
        before: Sequence[str] = (),
    ) -> None:
        self.directory, self.data = directory, directory / "data"
        self.data.mkdir(exist_ok=True)
        self.port, self.publishing = free_port(socket.SOCK_DGRAM), free_port()
        self.environ = {**os.environ, **environ, "PYTHONPATH": str(REPOSITORY)}
        self._status, self._log = directory / "status.json", directory / "log"
        self._command = [*before, sys.executable, "-m", "tests.faults.slow_signal_stream_process"]
        self._command += ["--directory", str(directory), "--port", str(self.port)]
        self._command += ["--publish", f"127.0.0.1:{self.publishing}", *map(str, options)]
        self.process: subprocess.Popen[bytes] | None = None
        self.flushed: dict[str, int] = {}

    def start(self) -> None:
        self._status.unlink(missing_ok=True)
        with self._log.open("a") as log:
            self.process = subprocess.Popen(self._command, env=self.environ, stdout=log, stderr=log)

    def has_started(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        return self._status.exists()

    def status(self) -> dict[str, Any]:
        return json.loads(self._status.read_text())

    def counted(self, name: str) -> int:
        return int(self.status()["stream"]["counters"][name])

    def is_at_rest(self) -> bool:
        """Is all that it took in complete files and in the table, but for the file in work?"""
        status = self.status()
        stream, register = status["stream"], status["register"]
        writer = stream["writer"]
        return not (
            any(stream["counters"][name] for name in WAITS)
            or writer["incomplete_files"]
            or writer["unregistered_files"]
            or register["backlog"]
        )

    def kill(self) -> None:
        """Kill it, and note what it had flushed as far as it had said so."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        if self._status.exists():
            writer = self.status()["stream"]["writer"]
            if writer["file"] is not None:
                self.flushed[writer["file"]] = writer["readouts"]

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0

    def temporary(self) -> set[str]:
        """Names of all files that are not complete."""
        return {each.name for each in self.data.iterdir() if each.suffix in (".journal", ".part")}

    def end(self) -> None:
        """However the test ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Listener(threading.Thread):
    """A subscriber that counts messages and keeps some, whoever publishes them."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port, self._stopping = port, threading.Event()
        self.heard, self.kept = 0, []

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as sock:
            sock.set(zmq.LINGER, 0)
            sock.set(zmq.RECONNECT_IVL, 10)
            sock.subscribe(b"")
            sock.connect(f"tcp://127.0.0.1:{self._port}")
            while not self._stopping.is_set():
                if sock.poll(50):
                    message = sock.recv()
                    self.heard += 1
                    if self.heard % 20 == 1:
                        self.kept.append(message)

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()

    def check(self, truth: CameraTruth) -> None:
        """Is what it kept what the camera sent?"""
        kept = np.frombuffer(b"".join(self.kept), MESSAGE)
        check_values(kept, np.rint(np.nan_to_num(kept["data"]) / MV_PER_COUNT), truth)


@contextmanager
def camera(directory: Path, port: int, packet_rate: float) -> Iterator[None]:
    """Plays until the end of the block; what it did is then in ``directory/truth.json``."""
    command = [sys.executable, "-m", "socs.sim.camera", "--port", str(port)]
    command += ["--packet-rate", str(packet_rate), "--truth", str(directory / "truth.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def check_values(readouts: np.ndarray, counts: np.ndarray, truth: CameraTruth) -> np.ndarray:
    """Are they what the camera sent? Which of its readouts they are."""
    indices = truth.indices(readouts["tack"])
    assert (indices >= 0).all()
    there = readouts["tacks"][:, :, 0] > 0
    assert (counts == np.where(there[:, :, None], truth.counts(readouts["tack"]), 0)).all()
    return indices


def check_files(files: Mapping[str, Readouts], truth: CameraTruth) -> int:
    """Every value is right, no part is there twice, numbers go on; how many readouts there are."""
    parts = []
    for readouts in files.values():
        assert (np.diff(readouts["number"].astype(np.int64)) == 1).all()
        indices = check_values(readouts, readouts["counts"], truth)
        there = is_present(readouts["present"])
        parts.append((indices[:, None] * 32 + np.arange(32))[there])
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together), "a part is there twice"
    return sum(map(len, files.values()))


def read_all(directory: Path) -> dict[str, Readouts]:
    """The readouts in each complete file, by path."""
    found = {}
    for path in sorted(directory.glob("*.hdf5")):
        with SSDataReader(path) as reader:
            found[str(path)] = reader.readouts()
    return found
