"""``socs slow-signal info``: what files hold, and how they stand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from socs.cli.main import main
from socs.cli.output import utc_of
from socs.cli.slow_signal_summary import for_people, in_words, is_in_use, steps
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.slow_signal.store import SSDataReader, SSDataWriter, journal, recover
from tests.camera_data import random_walk, without

READOUTS = random_walk(200)
READOUTS[150:] = without(READOUTS[150:], 0xFFFFFFFF & ~(1 << 5))
READOUTS["tack"][100:] += 1_000_000_000  # ns: ten readouts are missing here


@pytest.fixture(autouse=True)
def own_database(monkeypatch, tmp_path: Path) -> Path:
    """No database but an SQLite file that is not there yet; where it would be."""
    directory = tmp_path / "socs"
    monkeypatch.setenv("SOCS_DATA_DIR", str(directory))
    for name in ("MYSQL_HOST", "MYSQL_USER", "MYSQL_DATABASE", "MYSQL_PORT", "MYSQL_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return directory


def write(path: Path, layout: str = "native") -> Path:
    with SSDataWriter(path, layout=layout) as writer:
        writer.write_readouts(READOUTS)
    return path


def unfinished(path: Path) -> SSDataWriter:
    """The writer of a file, all flushed and not closed."""
    writer = SSDataWriter(path)
    writer.write_readouts(READOUTS)
    writer.flush()
    return writer


def info(capsys: pytest.CaptureFixture, *line: object, status: int = 0) -> dict:
    assert main(["slow-signal", "info", "--json", *map(str, line)]) == status
    (told,) = capsys.readouterr().out.splitlines()
    return json.loads(told)


@pytest.mark.parametrize("layout", ["native", "seed", "ssdaq"])
def test_contents_of_a_file(capsys, tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "a.hdf5", layout)
    told = info(capsys, path)
    assert (told["layout"], told["state"]) == (layout, "complete")
    assert (told["readouts"], told["complete"], told["incomplete"]) == (200, 150, 50)
    assert (told["first_number"], told["last_number"]) == (1, 200)
    for place, index in (("first", 0), ("last", -1)):
        assert told[f"{place}_tack"] == READOUTS["tack"][index]
        time = None if layout == "seed" else utc_of(int(READOUTS["cpu_ns"][index]))
        assert told[f"{place}_time"] == time
    assert (told["rate"], told["gaps"], told["resets"]) == (10.0, 1, 0)
    assert told["modules"] == [200] * 5 + [150] + [200] * 26
    assert told["size"] == path.stat().st_size
    assert told["bytes_per_readout"] == pytest.approx(told["size"] / 200, abs=0.06)
    assert "registered" not in told


def test_a_file_that_is_being_written_and_one_that_was_left(capsys, tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    writer = unfinished(path)
    told = info(capsys, path)
    assert (told["state"], told["readouts"]) == ("being written", 200)
    assert is_in_use(tmp_path / "a.hdf5.journal")
    writer._file.close()  # what a crash leaves
    for name in ("a.hdf5", "a.hdf5.journal", "a.hdf5.part"):
        told = info(capsys, tmp_path / name)
        assert told["state"] == "left unfinished"
        assert (told["recoverable_readouts"], told["recovered_as"]) == (200, "a.hdf5")
        assert (told["journal"], told["journal_damaged"]) == ("a.hdf5.journal", False)
    (completed,) = recover(tmp_path)
    assert completed.readouts == told["recoverable_readouts"]
    told = info(capsys, path)
    assert (told["state"], told["readouts"]) == ("complete, recovered after a crash", 200)


def test_what_a_crash_tore_off_is_told(capsys, tmp_path: Path) -> None:
    writer = SSDataWriter(tmp_path / "a.hdf5")
    for part in (READOUTS[:128], READOUTS[128:]):
        writer.write_readouts(part)
        writer.flush()
    writer._file.close()
    kept = tmp_path / "a.hdf5.journal"
    with journal.JournalScan(kept) as scan:
        first = next(block for block in scan.blocks if block.readouts)
    with kept.open("r+b") as file:
        file.truncate(first.offset + first.length + 1000)
    told = info(capsys, kept)
    assert told["readouts"] == told["recoverable_readouts"] == 128
    assert (told["journal_rest"], told["journal_damaged"]) == (1000, False)


def test_a_complete_file_whose_journal_is_still_there(capsys, tmp_path: Path) -> None:
    writer = unfinished(tmp_path / "a.hdf5")
    writer._file.complete()
    writer._file.close()
    told = info(capsys, tmp_path / "a.hdf5")
    assert told["state"] == "complete, its journal not yet deleted"
    assert told["size"] == (tmp_path / "a.hdf5").stat().st_size


def test_a_file_without_readouts(capsys, tmp_path: Path) -> None:
    SSDataWriter(tmp_path / "a.hdf5")._file.close()
    told = info(capsys, tmp_path / "a.hdf5")
    assert (told["readouts"], told["bytes_per_readout"]) == (0, None)
    assert (told["recoverable_readouts"], told["recovered_as"]) == (0, None)


def test_one_bad_file_does_not_hide_the_others(capsys, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    (tmp_path / "bad.hdf5").write_bytes(b"nonsense")
    line = ["slow-signal", "info", str(tmp_path / "bad.hdf5"), str(path), "nowhere"]
    assert main(line) == 1
    captured = capsys.readouterr()
    assert f"file\t{path}\n" in captured.out
    assert "modules\t0-4,6-31 always; 5 in 75.00 %\n" in captured.out
    assert "rate\t10.0 Hz\n" in captured.out
    bad, nowhere = captured.err.splitlines()
    assert "bad.hdf5" in bad
    assert "nowhere" in nowhere


def test_the_row_of_a_file(capsys, tmp_path: Path, own_database: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    md5sum = hashlib.md5(path.read_bytes()).digest()
    database = Database()
    try:
        files.create_table(database)
        assert info(capsys, path)["registered"] is False
        row = {"path": str(path), "md5sum": md5sum, "timestamp": files.utc_text(1e9)}
        with database.begin() as connection:
            files.add_entries(connection, [files.row_of(row | {"instance_id": "camera"})])
    finally:
        database.close()
    told = info(capsys, path)
    assert (told["registered"], told["id"], told["instance_id"]) == (True, 1, "camera")
    assert told["md5sum"] == md5sum.hex()
    assert "matches" not in told
    assert info(capsys, "--verify", path)["matches"] is True
    with path.open("ab") as file:
        file.write(b"\0")
    assert info(capsys, "--verify", path, status=1)["matches"] is False


def test_a_file_that_was_archived_is_known_by_where_it_was_written(
    capsys, tmp_path: Path, own_database: Path
) -> None:
    path = write(tmp_path / "a.hdf5")
    database = Database()
    try:
        copies.create_table(database)
        row = {"path": "/archive/a.hdf5", "md5sum": bytes(16), "timestamp": files.utc_text(1e9)}
        with database.begin() as connection:
            files.add_entries(connection, [files.row_of(row)])
        assert info(capsys, path)["registered"] is False
        with database.begin() as connection:
            copy = {"file_id": 1, "state": "archived", "source": str(path)}
            connection.execute(copies.table.insert().values(copy))
    finally:
        database.close()
    told = info(capsys, path)
    assert (told["registered"], told["archived_as"]) == (True, "/archive/a.hdf5")


def test_verifying_needs_a_database(capsys, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    assert main(["slow-signal", "info", "--verify", str(path)]) == 1
    assert "socs files create" in capsys.readouterr().err


def test_a_database_without_a_table_hides_nothing(capsys, tmp_path, own_database) -> None:
    path = write(tmp_path / "a.hdf5")
    own_database.mkdir()
    (own_database / "files.sqlite").touch()
    assert main(["slow-signal", "info", "--json", str(path)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["readouts"] == 200
    assert captured.err.startswith("socs: ")


def test_gaps_and_resets_of_tacks() -> None:
    tacks = np.array([0, 10, 20, 45, 55, 5, 15, 15], np.uint64)
    assert steps(tacks) == {"rate": 1e8, "gaps": 1, "resets": 2}
    assert steps(tacks[:1]) == {"rate": None, "gaps": 0, "resets": 0}


def test_modules_in_words() -> None:
    seen = [4] * 30 + [0, 1]
    assert in_words(seen, 4) == "0-29 always; 30 never; 31 in 25.00 %"
    told = {"readouts": 4, "rate": None, "size": 7, "modules": seen}
    shown = for_people(told)
    assert (shown["rate"], shown["size"], shown["modules"]) == (None, "7 bytes", in_words(seen, 4))


def test_looking_disturbs_no_writer(tmp_path: Path) -> None:
    writer = unfinished(tmp_path / "a.hdf5")
    assert is_in_use(tmp_path / "a.hdf5.journal")
    writer.write_readouts(READOUTS)
    writer.close()
    with SSDataReader(tmp_path / "a.hdf5") as reader:
        assert len(reader) == 400
