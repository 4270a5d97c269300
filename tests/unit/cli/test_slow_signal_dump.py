"""``socs slow-signal dump``: what is printed of readouts."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from socs.cli.main import main
from socs.cli.output import Lines, ranges, utc_of
from socs.cli.slow_signal_source import SECOND, address_of
from socs.errors import ConfigError
from socs.slow_signal.layout import MV_PER_COUNT
from socs.slow_signal.pixels import ORDERS
from socs.slow_signal.store import SSDataWriter
from tests.camera_data import BEGIN, random_walk, without

ALL_BUT_5 = 0xFFFFFFFF & ~(1 << 5)
READOUTS = random_walk(200)
READOUTS[150:] = without(READOUTS[150:], ALL_BUT_5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the same readouts in all layouts."""
    directory = tmp_path_factory.mktemp("files")
    for layout in ("native", "seed", "ssdaq"):
        with SSDataWriter(directory / f"{layout}.hdf5", layout=layout) as writer:
            writer.write_readouts(READOUTS)
    return directory


def dumped(capsys: pytest.CaptureFixture, path: Path, line: str) -> list[dict]:
    assert main(["slow-signal", "dump", str(path), "--json", *line.split()]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("layout", ["native", "seed", "ssdaq"])
def test_every_readout_is_a_line_with_its_statistics(capsys, files: Path, layout: str) -> None:
    rows = dumped(capsys, files / f"{layout}.hdf5", "")
    assert [row["number"] for row in rows] == READOUTS["number"].tolist()
    assert [row["tack"] for row in rows] == READOUTS["tack"].tolist()
    assert [row["modules"] for row in rows] == [32] * 150 + [31] * 50
    assert [row["absent"] for row in rows] == [[]] * 150 + [[5]] * 50
    for row, readout in zip(rows, READOUTS, strict=True):
        there = np.arange(32) != 5 if row["absent"] else np.ones(32, bool)
        values = readout["counts"][there] * MV_PER_COUNT
        rms = np.sqrt((values**2).mean())
        expected = (values.mean(), values.min(), values.max(), rms)
        assert [row[n] for n in ("mean", "min", "max", "rms")] == pytest.approx(expected, abs=1e-3)
    time = None if layout == "seed" else utc_of(BEGIN)
    assert rows[0]["time"] == time


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("--start 190", range(190, 200)),
        ("--start -3", range(197, 200)),
        ("--start 10 --stop 20 --step 4", (10, 14, 18)),
        ("--step -1 --count 2", (199, 198)),
        ("--stop -199", (0,)),
        ("--start 500", ()),
        ("--count 3", range(3)),
    ],
)
def test_readouts_are_chosen_as_in_a_slice(capsys, files: Path, line: str, numbers) -> None:
    rows = dumped(capsys, files / "native.hdf5", line)
    assert [row["number"] for row in rows] == [number + 1 for number in numbers]


@pytest.mark.parametrize("order", ORDERS)
def test_pixels_of_a_module_in_each_order(capsys, files: Path, order: str) -> None:
    line = f"--module 13 --pixel 0-2,63 --mapping {order} --count 1"
    (row,) = dumped(capsys, files / "ssdaq.hdf5", line)
    values = READOUTS["counts"][0, 13, ORDERS[order]] * MV_PER_COUNT
    shown = [row[f"p{pixel}"] for pixel in (0, 1, 2, 63)]
    assert shown == pytest.approx(values[[0, 1, 2, 63]], abs=1e-3)
    assert "mean" not in row


def test_pixels_of_a_module_that_is_absent_are_empty(capsys, files: Path) -> None:
    (row,) = dumped(capsys, files / "native.hdf5", "--module 5 --start -1")
    assert [row[f"p{pixel}"] for pixel in range(64)] == [None] * 64
    assert main(["slow-signal", "dump", str(files / "native.hdf5"), "--module", "5"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"200\t{utc_of(BEGIN + 199 * SECOND // 10)}\t{READOUTS['tack'][-1]}\t31" + (
        "\t" * 64
    )


def test_csv_is_what_spreadsheets_read(capsys, files: Path) -> None:
    path = str(files / "native.hdf5")
    assert main(["slow-signal", "dump", path, "--csv", "--start", "149", "--count", "2"]) == 0
    whole, broken = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (whole["modules"], whole["absent"]) == ("32", "")
    assert (broken["modules"], broken["absent"]) == ("31", "5")
    expected = (READOUTS["counts"][149] * MV_PER_COUNT).mean()
    assert float(whole["mean"]) == pytest.approx(expected, abs=1e-3)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_line_up_in_a_terminal() -> None:
    out = Terminal()
    lines = Lines(("number", "mean", "absent"), out=out)
    for number, mean in ((1, 7.5), (1000, None)):
        lines.add({"number": number, "mean": mean, "absent": [1, 2, 3, 7]})
    assert out.getvalue().splitlines() == [
        "number   mean  absent",
        "     1  7.500   1-3,7",
        "  1000          1-3,7",
    ]


def test_ranges_and_times() -> None:
    assert ranges([]) == ""
    assert ranges([0]) == "0"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert utc_of(0) is None
    assert utc_of(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456Z"
    assert utc_of(1_700_000_000_000_001_000) == "2023-11-14T22:13:20.000001Z"


def test_addresses_of_publishers() -> None:
    assert address_of("tcp://127.0.0.101:5555") == ("127.0.0.101", 5555)
    assert address_of("tcp://builder:1") == ("builder", 1)
    for wrong in (
        "tcp://",
        "tcp://host",
        "tcp://host:0",
        "tcp://host:x",
        "tcp://h:1/x",
        "tcp://:1",
    ):
        with pytest.raises(ConfigError, match="no address of a publisher"):
            address_of(wrong)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nowhere.hdf5", "cannot read nowhere.hdf5"),
        ("x --step 0", "--step must not be 0"),
        ("x --pixel 3", "--pixel needs --module"),
        ("tcp://127.0.0.1:9 --start -1", "cannot be below 0"),
        ("tcp://127.0.0.1", "no address of a publisher"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(capsys, line: str, told: str) -> None:
    assert main(["slow-signal", "dump", *line.split()]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("socs: ")
    assert told in error


@pytest.mark.parametrize("line", ["x --module 32", "x --module 1,2", "x --pixel 64", "x --count 0"])
def test_a_wrong_command_line_ends_with_2(capsys, line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["slow-signal", "dump", *line.split()])
    assert ended.value.code == 2
    assert "usage: socs slow-signal dump" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "line", "named"),
    [
        ("tables", "dump x", "socs[slow-signal]"),
        ("tables", "info x", "socs[slow-signal]"),
        ("zmq", "dump tcp://127.0.0.1:9", "socs[slow-signal]"),
        ("matplotlib", "plot x -o x.png", "socs[plot]"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_extra(missing, line, named) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom socs.cli.main import main\n"
    command = [sys.executable, "-c", f"{code}sys.exit(main({['slow-signal', *line.split()]!r}))"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert missing in error
    assert f"pip install '{named}'" in error


def test_the_command_starts_without_the_libraries() -> None:
    code = (
        "import sys\nfrom socs.cli.main import make_parser\nmake_parser()\n"
        "sys.exit(bool({'tables', 'zmq', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reader_that_leaves_is_no_error(files: Path) -> None:
    command = f"{sys.executable} -m socs.cli.main slow-signal dump --module 1 {files}/native.hdf5"
    script = f"set -o pipefail; {command} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("number\t")
