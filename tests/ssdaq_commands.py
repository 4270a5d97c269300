"""The commands of SSDAQ as people run them: real programs, in a directory of the test's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from socs.cli.ssdaq.pid_file import running
from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.sim.ports import free_port
from socs.slow_signal.layout import MODULES
from socs.slow_signal.store import SSDataReader
from socs.testing import wait_until
from tests.slow_signal_packets import sets

PROGRAMS = Path(sys.executable).parent
TIMEOUT = 60  # s for one command
PID_FILES = {"roa": "ssdaq_daemon.pid", "dw": "ssdaq_writer_daemon.pid"}

CONFIG = """
SSFileWriter:
  file_enumerator: order
  file_prefix: SlowSignalData
  folder: {folder}/data
  ip: 127.0.0.1
  port: {tcp}
ReadoutFileWriterDaemon:
  stdout: {folder}/dw.log
  stderr: {folder}/dw.log
ReadoutAssemblerDaemon:
  stdout: {folder}/roa.log
  stderr: {folder}/roa.log
ReadoutAssembler:
  SSReadoutAssembler:
    listen_port: {udp}
    readout_tw: !!float 1.e6
    buffer_time: !!float 4e9
  ReadoutPublishers:
    ZMQReadoutPublisherLocal:
      ip: 127.0.0.1
      port: {tcp}
"""


class Workplace:
    """A directory with a configuration on free ports, and the commands run for it."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.directory = directory
        self.udp, self.tcp = free_port(socket.SOCK_DGRAM), free_port()
        self.config = directory / "config.yaml"
        self.config.write_text(CONFIG.format(folder=directory, udp=self.udp, tcp=self.tcp))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MYSQL_", "SOCS_"))}
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        self.sets_sent = 0
        self.env = {**kept, "PATH": path, "SOCS_RUN_DIR": str(directory), **environ}

    def run(self, *words: object, status: int = 0, **more: Any) -> str:
        """What the command prints. Fails if it ends with another status."""
        done = subprocess.run(
            list(map(str, words)),
            env=self.env,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT,
            **more,
        )
        assert done.returncode == status, f"{words} ended with {done.returncode}: {done.stdout}"
        return done.stdout

    def control(self, *words: object, status: int = 0) -> str:
        """``control-ssdaq``."""
        return self.run("control-ssdaq", *words, status=status)

    def start(self, *which: str) -> None:
        """Start ``roa`` or ``dw`` in the background."""
        for each in which:
            self.control("start", each, "-d", self.config)

    def pid(self, which: str) -> int | None:
        """The process that runs."""
        return running(self.directory / PID_FILES[which])

    def status(self) -> dict[str, Any]:
        """Of the assembler."""
        return json.loads(self.control("roa-ctrl", "status"))

    def log(self, which: str) -> str:
        return (self.directory / f"{which}.log").read_text()

    def play(self, *options: object) -> CameraTruth:
        """Run the camera to its end; what it did."""
        truth = self.directory / "truth.json"
        words = ["--port", self.udp, "--truth", truth, "--readout-rate", 100, *options]
        self.run(sys.executable, "-m", "socs.sim.camera", *words)
        return read_camera_truth(truth)

    def send_set(self, modules: Iterable[int] = range(MODULES)) -> int:
        """Send the next packet, of 10 readouts, of each module; its number, from 0."""
        number = self.sets_sent
        self.sets_sent += 1
        for octet, contents in sets([number], modules):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as module:
                module.bind((f"127.0.1.{octet}", 0))
                module.sendto(contents, ("127.0.0.1", self.udp))
        return number

    def begins_a_file(self, pattern: str = "data/[!.]*") -> None:
        """Send sets until the writer, which must hear them, has begun a file."""

        def begun() -> bool:
            self.send_set()
            return bool(list(self.directory.glob(pattern)))

        wait_until(begun, 20, "a file")

    def readouts(self, pattern: str = "data/*.hdf5") -> np.ndarray:
        """All that is in complete files, in the order of their names."""
        found = []
        for path in sorted(self.directory.glob(pattern)):
            with SSDataReader(path) as reader:
                found.append(reader.readouts())
        return np.concatenate(found)

    def kill(self) -> None:
        """Kill what runs."""
        for which in PID_FILES:
            pid = self.pid(which)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)


@contextmanager
def at_work(directory: Path, **environ: str) -> Iterator[Workplace]:
    """A workplace, after which nothing runs."""
    workplace = Workplace(directory, **environ)
    try:
        yield workplace
    finally:
        workplace.kill()
