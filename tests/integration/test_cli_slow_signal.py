"""``socs slow-signal`` with a camera, a stream, its files and its publisher."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import zmq

from socs.cli.main import main
from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.slow_signal.layout import MV_PER_COUNT
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.stream import SlowSignalStream
from socs.testing import wait_until
from tests.camera_picture import module_box

SOCS = [sys.executable, "-m", "socs.cli.main", "slow-signal"]
MESSAGES = ("seed", "ssdaq")
SILENT = 6


@contextmanager
def streaming(directory: Path, layout: str) -> Iterator[SlowSignalStream]:
    """A stream on free ports that publishes and writes into ``directory``."""
    publisher = PublisherSettings("a", "127.0.0.1", 0, layout=layout)
    context = zmq.Context()
    stream = SlowSignalStream(
        StreamSettings(
            listen_ip="0.0.0.0",
            listen_port=0,
            publishers=[publisher],
            writer=WriterSettings(folder=str(directory), file_enumerator="order"),
        ),
        context=context,
    )
    stream.start()
    try:
        yield stream
    finally:
        stream.stop()
        context.destroy(0)


@pytest.fixture(autouse=True)
def no_database(monkeypatch) -> None:
    monkeypatch.setenv("SOCS_DATA_DIR", "/nonexistent")


def run(*line: object, status: int = 0) -> tuple[str, str]:
    """What the command prints to standard output and error; here, as starting takes long."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        assert main(["slow-signal", *map(str, line)]) == status, errors.getvalue()
    return out.getvalue(), errors.getvalue()


def play(directory: Path, stream: SlowSignalStream, *options: object) -> CameraTruth:
    truth = directory / "truth.json"
    port = stream.receiver.port
    printed, _ = run("simulate", port, "localhost", "--truth", truth, *options)
    assert printed.startswith("sent ")
    return read_camera_truth(truth)


def endpoint(stream: SlowSignalStream) -> str:
    (publisher,) = stream.publishers
    return publisher.endpoint


@contextmanager
def playing(directory: Path, stream: SlowSignalStream, *options: object) -> Iterator[Path]:
    """The camera, until somebody ends it; where its truth is."""
    truth = directory / "truth.json"
    command = [*SOCS, "simulate", str(stream.receiver.port), "--truth", str(truth)]
    with subprocess.Popen(
        [*command, *map(str, options)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: stream.numbers()["readouts_out"] > 0)
            yield truth
        finally:
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert printed.startswith("sent ")


def test_from_the_camera_to_files_to_lines_and_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="needs the extra plot")
    with streaming(tmp_path, "seed") as stream:
        options = ("--packet-rate", 2000, "--sets", 30, "--seed", 8, "--silent", SILENT)
        truth = play(tmp_path, stream, *options)
        wait_until(lambda: stream.numbers()["readouts_written"] == truth.readouts == 300, 20)
        (journal,) = tmp_path.glob("*.journal")
        wait_until(lambda: stream.numbers()["readouts_unflushed"] == 0)
        growing = json.loads(run("info", "--json", journal)[0])
        assert (growing["state"], growing["readouts"]) == ("being written", 300)
        shown, _ = run("dump", journal, "--count", 2, "--json")
    (path,) = tmp_path.glob("*.hdf5")
    told = json.loads(run("info", "--json", path)[0])
    assert (told["state"], told["layout"]) == ("complete", "native")
    assert (told["readouts"], told["incomplete"], told["gaps"]) == (300, 300, 0)
    assert told["modules"] == [300 * (module != SILENT) for module in range(32)]
    assert told["rate"] == 10.0
    lines = run("dump", path, "--json")[0].splitlines()
    assert shown.splitlines() == lines[:2]
    rows = list(map(json.loads, lines))
    tacks = np.array([row["tack"] for row in rows], np.uint64)
    assert truth.indices(tacks).tolist() == list(range(300))
    values = np.delete(truth.counts(tacks), SILENT, axis=1) * MV_PER_COUNT
    assert [row["mean"] for row in rows] == pytest.approx(values.mean(axis=(1, 2)), abs=2e-3)
    assert [row["absent"] for row in rows] == [[SILENT]] * 300
    run("plot", path, "-o", tmp_path / "camera.png")
    pixels = image.imread(tmp_path / "camera.png")[..., :3]
    for module in range(32):
        left, top, right, bottom = module_box(module)
        colourful = np.ptp(pixels[top:bottom, left:right], axis=2) > 0.1
        assert colourful.mean() == (0.0 if module == SILENT else 1.0)


@pytest.mark.parametrize("layout", MESSAGES)
def test_a_publisher_is_dumped_and_drawn(tmp_path: Path, layout: str) -> None:
    with streaming(tmp_path, layout) as stream, playing(tmp_path, stream, "--packet-rate", 320):
        live = endpoint(stream)
        rows = list(map(json.loads, run("dump", live, "--count", 50, "--json")[0].splitlines()))
        assert len(rows) == 50
        first = rows[0]["number"]
        assert [row["number"] for row in rows] == list(range(first, first + 50))
        run("plot", live, "-o", tmp_path / "one.png")
        run("plot", live, "--series", "--count", 30, "-o", tmp_path / "series.png")
        assert (tmp_path / "one.png").stat().st_size > 10_000
        assert (tmp_path / "series.png").stat().st_size > 10_000
    truth = read_camera_truth(tmp_path / "truth.json")
    tacks = np.array([row["tack"] for row in rows], np.uint64)
    means = (truth.counts(tacks) * MV_PER_COUNT).mean(axis=(1, 2))
    assert [row["mean"] for row in rows] == pytest.approx(means, abs=2e-3)
    assert all((row["time"] is None) == (layout == "seed") for row in rows)


@contextmanager
def reading(stream: SlowSignalStream, command: str, *options: str) -> Iterator[subprocess.Popen]:
    """A command that reads the publisher of ``stream`` until it is interrupted."""
    with subprocess.Popen(
        [*SOCS, command, endpoint(stream), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.last_words = process.communicate(timeout=60)[1]


def test_ctrl_c_ends_a_dump(tmp_path: Path) -> None:
    with (
        streaming(tmp_path, "seed") as stream,
        playing(tmp_path, stream, "--packet-rate", 320),
        reading(stream, "dump") as process,
    ):
        printed = [process.stdout.readline() for _ in range(3)]
    assert re.fullmatch(r"\d+\t\t\d+\t32\t.*\n", printed[2])
    assert (process.returncode, process.last_words) == (0, "")


def test_ctrl_c_draws_what_came_so_far(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    out = tmp_path / "series.png"
    with (
        streaming(tmp_path, "seed") as stream,
        playing(tmp_path, stream, "--packet-rate", 320),
        reading(stream, "plot", "--series", "-o", str(out)) as process,
    ):
        assert "Ctrl-C draws them" in process.stderr.readline()
    assert (process.returncode, process.last_words) == (0, "")
    assert out.stat().st_size > 10_000


def test_silence_and_nobody_there(tmp_path: Path) -> None:
    with streaming(tmp_path, "seed") as stream:
        out, errors = run("dump", endpoint(stream), "--timeout", 0.5, status=1)
    assert out == ""
    (error,) = errors.splitlines()
    assert error.startswith(f"socs: no readouts from {endpoint(stream)} for 0.5 s")
