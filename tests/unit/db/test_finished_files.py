"""Files of several kinds in one spool: each once, and none forgets another's."""

from pathlib import Path

import pytest

from socs.db.engine import Database
from socs.db.finished_files import FileKind, FileRegister, FinishedFile, FinishedFiles
from socs.db.registrar import RowConstants
from socs.db.spool import Spool
from socs.errors import StorageUnavailable

NOW = 1_800_000_000.0
FILE = FinishedFile("/data/one", "one", 12.5)


def kind(action: str) -> FileKind:
    return FileKind(action, "text", lambda path: path.with_suffix(".marker"))


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def entries(spool):
    return [each.file for each in spool.take(10, now=NOW + 1, received_before=NOW + 1)]


def test_a_file_goes_into_the_spool_once_with_what_its_kind_says(spool):
    files = FinishedFiles(spool, kind("a"), pub_id="me", clock=lambda: NOW)
    assert files.finished(FILE)
    assert not files.finished(FILE)
    (entry,) = entries(spool)
    assert (entry.path, entry.action, entry.format, entry.pub_id) == (
        "/data/one",
        "a",
        "text",
        "me",
    )
    assert (entry.timestamp, entry.action_timestamp) == (12.5, 12)


def test_kinds_do_not_mix(spool, tmp_path):
    one, other = (FinishedFiles(spool, kind(name), clock=lambda: NOW) for name in ("a", "ab"))
    path = tmp_path / "file"
    path.with_suffix(".marker").touch()
    file = FinishedFile(str(path), "same id", 1.0)
    assert one.finished(file)
    assert other.finished(file)
    path.with_suffix(".marker").unlink()
    one.settled()
    assert list(spool.streams()) == ["ab/same id"]
    assert not other.finished(file)
    other.settled()
    assert spool.streams() == {}


def test_what_may_come_again_is_remembered_over_a_restart(tmp_path):
    path = tmp_path / "file"
    path.with_suffix(".marker").touch()
    file = FinishedFile(str(path), "id", 1.0)
    for expected in (True, False):
        spool = Spool(tmp_path / "spool")
        files = FinishedFiles(spool, kind("a"), clock=lambda: NOW)
        assert files.finished(file) is expected
        files.settled()
        spool.close()


def test_a_spool_that_is_full_is_asked_again(tmp_path):
    spool = Spool(Path(tmp_path), quota=1)
    files = FinishedFiles(spool, kind("a"), clock=lambda: NOW)
    with pytest.raises(StorageUnavailable):
        files.finished(FILE)
    spool.quota = 1 << 30
    assert files.finished(FILE)
    spool.close()


def test_status_of_writer_and_files_in_one(tmp_path, monkeypatch):
    register = FileRegister(
        kind("a"),
        tmp_path / "spool",
        Database({"SOCS_DATA_DIR": str(tmp_path)}),
        [str(tmp_path)],
        RowConstants("site", "me"),
    )
    assert register.troubles() == []  # it is not started yet, which is not to have stopped
    monkeypatch.setattr(register, "troubles", lambda: ["no database"])
    register.counters.add("files_spooled", 2)  # which are in no spool
    files = register.status()
    own = {
        "counters": {"lines_written": 7},
        "unaccounted": {"lines_written": 1},
        "troubles": ["no disk"],
        "writer": {"file": "one"},
    }
    both = register.status_with(own)
    assert both == {
        **files,
        "counters": {**files["counters"], "lines_written": 7},
        "unaccounted": {"lines_written": 1, **files["unaccounted"]},
        "troubles": ["no disk", "no database"],
        "writer": {"file": "one"},
    }
    assert files["unaccounted"]
    assert own["troubles"] == ["no disk"]
    register.stop()
