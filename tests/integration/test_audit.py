"""Comparing archive and table: planted findings and no others, whatever goes on meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from socs.archive import audit as audit_module
from socs.archive import dark as dark_module
from socs.archive.audit import Audit
from socs.archive.paths import File, file_of, place_of
from socs.archive.register import Register
from socs.archive.storage import Storage
from socs.dataroots import DataRoots
from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import ALTERED, ARCHIVED, COPYING, LOST, MISSING, WAITING
from socs.db.engine import AlreadyStored, Database
from socs.errors import StorageUnavailable
from tests.audited import BEGIN, Archive, kinds, later


@pytest.fixture
def archive(files_env, tmp_path: Path) -> Iterator[Archive]:
    database = Database(files_env)
    yield Archive(tmp_path, database)
    database.close()


def test_planted_findings_are_found_exactly(archive: Archive, monkeypatch) -> None:
    for module, name in ((audit_module, "FETCH"), (audit_module, "BATCH"), (dark_module, "CHUNK")):
        monkeypatch.setattr(module, name, 7)
    ids = archive.add(400, days=5)
    lost = {archive.lose(number) for number in ids[3::40]}
    altered = {archive.alter(number, size=1) for number in ids[5::40]}
    dark = {archive.darken(f"17000/crate1slot1/1700000000_iv/plots/{n}.png") for n in range(20)}
    found, seen = archive.audit()
    assert kinds(seen) == {"dark": dark, "lost": lost, "altered": altered}
    assert found.findings.counts["lost"] == len(lost) == 10
    assert (found.files, found.rows, found.timecodes) == (410, 400, 5)
    assert found.right == 380
    expected = dict.fromkeys(ids, ARCHIVED)
    expected |= dict.fromkeys(ids[3::40], LOST) | dict.fromkeys(ids[5::40], ALTERED)
    assert archive.states() == expected


def test_what_was_found_is_found_again(archive: Archive) -> None:
    one, two, three, four = archive.add(4)
    old = archive.add_row(archive.root / "17000/p/1700000000_a/outputs/old", b"", copy=False)
    archive.lose(one)
    archive.alter(two, size=1)
    archive.alter(three)
    first = archive.audit(hash=True)[1]
    assert {f.file_id: f.kind for f in first} == {
        one: "lost",
        two: "altered",
        three: "altered",
        old: "lost",
    }
    assert archive.audit(hash=True)[1] == first
    assert archive.audit()[1] == first  # their state is known: they are hashed in any case
    assert archive.states()[four] == ARCHIVED


def test_dry_run_writes_nothing(archive: Archive) -> None:
    ids = archive.add(3, with_source=True)
    archive.lose(ids[0])
    archive.alter(ids[1], size=1)
    dark = archive.darken("17000/p/1700000000_a/outputs/dark")
    before = archive.rows()
    found, seen = archive.audit(
        dry_run=True,
        hash=True,
        repair=True,
        roots=DataRoots([archive.source]),
        register=Register("audit"),
    )
    assert archive.rows() == before
    assert os.path.exists(archive.paths[ids[1]])
    assert {f.path: f.done for f in seen} == {
        archive.paths[ids[0]]: "would be copied again",
        archive.paths[ids[1]]: "would be copied again",
        dark: "would be registered",
    }
    assert (found.repaired, found.registered) == (2, 0)


def test_contents_are_compared_when_asked_for(archive: Archive) -> None:
    ids = archive.add(20)
    altered = archive.alter(ids[7])
    assert archive.audit()[1] == []
    found, seen = archive.audit(hash=True)
    assert kinds(seen) == {"altered": {altered}}
    assert seen[0].md5sum == hashlib.md5(Path(altered).read_bytes()).hexdigest()
    assert found.bytes == 20 * archive.size
    rows = archive.rows()
    assert bytes(rows[ids[7]]["found_md5sum"]).hex() == seen[0].md5sum
    verified = [rows[number]["verified_at"] is not None for number in ids]
    assert verified == [number != ids[7] for number in ids]


def test_files_made_right_again_are_archived_again(archive: Archive) -> None:
    ids = archive.add(3)
    content = [Path(archive.paths[number]).read_bytes() for number in ids]
    archive.lose(ids[0])
    archive.alter(ids[1])
    archive.audit(hash=True)
    assert list(archive.states().values()) == [LOST, ALTERED, ARCHIVED]
    for number, data in zip(ids, content, strict=True):
        Path(archive.paths[number]).write_bytes(data)
    found, seen = archive.audit()
    assert seen == []
    assert found.recovered == 2
    assert set(archive.states().values()) == {ARCHIVED}


# -- an archive that is not there -----------------------------------------------------------------


def test_archive_that_is_not_mounted_loses_nothing(archive: Archive) -> None:
    archive.add(5)
    moved = archive.root.rename(archive.directory / "unmounted")
    for look in (archive.audit, archive.verify):
        with pytest.raises(StorageUnavailable, match="mounted"):
            look()
    archive.root.mkdir()  # the mount point
    for name in ("lost+found", "NOT MOUNTED"):
        (archive.root / name).mkdir()
        for look in (archive.audit, archive.verify):
            with pytest.raises(StorageUnavailable, match="mounted"):
                look()
    assert set(archive.states().values()) == {ARCHIVED}
    for name in ("lost+found", "NOT MOUNTED"):
        (archive.root / name).rmdir()
    archive.root.rmdir()
    moved.rename(archive.root)
    assert archive.audit()[1] == []


def test_archive_that_goes_meanwhile_loses_nothing(archive: Archive) -> None:
    ids = archive.add(5, days=5)
    archive.lose(ids[0])

    def unmount(found: object) -> bool:
        if archive.root.exists():
            archive.root.rename(archive.directory / "unmounted")
            archive.root.mkdir()
            archive.darken("17000/other/1700000000_a/outputs/file")
        return True

    with pytest.raises(StorageUnavailable, match="another directory"):
        Audit(str(archive.root)).run(archive.database, progress=unmount)
    assert set(archive.states().values()) == {ARCHIVED}


def test_day_on_another_disk(archive: Archive) -> None:
    ids = archive.add(20, days=2)
    disk = archive.directory / "disk"
    disk.mkdir()
    day = archive.root / "17001"
    day.rename(disk / "17001")
    day.symlink_to(disk / "17001")
    archive.lose(ids[1])
    dark = archive.darken("17001/p/1700100000_a/outputs/dark")
    for hashing in (False, True):
        _, seen = archive.audit(hash=hashing)
        assert kinds(seen) == {"lost": {archive.paths[ids[1]]}, "dark": {dark}}
    disk.rename(archive.directory / "unmounted")
    _, seen = archive.audit()
    assert set(kinds(seen)) == {"stranger", "unreadable"}  # a link that leads nowhere
    assert len(kinds(seen)["unreadable"]) == 10
    assert list(archive.states().values()).count(LOST) == 1


def test_links_inside_a_day(archive: Archive) -> None:
    ids = archive.add(20)
    disk = archive.directory / "disk"
    disk.mkdir()
    publisher = archive.root / "17000/crate1slot1"
    publisher.rename(disk / "crate1slot1")
    publisher.symlink_to(disk / "crate1slot1")
    (archive.root / "17000/again").symlink_to(archive.root / "17000/crate1slot2")
    (publisher / "back").symlink_to(archive.root)
    (publisher / "round").symlink_to(publisher)
    lost = archive.lose(next(n for n in ids if "/crate1slot1/" in archive.paths[n]))
    dark = archive.darken("17000/crate1slot1/1700000000_a/outputs/dark")
    for hashing in (False, True):
        found, seen = archive.audit(hash=hashing)
        assert kinds(seen) == {"lost": {lost}, "dark": {dark}}
        assert found.files == 20


# -- files without rows ---------------------------------------------------------------------------


def test_young_files_and_files_on_their_way_are_not_dark(archive: Archive) -> None:
    archive.add(3)
    path = archive.darken("17000/crate1slot1/1700000000_take_iv/outputs/1700000000_x.npy")
    found = Audit(str(archive.root)).run(archive.database, clock=time.time)
    assert (len(found.findings), found.young) == (0, 1)
    # An archiver was killed between placing it and saying so.
    source = archive.source / "1700000000_x.npy"
    claimed = archive.add_row(source, b"dark", copied=False, timestamp=files.utc_text(BEGIN))
    numbered = archive.darken(f"{path[len(str(archive.root)) + 1 :]}.1", b"other")
    for state in (COPYING, WAITING):
        set_state(archive, claimed, state)
        for settings in ({}, {"hash": True}):
            found, seen = archive.audit(**settings)
            assert seen == [] or kinds(seen) == {"dark": {numbered}}
            assert found.unsettled == 2 - len(seen)
    before = archive.rows()
    with archive.database.begin() as connection:  # not even claimed any more
        connection.execute(copies.table.delete().where(copies.table.c.file_id == claimed))
    found, seen = archive.audit(register=Register("audit"))
    assert found.unsettled == 1
    assert kinds(seen) == {"dark": {numbered}}
    assert found.registered == 1
    assert len(archive.rows()) == len(before) + 1
    # Nobody will come for it by himself; but it is known whose it is.
    set_state(archive, claimed, MISSING)
    found, seen = archive.audit(register=Register("audit"))
    (finding,) = seen
    assert finding.path == path
    assert f"socs files retry {claimed}" in finding.detail
    assert "not registered" in finding.done
    assert len(archive.rows()) == len(before) + 1


def set_state(archive: Archive, number: int, state: str) -> None:
    with archive.database.begin() as connection:
        table = copies.table
        connection.execute(table.delete().where(table.c.file_id == number))
        connection.execute(table.insert(), {"file_id": number, "state": state, "due": 0.0})


def test_rows_for_dark_files(archive: Archive) -> None:
    one = archive.add(2)[0]
    where = "17000/crate1slot1"
    plot = archive.darken(f"{where}/1700000001_take iv_2/plots/1700000002_a.png", b"1")
    stream = archive.darken(f"{where}/1700000000_000.g3", b"2")
    nameless = archive.darken("17000/unknown/1700000001_unknown/outputs/a.b.dat\n", b"3")
    odd = archive.darken("17000/p/q/r/s/t", b"4")
    twin = archive.darken("17000/p/1_x/outputs/t", Path(archive.paths[one]).read_bytes())
    os.utime(plot, (1.6e9, 1.6e9 + 0.25))
    link = archive.root / where / "link"
    link.symlink_to(plot)
    latin = os.fsencode(archive.root) + b"/17000/p/caf\xe9"
    with open(latin, "wb") as file:
        file.write(b"5")
    found, seen = archive.audit(register=Register("salvage", site="chile"))
    done = {finding.path: finding for finding in seen}
    made = {plot, stream, nameless, odd}
    assert {f.path for f in seen if f.done == "registered"} == made
    assert found.registered == 4
    assert "same contents as file" in done[twin].detail
    assert "not UTF-8" in next(f.done for f in seen if "caf" in f.path)
    assert done[str(link)].done.startswith("not registered: a link to")
    rows = {row["path"]: row for row in archive.rows().values()}
    assert len(rows) == 6
    row = rows[plot]
    assert row["id"] == done[plot].file_id
    columns = ("action", "action_timestamp", "pub_id", "plot", "format", "instance_id", "site")
    assert [row[name] for name in columns] == [
        *("take iv_2", 1700000001, "crate1slot1", True, "png", "salvage", "chile")
    ]
    assert row["timestamp"].isoformat() == "2020-09-13T12:26:40.250000"
    assert bytes(row["md5sum"]) == hashlib.md5(b"1").digest()
    assert (row["copied"], row["state"], row["size"]) == (True, ARCHIVED, 1)
    assert rows[stream]["action"] == "timestreams"
    assert (rows[nameless]["action"], rows[nameless]["pub_id"]) == (None, None)
    assert rows[odd]["action"] is None
    found, seen = archive.audit(hash=True)
    assert {f.path for f in seen} == {twin, str(link), *(f.path for f in seen if "caf" in f.path)}
    assert archive.verify()[0].right == 6


def test_what_is_no_file_of_a_row_is_called_by_its_name(archive: Archive) -> None:
    archive.add(3)
    for name in (
        "suprsync/archiver/1_smurf_17000_finalized.yaml",
        ".suprsync-altered/file-1_x.dat",
    ):
        archive.darken(f"17000/{name}")
    part = archive.darken("17000/.suprsync-archiver/part-1-2-3")
    strangers = {archive.darken("README"), str(archive.root / "18000.old")}
    archive.darken("18000.old/p/1700000000_a/outputs/file")
    in_the_way = archive.darken("17000/in_the_way")
    found, seen = archive.audit()
    assert kinds(seen) == {"stranger": strangers, "dark": {in_the_way}}
    assert found.set_aside == 1
    assert "readers" in next(f.detail for f in seen if f.kind == "dark")
    seen.clear()
    Audit(str(archive.root)).run(
        archive.database, clock=lambda: time.time() + 86401, on_finding=seen.append
    )
    assert kinds(seen)["leftover"] == {part}


@pytest.mark.parametrize("hashing", [False, True])
def test_archivers_at_work_make_no_findings(archive: Archive, hashing: bool) -> None:
    archive.add(30)
    number = 300
    for n in range(number):
        path = archive.source / f"{BEGIN}_{n}.npy"
        path.write_bytes(str(n).encode())
        archive.add_row(
            *(path, str(n).encode()), copy=False, copied=False, timestamp=files.utc_text(BEGIN)
        )
    archivers = [
        threading.Thread(target=archive_all, args=(archive, f"archiver-{n}"), name=f"archiver-{n}")
        for n in range(2)
    ]
    for thread in archivers:
        thread.start()
    audits = 0
    try:
        while any(thread.is_alive() for thread in archivers):
            found, seen = archive.audit(hash=hashing, min_age=0.0)
            assert seen == []
            audits += 1
    finally:
        for thread in archivers:
            thread.join()
    assert audits > 2
    found, seen = archive.audit(hash=True)
    assert seen == []
    assert found.rows == found.files == number + 30


def archive_all(archive: Archive, owner: str) -> None:
    """As archivers do: claim some, place them, and then say so."""
    database = Database()
    storage = Storage(archive.root, owner)
    try:
        while True:
            now = time.time()
            terms = {"limit": 5, "now": now, "until": now + 1000, "max_attempts": 5}
            rows = persistently(database, claims.claim, owner, ["monitor"], **terms)
            if not rows:
                return
            placed = [place_copy(storage, file_of(row)) for row in rows]
            persistently(database, claims.settle, owner, placed, [], time.time())
    finally:
        database.close()


def persistently(database: Database, act: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Clients of a database get into each other's way, and begin anew."""
    while True:
        try:
            with database.begin() as connection:
                return act(connection, *args, **options)
        except (AlreadyStored, StorageUnavailable):
            continue


def place_copy(storage: Storage, file: File) -> claims.Archived:
    place = place_of(file)
    part = f"{storage.staging(place.timecode)}/part-{file.id}"
    content = Path(file.path).read_bytes()
    Path(part).write_bytes(content)
    return claims.Archived(file.id, storage.put(part, place, file.md5sum), len(content))


# -- rows -----------------------------------------------------------------------------------------


def test_rows_of_all_kinds(archive: Archive, tmp_path: Path) -> None:
    (one,) = archive.add(1)
    path, content = archive.paths[one], Path(archive.paths[one]).read_bytes()
    archive.add_row(path, content)  # announced twice, archived once
    archive.add_row(path, b"before", copied=False)
    there = archive.darken("17000/p/1700000000_a/outputs/here")
    archive.add_row(there, b"not copied, but a row all the same", copied=False)
    odd = archive.root / "17000/p/1700000000_a/outputs"
    for name in ("blank", "blank ", "\x01\n", "ünïcode-測試-🔭", "%_", "A", "a", "caf\u0301e"):
        (odd / name).write_bytes(name.encode())
        archive.add_row(odd / name, name.encode())
    old = odd / "old archiver"
    old.write_bytes(b"of any size")
    archive.add_row(old, b"of any size", copy=False)
    gone = {
        archive.root / "16999/p/1699900000_a/outputs/day gone",
        archive.root / "17000-1/p/no day",
        archive.root / "elsewhere",
        odd / "blank  ",
        odd / "B",
    }
    for path_gone in gone:
        archive.add_row(path_gone, b"")
    for number in range(3):
        archive.add_row(f"/other/place/17000/p/{number}", b"")
    archive.add_row(f"{archive.root}-2/file", b"")
    archive.add_row("relative", b"")
    for settings in ({}, {"hash": True}):
        found, seen = archive.audit(**settings)
        assert kinds(seen) == {"lost": set(map(str, gone))}
    assert found.outside == {"/other/place": 3, f"{archive.root}-2": 1, "": 1}
    assert found.rows == 2 + 8 + 1 + 5
    assert archive.verify()[0].findings.counts["lost"] == 5


def test_archive_under_another_name(archive: Archive) -> None:
    ids = archive.add(10)
    alias = archive.directory / "alias"
    alias.symlink_to(archive.root)
    dark = archive.darken("17000/p/1700000000_a/outputs/dark")
    seen: list = []
    found = Audit(str(alias), register=Register("audit")).run(
        archive.database, clock=later, on_finding=seen.append
    )
    assert found.outside == {str(archive.root): 10}
    assert [finding.path for finding in seen] == [dark.replace(str(archive.root), str(alias))]
    assert found.registered == 1
    assert set(ids) == {
        n for n, state in archive.states().items() if n in ids and state == ARCHIVED
    }


def test_many_rows_of_a_day_without_directory(archive: Archive, monkeypatch) -> None:
    monkeypatch.setattr(audit_module, "BATCH", 10)
    ids = archive.add(60, days=3)
    os.rename(archive.root / "17001", archive.directory / "17001")
    found, seen = archive.audit()
    assert {finding.file_id for finding in seen} == {
        number for number in ids if "/17001/" in archive.paths[number]
    }
    assert found.timecodes == found.timecodes_done == 3
