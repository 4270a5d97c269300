"""SSDAQ itself, in two versions, as tests and benchmarks use it.

It is not part of this repository. Environment variables say where it is; to set it up::

    git clone https://github.com/sflis/SSDAQ seed && git -C seed checkout 8154197
    git clone https://github.com/sflis/SSDAQ new && git -C new checkout 4f9a84c
    python3.9 -m venv venv && venv/bin/pip install 'numpy<2' pyzmq tables click bitarray \\
        pyparsing 'PyYAML<6' 'protobuf<3.21' 'pyarrow<22' 'setuptools<70'
    export SSDAQ_PYTHON=$PWD/venv/bin/python SSDAQ_SOURCE=$PWD/seed \\
        SSDAQ_NEW_PYTHON=$PWD/venv/bin/python SSDAQ_NEW_SOURCE=$PWD/new

8154197 (January 2019) is the version that the examples of its README are from, 4f9a84c (November
2019) the last one. Both run unchanged; :mod:`tests.ssdaq_script` calls their classes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from socs.slow_signal.layout import Readouts, millivolts
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.settings import StreamSettings
from socs.slow_signal.stream import SlowSignalStream
from socs.testing import LOOPBACK

VERSIONS = {  # our name of its layouts: prefix of the variables, commit, its simulator of a module
    "seed": ("SSDAQ", "8154197", "tm-ss-sim/SSUDPTMSimulator.py"),
    "ssdaq": ("SSDAQ_NEW", "4f9a84c", "sim/slowsignal/slowsignal_sim.py"),
}
SCRIPT = Path(__file__).with_name("ssdaq_script.py")


@dataclass(frozen=True)
class Peer:
    """One version of SSDAQ.

    Attributes:
        layout: what we call its messages and files.
        python: the Python that runs it.
        source: the folder of its sources.
        simulator: its simulator of a module, a script.
    """

    layout: str
    python: str
    source: Path
    simulator: Path

    def _run(self, arguments: tuple[object, ...]) -> dict[str, Any]:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {
            "args": [self.python, *map(str, arguments)],
            "env": {**environ, "PYTHONPATH": str(self.source), "PYTHONUNBUFFERED": "1"},
            "text": True,
        }

    def run(self, *arguments: object, timeout: float = 60) -> str:
        """Let a command of the script end; what it wrote to stdout."""
        done = subprocess.run(
            **self._run((SCRIPT, *arguments)), stdout=subprocess.PIPE, check=True, timeout=timeout
        )
        return str(done.stdout)

    @contextmanager
    def started(self, log: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """Run a Python file with arguments; what it writes goes to ``log``. Killed at the end."""
        with log.open("wb") as stream:
            process = subprocess.Popen(**self._run(arguments), stdout=stream, stderr=stream)
            try:
                yield process
            finally:
                process.kill()
                process.wait()


def missing(layout: str) -> str:
    """Why this version cannot be used; empty if it can."""
    prefix, commit, _ = VERSIONS[layout]
    names = f"{prefix}_PYTHON", f"{prefix}_SOURCE"
    unset = [name for name in names if not os.environ.get(name)]
    where = "see tests/ssdaq_peer.py"
    return f"{' and '.join(unset)}: no SSDAQ of commit {commit}; {where}" if unset else ""


def peer_of(layout: str) -> Peer:
    """The version with the layouts called ``layout``."""
    prefix, _, simulator = VERSIONS[layout]
    source = Path(os.environ[f"{prefix}_SOURCE"]).absolute()
    return Peer(layout, os.environ[f"{prefix}_PYTHON"], source, source / simulator)


def save(path: Path, readouts: Readouts) -> Path:
    """``readouts`` (n,) for the script, with amplitudes as its classes have them."""
    columns = {name: readouts[name] for name in ("number", "tack", "cpu_ns", "tacks")}
    np.savez(path, data=millivolts(readouts), **columns)
    return path


def versions() -> list[Any]:
    """Parameters for tests; those of versions that are missing are skipped, and say why."""
    return [
        pytest.param(each, marks=pytest.mark.skipif(bool(missing(each)), reason=missing(each)))
        for each in VERSIONS
    ]


@contextmanager
def streaming(layout: str = "seed", **changed) -> Iterator[SlowSignalStream]:
    """A stream on a free port that publishes in ``layout`` on another."""
    publisher = PublisherSettings("a", LOOPBACK, 0, layout=layout, high_water_mark=100_000)
    settings = {"listen_ip": LOOPBACK, "listen_port": 0, "publishers": [publisher]} | changed
    context = zmq.Context()
    stream = SlowSignalStream(StreamSettings(**settings), context=context)
    stream.start()
    try:
        yield stream
    finally:
        stream.stop()
        context.destroy(0)


if __name__ == "__main__":
    print("\n".join(filter(None, map(missing, VERSIONS))) or "both versions are there")
    sys.exit(any(map(missing, VERSIONS)))
