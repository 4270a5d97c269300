"""``socs tango multicast`` on files, and what does not need a database."""

import json
import re

import pytest

from socs.cli.main import main
from socs.tango import installed
from socs.tango.multicast import KINDS, Configuration
from tests.unit.tango.test_multicast import FIRST, SECOND

ALARM = ["226.1.2.3", "1000", "dev/test/11/state.alarm"]


@pytest.fixture
def socs(tmp_path, monkeypatch, capsys):
    """Run the command in an empty directory: ``status, stdout, stderr``."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main(["tango", "multicast", *map(str, words)])
        return (status, *capsys.readouterr())

    return run


def lines(values):
    return "".join(f"{value}\n" for value in values)


def as_object(values):
    return json.dumps({"MulticastEvent": values, "MulticastRate": ["7"]})


def read(text):
    """What a file holds: of JSON, what it means."""
    return json.loads(text) if text[0] in "[{" else text


FORMS = [lines, json.dumps, as_object]


@pytest.mark.parametrize("form", FORMS)
def test_show_fills_in_the_defaults(socs, tmp_path, form):
    file = tmp_path / "p"
    file.write_text(form(SECOND))
    status, out, err = socs("show", "--file", file, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert [row["event"] for row in rows] == [value for value in SECOND if "/" in value]
    rate = 7 if form is as_object else 80
    assert [row["rate"] for row in rows] == [rate, rate, 40, rate, rate]
    assert rows[2] == {
        "element": 11,
        "event": "et/ev/01/ImaAttr.change",
        "address": "226.30.31.32",
        "port": "4444",
        "rate": 40,
        "ivl": 20,
        "hops": 5,
        "memory": 102_400_000,
    }


def test_show_in_lines_and_in_words(socs, tmp_path):
    file = tmp_path / "p"
    file.write_text(lines(FIRST))
    _, out, _ = socs("show", "--file", file)
    head, row = out.splitlines()
    assert dict(zip(head.split("\t"), row.split("\t"), strict=True))["address"] == "226.20.21.22"
    _, out, _ = socs("show", "--file", file, "--words")
    assert out.startswith("Event change of attribute state on device dev/test/11 goes by multicast")


def test_show_says_that_there_are_errors(socs, tmp_path):
    file = tmp_path / "p"
    file.write_text(lines(["126.1.1.1", *FIRST[1:]]))
    status, out, err = socs("show", "--file", file)
    assert (status, len(out.splitlines())) == (0, 1)
    assert "socs tango multicast check" in err


def test_check_of_a_good_file(socs, tmp_path):
    file = tmp_path / "p"
    file.write_text(lines(ALARM))
    status, out, _ = socs("check", "--file", file)
    assert status == 0
    assert "0 OK, 1 WARN, 0 FAIL" in out
    assert "no_pgm: " in out


def test_check_of_nothing(socs, tmp_path):
    (tmp_path / "p").write_text("\n")
    assert socs("check", "--file", "p") == (
        0,
        "Nothing to tell: no event travels by multicast\n",
        "",
    )


def test_check_names_the_element_and_what_to_do(socs, tmp_path):
    file = tmp_path / "p"
    file.write_text(
        lines([*FIRST, "226.1.2.3", "http", "a/b/c/d.alarm", "226.1.2.3", "x", "a/b/c/e.alarm"])
    )
    status, out, _ = socs("check", "--file", file)
    assert status == 1
    assert "FAIL  element 5 http: 'http' is not a port" in out
    assert f"-> {KINDS['port_wrong'].remedy}" in out
    assert out.count(KINDS["port_wrong"].meaning) == 1
    status, out, _ = socs("check", "--file", file, "--json")
    told = json.loads(out)
    assert (status, told["failed"]) == (1, True)
    assert told["findings"][0] == {
        "code": "port_wrong",
        "severity": "error",
        "index": 4,
        "element": "http",
        "text": "'http' is not a port",
        "meaning": KINDS["port_wrong"].meaning,
        "remedy": KINDS["port_wrong"].remedy,
    }


def test_check_with_another_limit_of_memory(socs, tmp_path):
    (tmp_path / "p").write_text(lines(ALARM))
    assert "205 MB" not in socs("check", "--file", "p")[1]
    assert "205 MB" in socs("check", "--file", "p", "--buffer-limit", 100)[1]


def test_control_characters_do_not_reach_the_terminal(socs, tmp_path):
    (tmp_path / "p").write_text(
        json.dumps(["\x1b[2J", *FIRST, "226.1.1.1", "1", "a/b/\x1b/d.alarm"])
    )
    for command in (["show"], ["show", "--words"], ["check"], ["remove", FIRST[2]]):
        _, out, err = socs(*command, "--file", "p")
        assert "\x1b" not in out + err


# -- changes --------------------------------------------------------------------------------------

ADD = ["add", ALARM[2], "--address", ALARM[0], "--port", ALARM[1]]


@pytest.mark.parametrize("form", FORMS)
def test_a_change_is_shown_and_not_made(socs, tmp_path, form):
    file = tmp_path / "p"
    file.write_text(form(FIRST))
    status, out, _ = socs(*ADD, "--file", file)
    assert status == 0
    assert re.findall(r"(?m)^\+(?!\+)(.*)", out) == ALARM
    assert re.findall(r"(?m)^-(?!-)(.*)", out) == []
    assert out.endswith("Nothing was written; --apply writes it\n")
    assert file.read_text() == form(FIRST)
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("form", FORMS)
def test_an_applied_change_keeps_the_form_of_the_file_and_the_old_value(socs, tmp_path, form):
    file = tmp_path / "p"
    file.write_text(form(FIRST))
    file.chmod(0o640)
    assert socs(*ADD, "--file", file, "--apply", "--backup", "old.json")[0] == 0
    assert read(file.read_text()) == read(form([*FIRST, *ALARM]))
    assert file.stat().st_mode & 0o777 == 0o640
    old = json.loads((tmp_path / "old.json").read_text())
    assert Configuration.of(old).events == tuple(FIRST)
    assert socs("remove", ALARM[2].upper(), "--file", file, "--apply", "--backup", "b")[0] == 0
    assert read(file.read_text()) == read(form(FIRST))
    assert {path.name for path in tmp_path.iterdir()} == {"p", "old.json", "b"}


def test_what_was_kept_can_be_read_again(socs, tmp_path):
    (tmp_path / "p").write_text(lines(SECOND))
    socs(*ADD, "--file", "p", "--apply", "--backup", "old.json")
    words = ("show", "--json", "--file")
    assert len(socs(*words, "old.json")[1].splitlines()) == 5
    assert len(socs(*words, "p")[1].splitlines()) == 6


def test_without_a_backup_nothing_is_written(socs, tmp_path):
    (tmp_path / "p").write_text(lines(FIRST))
    (tmp_path / "old.json").write_text("mine")
    status, _, err = socs(*ADD, "--file", "p", "--apply", "--backup", "old.json")
    assert status == 1
    assert "old.json cannot be written: File exists" in err
    assert (tmp_path / "p").read_text() == lines(FIRST)
    assert (tmp_path / "old.json").read_text() == "mine"


def test_a_backup_has_a_name_of_its_own(socs, tmp_path):
    (tmp_path / "p").write_text(lines(FIRST))
    socs(*ADD, "--file", "p", "--apply")
    (backup,) = tmp_path.glob("multicast-*Z.json")
    assert json.loads(backup.read_text()) == {"MulticastEvent": FIRST}


def test_with_errors_nothing_is_written_unless_it_is_forced(socs, tmp_path):
    (tmp_path / "p").write_text(lines(["126.1.1.1", *FIRST[1:]]))
    status, out, err = socs(*ADD, "--file", "p", "--apply", "--backup", "b")
    assert (status, err) == (1, "Nothing was written: 2 errors; --force would write it\n")
    assert "FAIL  element 1 126.1.1.1" in out
    assert (tmp_path / "p").read_text().split()[0] == "126.1.1.1"
    assert not (tmp_path / "b").exists()
    assert socs(*ADD, "--file", "p", "--apply", "--force", "--backup", "b")[0] == 0
    assert (tmp_path / "p").read_text().split() == ["126.1.1.1", *FIRST[1:], *ALARM]


def test_what_cannot_be_changed_is_told(socs, tmp_path):
    (tmp_path / "p").write_text(lines(FIRST))
    status, _, err = socs("remove", "a/b/c/d.change", "--file", "p")
    assert (status, err) == (1, "socs: a/b/c/d.change is not in the property\n")
    status, _, err = socs("add", "a/b/c", "--address", "226.1.1.1", "--port", "1", "--file", "p")
    assert (status, err) == (
        1,
        "socs: cannot be added: 'a/b/c' is neither a number nor the name of an event\n",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'["226.1.1.1", 2222]', "MulticastEvent is not a list of texts"),
        (b'{"MulticastEvent": "226.1.1.1"}', "MulticastEvent is not a list of texts"),
        (b'["226.1.1.1"', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_are_something_else(socs, tmp_path, text, message):
    if text is not None:
        (tmp_path / "p").write_bytes(text)
    status, out, err = socs("check", "--file", "p")
    assert (status, out) == (1, "")
    assert message in err


def test_without_pytango_the_extra_is_named(socs, monkeypatch):
    monkeypatch.setattr(installed.importlib.util, "find_spec", lambda name: None)
    status, out, err = socs("show")
    assert (status, out) == (1, "")
    assert "pip install 'socs[tango]'" in err
