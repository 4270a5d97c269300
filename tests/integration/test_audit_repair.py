"""Lost and altered files are copied again from where they were written, if they are still there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.archive.findings import Finding
from socs.dataroots import DataRoots
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import ALTERED, ARCHIVED, LOST, WAITING
from socs.db.engine import Database
from socs.testing import wait_until
from tests.archiving import Source, all_at_rest, check, running_archiver
from tests.audited import Archive, kinds


@pytest.fixture
def archive(files_env, tmp_path: Path) -> Iterator[Archive]:
    database = Database(files_env)
    yield Archive(tmp_path, database)
    database.close()


def repaired(archive: Archive, **settings) -> dict[int, Finding]:
    """What an audit found and did, by id of the file."""
    settings = {"hash": True, "repair": True, "roots": DataRoots([archive.source])} | settings
    return {finding.file_id: finding for finding in archive.audit(**settings)[1]}


def set_aside(archive: Archive) -> list[Path]:
    return sorted(archive.root.glob("*/.suprsync-altered/*"))


def test_lost_and_altered_files_wait_for_the_archiver(archive: Archive) -> None:
    lost, altered, good = archive.add(3, with_source=True)
    archive.lose(lost)
    path = archive.alter(altered)
    spoilt = Path(path).read_bytes()
    found = repaired(archive)
    assert found.keys() == {lost, altered}
    assert archive.states() == {lost: WAITING, altered: WAITING, good: ARCHIVED}
    for number in (lost, altered):
        row = archive.rows()[number]
        assert (
            row["path"] == row["source"] == str(archive.source / Path(archive.paths[number]).name)
        )
        assert (row["copied"], row["failed_copy_attempts"]) == (False, 0)
    (aside,) = set_aside(archive)
    assert aside.read_bytes() == spoilt
    assert not os.path.exists(path)
    assert str(aside) in found[altered].done
    assert archive.audit(hash=True)[1] == []


def test_readers_pass_by_what_was_set_aside(archive: Archive) -> None:
    """They take what follows `<5 digits>/<stream>/` for a number, and *.g3 for a timestream."""
    numbers = archive.add(2, with_source=True)
    for number in numbers:
        archive.alter(number)
    repaired(archive)
    assert len(set_aside(archive)) == 2
    for path in set_aside(archive):
        with pytest.raises(ValueError, match="invalid literal"):
            int(path.name.split("_")[0])
        assert path.suffix == ".dat"  # which books of a day leave out


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda source: source.unlink(), "no such file"),
        (lambda source: source.write_bytes(b"changed"), "not what was announced"),
        (lambda source: source.rename(source.parent.parent / source.name), "no such file"),
        (lambda source: (source.unlink(), source.mkdir()), "not a regular file"),
    ],
)
def test_without_its_source_a_copy_stays_where_it_is(archive: Archive, spoil, told) -> None:
    lost, altered = archive.add(2, with_source=True)
    archive.lose(lost)
    path = archive.alter(altered)
    for number in (lost, altered):
        spoil(archive.source / Path(archive.paths[number]).name)
    found = repaired(archive)
    for number in (lost, altered):
        assert found[number].done.startswith("not repaired: ")
        assert told in found[number].done
    assert archive.states() == {lost: LOST, altered: ALTERED}
    assert os.path.exists(path)
    assert set_aside(archive) == []


def test_sources_out_of_reach_are_told(archive: Archive) -> None:
    (known,), (unknown,) = archive.add(1, with_source=True), archive.add(1)
    for number in (known, unknown):
        archive.lose(number)
    assert "no --data-root" in repaired(archive, roots=None)[known].done
    found = repaired(archive, roots=DataRoots([archive.directory / "elsewhere"]))
    assert "outside" in found[known].done
    assert "unknown" in found[unknown].done
    assert set(archive.states().values()) == {LOST}


def test_a_copy_that_is_right_for_another_row_is_not_moved(archive: Archive) -> None:
    (number,) = archive.add(1, with_source=True)
    path = archive.alter(number)
    other = archive.add_row(path, Path(path).read_bytes())  # announced again after it changed
    found = repaired(archive)
    assert found.keys() == {number}
    assert archive.states() == {number: WAITING, other: ARCHIVED}
    assert set_aside(archive) == []
    assert archive.audit(hash=True)[1] == []


def test_two_rows_of_one_altered_copy(archive: Archive) -> None:
    (number,) = archive.add(1, with_source=True)
    path = Path(archive.paths[number])
    other = archive.add_row(path, path.read_bytes())
    archive.alter(number)
    found = repaired(archive)
    assert found.keys() == {number, other}
    assert archive.states() == {number: WAITING, other: ALTERED}  # its source is unknown
    assert len(set_aside(archive)) == 1


def test_same_name_altered_again(archive: Archive) -> None:
    (number,) = archive.add(1, with_source=True)
    path = Path(archive.paths[number])
    for contents in (b"first", b"second", b"second"):
        path.write_bytes(contents)
        with archive.database.begin() as connection:  # as if an archiver had copied it
            connection.execute(files.table.update().values(copied=True, path=str(path)))
            connection.execute(copies.table.update().values(state=ARCHIVED))
        assert repaired(archive).keys() == {number}
    assert {aside.read_bytes() for aside in set_aside(archive)} == {b"first", b"second"}
    assert len(set_aside(archive)) == 2


def test_archiver_brings_the_archive_back(files_env, tmp_path: Path) -> None:
    source = Source(tmp_path)
    for _ in range(30):
        source.add(size=2000)
    database = Database(files_env)
    source.register(database)
    with running_archiver(source, files_env):
        wait_until(lambda: all_at_rest(database), 30)
    check(database, tmp_path / "archive", source)
    archive = Archive.of(tmp_path, database)
    ids = list(archive.paths)
    for number in ids[::6]:
        archive.lose(number)
    for number in ids[1::6]:
        archive.alter(number)
    found = repaired(archive)
    assert found.keys() == {*ids[::6], *ids[1::6]}
    with running_archiver(source, files_env):
        wait_until(lambda: all_at_rest(database), 30)
    for directory in (tmp_path / "archive").glob("*/.suprsync-altered"):
        shutil.rmtree(directory)
    check(database, tmp_path / "archive", source)
    assert kinds(archive.audit(hash=True)[1]) == {}
    database.close()
