"""Pages about the slow signal: commands and programs run, layouts and figures are the code's."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from glob import glob
from pathlib import Path

import numpy as np
import pytest

from socs.cli.main import main, make_parser
from socs.cli.slow_signal_source import SILENCE
from socs.part_files import part_of
from socs.slow_signal import layout, readout
from socs.slow_signal.face import MODULE_PLACES
from socs.slow_signal.pixels import ORDERS
from socs.slow_signal.settings import WriterSettings
from socs.slow_signal.store import SSDataReader, SSDataWriter, formats, journal
from socs.slow_signal.store.hdf5_files import NativeFile
from socs.slow_signal.store.naming import Names, journal_of
from tests.camera_data import random_walk, without

DOCS = Path(__file__).parents[3] / "docs"
HOWTO = DOCS / "howto" / "slow_signal.rst"
FILES = DOCS / "reference" / "slow_signal_files.rst"
WIRE = DOCS / "reference" / "slow_signal_wire.rst"
READOUTS = without(random_walk(200), 0xFFFFFFFF & ~(1 << 5))
FOLDER = "/data/slow_signal"


def commands() -> list[str]:
    """Commands of the how-to."""
    return re.findall(r"(?m)^   \$ (socs .+)$", HOWTO.read_text())


def programs(page: Path) -> list[str]:
    """Its programs in Python, in order."""
    found = re.findall(r"(?m)^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", page.read_text())
    return [re.sub(r"(?m)^   ", "", text) for text in found]


def words(page: Path) -> str:
    return " ".join(page.read_text().split())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A directory with a complete file, one that was left, and no database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path / "socs"))
    for name in ("MYSQL_HOST", "MYSQL_USER"):
        monkeypatch.delenv(name, raising=False)
    with SSDataWriter(tmp_path / "Camera.hdf5") as writer:
        writer.write_readouts(READOUTS)
    left = SSDataWriter(tmp_path / "Left.hdf5")
    left.write_readouts(READOUTS)
    left.flush()
    left._file.close()
    return tmp_path


@pytest.mark.parametrize("command", commands())
def test_commands_of_the_how_to_are_right(command: str, folder: Path, capsys) -> None:
    parts = command.split()[1:]
    args = make_parser().parse_args(parts)
    if args.action == "simulate" or getattr(args, "source", "").startswith("tcp:"):
        return  # these are run in tests/integration/test_cli_slow_signal.py
    if args.action == "plot":
        pytest.importorskip("matplotlib", reason="needs the extra plot")
    here = [part.replace(FOLDER, str(folder)) for part in parts]
    line = [each for part in here for each in (sorted(glob(part)) if "*" in part else [part])]
    assert len(line) >= len(here)
    assert main(line) == 0
    if args.action == "plot":
        assert Path(args.output).stat().st_size > 5_000
    else:
        assert capsys.readouterr().out


def test_the_how_to_has_every_command() -> None:
    actions = {make_parser().parse_args(command.split()[1:]).action for command in commands()}
    assert actions == {"simulate", "dump", "info", "plot"}


def test_programs_of_the_how_to_run(folder: Path) -> None:
    (program,) = programs(HOWTO)
    found: dict = {}
    exec(program, found)
    with SSDataReader("Camera.hdf5", "raw") as reader:
        assert np.array_equal(found["amplitudes"], reader[100:], equal_nan=True)
    assert np.array_equal(found["utc"], READOUTS["cpu_ns"])


def test_the_program_that_recovers_runs(folder: Path) -> None:
    recover, _ = programs(FILES)
    assert f'"{FOLDER}"' in recover
    exec(recover.replace(FOLDER, str(folder)), {})
    with SSDataReader(folder / "Left.hdf5") as reader:
        assert np.array_equal(reader.readouts(), READOUTS)
    assert not journal_of(folder / "Left.hdf5").exists()


def test_h5py_reads_native_files_as_the_page_says(folder: Path) -> None:
    for name in ("h5py", "hdf5plugin"):
        pytest.importorskip(name)
    _, program = programs(FILES)
    # In a process of its own: h5py and PyTables each bring their HDF5.
    saving = "np.savez('read.npz', counts=counts, amplitudes=amplitudes, rows=rows)\n"
    subprocess.run([sys.executable, "-c", program + saving], check=True, cwd=folder)
    read = np.load(folder / "read.npz")
    assert np.array_equal(read["counts"], READOUTS["counts"])
    with SSDataReader(folder / "Camera.hdf5", "raw") as reader:
        assert read["amplitudes"] == pytest.approx(reader[:], abs=1e-3, nan_ok=True)
    assert np.array_equal(read["rows"]["tack"], READOUTS["tack"])


# -- what is rendered from the code ---------------------------------------------------------------


def extension():
    pytest.importorskip("sphinx", reason="needs the extra docs")
    directory = str(DOCS / "_ext")
    sys.path.insert(0, directory)
    try:
        return importlib.import_module("slow_signal_reference")
    finally:
        sys.path.remove(directory)


def check_fields(lines: list[str], dtype: np.dtype) -> None:
    text = "\n".join(lines)
    for name in dtype.names:
        field, offset = dtype.fields[name]
        found = re.search(rf"\* - (.+)\n     - ``{name}``\n     - (.+)\n     - (.+)", text)
        assert int(found[1].replace("\N{NO-BREAK SPACE}", "")) == offset
        sizes = [*map(str, field.shape), f"{field.base.kind}{field.base.itemsize}"]
        assert " ".join(found[2].replace(" x ", " ").split()) == " ".join(sizes)


def test_every_field_of_packets_and_messages_is_rendered() -> None:
    check_fields(extension().wire_rst(), layout.WIRE)
    for name, message in readout.MESSAGES.items():
        check_fields(extension().message_rst(name), message)
        assert f".. readout-message:: {name}\n" in WIRE.read_text()
        size = f"{message.itemsize // 1000} {message.itemsize % 1000} bytes"
        assert f"``{name}`` -------- {size}".replace("--------", "-" * (len(name) + 4)) in words(
            WIRE
        )


def test_every_field_of_files_is_rendered(tmp_path: Path) -> None:
    for name, peer in formats.PEER_TABLES.items():
        lines = extension().file_rst(name)
        check_fields(lines, peer.row)
        attribute, version = peer.version
        assert f"attribute ``{attribute}`` = {version}" in "\n".join(lines)
    native = "\n".join(extension().file_rst("native"))
    check_fields(native.splitlines(), formats.NATIVE_ROW)
    with SSDataWriter(tmp_path / "a.hdf5") as writer:
        writer.write_readouts(READOUTS, np.ones((200, 32, 64), np.float32))
        writer.write_tel_data(1.0, 2.0, 3.0, 3, 0)
    import tables  # noqa: PLC0415

    with tables.open_file(str(tmp_path / "a.hdf5")) as file:
        for node in file.walk_nodes("/SlowSignal", "Leaf"):
            assert f"``{node._v_pathname}``" in native
        attributes = file.get_node("/SlowSignal/readout").attrs._f_list("user")
    for name in attributes:
        assert f"``{name}``" in FILES.read_text()
    for name in formats.LAYOUTS:
        assert f".. readout-file:: {name}\n" in FILES.read_text()


def test_the_face_and_the_orders_are_rendered() -> None:
    rows = extension().face_text().splitlines()
    for module, (row, column) in enumerate(MODULE_PLACES):
        assert rows[row][4 * column : 4 * column + 2] == f"{module:2}"
    lines = "\n".join(extension().orders_rst())
    for name, order in ORDERS.items():
        assert (f"- {' '.join(map(str, order))}\n" in lines) == (name != "raw")


# -- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "statement"),
    [
        (WIRE, f"usually ten, {10 * layout.READOUT_BYTES} bytes"),
        (WIRE, f"{layout.READOUT_BYTES} bytes:"),
        (
            WIRE,
            f"A count is {layout.MV_PER_COUNT} mV, that is {layout.MV_PER_COUNT / 2} mV times 2",
        ),
        (WIRE, f"``amplitude = (wire ^ {layout.SIGN:#x}) * {layout.MV_PER_COUNT}`` mV"),
        (WIRE, f"the highest, 65 535, is {0xFFFF * layout.MV_PER_COUNT:.1f} mV"),
        (FILES, f"in blocks of {formats.BLOCK} readouts"),
        (FILES, f'``format`` ("{formats.FORMAT}"), ``format_version`` ({formats.FORMAT_VERSION})'),
        (FILES, "flushed every second" if WriterSettings.flush_every == 1.0 else "?"),
        (FILES, f"on the disk every {WriterSettings.sync_every:.0f} seconds"),
        (FILES, f"begins with ``{journal._MAGIC.decode()}``"),
        (FILES, f"each with ``{journal._BLOCK_MAGIC.decode()}``"),
        (HOWTO, f"comes for {SILENCE:.0f} seconds"),
    ],
)
def test_figures_are_those_of_the_code(page: Path, statement: str) -> None:
    assert statement in words(page)


def test_figures_of_plots_are_those_of_the_code() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    picture = importlib.import_module("socs.cli.slow_signal_series_picture")
    assert f"up to {picture.LINES} modules or pixels" in words(HOWTO)
    assert f"More than {picture.MOST} readouts" in words(HOWTO)


@pytest.mark.parametrize(("name", "stated"), [("native", 1900), ("seed", 5900), ("ssdaq", 5900)])
def test_sizes_are_about_what_the_page_says(name: str, stated: int, tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with SSDataWriter(path, layout=name) as writer:
        writer.write_readouts(random_walk(960))
    size = path.stat().st_size / 960
    assert size == pytest.approx(stated, rel=0.05)
    day = f"{864_000 * stated / 1e9:.1f} GB"
    row = re.search(rf"\* - ``{name}``\n(?:     .*\n)+", FILES.read_text())[0]
    assert f"- {stated // 1000} {stated % 1000}\n" in row
    assert f"- {day}\n" in row
    assert name != "native" or NativeFile.typical_size == stated


def test_names_of_files_are_those_of_the_page(tmp_path: Path) -> None:
    begun = 1_795_266_300.0  # 2026-11-21 13:05 UTC
    for enumerator in ("date", "order", None):
        first = next(Names(tmp_path, "SlowSignal", enumerator).candidates(begun))
        assert f"``{first.name}``" in FILES.read_text()
    name = Path("<name>.hdf5")
    for path in (name, journal_of(name), part_of(name)):
        assert f"``{path}``" in FILES.read_text()
