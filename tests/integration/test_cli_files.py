"""``socs files`` against both databases."""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from itertools import chain

import pytest

from socs.cli import files as command
from socs.cli.main import main
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.testing import wait_until


@pytest.fixture
def database(files_env) -> Iterator[Database]:
    """The database, for looking past the command line."""
    made = Database(files_env)
    yield made
    made.close()


@pytest.fixture
def table(database) -> Database:
    """The database with an empty table."""
    files.create_table(database)
    return database


def add(database: Database, *rows: dict) -> None:
    defaults = {"path": "/data/x.npy", "md5sum": bytes(range(16)), "timestamp": files.utc_text(1e9)}
    with database.begin() as connection:
        files.add_entries(connection, [files.row_of(defaults | row) for row in rows])


def run(capsys, line: str) -> str:
    """Standard output of ``socs files <line>``, which must succeed."""
    assert main(["files", *line.split()]) == 0
    return capsys.readouterr().out


def listed(capsys, line: str = "") -> list[str]:
    """Paths that ``socs files list`` gives."""
    out = run(capsys, f"list --json {line}")
    return [json.loads(line)["path"] for line in out.splitlines()]


@pytest.mark.parametrize("line", ["list", "tail", "stats", "show 1", "drop --yes"])
def test_looking_makes_no_database(tmp_path, monkeypatch, capsys, line):
    for name in [name for name in os.environ if name.startswith("MYSQL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path / "mistyped"))
    assert main(["files", *line.split()]) == 1
    assert "SOCS_DATA_DIR" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()


def test_create_is_idempotent_and_drop_needs_consent(database, capsys, monkeypatch):
    assert run(capsys, "create").startswith("Created pysmurf_files_v1 in ")
    assert run(capsys, "create").startswith("Found pysmurf_files_v1 in ")
    assert json.loads(run(capsys, "create --json"))["created"] is False
    monkeypatch.setattr(sys, "stdin", io.StringIO("what?\nn\n"))
    assert run(capsys, "drop") == "Nothing was dropped\n"
    assert files.missing_tables(database) == []
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert json.loads(run(capsys, "drop --json"))["dropped"] is True
    assert files.table.name in files.missing_tables(database)
    run(capsys, "create")
    assert run(capsys, "drop --yes") == "Dropped pysmurf_files_v1\n"


def test_drop_without_anybody_to_ask_fails_and_drops_nothing(table, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["files", "drop"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert files.missing_tables(table) == []


def test_list_is_newest_first_and_limited(table, capsys):
    add(table, *({"path": f"/data/{number}"} for number in range(60)))
    assert listed(capsys) == [f"/data/{number}" for number in range(59, 9, -1)]
    assert listed(capsys, "--limit 2") == ["/data/59", "/data/58"]
    header, line = run(capsys, "list --limit 1").splitlines()
    assert header.split("\t") == list(command.LIST_COLUMNS)
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True))["path"] == "/data/59"


def test_list_filters(table, capsys):
    add(
        table,
        {"path": "/1", "instance_id": "a", "pub_id": "p", "action": "iv", "format": "npy"},
        {"path": "/2", "instance_id": "b", "pub_id": "q", "action": "tune", "format": "txt"},
        {"path": "/3", "instance_id": "a", "copied": True},
        {"path": "/4", "copied": False},
    )
    assert listed(capsys, "--instance-id a") == ["/3", "/1"]
    assert listed(capsys, "--pub-id q") == ["/2"]
    assert listed(capsys, "--action iv") == ["/1"]
    assert listed(capsys, "--format txt") == ["/2"]
    assert listed(capsys, "--not-copied") == ["/4", "/2", "/1"]
    assert listed(capsys, "--not-copied --instance-id a") == ["/1"]
    assert listed(capsys, "--action none") == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/d/a_b.npy", ["/d/a_b.npy"]),
        ("/d/a_*", ["/d/a_b.npy"]),
        ("*b.npy", ["/d/a_b.npy", "/d/axb.npy"]),
        ("/D/*", ["/D/A_B.NPY"]),
        ("*%*", ["/d/100%"]),
        ("*[x]*", ["/d/[x]?"]),
        ("*?", ["/d/[x]?"]),
        ("*|*\\*", ["/d/|\\"]),
        ("a_b", []),
    ],
)
def test_a_path_pattern_knows_only_the_asterisk(table, capsys, pattern, found):
    paths = ["/d/a_b.npy", "/d/axb.npy", "/D/A_B.NPY", "/d/100%", "/d/[x]?", "/d/|\\"]
    add(table, *({"path": path} for path in paths))
    assert sorted(listed(capsys, f"--path {pattern}")) == sorted(found)


def test_show_by_id_and_path(table, capsys):
    add(table, {"path": "/data/a", "action": "old"}, {"path": "/data/a", "action": "new"})
    shown = dict(line.split("\t", 1) for line in run(capsys, "show /data/a").splitlines())
    assert set(shown) == {"id", *files.COLUMNS}
    assert shown["action"] == "new"
    assert shown["md5sum"] == bytes(range(16)).hex()
    first = json.loads(run(capsys, f"show --json {int(shown['id']) - 1}"))
    assert first["action"] == "old"
    assert first["timestamp"] == "2001-09-09T01:46:40.000000Z"
    assert main(["files", "show", "/data/none"]) == 1
    assert "/data/none" in capsys.readouterr().err


def test_stats_per_instance(table, capsys):
    add(
        table,
        {"instance_id": "a", "copied": True, "timestamp": files.utc_text(1.0e9)},
        {"instance_id": "a", "copied": False, "timestamp": files.utc_text(1.1e9)},
        {"instance_id": "b", "copied": False, "failed_copy_attempts": 5},
    )
    a, b = [json.loads(line) for line in run(capsys, "stats --json").splitlines()]
    assert (a["instance_id"], a["files"], a["copied"], a["given_up"]) == ("a", 2, 1, 0)
    assert (a["first"], a["last"]) == ("2001-09-09T01:46:40.000000Z", "2004-11-09T11:33:20.000000Z")
    assert (b["files"], b["copied"], b["given_up"]) == (1, 0, 1)


def tail_arguments(**given) -> argparse.Namespace:
    filters = dict.fromkeys(("instance_id", "pub_id", "of_action", "format", "path"))
    defaults = {"lines": 2, "interval": 1.0, "not_copied": False}
    return argparse.Namespace(**(filters | defaults | given))


def note_paths(rows: Iterable, seen: list[str]) -> None:
    for row in rows:
        seen.append(row["path"])


def test_tail_begins_with_the_last_rows_and_gives_each_new_one_once(table, monkeypatch):
    monkeypatch.setattr(command, "PAGE", 3)
    add(table, *({"path": f"/old/{number}"} for number in range(4)))
    batches = [["/new/0"], [], [f"/newer/{number}" for number in range(7)], []]
    expected = ["/old/2", "/old/3", *chain.from_iterable(batches)]

    def pause(seconds: float) -> None:
        assert seconds == 1.0
        if not batches:
            raise KeyboardInterrupt
        for path in batches.pop(0):
            add(table, {"path": path})

    seen: list[str] = []
    rows = command.follow(table, tail_arguments(), pause=pause)
    with pytest.raises(KeyboardInterrupt):
        note_paths(rows, seen)
    assert seen == expected


def test_tail_waits_for_a_database_that_is_away(table, capsys):
    steps = iter(["drop", "stay", "create", "end"])

    def pause(seconds: float) -> None:
        step = next(steps)
        if step == "drop":
            files.drop_table(table)
        elif step == "create":
            files.create_table(table)
            add(table, {"path": "/back"})
        elif step == "end":
            raise KeyboardInterrupt

    rows = command.follow(table, tail_arguments(), pause=pause)
    assert next(rows)["path"] == "/back"
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "trying again" in errors[0]
    rows.close()


def test_tail_in_a_pipe_ends_with_0_on_ctrl_c(table):
    add(table, {"path": "/first"})
    line = [sys.executable, "-m", "socs.cli.main", "files", "tail", "--interval", "0.05"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(tail.stdout), name="tail-reader")
        reader.start()
        try:
            wait_until(lambda: len(lines) == 2, 20, "the header and the first row")
            add(table, {"path": "/second"})
            wait_until(lambda: len(lines) == 3, 10, "the second row")
            tail.send_signal(signal.SIGINT)
            assert tail.wait(60) == 0
            assert tail.stderr.read() == ""
        finally:
            tail.kill()
            reader.join(60)
    assert [line.rstrip().rpartition("\t")[2] for line in lines] == ["path", "/first", "/second"]
