"""The archive is full, read-only, forbidden or not there; or the source is: nobody is to blame.

No file loses an attempt by it, an operator is told which directory it is, and when it is mended
the archiver goes on without a restart.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from socs.archive import archiver as archiver_module
from socs.archive.copy_worker import Answer, Request
from socs.archive.moving import Job, NotTried, Placed
from socs.archive.paths import File, place_of
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.frames import receive, send
from socs.testing import wait_until
from tests.archiving import (
    ARCHIVER,
    BEGIN,
    MONITOR,
    End,
    Source,
    all_at_rest,
    check,
    number,
    rows_of,
    running_archiver,
    temporary,
)
from tests.faults.archiver_process import ArchiverProcess, at_the_end_killed
from tests.faults.mounts import Mounts, private_mounts

LONG = 100.0  # s to wait at most, on a busy machine
MIB = 1 << 20
# Root without the capability to pass permissions by; for others they hold anyway.
AS_OTHERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"SOCS_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def database(env) -> Iterator[Database]:
    database = Database(env)
    yield database
    database.close()


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with private_mounts() as mounts:
        yield mounts


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(archiver_module, "PAUSE", 0.5)
    monkeypatch.setattr(archiver_module, "ONE_FILE_PAUSE", 0.5)


def archived(database: Database) -> int:
    return number(database, copies.table.c.state == copies.ARCHIVED)


def in_trouble(victim: ArchiverProcess, *words: str) -> bool:
    """Does it say what is wrong, with all of ``words``?"""
    return any(all(word in text for word in words) for text in victim.status()["troubles"])


def others(troubles: Sequence[str]) -> list[str]:
    """All but those of the markers, which are tried again less often."""
    return [text for text in troubles if not text.startswith("days are not marked")]


def assert_nobody_is_to_blame(database: Database) -> None:
    assert number(database, files.table.c.failed_copy_attempts > 0) == 0
    assert number(database, copies.table.c.state.in_(copies.AT_REST)) == 0


def finish(victim: ArchiverProcess, database: Database, source: Source) -> None:
    """Wait for all; then all is well, and no attempt was lost."""
    wait_until(lambda: archived(database) == len(source.good), LONG, "all files")
    wait_until(lambda: not others(victim.status()["troubles"]), LONG, "troubles to end")
    status = victim.stop()
    assert status["unaccounted"] == {}
    numbers = status["counters"]
    assert numbers["files_archived"] == len(source.good)
    assert numbers["files_claimed"] == numbers["files_archived"] + numbers["files_released"]
    assert_nobody_is_to_blame(database)


# -- the archive ----------------------------------------------------------------------------------


def test_archive_is_full(env, database, mounts: Mounts, source: Source) -> None:
    for size in [1000] * 30 + [12 * MIB, 9 * MIB] + [1000] * 30:
        source.add(size=size)
    source.register(database)
    archive = source.directory / "archive"
    victim = ArchiverProcess(source, env, under=mounts.inside)
    mounts.mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", archive)
    with at_the_end_killed(victim):
        victim.start()
        # All others fit, and go on.
        wait_until(lambda: archived(database) == len(source.good) - 1, LONG, "what fits")
        wait_until(lambda: in_trouble(victim, "no space left", str(archive)), LONG, "the message")
        assert_nobody_is_to_blame(database)
        mounts.mount("-o", "remount,size=64m", archive)
        finish(victim, database, source)
        check(database, archive, source, seen=mounts.seen)


def test_archive_is_read_only(env, database, mounts: Mounts, source: Source) -> None:
    source.add()
    source.register(database)
    archive = source.directory / "archive"
    victim = ArchiverProcess(source, env, under=mounts.inside)
    mounts.mount("-t", "tmpfs", "tmpfs", archive)
    with at_the_end_killed(victim):
        victim.start()
        wait_until(lambda: archived(database) == 1, LONG)
        mounts.mount("-o", "remount,ro", archive)
        for _ in range(10):
            source.add()
        source.register(database)
        wait_until(lambda: in_trouble(victim, "read-only", f"--data-dir {archive}"), LONG)
        assert_nobody_is_to_blame(database)
        mounts.mount("-o", "remount,rw", archive)
        finish(victim, database, source)
        check(database, archive, source, seen=mounts.seen)


def test_archive_is_forbidden(env, database, source: Source) -> None:
    for _ in range(10):
        source.add()
    source.register(database)
    archive = source.directory / "archive"
    victim = ArchiverProcess(source, env, under=AS_OTHERS if os.geteuid() == 0 else [])
    archive.chmod(0o555)
    with at_the_end_killed(victim):
        victim.start()
        wait_until(lambda: in_trouble(victim, f"--data-dir {archive} cannot be written"), LONG)
        assert_nobody_is_to_blame(database)
        archive.chmod(0o755)
        finish(victim, database, source)
    check(database, archive, source)


def test_archive_goes_and_comes(env, database, short_pauses, source: Source) -> None:
    archive, away = source.directory / "archive", source.directory / "away"
    source.add()
    source.register(database)
    with running_archiver(source, env) as archiver:
        wait_until(lambda: archived(database) == 1, LONG)
        archive.rename(away)
        wait_until(lambda: f"--data-dir {archive}" in "".join(archiver.troubles()), LONG)
        for _ in range(300):
            source.add(size=1000)
        source.register(database)
        released = archiver.numbers()["files_released"]
        wait_until(lambda: archiver.numbers()["files_released"] > released + 1, LONG)
        assert f"--data-dir {archive}" in "".join(archiver.troubles())
        assert not archive.exists()  # nothing is archived below the place where it is mounted
        assert_nobody_is_to_blame(database)
        away.rename(archive)
        wait_until(lambda: archived(database) == len(source.good), LONG, "all files")
        wait_until(lambda: archiver.troubles() == [], LONG)
        assert len(archiver.log) <= 10
    assert archiver.status()["unaccounted"] == {}
    assert_nobody_is_to_blame(database)
    check(database, archive, source)


def test_disk_of_the_archive_fails_to_flush(mariadb, source: Source) -> None:
    """Each of the first calls of fsync in each process that copies fails."""
    for _ in range(30):
        source.add(size=1000)
    env, archive = mariadb.env(), source.directory / "archive"
    database = Database(env)
    source.register(database)
    failing = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=1..12"]
    victim = ArchiverProcess(
        source, env, under=["strace", "-D", "-f", "-qq", *failing, "-o", "/dev/null"]
    )
    with at_the_end_killed(victim):
        victim.start()
        wait_until(lambda: in_trouble(victim, "cannot write", str(archive)), LONG, "the message")
        assert_nobody_is_to_blame(database)
        finish(victim, database, source)
    check(database, archive, source)
    database.close()


def copied_under_strace(directory: Path, *options: str) -> tuple[list[str], Answer]:
    """Have one file copied by a process of its own: its system calls, and its answer."""
    source = Source(directory)
    path = source.add(size=1000)
    file = File(1, str(path), "tune", None, BEGIN, False, "crate", MONITOR, source.good[str(path)])
    jobs = [Job(file, place_of(file))]
    archive = f"{directory}/archive"
    request = Request(archive, ARCHIVER, 0o664, 0o775, [str(source.root)], None, jobs)
    (directory / "archive").mkdir()
    (directory / "request").touch()
    with (directory / "request").open("r+b") as frames:
        send(frames, msgspec.msgpack.encode(request))
        frames.seek(0)
        calls = ["-y", "-e", "trace=fsync,linkat,write", *options, "-o", str(directory / "trace")]
        command = ["strace", *calls, sys.executable, "-m", "socs.archive.copy_worker"]
        result = subprocess.run(command, check=True, stdin=frames, capture_output=True)
    answer = receive(io.BytesIO(result.stdout))
    assert answer is not None
    return (directory / "trace").read_text().splitlines(), msgspec.msgpack.decode(
        answer, type=Answer
    )


def test_copy_is_told_when_it_and_its_names_are_on_the_disk(tmp_path: Path) -> None:
    calls, answer = copied_under_strace(tmp_path)
    assert isinstance(answer, Placed)

    def where(*parts: str) -> int:
        return next(n for n, call in enumerate(calls) if all(part in call for part in parts))

    named = where("linkat(", "/part-1-", f'"{answer.path}"')
    assert where("fsync(", "/part-1-") < named
    assert named < where("fsync(", f"<{os.path.dirname(answer.path)}>") < where("write(1<")
    for part in Path(answer.path).relative_to(tmp_path).parents[:-2]:  # directories made
        assert where("fsync(", f"<{(tmp_path / part).parent}>") < where("write(1<")


def test_copy_is_not_told_when_any_flush_fails(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    flushes = sum("fsync(" in call for call in copied_under_strace(tmp_path / "whole")[0])
    assert flushes >= 3
    for when in range(1, flushes + 1):
        directory = tmp_path / str(when)
        directory.mkdir()
        failing = f"inject=fsync:error=EIO:when={when}"
        _, answer = copied_under_strace(directory, "-e", failing)
        assert isinstance(answer, NotTried), when
        assert "Input/output error" in answer.detail


# -- the source -----------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [False, True])
def test_source_goes_and_comes(env, database, short_pauses, source: Source, empty: bool) -> None:
    """As with a file server that is not mounted: its directory is not there, or empty."""
    for _ in range(300):
        source.add(size=1000)
    source.register(database)
    away = source.root.rename(source.directory / "away")
    if empty:
        source.root.mkdir()
    with running_archiver(source, env) as archiver:
        trouble = f"--data-root {source.root} is not there, or empty"
        wait_until(lambda: trouble in "".join(archiver.troubles()), LONG)
        wait_until(lambda: archiver.numbers()["files_released"] > 600, LONG, "a second look")
        assert_nobody_is_to_blame(database)
        assert archived(database) == 0
        if empty:
            source.root.rmdir()
        away.rename(source.root)
        wait_until(lambda: archived(database) == len(source.good), LONG, "all files")
        wait_until(lambda: archiver.troubles() == [], LONG)
    assert archiver.status()["unaccounted"] == {}
    assert_nobody_is_to_blame(database)
    check(database, source.directory / "archive", source)


def test_source_is_forbidden(env, database, source: Source) -> None:
    """A file, and a directory, that may not be read: these files wait, and come to rest."""
    for _ in range(10):
        source.add(size=1000)
    closed = source.add(size=1000)
    below = source.root / "closed"
    below.mkdir()
    source.add_in(below, size=1000)
    source.register(database)
    end = End(copies.FAILED, "attempts_unreadable", files.MAX_COPY_ATTEMPTS, None)
    for path in [path for path in source.good if path in (str(closed),) or str(below) in path]:
        del source.good[path]
        source.spoilt[path] = end
    closed.chmod(0)
    below.chmod(0)
    victim = ArchiverProcess(source, env, under=AS_OTHERS if os.geteuid() == 0 else [])
    with at_the_end_killed(victim):
        victim.start()
        wait_until(lambda: all_at_rest(database), LONG)
        assert victim.stop()["unaccounted"] == {}
    check(database, source.directory / "archive", source)
    assert {"cannot be read: Permission denied"} == {
        rows_of(database)[path]["detail"] for path in source.spoilt
    }
    below.chmod(0o700)  # so that it can be removed
    assert temporary(source.directory / "archive") == []
