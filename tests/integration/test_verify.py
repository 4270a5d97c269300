"""Re-hashing archived files: the right ones, in the right order, and the truth about each."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.archive import examine as examine_module
from socs.archive import outcomes, verify
from socs.archive.verify import Verified, Verify
from socs.db import copies
from socs.db.copies import ALTERED, ARCHIVED, LOST
from socs.db.engine import Database
from socs.db.file_filter import FileFilter
from socs.errors import StorageUnavailable
from tests.audited import BEGIN, LATER, Archive, later


@pytest.fixture
def archive(files_env, tmp_path: Path) -> Iterator[Archive]:
    database = Database(files_env)
    yield Archive(tmp_path, database)
    database.close()


def set_verified(archive: Archive, number: int, when: float) -> None:
    with archive.database.begin() as connection:
        table = copies.table
        update = table.update().where(table.c.file_id == number)
        connection.execute(update.values(verified_at=when))


def test_every_file_is_called_by_its_name(archive: Archive, monkeypatch) -> None:
    monkeypatch.setattr(verify, "PAGE", 3)
    monkeypatch.setattr(verify, "BATCH", 4)
    ids = archive.add(20)
    old = archive.root / "17000/p/1700000000_a/outputs/old"
    archive.darken("17000/p/1700000000_a/outputs/old", b"old")
    ids.append(archive.add_row(old, b"old", copy=False))
    archive.lose(ids[3])
    archive.alter(ids[5])
    archive.alter(ids[7], size=3)
    directory = Path(archive.lose(ids[9]))
    directory.mkdir()
    link = Path(archive.lose(ids[11]))
    link.symlink_to("/etc/hostname")
    inside = Path(archive.paths[ids[13]])
    inside.rename(inside.with_name("elsewhere"))
    inside.symlink_to("elsewhere")
    os.mkfifo(archive.lose(ids[15]))
    found, seen = archive.verify()
    assert {f.file_id: f.kind for f in seen} == {
        **{ids[3]: "lost", ids[5]: "altered", ids[7]: "altered"},
        **{ids[9]: "unreadable", ids[11]: "unreadable", ids[15]: "unreadable"},
    }
    assert (found.to_do, found.looked_at, found.right) == (21, 21, 15)
    assert found.bytes == 14 * archive.size + 3 + 2 * archive.size + 3
    rows = archive.rows()
    states = {ids[3]: LOST, ids[5]: ALTERED, ids[7]: ALTERED}
    for number in ids:
        assert rows[number]["state"] == states.get(number, ARCHIVED)
        right = number not in {finding.file_id for finding in seen}
        assert (rows[number]["verified_at"] is not None) == right
    assert rows[ids[-1]]["size"] == 3
    details = {finding.file_id: finding.detail for finding in seen}
    assert "outside the archive" in details[ids[11]]
    assert "not a regular file" in details[ids[9]] == details[ids[15]]
    assert archive.verify()[1] == seen  # and again


def test_those_longest_unverified_come_first(archive: Archive) -> None:
    ids = archive.add(6)
    for number, age in zip(ids, (3, 1, 0, 5, 4, 2), strict=True):
        if age:
            set_verified(archive, number, BEGIN - age)
    order = [ids[n] for n in (2, 3, 4, 0, 5, 1)]
    for number in ids:
        archive.alter(number)
    assert [f.file_id for f in archive.verify(dry_run=True)[1]] == order
    assert [f.file_id for f in archive.verify(dry_run=True, limit=2)[1]] == order[:2]
    older = archive.verify(dry_run=True, older_than=BEGIN - 2)[1]
    assert [f.file_id for f in older] == order[:4]
    assert set(archive.states().values()) == {ARCHIVED}


def test_repeated_short_runs_look_at_all(archive: Archive) -> None:
    ids = archive.add(10)
    for _ in range(4):
        archive.verify(limit=3)
    assert all(row["verified_at"] for row in archive.rows().values())
    assert archive.verify(older_than=later() - 2 * LATER)[0].to_do == 0
    assert archive.verify()[0].to_do == len(ids)


def test_filters_choose(archive: Archive) -> None:
    a = archive.add(2, instance_id="a", pub_id="p")
    b = archive.add(2, instance_id="b", action="tune")
    archive.add_row(archive.source / "waiting", b"", copied=False, copy=False)
    archive.add_row("/elsewhere/17000/file", b"")
    archive.alter(b[1])
    assert archive.verify()[0].to_do == 4
    for only, chosen in (
        (FileFilter(instance_ids=("a",)), 2),
        (FileFilter(instance_ids=("a", "b")), 4),
        (FileFilter(pub_id="p"), 2),
        (FileFilter(action="tune"), 2),
        (FileFilter(ids=(a[0], b[0], b[1])), 3),
        (FileFilter(ids=(a[0],), paths=(archive.paths[b[0]],)), 2),
        (FileFilter(path=f"*{Path(archive.paths[a[1]]).name}"), 1),
        (FileFilter(states=(ALTERED,)), 1),
        (FileFilter(states=(ARCHIVED,)), 3),
        (FileFilter(ids=(999,)), 0),
    ):
        assert archive.verify(only=only)[0].to_do == chosen, only


def test_files_made_right_again_are_archived_again(archive: Archive) -> None:
    lost, altered = archive.add(2)
    kept = archive.directory / "kept"
    shutil.copytree(archive.root, kept)
    archive.lose(lost)
    archive.alter(altered)
    archive.verify()
    assert archive.states() == {lost: LOST, altered: ALTERED}
    shutil.copytree(kept, archive.root, dirs_exist_ok=True)
    found, seen = archive.verify()
    assert (seen, found.recovered, found.right) == ([], 2, 2)
    assert archive.states() == {lost: ARCHIVED, altered: ARCHIVED}
    assert archive.rows()[altered]["found_md5sum"] is None


def test_disk_with_errors_changes_no_state(archive: Archive, monkeypatch) -> None:
    ids = archive.add(4)

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(examine_module, "md5_of", broken)
    found, seen = archive.verify()
    assert [f.kind for f in seen] == ["unreadable"] * 4
    assert {f.detail for f in seen} == {"Input/output error"}
    assert [archive.states()[number] for number in ids] == [ARCHIVED] * 4
    assert found.right == 0


def test_row_that_is_archived_anew_meanwhile_is_left_alone(archive: Archive) -> None:
    one, two, three = archive.add(3)
    for number in (one, two, three):
        archive.lose(number)

    def between(found: Verified) -> bool:
        if not found.looked_at:  # hashed, and not written down yet
            with archive.database.begin() as connection:
                copies.damaged(connection, one, LOST, "told by somebody else")
                connection.execute(
                    copies.table.update()
                    .where(copies.table.c.file_id == one)
                    .values(source="/data/source")
                )
                copies.retry(connection, [one])
        return True

    seen = []
    found = Verify(str(archive.root)).run(
        archive.database, progress=between, on_finding=lambda f: seen.append(f.file_id)
    )
    assert seen == [two, three]
    assert found.superseded == 1
    assert archive.states() == {one: copies.WAITING, two: LOST, three: LOST}


def test_database_that_fails_in_the_middle_keeps_what_was_done(
    archive: Archive, monkeypatch
) -> None:
    monkeypatch.setattr(verify, "PAGE", 10)
    monkeypatch.setattr(verify, "BATCH", 10)
    monkeypatch.setattr(examine_module, "GROUP_FILES", 10)
    ids = archive.add(100)
    begin = archive.database.begin

    def cut(engine=None):
        if engine is None and sum(told) >= 30:
            raise StorageUnavailable("cut")
        return begin(engine)

    told: list[int] = []
    written = outcomes._write
    monkeypatch.setattr(
        outcomes, "_write", lambda c, some, now: (written(c, some, now), told.append(len(some)))
    )
    monkeypatch.setattr(archive.database, "begin", cut)
    results: list[Verified] = []
    with pytest.raises(StorageUnavailable, match="cut"):
        Verify(str(archive.root)).run(
            archive.database, progress=lambda found: results.append(found) or True
        )
    monkeypatch.undo()
    verified = [number for number, row in archive.rows().items() if row["verified_at"]]
    assert verified == ids[: len(verified)]
    assert results[-1].right == len(verified) == 30
    assert archive.verify(older_than=later())[0].to_do == 100
    assert archive.verify(limit=70)[0].right == 70
    assert all(row["verified_at"] for row in archive.rows().values())


def test_it_stops_when_told_to(archive: Archive, monkeypatch) -> None:
    monkeypatch.setattr(examine_module, "GROUP_FILES", 5)
    archive.add(200)
    stopping = Verify(str(archive.root)).run(archive.database, progress=lambda found: False)
    assert stopping.stopped
    assert 0 < stopping.looked_at < 200
    assert "stopped" in stopping.summary()
    verified = [row for row in archive.rows().values() if row["verified_at"]]
    assert len(verified) == stopping.looked_at
