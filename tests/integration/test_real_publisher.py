"""The publisher of slaclab/pysmurf itself drives the stream, unchanged.

It is not part of this repository. Set PYSMURF_PUB to its ``python/pysmurf/client/util/pub.py`` to
run this; everything else is tested with :mod:`socs.sim.pysmurf_publisher`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest

from socs.testing import wait_until
from tests.harness import rows, running_stream

PUB = os.environ.get("PYSMURF_PUB")
pytestmark = pytest.mark.skipif(not PUB, reason="PYSMURF_PUB does not name pysmurf's pub.py")


@pytest.fixture
def pub(monkeypatch):
    package = types.ModuleType("pysmurf")
    package.__version__ = "9.9.9"  # all that pub.py wants of its package
    monkeypatch.setitem(sys.modules, "pysmurf", package)
    spec = importlib.util.spec_from_file_location("real_pub", PUB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_its_messages_arrive(files_env, tmp_path: Path, pub, capsys) -> None:
    class SmurfControl:
        """As much of pysmurf's as @set_action needs."""

        def __init__(self, publisher) -> None:
            self.pub = publisher

        def get_timestamp(self) -> str:
            return "1700000000"

        @pub.set_action()
        def take_iv(self, path: str) -> None:
            self.pub.register_file(path, "iv", format="npy")

    with running_stream(tmp_path, files_env) as stream:
        got: list = []
        stream.ingest._on_messages = got.extend
        options = {"BACKEND": "udp", "UDP_PORT": stream.receiver.port, "ID": "crate1slot2"}
        publisher = pub.Publisher("script", options)
        (tmp_path / "data" / "1700000001_iv.npy").write_bytes(b"iv")
        (tmp_path / "data" / "plot.png").write_bytes(b"plot")
        SmurfControl(publisher).take_iv(str(tmp_path / "data" / "1700000001_iv"))
        publisher.register_file(str(tmp_path / "data" / "plot.png"), "t", "png", plot=True)
        publisher.log("hello")
        publisher.publish({"a": float("nan")}, "session_data")
        publisher.publish("text", "session_log")
        publisher.publish({"path": "x.y", "value": 1, "type": "int"}, "metadata")
        publisher.publish({"anything": [1]})
        publisher.publish({"a": 1}, "a_type_of_the_future")
        publisher.publish({"large": "x" * 70_000})
        publisher.log_stop()
        wait_until(lambda: stream.counters["files_registered"] == 2, 20)
        wait_until(lambda: stream.counters["datagrams_received"] == 11, 20)
        numbers = stream.numbers()
        publisher._backend = publisher._backend_null  # nothing more from __del__
        publisher.udp_sock.close()
    kinds = [message.type for message in got]
    assert kinds == [
        *("start", "log", "session_data", "session_log", "metadata", "general"),
        *("a_type_of_the_future", "backend_error", "stop"),
    ]
    assert numbers["sequence_lost"] == 1  # the one that was too large
    assert numbers["messages_backend_error"] == 1
    assert numbers["messages_unknown_type"] == 1
    assert numbers["nonfinite_values"] == 1
    assert sorted(rows(files_env)) == [
        (str(tmp_path / "data" / "1700000001_iv.npy"), hashlib.md5(b"iv").hexdigest()),
        (str(tmp_path / "data" / "plot.png"), hashlib.md5(b"plot").hexdigest()),
    ]
