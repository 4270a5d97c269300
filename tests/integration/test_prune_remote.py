"""Deleting over ssh: only what equals its archived copy, and nothing of the archive."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.archive import prune_remote, rsync_delete
from socs.archive.prune_remote import RemoteSources
from socs.archive.rsync import Rsync
from socs.archive.sources import ALARMING, CHANGED, DELETED, GONE, KEPT, REFUSED
from socs.db import copies
from socs.errors import ConfigError, StorageUnavailable
from socs.testing.sshd import Sshd
from tests.pruning import ALL, NOW, World, world


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as running:
        running.start()
        yield running


@pytest.fixture
def far(tmp_path: Path, server: Sshd) -> Iterator[World]:
    """A data root that is reached over ssh."""
    with world(tmp_path, {"SOCS_DATA_DIR": str(tmp_path / "table")}) as made:
        made.rsync = Rsync(
            host="127.0.0.1",
            user=server.user,
            port=server.port,
            key=str(server.key),
            ssh_options=server.options,
        )
        yield made


def sources(far: World, **settings) -> RemoteSources:
    return RemoteSources(
        settings.get("rsync", far.rsync),
        [str(root) for root in settings.get("roots", [far.root])],
        str(far.archive),
    )


def prune(far: World, policy: str = ALL, *, dry_run: bool = False, **settings):
    return far.prune(policy, dry_run=dry_run, sources=sources(far, **settings))


def archived_state(far: World) -> dict[str, tuple]:
    """All of the archive but times of directories and of inodes: nothing may be left in it."""
    found = {}
    for path in far.archive.rglob("*"):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        seen = (status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns, content)
        found[str(path)] = seen if content is not None else status.st_mode
    return found


def test_equal_files_are_deleted_over_there_and_nothing_else(far: World) -> None:
    names = ["a b", "quo'te\"s", "new\nline", "unicode é ☃", "-rf", "*", "back\\slash", "\\#012"]
    equal = [far.add(f"odd/{name}/{name}.npy") for name in names]
    equal.append(far.add("empty.npy", b""))
    changed = {
        far.add("flipped.npy", b"contents"): b"CONTENTS",
        far.add("longer.npy", b"contents"): b"contents and more",
        far.add("emptied.npy", b"contents"): b"",
        far.add("large.npy", bytes(1 << 20)): bytes((1 << 20) - 1) + b"1",
    }
    for number, content in changed.items():
        far.source(number).write_bytes(content)
    kept = far.add("1_tune.npy", action="tune")
    gone = far.add("odd/gone.npy")
    far.source(gone).unlink()
    before = archived_state(far)
    found = prune(far, "delete_after: 0s\nrules: [{keep: always, action: tune}]")
    expected = dict.fromkeys(equal, DELETED) | dict.fromkeys(changed, CHANGED)
    expected |= {kept: KEPT, gone: GONE}
    assert {number: decision.outcome for number, decision in found.items()} == expected
    assert not any(far.source(number).exists() for number in equal)
    assert {number: far.source(number).read_bytes() for number in changed} == changed
    assert far.source(kept).exists()
    assert archived_state(far) == before
    noted = {row["id"] for row in far.rows() if row["deleted_at"] == NOW}
    assert noted == {*equal, gone}


def test_dry_run_finds_the_same_and_changes_nothing(far: World) -> None:
    equal, changed, gone = far.add("1.npy"), far.add("2.npy"), far.add("3.npy")
    far.source(changed).write_bytes(b"CONTENTS of 2.npy")
    far.source(gone).unlink()
    before = far.everything(), archived_state(far), far.rows()
    found = prune(far, dry_run=True)
    outcomes = {number: decision.outcome for number, decision in found.items()}
    assert outcomes == {equal: DELETED, changed: CHANGED, gone: GONE}
    assert (far.everything(), archived_state(far), far.rows()) == before


def test_copy_that_does_not_verify_saves_its_source(far: World) -> None:
    good, altered, lost = far.add("1.npy"), far.add("2.npy"), far.add("3.npy")
    far.copy(altered).write_bytes(b"CONTENTS of 2.npy")
    far.copy(lost).unlink()
    found = prune(far)
    assert found[good].outcome == DELETED
    assert found[altered].outcome in ALARMING
    assert found[lost].outcome in ALARMING
    assert far.source(altered).exists()
    assert far.source(lost).exists()


@pytest.mark.parametrize("new", [b"CONTENTS", b"contents and more", b""])
def test_file_that_changes_after_it_was_compared_stays(far: World, monkeypatch, new) -> None:
    """rsync would bring it here and delete it there, had it a place to write."""
    number, other = far.add("1.npy", b"contents"), far.add("2.npy")
    real = rsync_delete.Deleter.remove

    def remove(self, *arguments):
        far.source(number).write_bytes(new)
        return real(self, *arguments)

    monkeypatch.setattr(rsync_delete.Deleter, "remove", remove)
    before = archived_state(far)
    found = prune(far)
    assert (found[number].outcome, found[other].outcome) == (CHANGED, DELETED)
    assert far.source(number).read_bytes() == new
    assert archived_state(far) == before


def test_file_that_is_replaced_by_a_link_after_it_was_compared_stays(far, monkeypatch) -> None:
    number = far.add("1.npy", b"contents")
    real = rsync_delete.Deleter.remove

    def remove(self, *arguments):
        far.source(number).rename(far.outside / "1.npy")
        far.source(number).symlink_to(far.outside / "1.npy")
        return real(self, *arguments)

    monkeypatch.setattr(rsync_delete.Deleter, "remove", remove)
    assert prune(far)[number].outcome == CHANGED
    assert far.source(number).is_symlink()
    assert (far.outside / "1.npy").exists()


def test_never_outside_the_data_roots_or_behind_a_link(far: World) -> None:
    (far.root / "out").symlink_to(far.outside)
    (far.root / "real").mkdir()
    (far.root / "in").symlink_to("real")
    (far.root / "real" / "out").symlink_to(far.outside)
    plain = far.add(str(far.outside / "1.npy"))
    dots = far.add("a/../../outside/2.npy")
    linked, inner, deep = map(far.add, ("out/3.npy", "in/deep/4.npy", "real/out/8.npy"))
    itself = far.add("5.npy")
    far.source(itself).rename(far.root / "real" / "5.npy")
    far.source(itself).symlink_to("real/5.npy")
    directory = far.add("6.npy")
    far.source(directory).unlink()
    far.source(directory).mkdir()
    pipe = far.add("7.npy")
    far.source(pipe).unlink()
    os.mkfifo(far.source(pipe))
    before = far.everything()
    found = prune(far)
    assert {decision.outcome for decision in found.values()} == {REFUSED}
    assert len(found) == 8
    assert all("link" in found[number].why for number in (linked, inner, deep))
    assert all(
        "--data-root" in found[number].why or ".." in found[number].why for number in (plain, dots)
    )
    assert far.everything() == before


def test_data_root_that_is_a_link_is_what_the_operator_named(far: World) -> None:
    link = far.root.with_name("link")
    link.symlink_to(far.root)
    number = far.add("a/1.npy")
    source = far.source(number)
    with far.database.begin() as connection:
        connection.execute(copies.table.update().values(source=str(link / "a" / "1.npy")))
    assert prune(far, roots=[link])[number].outcome == DELETED
    assert not source.exists()


@pytest.mark.parametrize("absent", ["empty", "not there"])
def test_data_root_that_is_not_mounted_is_no_deletion(far: World, absent: str) -> None:
    number = far.add("a/1.npy")
    far.root.rename(far.root.with_name("unmounted"))
    if absent == "empty":
        far.root.mkdir()
    found = prune(far)[number]
    assert found.outcome == REFUSED
    assert f"--data-root {far.root}" in found.why
    assert far.row(number)["deleted_at"] is None


def test_source_that_is_the_archive_itself_is_put_back(far: World) -> None:
    number, other = far.add("1.npy"), far.add("2.npy")
    with far.database.begin() as connection:
        copy = str(far.copy(number))
        which = copies.table.c.file_id == number
        connection.execute(copies.table.update().where(which).values(source=copy))
    before = archived_state(far)
    with pytest.raises(StorageUnavailable, match="archived copy itself"):
        prune(far, roots=[far.root, far.archive])
    assert archived_state(far) == before
    assert not far.source(other).exists()  # in the same call
    assert not any(row["deleted_at"] for row in far.rows())
    assert far.run(ALL)[0].files == {GONE: 1, REFUSED: 1}


def test_file_registered_twice_is_deleted_once(far: World) -> None:
    number = far.add("1.npy")
    twice = far.add("1.npy", write=False, path=str(far.copy(number)))
    spelt = far.add("1.npy", write=False, path=str(far.copy(number)), source=f"{far.root}//1.npy")
    found = prune(far)
    assert found[number].outcome == DELETED
    assert far.copy(number).exists()
    assert {found[twice].outcome, found[spelt].outcome} <= {GONE, REFUSED}


def test_archive_of_many_days_and_more_files_than_a_group(far: World, monkeypatch) -> None:
    monkeypatch.setattr(RemoteSources, "batch", 3)
    numbers = []
    for n in range(5):
        path = far.archive / f"1600{int(n == 1)}" / "crate1" / f"{n}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"contents of {n}.npy".encode())
        numbers.append(far.add(f"{n}.npy", path=str(path)))
    before = archived_state(far)
    staging, used = prune_remote.Storage.staging, set()

    def remembering(self, timecode: str) -> str:
        used.add(timecode)
        return staging(self, timecode)

    monkeypatch.setattr(prune_remote.Storage, "staging", remembering)
    assert {d.outcome for d in prune(far).values()} == {DELETED}
    assert used == {"16000", "16001"}  # a day may be on a disk of its own
    assert not any(far.source(number).exists() for number in numbers)
    assert archived_state(far) == before


def test_file_that_may_not_be_deleted_there(far: World, monkeypatch) -> None:
    """As rsync says where the directory cannot be written; root could write it."""
    number, other = far.add("a/1 \n.npy"), far.add("2.npy")
    real = rsync_delete._call

    def _call(command: list[str], text: bytes) -> tuple[int, bytes]:
        if "--remove-source-files" not in command or far.rsync.shell() not in command:
            return real(command, text)
        path = str(far.source(number))[1:].replace("\n", "\\#012")
        return (
            23,
            f"rsync: [sender] sender failed to remove {path}: Permission denied (13)".encode(),
        )

    monkeypatch.setattr(rsync_delete, "_call", _call)
    found = prune(far)
    assert found[number].outcome == REFUSED
    assert found[number].why == "cannot be deleted: Permission denied"
    assert found[other].outcome == CHANGED  # for all that is known
    assert not any(row["deleted_at"] for row in far.rows())


def test_no_links_in_the_archive(far: World, monkeypatch) -> None:
    number = far.add("1.npy")

    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(prune_remote.os, "link", link)
    found = prune(far)[number]
    assert found.outcome == REFUSED
    assert "run `socs files prune` there" in found.why
    assert far.source(number).exists()


def test_rsync_that_cannot_be_trusted_is_not_used(far: World, monkeypatch) -> None:
    """As an rsync would be that finds a place to write to after all."""
    number = far.add("1.npy")
    monkeypatch.setattr(
        rsync_delete, "_REMOVING", tuple(o for o in rsync_delete._REMOVING if "temp-dir" not in o)
    )
    with pytest.raises(ConfigError, match="does not delete only what it finds equal"):
        prune(far)
    assert far.source(number).exists()
    assert not list(far.archive.rglob(".suprsync-*"))


def test_machine_that_cannot_be_reached(far: World, server: Sshd) -> None:
    number = far.add("1.npy")
    wrong = Rsync(
        host="127.0.0.1",
        user=server.user,
        port=server.port,
        key=str(server.make_key(f"wrong-{number}-{time.monotonic_ns()}")),
        ssh_options=server.options,
    )
    with pytest.raises(StorageUnavailable, match=r"rsync from .*127\.0\.0\.1.*Permission denied"):
        prune(far, rsync=wrong)
    assert far.source(number).exists()


@pytest.mark.parametrize(("options", "may_delete"), [("-ro /", False), ("/", True)])
def test_key_that_is_restricted(far: World, server: Sshd, options: str, may_delete: bool) -> None:
    if shutil.which("rrsync") is None:
        pytest.skip("this rsync comes without rrsync")
    number = far.add("a b/1 $HOME.npy")
    keys = server.directory / "authorized_keys"
    before = keys.read_text()
    try:
        keys.write_text(f'restrict,command="rrsync {options}" {before}')
        assert prune(far, dry_run=True)[number].outcome == DELETED
        if may_delete:
            assert prune(far)[number].outcome == DELETED
        else:
            with pytest.raises(StorageUnavailable, match="--remove-source-files has been disabled"):
                prune(far)
    finally:
        keys.write_text(before)
    assert far.source(number).exists() is not may_delete


def test_what_killed_runs_left_is_removed_after_a_day(far: World) -> None:
    far.add("1.npy")
    staging = far.archive / "16000" / ".suprsync-prune"
    (staging / "old" / "data").mkdir(parents=True)
    (staging / "new").mkdir()
    os.utime(staging / "old", (time.time() - 90_000,) * 2)
    prune(far)
    assert [path.name for path in staging.iterdir()] == ["new"]
