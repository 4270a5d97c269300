"""Checks of an archiver: its targets, its archive, and the way to another host."""

import argparse
import importlib
import os

import pytest

from socs import plugin
from socs.cli import archive_checks
from socs.cli.archive_checks import check_archiver


def everything(name: str) -> str:
    return f"/usr/bin/{name}"


@pytest.fixture
def not_root(monkeypatch):
    """Root may do anything; see the permissions as they are for an owner who is not root."""
    real = os.stat

    def access(path, mode):
        return (real(path).st_mode >> 6 & mode) == mode

    monkeypatch.setattr(os, "access", access)


@pytest.fixture
def place(tmp_path):
    for name in ("archive", "data"):
        (tmp_path / name).mkdir()
    return tmp_path


def options(place, **others: str) -> argparse.Namespace:
    """What the agent makes of its arguments."""
    words = {
        "--target": "monitor",
        "--data-dir": f"{place}/archive",
        "--data-root": f"{place}/data",
    }
    words |= {f"--{name.replace('_', '-')}": value for name, value in others.items()}
    parser = importlib.import_module(plugin.agents["PysmurfArchiver"]["module"]).make_parser()
    parser.add_argument("--instance-id")
    flat = [word for pair in words.items() for word in pair]
    return parser.parse_args([*flat, "--instance-id", "archiver"])


def wrong(found) -> list[tuple[str, str]]:
    assert {f.subject for f in found} <= {"archiver"}
    assert all(f.remedy for f in found if f.level != "OK")
    return [(f.level, f.text) for f in found if f.level != "OK"]


def test_an_archiver_that_is_well(place):
    found = check_archiver("archiver", options(place), ["monitor", "archiver"])
    assert wrong(found) == []
    text = " ".join(f.text for f in found)
    assert f"--data-dir {place}/archive can be written" in text
    assert f"data root {place}/data can be read" in text


def test_a_setting_that_the_agent_refuses(place):
    args = options(place, data_dir="relative")
    ((level, text),) = wrong(check_archiver("archiver", args, ["monitor"]))
    assert level == "FAIL"
    assert text.startswith("--data-dir relative")


def test_a_target_that_is_not_there(place):
    args = options(place)
    ((level, text),) = wrong(check_archiver("archiver", args, ["archiver", "monitr"]))
    assert (level, text) == ("WARN", "--target monitor is no agent in the site config")


def test_an_archive_that_is_not_there(place):
    (place / "archive").rmdir()
    ((level, text),) = wrong(check_archiver("archiver", options(place), ["monitor"]))
    assert (level, text) == ("FAIL", f"--data-dir {place}/archive is no directory here")


@pytest.mark.parametrize("mode", [0o577, 0o377, 0o677])
def test_an_archive_that_cannot_be_used(place, not_root, mode):
    (place / "archive").chmod(mode)
    assert archive_checks.check_data_dir("archiver", f"{place}/archive").level == "FAIL"
    (place / "archive").chmod(0o700)
    assert archive_checks.check_data_dir("archiver", f"{place}/archive").level == "OK"


def test_data_roots_are_looked_for_where_they_are(place):
    (place / "data").rmdir()
    ((level, text),) = wrong(check_archiver("archiver", options(place), ["monitor"]))
    assert (level, text) == ("FAIL", f"data root {place}/data is no directory here")
    args = options(place, host="smurf-srv1")
    assert wrong(check_archiver("archiver", args, ["monitor"], everything)) == []


@pytest.mark.parametrize(
    ("absent", "package"), [("rsync", "rsync"), ("ssh", "openssh-client"), (None, None)]
)
def test_programs_are_needed_for_another_host(place, absent, package):
    def which(name: str) -> str | None:
        return None if name == absent else everything(name)

    assert wrong(check_archiver("archiver", options(place), ["monitor"], which)) == []
    args = options(place, host="cryo@smurf-srv1")
    failed = [f for f in check_archiver("archiver", args, ["monitor"], which) if f.level != "OK"]
    assert [(f.level, f.remedy) for f in failed] == (
        [("FAIL", f"apt-get install {package}")] if absent else []
    )


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o600, "can be read, by its owner only"),
        (0o400, "can be read, by its owner only"),
        (0o640, "has mode 0640; ssh refuses"),
        (0o604, "has mode 0604; ssh refuses"),
        (0o200, "cannot be read by user id"),
    ],
)
def test_ssh_takes_a_key_that_only_its_owner_may_read(place, not_root, mode, words):
    key = place / "key"
    key.touch()
    key.chmod(mode)
    args = options(place, host="smurf-srv1", ssh_key=str(key))
    all_found = check_archiver("archiver", args, ["monitor"], everything)
    (found,) = [finding for finding in all_found if "--ssh-key" in finding.text]
    assert words in found.text
    assert found.level == ("OK" if mode in (0o600, 0o400) else "FAIL")
    assert (found.remedy == f"chmod 0600 {key}") == (mode in (0o640, 0o604))


def test_a_key_that_is_not_there_or_no_file(place):
    assert "No such file" in archive_checks.check_key("archiver", f"{place}/none").text
    assert archive_checks.check_key("archiver", f"{place}/none").level == "FAIL"
    assert archive_checks.check_key("archiver", f"{place}/data").level == "FAIL"
