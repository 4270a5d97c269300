"""``socs files verify``, ``audit``, ``failed``, ``retry`` and ``ignore`` on the command line."""

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
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.copies import ALTERED, ARCHIVED, CHANGED, COPYING, IGNORED, LOST, MISSING, WAITING
from socs.db.engine import Database
from tests.audited import Archive

NEW = "new"


@pytest.fixture
def archive(files_env, tmp_path: Path) -> Iterator[Archive]:
    database = Database(files_env)
    yield Archive(tmp_path, database)
    database.close()


def run(capsys, status: int, *line: object) -> tuple[list[str], str]:
    """Lines of standard output, and standard error, of ``socs files <line>``."""
    assert main(["files", *map(str, line)]) == status
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err


def run_json(capsys, status: int, *line: object) -> list[dict]:
    return [json.loads(text) for text in run(capsys, status, *line, "--json")[0]]


def add_failed(archive: Archive, state: str, **copy) -> int:
    """A file at rest, or on its way, in ``state``."""
    number = archive.add_row(
        archive.source / f"{state}-{len(archive.paths)}",
        *(state.encode(), False),
        **{"copied": False, "failed_copy_attempts": 1},
    )
    if state != NEW:
        with archive.database.begin() as connection:
            connection.execute(
                copies.table.insert(), {"file_id": number, "state": state, "due": 1e9} | copy
            )
    return number


# -- verify and audit -----------------------------------------------------------------------------


def test_verify_tells_and_remembers(archive: Archive, capsys) -> None:
    ids = archive.add(5)
    out, err = run(capsys, 0, "verify", "--data-dir", archive.root)
    assert out == ["kind\tfile_id\tpath\tsize\tdetail\tdone"]
    assert "Verified 5 of 5 archived files: 5 right" in err
    path = archive.alter(ids[1])
    lost = archive.lose(ids[2])
    out, err = run(capsys, 1, "verify", "--data-dir", f"{archive.root}/")
    assert [line.split("\t")[:3] for line in out[1:]] == [
        ["altered", str(ids[1]), path],
        ["lost", str(ids[2]), lost],
    ]
    assert "3 right, 1 lost, 1 altered" in err
    assert "socs files audit --repair --data-root DIR" in err
    assert archive.states()[ids[1]] == ALTERED
    *findings, last = run_json(capsys, 1, "verify", "--data-dir", archive.root, "--quiet")
    assert [found["kind"] for found in findings] == ["altered", "lost"]
    assert last["summary"]["counts"]["lost"] == 1
    assert last["summary"]["right"] == 3


def test_verify_chooses(archive: Archive, capsys) -> None:
    ids = archive.add(5)
    common = ("verify", "--data-dir", archive.root)
    for options, number in (
        ((ids[0], archive.paths[ids[1]], "--id", ids[2]), 3),
        (("--instance-id", "nobody"), 0),
        (("--older-than", 1), 2),  # those that were not looked at above
        (("--limit", 2), 2),
        (("--path", f"{archive.root}/*"), 5),
    ):
        (summary,) = run_json(capsys, 0, *common, *options)
        assert summary["summary"]["to_do"] == number, options
    _, err = run(capsys, 1, *common, ids[0], 999)
    assert "1 of the files named are not archived below" in err


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_an_archive_that_is_not_there_is_told(archive: Archive, capsys, command) -> None:
    archive.add(1)
    _, err = run(capsys, 1, command, "--data-dir", "/no/such")
    assert "/no/such cannot be read: No such file or directory (is it mounted?)" in err
    archive.root.rename(archive.directory / "away")
    archive.root.mkdir()
    _, err = run(capsys, 1, command, "--data-dir", archive.root)
    assert "is it mounted?" in err
    assert set(archive.states().values()) == {ARCHIVED}
    for wrong in ("relative", "/", ""):
        with pytest.raises(SystemExit) as exit:
            main(["files", command, "--data-dir", wrong])
        assert exit.value.code == 2
    assert "not an absolute path" in capsys.readouterr().err


def test_audit_finds_marks_and_repairs(archive: Archive, capsys) -> None:
    ids = archive.add(6, with_source=True)
    archive.add_row("/elsewhere/17000/x/y", b"")
    common = ("audit", "--data-dir", archive.root, "--min-age", "0.001")
    out, err = run(capsys, 0, *common)
    assert len(out) == 1
    assert "Compared 6 files and 6 rows of 1 day: nothing amiss" in err
    assert "archived elsewhere: /elsewhere (1)" in err
    lost, altered = archive.lose(ids[0]), archive.alter(ids[1])
    dark = archive.darken("17000/p/1700000000_a/outputs/1700000000_dark\x1b[2J.npy")
    *findings, _ = run_json(capsys, 1, *common, "--dry-run", "--hash", "--repair")
    assert {found["kind"]: found["path"] for found in findings} == {
        "lost": lost,
        "altered": altered,
        "dark": dark,
    }
    assert "--data-root" in findings[0]["done"]
    assert set(archive.states().values()) == {ARCHIVED}
    out, err = run(
        *(capsys, 1, *common, "--hash", "--repair", "--data-root", archive.source),
        *("--register-dark", "salvage", "--site", "lab"),
    )
    assert "\x1b" not in "".join(out) + err
    done = {line.split("\t")[0]: line.split("\t")[5] for line in out[1:]}
    assert done["lost"] == "will be copied again"
    assert done["altered"].startswith("set aside as ")
    assert done["dark"] == "registered"
    assert "2 to be copied again, 1 registered" in err
    assert "audit --repair" not in err  # which is what was done
    assert [archive.states()[number] for number in ids[:3]] == [WAITING, WAITING, ARCHIVED]
    (row,) = [row for row in archive.rows().values() if row["path"] == dark]
    assert (row["instance_id"], row["site"]) == ("salvage", "lab")
    run(capsys, 0, *common, "--hash")


def test_misspelt_archive_is_hinted_at(archive: Archive, capsys, tmp_path: Path) -> None:
    archive.add(2)
    other = tmp_path / "other"
    other.mkdir()
    _, err = run(capsys, 0, "audit", "--data-dir", other)
    assert f"no row lies below {other}: is it spelt as the archiver's --data-dir?" in err
    assert f"{archive.root} (2)" in err


def test_in_a_terminal_there_are_a_bar_and_a_table(archive: Archive) -> None:
    ids = archive.add(30)
    lost = archive.lose(ids[0])
    command = [
        *(sys.executable, "-m", "socs.cli.main"),
        *("files", "verify", "--data-dir", str(archive.root)),
    ]
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=50,
            check=False,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "200"},
        )
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert "30/30" in shown
    assert "\x1b[" in shown
    assert done.stdout.decode().splitlines()[1].startswith(f"lost\t{ids[0]}\t{lost}")
    quiet = subprocess.run([*command, "--quiet"], capture_output=True, timeout=100, check=False)
    assert quiet.stderr == b""


# -- failed, retry, ignore ------------------------------------------------------------------------


def test_failed_files_are_listed(archive: Archive, capsys) -> None:
    archive.add(2)
    missing = add_failed(archive, MISSING, cause="attempts_missing", detail="no such file")
    changed = add_failed(archive, CHANGED, cause="attempts_changed")
    add_failed(archive, WAITING)
    add_failed(archive, NEW)
    old = archive.add_row("/gave/up", b"", copy=False, copied=False, failed_copy_attempts=5)
    out, _ = run(capsys, 0, "failed")
    assert out[1].split("\t")[:3] == [str(old), "monitor", "failed"]
    assert out[3].split("\t")[:6] == [
        *(str(missing), "monitor", "missing", "1", "attempts_missing", "no such file")
    ]
    assert [row["id"] for row in run_json(capsys, 0, "failed")] == [old, changed, missing]
    for options, ids in (
        (("--cause", "attempts_missing"), [missing]),
        (("--state", "failed"), [old]),
        (("--state", "missing", "--state", "changed"), [changed, missing]),
        (("--limit", 1), [old]),
        (("--path", "/gave/*"), [old]),
    ):
        assert [row["id"] for row in run_json(capsys, 0, "failed", *options)] == ids, options


def test_retry_by_filter(archive: Archive, capsys) -> None:
    archive.add(2)
    missing = add_failed(archive, MISSING, cause="attempts_missing")
    changed = add_failed(archive, CHANGED, md5sum=b"0" * 16)
    ignored = add_failed(archive, IGNORED)
    new, copying = add_failed(archive, NEW), add_failed(archive, COPYING)
    before = archive.rows()
    for command in ("retry", "ignore"):
        _, err = run(capsys, 1, command)
        assert "--all" in err
    assert archive.rows() == before
    assert run(capsys, 0, "retry", "--all", "--dry-run")[0] == ["3 files would be retried"]
    assert archive.rows() == before
    out, err = run(capsys, 0, "retry", "--cause", "attempts_missing")
    assert (out, err) == (["1 file retried"], "")
    assert archive.states()[missing] == WAITING
    (told,) = run_json(capsys, 0, "retry", "--state", "changed", "--accept-changed")
    assert (told["matched"], told["retried"]) == (1, 1)
    assert bytes(archive.rows()[changed]["md5sum"]) == b"0" * 16
    run(capsys, 0, "retry", "--all")
    assert archive.states()[ignored] == IGNORED  # somebody meant it
    assert archive.states()[copying] == COPYING
    run(capsys, 0, "retry", ignored)
    assert archive.states()[ignored] == WAITING
    assert archive.rows()[new]["failed_copy_attempts"] == 0


def test_retry_says_why_not(archive: Archive, capsys) -> None:
    (archived,) = archive.add(1)
    missing = add_failed(archive, MISSING)
    path = archive.paths[missing]
    out, err = run(capsys, 1, "retry", archived, path, 999, "/no/such")
    assert out == ["1 file retried"]
    assert f"{archived} {archive.paths[archived]}: not retried; it is archived" in err
    assert "999: not retried; it is not in the table" in err
    assert "/no/such: not retried; it is not in the table" in err
    assert f"{missing} " not in err
    (lost,) = archive.add(1)
    archive.lose(lost)
    archive.verify()
    out, err = run(capsys, 0, "retry", "--state", "lost")
    assert out == ["0 files retried"]
    assert "1 lost or altered files cannot be copied again" in err
    assert archive.states()[lost] == LOST


def test_ignore_keeps_the_reason(archive: Archive, capsys) -> None:
    (archived,) = archive.add(1)
    missing, new = add_failed(archive, MISSING), add_failed(archive, NEW)
    assert run(capsys, 0, "ignore", missing, "--dry-run")[0] == ["1 file would be ignored"]
    assert run(capsys, 0, "ignore", missing, new, "--reason", "test run")[0] == ["2 files ignored"]
    rows = archive.rows()
    assert [rows[n]["state"] for n in (missing, new)] == [IGNORED] * 2
    assert [rows[n]["detail"] for n in (missing, new)] == ["test run"] * 2
    _, err = run(capsys, 1, "ignore", archived)
    assert "it is archived" in err


# -- list, show, create, drop ---------------------------------------------------------------------


def test_list_and_show_tell_the_state(archive: Archive, capsys) -> None:
    (archived,) = archive.add(1)
    old = archive.add_row("/old", b"", copy=False)
    given_up = archive.add_row("/up", b"", copy=False, copied=False, failed_copy_attempts=5)
    waiting = add_failed(archive, WAITING, cause="attempts_missing", owner="archiver")
    new = add_failed(archive, NEW)
    rows = {row["id"]: row["state"] for row in run_json(capsys, 0, "list")}
    expected = {archived: ARCHIVED, old: ARCHIVED, given_up: "failed", waiting: WAITING, new: NEW}
    assert rows == expected
    for state in {*expected.values()}:
        ids = {row["id"] for row in run_json(capsys, 0, "list", "--state", state)}
        assert ids == {number for number, known in expected.items() if known == state}
    (row,) = run_json(capsys, 0, "list", "--cause", "attempts_missing", "--not-copied")
    assert row["id"] == waiting
    out, _ = run(capsys, 0, "list", "--state", "waiting")
    assert out[0].split("\t")[-3:] == ["copied", "state", "path"]
    assert out[1].split("\t")[-2] == "waiting"
    shown = dict(line.split("\t", 1) for line in run(capsys, 0, "show", waiting)[0])
    assert (shown["state"], shown["owner"]) == (WAITING, "archiver")
    assert shown["due"] == "2001-09-09T01:46:40.000000Z"
    assert {column.name for column in copies.table.c} - {"file_id"} <= shown.keys()
    assert run_json(capsys, 0, "show", waiting)[0]["due"] == 1e9


def test_deployments_without_the_table_of_copies(archive: Archive, capsys) -> None:
    archive.add(1)
    with archive.database.begin() as connection:
        copies.table.drop(connection)
    (row,) = run_json(capsys, 0, "list")
    assert row.keys() == {"id", *files.COLUMNS}
    assert run_json(capsys, 0, "show", row["id"])[0].keys() == row.keys()
    for line in (
        ("list", "--state", "new"),
        ("failed",),
        ("retry", "--all"),
        ("ignore", "--all"),
        ("verify", "--data-dir", archive.root),
        ("audit", "--data-dir", archive.root),
    ):
        _, err = run(capsys, 1, *line)
        assert "run `socs files create`" in err
    run(capsys, 0, "create")
    run(capsys, 0, "audit", "--data-dir", archive.root)
    run(capsys, 0, "drop", "--yes")
    _, err = run(capsys, 1, "failed")
    assert "run `socs files create`" in err
