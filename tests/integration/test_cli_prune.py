"""``socs files prune``: what it prints, what it deletes, and its exit status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from socs.cli.main import main
from socs.testing.sshd import Sshd
from tests.pruning import MONITOR, World, world


@pytest.fixture
def site(tmp_path: Path, files_env) -> Iterator[World]:
    with world(tmp_path, files_env) as made:
        yield made


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Iterator[World]:
    """SQLite only."""
    for name in [name for name in os.environ if name.startswith("MYSQL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path / "table"))
    with world(tmp_path, {"SOCS_DATA_DIR": str(tmp_path / "table")}) as made:
        yield made


def arguments(site: World, *options: str) -> list[str]:
    places = ["--data-dir", str(site.archive), "--data-root", str(site.root)]
    return ["files", "prune", *places, "--instance-id", MONITOR, *options]


def written(directory: Path, policy: str) -> str:
    path = directory / "policy.yaml"
    path.write_text(policy)
    return str(path)


def test_without_delete_it_says_what_it_would_do_and_why(site: World, tmp_path, capsys) -> None:
    numbers = site.add("1_x.npy"), site.add("1_tune.npy"), site.add("1_new\nline.npy")
    policy = 'delete_after: 2d\nrules: [{keep: always, name: "*tune*"}]'
    before = site.everything(), site.rows()
    assert main(arguments(site, "--policy", written(tmp_path, policy))) == 0
    assert (site.everything(), site.rows()) == before
    out, err = capsys.readouterr()
    header, *lines = out.splitlines()
    assert header.split("\t") == ["outcome", "id", "size", "source", "why"]
    told = {int(line.split("\t")[1]): line.split("\t") for line in lines}
    assert sorted(told) == sorted(numbers)
    plain, tune, odd = (told[number] for number in numbers)
    assert [plain[0], tune[0], odd[0]] == ["would delete", "kept", "would delete"]
    assert plain[2:4] == ["19", str(site.root / "1_x.npy")]
    assert "deleted after 2d" in plain[4]
    assert tune[4] == "rule 1 keeps it"
    assert odd[3].endswith("1_new\\nline.npy")
    said = err.splitlines()
    assert said[0] == "socs: dry run: nothing is deleted without --delete"
    assert said[-1] == "socs: dry run: nothing was deleted"
    assert any(line.startswith("socs: would delete: 2 files, 45 bytes") for line in said)
    assert any(line.startswith("socs: kept: 1 file,") for line in said)


def test_delete_deletes(site: World, capsys) -> None:
    number, tune = site.add("1_x.npy"), site.add("1_tune.npy")
    with site.database.begin() as connection:  # older than the default policy asks for
        connection.exec_driver_sql("UPDATE socs_copies_v1 SET archived_at = 0")
    assert main(arguments(site, "--delete")) == 0
    out, err = capsys.readouterr()
    assert f"deleted\t{number}\t" in out
    assert f"kept\t{tune}\t" in out
    assert "dry run" not in err
    assert not (site.root / "1_x.npy").exists()
    assert (site.root / "1_tune.npy").exists()
    assert site.row(number)["deleted_at"] is not None


@pytest.mark.parametrize("options", [[], ["--delete"]])
def test_json(here: World, tmp_path, capsys, options) -> None:
    good, bad = here.add("1.npy"), here.add("2.npy")
    here.copy(bad).write_bytes(b"altered")
    policy = written(tmp_path, "delete_after: 0s")
    assert main(arguments(here, "--json", "--policy", policy, *options)) == 1
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {line["id"]: line for line in lines}
    assert {number: line["outcome"] for number, line in told.items()} == {
        good: "deleted",
        bad: "altered",
    }
    assert all(line["dry_run"] is (not options) for line in lines)
    assert told[good]["source"] == str(here.root / "1.npy")
    assert last["summary"]["files"] == {"deleted": 1, "altered": 1}
    assert last["summary"]["dry_run"] is (not options)


def test_damage_is_told_with_the_exit_status(here: World, tmp_path, capsys) -> None:
    number = here.add("1.npy")
    here.copy(number).unlink()
    assert main(arguments(here, "--delete", "--policy", written(tmp_path, "delete_after: 0s"))) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith(f"lost\t{number}\t")
    assert "socs: lost: 1 file," in err
    assert here.row(number)["state"] == "lost"
    assert here.source(number).exists()


def test_quiet_prints_numbers_only(here: World, tmp_path, capsys) -> None:
    here.add("1.npy")
    policy = written(tmp_path, "delete_after: 0s")
    assert main(arguments(here, "--quiet", "--policy", policy)) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "would delete: 1 file," in err


def test_choice_of_files(here: World, tmp_path, capsys) -> None:
    chosen = here.add("1.npy", pub_id="p", action="a", format="npy")
    here.add("2.npy", pub_id="q", action="a", format="npy")
    here.add("3.npy", pub_id="p", action="b", format="npy")
    here.add("4.npy", pub_id="p", action="a", format="txt")
    here.add("5.npy", instance_id="another")
    policy = written(tmp_path, "delete_after: 0s")
    options = ["--pub-id", "p", "--action", "a", "--format", "npy", "--json"]
    assert main(arguments(here, "--policy", policy, *options)) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["id"] == chosen
    assert main([*arguments(here, "--policy", policy, "--json"), "--instance-id", "another"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last)["summary"]["files"] == {"deleted": 5}


def test_nothing_to_do_is_said(here: World, capsys) -> None:
    assert main(arguments(here)) == 0
    assert "no archived file of these agents" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "setting"),
    [
        (["--policy", "/nowhere/policy.yaml"], "--policy /nowhere/policy.yaml: No such file"),
        (["--policy", "POLICY"], "line 3: rule 1: unknown key `acton`"),
        (["--policy", "BINARY"], "is not text"),
        (["--data-root", "ARCHIVE"], "--data-dir"),
        (["--data-dir", "/nowhere"], "--data-dir /nowhere"),
        (["--user", "me"], "--user is for another machine"),
        (["--ssh-key", "key"], "--ssh-key is for another machine"),
        (["--host=-oProxyCommand=true"], "--host"),
    ],
)
def test_wrong_setting_is_named(here: World, tmp_path, capsys, options, setting) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    policy = written(tmp_path, "delete_after: 7d\nrules:\n - acton: x\n   keep: always")
    known = {"POLICY": policy, "BINARY": str(tmp_path / "binary"), "ARCHIVE": str(here.archive)}
    assert main(arguments(here, *(known.get(option, option) for option in options))) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert setting in last


@pytest.mark.parametrize("option", ["--data-dir", "--data-root", "--instance-id"])
def test_places_and_agents_must_be_named(here: World, capsys, option: str) -> None:
    line = arguments(here)
    where = line.index(option)
    with pytest.raises(SystemExit) as ended:
        main(line[:where] + line[where + 2 :])
    assert ended.value.code == 2
    assert option in capsys.readouterr().err


def test_table_of_copies_that_is_missing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("MYSQL_")]:
        monkeypatch.delenv(name)
    assert main(["files", "create"]) == 0
    with world(tmp_path, {"SOCS_DATA_DIR": str(tmp_path)}) as made:
        from socs.db import copies  # noqa: PLC0415

        with made.database.begin() as connection:
            copies.table.drop(connection)
        assert main(arguments(made)) == 1
    assert "socs files create" in capsys.readouterr().err


def test_in_a_terminal(here: World, tmp_path) -> None:
    here.add("1.npy")
    primary, secondary = pty.openpty()
    line = [sys.executable, "-m", "socs.cli.main", *arguments(here)]
    line += ["--policy", written(tmp_path, "delete_after: 0s")]
    with subprocess.Popen(line, stdout=secondary, stderr=secondary, env=dict(os.environ)) as run:
        os.close(secondary)
        output = b""
        while True:
            try:
                read = os.read(primary, 65536)
            except OSError:  # how a terminal ends
                break
            if not read:
                break
            output += read
        os.close(primary)
        assert run.wait(60) == 0
    text = output.decode()
    assert "would delete" in text
    assert str(here.root / "1.npy") in text.replace("\r\n", "")
    assert "dry run: nothing was deleted" in text


def test_over_ssh(here: World, tmp_path, tmp_path_factory, capsys, monkeypatch) -> None:
    number = here.add("1.npy")
    policy = written(tmp_path, "delete_after: 0s")
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        server.start()
        monkeypatch.setattr("socs.cli.prune_command.Rsync", known_host(server))
        options = ["--host", f"{server.user}@127.0.0.1", "--ssh-port", str(server.port)]
        options += ["--ssh-key", str(server.key), "--policy", policy]
        assert main(arguments(here, *options)) == 0
        assert here.source(number).exists()
        assert main(arguments(here, *options, "--delete")) == 0
    assert not here.source(number).exists()
    assert f"deleted\t{number}\t" in capsys.readouterr().out


def known_host(server: Sshd):
    """ssh takes the server for the right one; nothing else is changed."""
    from socs.archive.rsync import Rsync  # noqa: PLC0415

    def rsync(**settings) -> Rsync:
        return Rsync(**settings, ssh_options=server.options)

    return rsync
