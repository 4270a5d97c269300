"""The archiver as an OCS agent: operations, feeds, and life without a router."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ocs
import pytest
import sqlalchemy as sa

from socs.archive.settings import ArchiveSettings
from socs.archive.storage import RESERVED
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.errors import ConfigError
from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until

ARCHIVER, MONITOR = "pysmurf-archiver", "pysmurf-monitor"
FIRST = 1_700_000_000


class Archive:
    """A site with an archiver, and files registered for it."""

    def __init__(
        self,
        make_site: Callable[..., Site],
        directory: Path,
        env: dict[str, str],
        *options: object,
    ):
        self.source, self.archive = directory / "smurf", directory / "archive"
        self.source.mkdir()
        self.archive.mkdir()
        self.env = {"SOCS_DATA_DIR": str(directory / "state"), **env}
        self.database = Database(self.env)
        copies.create_table(self.database)
        arguments = [
            *("--target", MONITOR, "--data-dir", self.archive, "--data-root", self.source),
            *("--poll-interval", 0.2, "--retry-wait", 0.1, *options),
        ]
        instance = AgentInstance("PysmurfArchiver", ARCHIVER, [*map(str, arguments)])
        self.site = make_site([instance])
        self.start()

    def start(self) -> None:
        self.site.start_agent(ARCHIVER, env=self.env)
        self.site.wait_joined(ARCHIVER)
        self.client = self.site.client(ARCHIVER)

    def register(self, name: str, content: bytes, **columns: Any) -> int:
        """Write a file and its row; the row's number."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        values = {
            "path": str(path),
            "action": "tune",
            "timestamp": files.utc_text(FIRST + 1),
            "action_timestamp": FIRST,
            "plot": False,
            "pub_id": "crate1slot2",
            "instance_id": MONITOR,
            "copied": False,
            "failed_copy_attempts": 0,
            "md5sum": hashlib.md5(content).digest(),
        }
        with self.database.begin() as connection:
            files.add_entries(connection, [files.row_of(values | columns)])
            return connection.execute(sa.select(sa.func.max(files.table.c.id))).scalar_one()

    def row(self, number: int) -> dict[str, Any]:
        with self.database.read() as connection:
            query = copies.with_state(files.table.c.id == number)
            return dict(connection.execute(query).mappings().one())

    def wait_for_state(self, number: int, state: str) -> dict[str, Any]:
        wait_until(lambda: self.row(number)["state"] == state, 30, f"file {number} {state}")
        return self.row(number)

    def session_data(self) -> dict[str, Any]:
        """They come a moment after the start of the Process."""
        return wait_until(lambda: self.client.run.status().session["data"], 10, "session data")

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def archive(site, files_env, tmp_path: Path):
    made = Archive(site, tmp_path, files_env)
    yield made
    made.close()


@pytest.fixture
def sqlite_archive(site, tmp_path: Path):
    made = Archive(site, tmp_path, {})
    yield made
    made.close()


def done(reply: Any) -> tuple[bool, str]:
    """Success and last message of a Task's session."""
    session = reply.session
    return session["success"], session["messages"][-2][1]


def found_by(operation: Any) -> dict[str, int]:
    """How many findings of each kind a check has made."""
    counts = operation.status().session["data"]["counts"]
    return {kind: number for kind, number in counts.items() if number}


def test_registered_file_is_archived_and_its_row_says_where(archive: Archive) -> None:
    note = f"no row of {MONITOR} in the files table yet: is --target right?"
    wait_until(lambda: archive.session_data().get("notes") == [note], 20)
    number = archive.register("a b'c.npy", b"contents")
    row = archive.wait_for_state(number, "archived")
    place = archive.archive / f"17000/crate1slot2/{FIRST}_tune/outputs/a b'c.npy"
    assert (row["path"], row["copied"]) == (str(place), True)
    assert row["source"] == str(archive.source / "a b'c.npy")
    assert place.read_bytes() == b"contents"
    wait_until(lambda: archive.session_data()["archive_stats"]["num_files"] == 1, 20)
    wait_until(lambda: archive.session_data()["archive_stats"]["uncopied_files"] == 0, 20)
    wait_until(lambda: archive.session_data()["counters"]["files_archived"] == 1, 20)
    data = archive.session_data()
    assert data["archive_stats"]["last_file_copied"] == str(place)
    assert (data["unaccounted"], data["troubles"], data["notes"]) == ({}, [], [])
    assert archive.client.run.status().session["degraded"] is False


def test_operations_answer_as_ocs_agents_should(sqlite_archive: Archive) -> None:
    client = sqlite_archive.client
    ok, error = ocs.OK, ocs.ERROR
    assert client.run.start()[0] == error  # runs already
    assert client.run.start(nonsense=1)[0] == error
    for task in (client.retry, client.ignore, client.list_failed, client.verify):
        assert task(nonsense=1)[0] == error
        assert task(ids="7")[0] == error
        assert task(path=7)[0] == error
    for task in (client.retry, client.ignore):
        assert task()[0] == ok
        assert task.status().session["success"] is False  # which files?
    assert client.list_failed(limit=0)[0] == error
    assert client.audit(hash="yes")[0] == error
    assert client.delete_local(dry_run=1)[0] == error
    assert client.audit.abort()[0] == error  # not running
    assert client.run.stop()[0] == ok
    assert client.run.wait(timeout=60)[0] == ok
    assert client.run.status().session["success"] is True
    number = sqlite_archive.register("later", b"x")
    assert client.run.start()[0] == ok
    sqlite_archive.wait_for_state(number, "archived")


def test_failed_files_are_listed_retried_and_ignored(archive: Archive) -> None:
    client = archive.client
    good = archive.register("good", b"good")
    missing = archive.register("missing", b"missing")
    os.unlink(archive.source / "missing")
    changed = archive.register("changed", b"as announced")
    (archive.source / "changed").write_bytes(b"other")
    archive.wait_for_state(good, "archived")
    assert archive.wait_for_state(missing, "missing")["failed_copy_attempts"] == 5
    found_md5 = archive.wait_for_state(changed, "changed")["found_md5sum"]
    assert bytes(found_md5) == hashlib.md5(b"other").digest()
    listed = client.list_failed().session["data"]["files"]
    assert {file["id"]: file["state"] for file in listed} == {
        missing: "missing",
        changed: "changed",
    }
    wait_until(lambda: archive.session_data()["counters"]["files_failed"] == 2, 20)
    wait_until(
        lambda: (
            {file["id"] for file in archive.session_data()["failed_files"]} == {missing, changed}
        ),
        20,
    )

    assert done(client.retry(state="changed", accept_changed=True))[0] is True
    row = archive.wait_for_state(changed, "archived")
    assert bytes(row["md5sum"]) == hashlib.md5(b"other").digest()
    assert Path(row["path"]).read_bytes() == b"other"
    (archive.source / "missing").write_bytes(b"missing")
    assert done(client.retry(cause="attempts_missing"))[0] is True
    archive.wait_for_state(missing, "archived")

    unwanted = archive.register("unwanted", b"unwanted")
    os.unlink(archive.source / "unwanted")
    archive.wait_for_state(unwanted, "missing")
    assert done(client.ignore(ids=[unwanted], reason="a test"))[0] is True
    row = archive.row(unwanted)
    assert (row["state"], row["detail"], row["copied"]) == ("ignored", "a test", False)
    assert client.list_failed().session["data"]["files"] == []


def test_archive_is_verified_audited_and_repaired(archive: Archive) -> None:
    client = archive.client
    numbers = [archive.register(f"{n}.npy", bytes([n]) * 100) for n in range(4)]
    paths = [Path(archive.wait_for_state(number, "archived")["path"]) for number in numbers]
    assert done(client.verify()) == (True, "Verified 4 of 4 archived files: 4 right")
    paths[0].unlink()
    paths[1].write_bytes(b"altered")
    dark = paths[2].with_name("1700000000_dark.npy")
    dark.write_bytes(b"dark")
    assert done(client.verify())[0] is True
    assert found_by(client.verify) == {"lost": 1, "altered": 1}
    assert archive.row(numbers[0])["state"] == "lost"
    assert archive.row(numbers[1])["state"] == "altered"
    assert done(client.audit(hash=True, min_age=0))[0] is True
    assert found_by(client.audit) == {"lost": 1, "altered": 1, "dark": 1}
    assert done(client.audit(hash=True, min_age=0, repair=True, register_dark=True))[0] is True
    for number in numbers[:2]:
        archive.wait_for_state(number, "archived")
    assert done(client.audit(hash=True, min_age=0))[0] is True
    assert found_by(client.audit) == {}
    assert dark.exists()


def test_files_are_deleted_where_they_were_written_only_after_a_dry_run(
    site, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("delete_after: 0s\nrules:\n- keep: always\n  action: ['*_iv']\n")
    archive = Archive(site, tmp_path, {}, "--prune-policy", policy)
    plain = archive.register("plain", b"plain")
    kept = archive.register("iv", b"iv", action="take_iv")
    altered = archive.register("altered", b"altered")
    for number in (plain, kept, altered):
        archive.wait_for_state(number, "archived")
    Path(archive.row(altered)["path"]).write_bytes(b"other")
    assert archive.client.delete_local()[0] == ocs.OK
    assert len(list(archive.source.iterdir())) == 3
    archive.client.delete_local(dry_run=False)
    assert sorted(path.name for path in archive.source.iterdir()) == ["altered", "iv"]
    assert archive.row(plain)["deleted_at"] is not None
    assert archive.row(altered)["state"] == "altered"
    archive.close()


def test_feeds_say_how_far_the_archive_is(sqlite_archive: Archive) -> None:
    """As an OCS listener sees them; each field keeps its type for ever."""
    archive = sqlite_archive
    code = "from ocs.client_cli import main; main()"
    topic = f"observatory.{ARCHIVER}.feeds."
    process = subprocess.Popen(
        [sys.executable, "-c", code, "listen", "--json", topic],
        env=os.environ | archive.site.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    seen: dict[str, dict[str, Any]] = {}
    try:
        for n in range(3):
            archive.register(f"{n}", b"x" * 1000)
        while not {"archive_stats", "transfer_stats", "counters"} <= seen.keys():
            line = process.stdout.readline()
            assert line, "the listener ended"
            try:
                message = json.loads(line)
            except ValueError:
                continue
            feed = message["topic"].rpartition(".")[2]
            if feed != "heartbeat":
                (blocks, _) = message["message"]
                block = next(iter(blocks.values()))
                seen[feed] = {name: values[-1] for name, values in block["data"].items()}
    finally:
        process.kill()
        process.communicate()
    assert isinstance(seen["archive_stats"]["finalized_until"], float)
    assert isinstance(seen["archive_stats"]["num_files"], float)
    assert isinstance(seen["archive_stats"]["last_file_added"], str)
    assert {"files_archived", "bytes_archived", "seconds"} <= seen["transfer_stats"].keys()
    assert "files_claimed" in seen["counters"]


def test_an_archive_that_is_not_there_degrades_and_recovers(sqlite_archive: Archive) -> None:
    archive = sqlite_archive
    away = archive.archive.with_name("away")
    archive.archive.rename(away)
    number = archive.register("a", b"a")

    def degraded() -> bool:
        session = archive.client.run.status().session
        troubles = session["data"].get("troubles", ())
        return session["degraded"] and any(str(archive.archive) in text for text in troubles)

    wait_until(degraded, 30)
    assert archive.row(number)["failed_copy_attempts"] == 0
    away.rename(archive.archive)
    archive.wait_for_state(number, "archived")
    wait_until(lambda: not archive.client.run.status().session["degraded"], 20)


@pytest.mark.own_router
def test_archiving_goes_on_without_a_router_and_ends_with_sigterm(
    sqlite_archive: Archive,
) -> None:
    archive = sqlite_archive
    archive.site.stop_router()
    number = archive.register("a", b"a")
    archive.wait_for_state(number, "archived")
    assert archive.site.stop_agent(ARCHIVER) == 0


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_the_archive_uses_itself_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        ArchiveSettings(name, ["monitor"], "/archive", ["/data"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data-dir", "/a"], "--target"),
        (["--target", "m"], "--data-dir"),
        (["--target", "m", "--data-dir", "relative"], "--data-dir relative"),
        (["--target", "m", "--data-dir", "/data/archive"], "--data-root /data"),
        (["--target", "m", "--data-dir", "/a", "--rsync-options", "'"], "--rsync-options"),
        (["--target", "m", "--data-dir", "/a", "--files-per-batch", "0"], "--files-per-batch"),
    ],
)
def test_wrong_options_end_it_with_a_message_that_names_them(
    site, tmp_path: Path, options: list[str], words: str
) -> None:
    made = site([AgentInstance("PysmurfArchiver", ARCHIVER, options)], router=False)
    child = made.start_agent(ARCHIVER, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    wait_until(lambda: child.returncode is not None, 10, "the agent to end")
    assert child.returncode == 2
    assert words in made.logs(ARCHIVER)
    assert "Traceback" not in made.logs(ARCHIVER)
