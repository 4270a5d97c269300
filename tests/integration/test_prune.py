"""Only what is safe in the archive is deleted where it was written, and the table knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.archive import archived, prune_local
from socs.archive import prune as module
from socs.archive.prune import Decision, Pruned
from socs.archive.prune_local import LocalSources
from socs.archive.sources import (
    CHANGED,
    DELETED,
    GONE,
    KEPT,
    OUTCOMES,
    REFUSED,
    UNVERIFIED,
)
from socs.dataroots import DataRoots
from socs.db import copies
from socs.db.copies import ALTERED, LOST
from socs.db.file_filter import FileFilter
from socs.errors import ConfigError, StorageUnavailable
from tests.pruning import DAY, NOW, World, world


@pytest.fixture
def site(tmp_path: Path, files_env) -> Iterator[World]:
    """Both databases."""
    with world(tmp_path, files_env) as made:
        yield made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """SQLite, for what is about files."""
    with world(tmp_path, {"SOCS_DATA_DIR": str(tmp_path / "table")}) as made:
        yield made


# -- what is deleted ------------------------------------------------------------------------------


def test_archived_file_is_deleted_and_noted(site: World) -> None:
    number = site.add("20260101/1/outputs/1_x.npy", b"12345")
    other = site.add("20260101/1/outputs/2_x.npy", archived_at=NOW - DAY)
    pruned, found = site.run("delete_after: 7d")
    assert list(found) == [number]
    assert found[number].outcome == DELETED
    assert found[number].why == "no rule matches: copied 10d ago, deleted after 7d"
    assert (pruned.files, pruned.bytes) == (Counter(deleted=1), Counter(deleted=5))
    assert not (site.root / "20260101/1/outputs/1_x.npy").exists()
    assert site.copy(number).read_bytes() == b"12345"
    assert site.row(number)["deleted_at"] == NOW
    assert site.row(number)["state"] == copies.ARCHIVED
    assert site.source(other).exists()
    assert site.row(other)["deleted_at"] is None
    assert site.prune("delete_after: 7d") == {}


def test_dry_run_tells_all_and_changes_nothing(site: World) -> None:
    expected = {
        site.add("1_x.npy"): DELETED,
        site.add("1_tune.npy"): KEPT,
        site.add("1_gone.npy"): GONE,
        site.add("1_changed.npy"): CHANGED,
        site.add("1_lost.npy"): LOST,
        site.add("1_altered.npy"): ALTERED,
    }
    gone, changed, lost, altered = list(expected)[2:]
    site.source(gone).unlink()
    site.source(changed).write_text("contents of 1_CHANGED.npy")
    site.copy(lost).unlink()
    site.copy(altered).write_text("what?")
    before = site.everything(), site.rows()
    pruned, found = site.run(
        'delete_after: 0s\nrules: [{keep: always, name: "*_tune.npy"}]', dry_run=True
    )
    assert {number: decision.outcome for number, decision in found.items()} == expected
    assert (site.everything(), site.rows()) == before
    assert pruned.alarming == 2
    assert all(decision.why for decision in found.values())
    assert set(pruned.files) <= set(OUTCOMES)


def test_dry_run_is_what_happens_when_nothing_is_said(here: World) -> None:
    number = here.add("1_x.npy")
    with here.pruning() as prune:
        assert prune.run(here.database, now=NOW).files == {DELETED: 1}
    assert here.source(number).exists()


def test_files_with_any_names(site: World) -> None:
    names = ["a b", "quo'te\"s", "new\nline", "unicode é ☃", "-rf", "*", "a\\b", "x" * 200]
    numbers = {site.add(f"odd {name}/{name}") for name in names}
    sources = [site.source(number) for number in numbers]
    assert {number: d.outcome for number, d in site.prune().items()} == dict.fromkeys(
        numbers, DELETED
    )
    assert not any(source.exists() for source in sources)


def test_more_files_than_a_page(site: World, monkeypatch) -> None:
    monkeypatch.setattr("socs.archive.prunable.PAGE", 7)
    numbers = [site.add(f"{n}.npy", action="tune" if n % 3 == 0 else None) for n in range(30)]
    pruned, found = site.run("delete_after: 0s\nrules: [{keep: always, action: tune}]")
    assert sorted(found) == numbers
    assert pruned.files == {DELETED: 20, KEPT: 10}
    assert pruned.total == 30
    assert sum(row["deleted_at"] is not None for row in site.rows()) == 20


# -- a copy that does not verify ------------------------------------------------------------------


def flip(copy: Path) -> None:
    """One bit of a file that is as long as before, and as old."""
    status = copy.stat()
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(copy: Path) -> None:
    os.truncate(copy, 3)


def empty(copy: Path) -> None:
    os.truncate(copy, 0)


def lengthen(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes() + b"\0")


def remove(copy: Path) -> None:
    copy.unlink()


def remove_directory(copy: Path) -> None:
    copy.unlink()
    copy.parent.rmdir()


def replace_by_link_to_nothing(copy: Path) -> None:
    copy.unlink()
    copy.symlink_to("nowhere")


def replace_by_link(copy: Path) -> None:
    """A link to a file with the right contents."""
    copy.rename(copy.with_name("moved"))
    copy.symlink_to("moved")


def replace_by_directory(copy: Path) -> None:
    copy.unlink()
    copy.mkdir()


def link_directory(copy: Path) -> None:
    """The right file, behind a link on the way."""
    copy.parent.rename(copy.parent.with_name("moved"))
    copy.parent.symlink_to("moved")


@pytest.mark.parametrize(
    ("spoil", "outcome"),
    [
        (flip, ALTERED),
        (truncate, ALTERED),
        (empty, ALTERED),
        (lengthen, ALTERED),
        (replace_by_link, ALTERED),
        (replace_by_link_to_nothing, ALTERED),
        (replace_by_directory, ALTERED),
        (remove, LOST),
        (remove_directory, LOST),
        (link_directory, UNVERIFIED),
    ],
)
def test_never_when_the_copy_does_not_verify(site: World, spoil, outcome: str) -> None:
    good, bad = site.add("good/1.npy"), site.add("bad/2.npy")
    spoil(site.copy(bad))
    pruned, found = site.run()
    assert found[good].outcome == DELETED
    assert found[bad].outcome == outcome
    assert str(site.copy(bad)) in found[bad].why
    assert pruned.alarming == 1
    assert site.source(bad).read_bytes() == b"contents of bad/2.npy"
    row = site.row(bad)
    assert row["state"] == (copies.ARCHIVED if outcome == UNVERIFIED else outcome)
    assert row["deleted_at"] is None
    assert (row["detail"] is None) is (outcome == UNVERIFIED)


def test_never_when_the_copy_cannot_be_read(here: World, monkeypatch) -> None:
    number = here.add("1.npy")

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("socs.archive.archived.md5_of", fail)
    pruned, found = here.run()
    assert (found[number].outcome, pruned.alarming) == (UNVERIFIED, 1)
    assert here.source(number).exists()
    assert here.row(number)["state"] == copies.ARCHIVED


def test_never_when_the_copy_is_elsewhere(here: World) -> None:
    inside = here.add("1.npy")
    outside = here.add("2.npy", path=str(here.outside / "2.npy"))
    (here.outside / "2.npy").write_bytes(b"contents of 2.npy")
    dots = here.add("3.npy", path=f"{here.archive}/../outside/3.npy")
    (here.outside / "3.npy").write_bytes(b"contents of 3.npy")
    found = here.prune()
    assert [found[n].outcome for n in (inside, outside, dots)] == [DELETED, UNVERIFIED, UNVERIFIED]
    assert here.source(outside).exists()
    assert here.source(dots).exists()


def test_damage_is_not_noted_when_others_did_something_meanwhile(here: World, monkeypatch) -> None:
    number = here.add("1.npy")
    here.copy(number).unlink()
    real = module.open_copy

    def open_copy(*arguments: object) -> object:
        result = real(*arguments)
        with here.database.begin() as connection:
            connection.execute(copies.table.update().values(state=copies.WAITING))
        return result

    monkeypatch.setattr(module, "open_copy", open_copy)
    assert here.prune()[number].outcome == LOST
    assert here.row(number)["state"] == copies.WAITING


@pytest.mark.parametrize("away", ["unmounted", "removed", "a file"])
def test_archive_that_is_away_is_no_loss(site: World, away: str) -> None:
    number = site.add("1.npy")
    site.archive.rename(site.archive.with_name("unmounted archive"))
    if away == "unmounted":
        site.archive.mkdir()
    elif away == "a file":
        site.archive.write_text("")
    with pytest.raises(StorageUnavailable, match=f"--data-dir {site.archive}"):
        site.prune()
    assert site.source(number).exists()
    assert site.row(number)["state"] == copies.ARCHIVED


def test_archive_that_goes_away_meanwhile_is_no_loss(here: World) -> None:
    first, second = here.add("1.npy"), here.add("2.npy")
    sources = here.source(first), here.source(second)

    def unmount(pruned: Pruned) -> bool:
        if pruned.files[DELETED] == 1:
            here.archive.rename(here.archive.with_name("unmounted archive"))
            here.archive.mkdir()
        return True

    with here.pruning() as prune, pytest.raises(StorageUnavailable, match="is it mounted"):
        prune.run(here.database, now=NOW, dry_run=False, progress=unmount)
    assert [source.exists() for source in sources] == [False, True]
    assert here.row(first)["deleted_at"] == NOW  # what was done is noted
    assert here.row(second)["state"] == copies.ARCHIVED


# -- a source that is not what it should be -------------------------------------------------------


def test_never_a_source_that_changed(site: World) -> None:
    longer, same_size = site.add("1.npy"), site.add("2.npy")
    site.source(longer).write_text("contents of 1.npy and more")
    flip(site.source(same_size))
    content = site.source(same_size).read_bytes()
    found = site.prune()
    assert [found[n].outcome for n in (longer, same_size)] == [CHANGED, CHANGED]
    assert "26 bytes" in found[longer].why
    assert site.source(longer).read_text() == "contents of 1.npy and more"
    assert site.source(same_size).read_bytes() == content
    assert site.row(same_size)["deleted_at"] is None
    assert site.row(same_size)["state"] == copies.ARCHIVED


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        ("source written", CHANGED),
        ("source replaced", CHANGED),
        ("source moved", GONE),
        ("directory moved", GONE),
        ("directory moved, link left", REFUSED),
        ("copy removed", REFUSED),
        ("copy replaced", REFUSED),
        ("copy written", REFUSED),
    ],
)
def test_never_what_changes_after_it_was_hashed(here: World, monkeypatch, what, outcome) -> None:
    number = here.add("session/1.npy", b"contents")
    source, copy = here.source(number), here.copy(number)
    (here.root / "new").write_bytes(b"contents")

    def spoil() -> None:
        if what == "source written":
            source.write_bytes(b"CONTENTS")
        elif what == "source replaced":
            os.replace(here.root / "new", source)
        elif what == "source moved":
            source.rename(here.outside / "1.npy")
        elif what.startswith("directory moved"):
            source.parent.rename(here.outside / "session")
            if what.endswith("link left"):
                source.parent.symlink_to(here.outside / "session")
        elif what == "copy removed":
            copy.unlink()
        elif what == "copy replaced":
            os.replace(here.root / "new", copy)
        else:
            copy.write_bytes(b"CONTENTS")

    real = prune_local.md5_of

    def md5_of(descriptor: int, size: int) -> bytes:
        found = real(descriptor, size)
        spoil()
        return found

    monkeypatch.setattr(prune_local, "md5_of", md5_of)
    before = Counter(content for content, _ in here.everything().values())
    assert here.prune()[number].outcome == outcome
    after = Counter(content for content, _ in here.everything().values())
    lost = {"source written", "copy removed", "copy replaced", "copy written"}  # by the test itself
    assert (before - after).total() == (1 if what in lost | {"source replaced"} else 0)


def test_never_when_the_copy_is_written_while_it_is_hashed(here: World, monkeypatch) -> None:
    number = here.add("1.npy")
    copy = here.copy(number)
    real = archived.md5_of

    def md5_of(*arguments: object) -> bytes:
        found = real(*arguments)
        flip(copy)
        return found

    monkeypatch.setattr(archived, "md5_of", md5_of)
    assert here.prune()[number].outcome == UNVERIFIED
    assert here.source(number).exists()


def test_never_outside_the_data_roots(site: World) -> None:
    (site.root / "out").symlink_to(site.outside)
    (site.outside / "link").symlink_to(site.root)
    plain = site.add(str(site.outside / "1.npy"))
    dots = site.add("a/../../outside/2.npy")
    linked = site.add("out/3.npy")
    relative = site.add("4.npy", source="wrote/4.npy")
    found = site.prune()
    assert {d.outcome for n, d in found.items()} == {REFUSED}
    assert len(found) == 4
    for number in (plain, dots, linked):
        assert "--data-root" in found[number].why
        assert site.source(number).exists()
    assert (site.root / "4.npy").exists()
    assert site.row(relative)["deleted_at"] is None


def test_link_that_stays_below_the_root_is_followed_to_where_it_leads(here: World) -> None:
    (here.root / "disk2").mkdir()
    (here.root / "session").symlink_to("disk2")
    number = here.add("session/1.npy")
    assert here.prune()[number].outcome == DELETED
    assert list((here.root / "disk2").iterdir()) == []


def test_never_a_source_that_is_a_link(here: World) -> None:
    number = here.add("1.npy")
    here.source(number).rename(here.root / "real")
    here.source(number).symlink_to("real")
    assert here.prune()[number].outcome == REFUSED
    assert (here.root / "real").exists()


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_never_a_source_that_is_no_file(here: World, kind: str) -> None:
    number = here.add("1.npy")
    here.source(number).unlink()
    (os.mkdir if kind == "directory" else os.mkfifo)(here.source(number))
    found = here.prune()[number]
    assert (found.outcome, found.why) == (REFUSED, "not a regular file")
    assert here.source(number).exists()


def test_never_the_copy_itself_or_a_hard_link_to_it(site: World) -> None:
    linked = site.add("1.npy")
    site.source(linked).unlink()
    os.link(site.copy(linked), site.source(linked))
    found = site.prune()[linked]
    assert found.outcome == REFUSED
    assert "the archived copy itself" in found.why
    assert site.source(linked).exists()
    assert site.copy(linked).exists()


def test_never_the_copy_seen_through_another_mount(here: World, monkeypatch) -> None:
    """A file server's own disk, mounted back: same number, same times, another device."""
    number = here.add("1.npy")
    here.source(number).unlink()
    os.link(here.copy(number), here.source(number))
    real = os.fstat
    devices = iter(range(1000, 2000))

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((*status[:2], next(devices), *status[3:]), vars_of(status))

    def vars_of(status: os.stat_result) -> dict:
        return {name: getattr(status, name) for name in ("st_mtime_ns", "st_ctime_ns")}

    monkeypatch.setattr("socs.archive.prune_local.os.fstat", fstat)
    monkeypatch.setattr("socs.archive.archived.untouched", lambda before, now: True)
    assert "the archived copy itself" in here.prune()[number].why
    assert here.source(number).exists()


@pytest.mark.parametrize("way", ["root in archive", "archive in root", "the same", "by a link"])
def test_archive_and_roots_apart(here: World, way: str) -> None:
    inner = here.archive / "data"
    inner.mkdir()
    (here.outside / "link").symlink_to(here.archive)
    root, archive = {
        "root in archive": (inner, here.archive),
        "archive in root": (here.archive, inner),
        "the same": (here.archive, here.archive),
        "by a link": (here.outside / "link" / "data", here.archive),
    }[way]
    with pytest.raises(ConfigError, match=r"--data-dir .* and --data-root"):
        LocalSources(DataRoots([root]), str(archive))


def test_source_that_has_gone_is_noted(site: World) -> None:
    number, below = site.add("1.npy"), site.add("directory/2.npy")
    site.source(number).unlink()
    site.source(below).unlink()
    (site.root / "directory").rmdir()
    pruned, found = site.run()
    assert {decision.outcome for decision in found.values()} == {GONE}
    assert pruned.alarming == 0
    for number in found:
        assert site.row(number)["deleted_at"] == NOW
        assert "gone" in site.row(number)["detail"]
    assert site.prune() == {}


@pytest.mark.parametrize("absent", ["empty", "not there"])
def test_data_root_that_is_not_mounted_is_no_deletion(site: World, absent: str) -> None:
    number = site.add("1.npy")
    site.root.rename(site.root.with_name("unmounted"))
    if absent == "empty":
        site.root.mkdir()
    found = site.prune()[number]
    assert found.outcome == REFUSED
    assert f"--data-root {site.root}" in found.why
    assert site.row(number)["deleted_at"] is None


def test_directory_that_cannot_be_written(here: World, monkeypatch) -> None:
    number = here.add("1.npy")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socs.archive.prune_local.os.unlink", refuse)
    found = here.prune()[number]
    assert (found.outcome, found.why) == (REFUSED, "cannot be deleted: Permission denied")
    assert here.row(number)["deleted_at"] is None


# -- rows -----------------------------------------------------------------------------------------


def test_only_archived_rows_with_a_known_source_of_these_agents(site: World) -> None:
    good = site.add("good.npy")
    for state in copies.STATES:
        if state not in (copies.ARCHIVED, "new"):
            site.add(f"{state}.npy", state=state)
    site.add("old archiver.npy", state=None)
    site.add("no source.npy", source=None)
    site.add("not copied.npy", copied=False)
    site.add("another.npy", instance_id="another-monitor")
    site.add("nobody.npy", instance_id=None)
    site.add("no time.npy", archived_at=None)
    before = site.everything()
    deleted = str(site.source(good))
    assert list(site.prune()) == [good]
    assert before.keys() - site.everything().keys() == {deleted}


@pytest.mark.parametrize("state", [None, "waiting", "copying", "missing", "failed", "changed"])
def test_never_a_file_that_another_row_still_needs(site: World, state: str | None) -> None:
    number = site.add("1.npy")
    source = str(site.source(number))
    other = site.add("1.npy", write=False, path=source, copied=False, state=state, source=None)
    found = site.prune()[number]
    assert found.outcome == REFUSED
    assert f"row {other} " in found.why
    assert (state or "new") in found.why
    assert os.path.exists(source)


@pytest.mark.parametrize("state", [LOST, ALTERED])
def test_never_the_source_of_a_damaged_copy(site: World, state: str) -> None:
    number = site.add("1.npy")
    other = site.add("1.npy", write=False, path="/archive/elsewhere", state=state)
    found = site.prune()[number]
    assert found.outcome == REFUSED
    assert f"row {other} " in found.why
    assert site.source(number).exists()


def test_ignored_row_needs_nothing(site: World) -> None:
    number = site.add("1.npy")
    path = str(site.source(number))
    site.add("1.npy", write=False, path=path, copied=False, state=copies.IGNORED, source=None)
    assert site.prune()[number].outcome == DELETED


def test_never_when_the_policy_keeps_another_row_of_the_same_file(site: World) -> None:
    number = site.add("1.npy", action="take_noise")
    other = site.add("1.npy", write=False, action="tune", path=str(site.copy(number)))
    found = site.prune("delete_after: 0s\nrules: [{keep: always, action: tune}]")
    assert found[other].outcome == KEPT
    assert found[number].outcome == REFUSED
    assert f"row {other} is about it too; rule 1 keeps it" in found[number].why
    assert site.source(number).exists()


def test_file_registered_twice_is_deleted_once(site: World) -> None:
    number = site.add("1.npy")
    other = site.add("1.npy", write=False, path=str(site.copy(number)))
    found = site.prune()
    assert [found[n].outcome for n in (number, other)] == [DELETED, GONE]
    assert all(site.row(n)["deleted_at"] == NOW for n in (number, other))


def test_newest_of_each_publisher_are_kept_exactly(site: World) -> None:
    numbers = {
        (crate, day): site.add(
            f"{crate}/{day}.npy",
            pub_id=crate,
            action="take_bgmap",
            timestamp=f"2026-01-{day:02} 00:00:00",
            archived_at=NOW - 10 * DAY if day < 9 else NOW - 60,
        )
        for day in (3, 9, 5, 7, 1)
        for crate in ("crate1", "crate2")
    }
    other = site.add("noise.npy", action="take_noise", timestamp="2026-02-01 00:00:00")
    site.prune("delete_after: 1d\nrules: [{keep: {newest: 3}, action: take_bgmap}]")
    left = {key for key, number in numbers.items() if site.source(number).exists()}
    assert left == {(crate, day) for crate in ("crate1", "crate2") for day in (9, 7, 5)}
    assert not site.source(other).exists()


def test_choice_of_files_does_not_change_what_is_newest(site: World) -> None:
    old = site.add("1.npy", action="a", format="npy", timestamp="2026-01-01 00:00:00")
    new = site.add("2.txt", action="a", format="txt", timestamp="2026-01-02 00:00:00")
    policy = "delete_after: 0s\nrules: [{keep: {newest: 1}, action: a}]"
    found = site.prune(policy, only=FileFilter(format="npy"))
    assert {number: d.outcome for number, d in found.items()} == {old: DELETED}
    assert site.source(new).exists()


def test_first_time_of_deletion_stays(site: World) -> None:
    number = site.add("1.npy")
    for moment in (NOW, NOW + 1):
        with site.database.begin() as connection:
            copies.deleted(connection, [number], moment, note=f"at {moment}")
    assert (site.row(number)["deleted_at"], site.row(number)["detail"]) == (NOW, f"at {NOW}")


def test_policy_that_never_deletes_looks_at_nothing(here: World) -> None:
    here.add("1.npy")
    pruned, found = here.run("delete_after: never")
    assert (pruned.total, found) == (0, {})


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [("--instance-id", {"instances": []}), ("--data-dir", {"data_dir": "archive"})],
)
def test_wrong_setting_is_named(here: World, setting: str, wrong: dict) -> None:
    with here.pruning() as prune, pytest.raises(ConfigError, match=setting):
        type(prune)(**(vars(prune) | wrong))


# -- interruptions --------------------------------------------------------------------------------


def test_stop_leaves_the_table_right(site: World) -> None:
    numbers = [site.add(f"{n}.npy") for n in range(5)]
    with site.pruning() as prune:
        pruned = prune.run(
            site.database, now=NOW, dry_run=False, progress=lambda so_far: so_far.looked_at < 2
        )
    assert pruned.files == {DELETED: 2}
    noted = [number for number in numbers if site.row(number)["deleted_at"]]
    assert (
        [number for number in numbers if not site.source(number).exists()] == noted == numbers[:2]
    )


def test_interrupt_leaves_the_table_right(site: World) -> None:
    numbers = [site.add(f"{n}.npy") for n in range(4)]

    def interrupt(decision: Decision) -> None:
        if decision.id == numbers[1]:
            raise KeyboardInterrupt

    with site.pruning() as prune, pytest.raises(KeyboardInterrupt):
        prune.run(site.database, now=NOW, dry_run=False, on_decision=interrupt)
    noted = [number for number in numbers if site.row(number)["deleted_at"]]
    assert [number for number in numbers if not site.source(number).exists()] == noted
    assert noted == numbers[:2]


def test_database_that_goes_away_before_it_is_noted(site: World, monkeypatch) -> None:
    numbers = [site.add(f"{n}.npy") for n in range(3)]

    def gone(*_: object) -> None:
        raise StorageUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(copies, "deleted", gone)
        with pytest.raises(StorageUnavailable):
            site.prune()
    assert not any(site.source(number).exists() for number in numbers)
    assert {d.outcome for d in site.prune().values()} == {GONE}
    assert all(site.row(number)["deleted_at"] == NOW for number in numbers)


KILLED = """
import os, signal, sys
from pathlib import Path
from socs.db import copies
from tests.pruning import World
copies.deleted = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
site = World.__new__(World)
from socs.db.engine import Database
site.root, site.archive, site.database = Path(sys.argv[1]), Path(sys.argv[2]), Database()
site.prune()
"""


def test_killed_between_deleting_and_noting(site: World) -> None:
    numbers = [site.add(f"{n}.npy") for n in range(4)]
    command = [sys.executable, "-c", KILLED, str(site.root), str(site.archive)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, env=child(site))
    assert done.returncode == -signal.SIGKILL
    assert not any(site.source(number).exists() for number in numbers)
    assert not any(row["deleted_at"] for row in site.rows())
    pruned, _ = site.run()
    assert pruned.files == {GONE: 4}
    assert pruned.alarming == 0
    assert all(row["deleted_at"] == NOW for row in site.rows())
    assert site.prune() == {}


def child(site: World) -> dict[str, str]:
    return {**os.environ, **site.environ}


def test_second_run_in_the_middle_of_the_first(site: World) -> None:
    numbers = [site.add(f"{n}.npy") for n in range(20)]
    second: list[Pruned] = []

    def meanwhile(pruned: Pruned) -> bool:
        if pruned.looked_at == 5 and not second:
            second.append(site.run()[0])
        return True

    with site.pruning() as prune:
        first = prune.run(site.database, now=NOW, dry_run=False, progress=meanwhile)
    assert first.files == {DELETED: 5, GONE: 15}
    assert second[0].files == {DELETED: 15, GONE: 5}
    assert not any(site.source(number).exists() for number in numbers)
    assert all(row["deleted_at"] == NOW for row in site.rows())


TOGETHER = """
import sys
from pathlib import Path
from socs.db.engine import Database
from tests.pruning import World
site = World.__new__(World)
site.root, site.archive, site.database = Path(sys.argv[1]), Path(sys.argv[2]), Database()
print("ready", flush=True)
sys.stdin.readline()
print(site.run()[0].files["deleted"])
"""


def test_two_runs_at_once(site: World) -> None:
    numbers = [site.add(f"{n}.npy") for n in range(300)]
    command = [sys.executable, "-c", TOGETHER, str(site.root), str(site.archive)]
    runs = [
        subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],
            env=child(site),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
        for run in runs:
            run.stdin.write("go\n")
            run.stdin.flush()
        deleted = [int(run.communicate(timeout=60)[0]) for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    assert sum(deleted) == len(numbers)
    assert not any(site.source(number).exists() for number in numbers)
    assert all(row["deleted_at"] == NOW for row in site.rows())
