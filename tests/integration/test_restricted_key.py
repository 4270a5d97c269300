"""The key of the how-to: the archiver reads with it, and nobody does anything else."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from socs.archive.moving import Job, Outcome, Placed
from socs.archive.paths import File, place_of
from socs.archive.pull import Pull
from socs.archive.storage import Storage
from socs.testing import LOOPBACK, wait_until
from socs.testing.sshd import Sshd

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "archive.rst"
CONTENTS = b"1 2 3\n"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A server that takes the user's key only as the how-to has it."""
    if shutil.which("rrsync") is None:
        pytest.skip("rrsync is not installed")
    with Sshd(tmp_path / "sshd") as server:
        server.start()
        (line,) = re.findall(r"(?m)^   (restrict,.*) ssh-ed25519 AAAA\S*", PAGE.read_text())
        public = Path(f"{server.key}.pub").read_text()
        (server.directory / "authorized_keys").write_text(f"{line} {public}")
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "da ta" / "1700000000_it's $(a) tüne.npy"
    path.parent.mkdir()
    path.write_bytes(CONTENTS)
    link = path.with_name("link.npy")
    link.symlink_to(path)
    return link


def test_the_archiver_gets_its_files(sshd: Sshd, source: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    file = File(
        **{"id": 1, "path": str(source), "action": "tune", "timestamp": datetime(2023, 11, 14)},
        **{"action_timestamp": None, "plot": False, "pub_id": "crate1", "instance_id": "monitor"},
        md5sum=hashlib.md5(CONTENTS).digest(),
    )
    outcomes: list[Outcome] = []
    pull = Pull(
        Storage(tmp_path / "archive", "archiver"),
        **{"host": LOOPBACK, "user": sshd.user, "port": sshd.port, "key": sshd.key},
        roots=[source.parent],
        ssh_options=sshd.options,
    )
    try:
        pull.submit([Job(file, place_of(file))], lambda job, outcome: outcomes.append(outcome))
        wait_until(lambda: outcomes, 30, "the file to be copied")
    finally:
        pull.stop()
    (outcome,) = outcomes
    assert isinstance(outcome, Placed), outcome
    assert Path(outcome.path).read_bytes() == CONTENTS


def ssh(sshd: Sshd) -> list[str]:
    options = ["-o", "BatchMode=yes", "-p", str(sshd.port), "-i", str(sshd.key)]
    return ["ssh", *sshd.options, *options]


def test_the_key_runs_no_command(sshd: Sshd, tmp_path: Path) -> None:
    command = [*ssh(sshd), f"{sshd.user}@{LOOPBACK}", f"touch {tmp_path}/made"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert "rrsync" in done.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("options", [[], ["-s"]])
def test_the_key_writes_and_deletes_nothing(sshd: Sshd, source: Path, options: list[str]) -> None:
    shell = " ".join(f"'{word}'" for word in ssh(sshd))
    there = f"{sshd.user}@{LOOPBACK}:{source.parent}/"
    rsync = ["rsync", "-a", *options, "-e", shell]
    for command in (
        [*rsync, str(PAGE), there],
        [*rsync, "--remove-source-files", there, f"{source.parent.parent}/taken/"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode != 0
    assert len(list(source.parent.iterdir())) == 2
