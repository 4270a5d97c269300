"""Writing rows: lines for pipes, JSON, tables for terminals."""

import io
import json
from datetime import datetime

from socs.cli.output import as_text, moment, print_one, print_rows

ROW = {
    "id": 7,
    "path": "/data/a\tb\n\x1b[31mc.npy",
    "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678),
    "copied": False,
    "pub_id": None,
    "md5sum": bytes(range(16)),
}
MD5 = "000102030405060708090a0b0c0d0e0f"


class Terminal(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(out=None, **settings) -> str:
    out = out or io.StringIO()
    print_rows([ROW], list(ROW), out=out, **settings)
    return out.getvalue()


def test_a_pipe_gets_a_header_and_one_line_per_row():
    header, line, rest = printed().split("\n")
    assert header == "id\tpath\ttimestamp\tcopied\tpub_id\tmd5sum"
    path = r"/data/a\tb\n\x1b[31mc.npy"
    assert line == f"7\t{path}\t2026-01-02T03:04:05.000678Z\tno\t\t{MD5}"
    assert rest == ""


def test_json_has_one_object_per_line_with_utc_times_and_hex_digits():
    (line,) = printed(json_lines=True).splitlines()
    expected = {**ROW, "timestamp": "2026-01-02T03:04:05.000678Z", "md5sum": MD5}
    assert json.loads(line) == expected


def test_a_terminal_gets_a_table_without_live_control_characters():
    shown = printed(Terminal(), table_columns=["id", "path"])
    assert "\x1b[31mc" not in shown
    assert r"\x1b[31mc.npy" in shown
    assert "timestamp" not in shown


def test_rows_that_do_not_fit_keep_paths_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    path = "/data/smurf_data/20231114/crate1slot2/1700000000/outputs/1700000000_tune.npy"
    rows = [{"id": 7, "action": "tune", "path": path}, {"id": 123, "action": "x", "path": "/y"}]
    out = Terminal()
    print_rows(rows, ["id", "action", "path"], out=out)
    header, *lines = out.getvalue().splitlines()
    assert "id   action  path" in header
    assert lines == [f"7    tune    {path}", "123  x       /y"]


def test_long_values_do_not_move_the_columns_of_other_rows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [{"path": "/" + "a" * 100, "why": "x"}, {"path": "/b", "why": "y"}]
    out = Terminal()
    print_rows(rows, ["path", "why"], out=out)
    header, *lines = out.getvalue().splitlines()
    assert f"{'path':24}  why" in header
    assert lines == [f"{rows[0]['path']}  x", f"{'/b':24}  y"]


def test_markup_of_the_table_writer_is_not_interpreted_in_values():
    out = Terminal()
    print_rows([{"path": "/data/[red]x[/red]"}], ["path"], out=out)
    assert "[red]x[/red]" in out.getvalue()


def test_one_row_is_a_name_and_a_value_per_line():
    out = io.StringIO()
    print_one(ROW, out=out)
    lines = dict(line.split("\t", 1) for line in out.getvalue().splitlines())
    assert lines["md5sum"] == MD5
    assert lines["pub_id"] == ""
    assert list(lines) == list(ROW)


def test_one_row_is_one_object_in_json():
    out = io.StringIO()
    print_one(ROW, as_object=True, out=out)
    assert json.loads(out.getvalue())["md5sum"] == MD5


def test_a_backslash_is_told_from_an_escape():
    assert as_text("a\\n") == "a\\\\n"
    assert as_text("a\n") == "a\\n"
    assert as_text("\ud800") == "\\\\ud800"  # cannot be written as UTF-8
    assert as_text("größe Ω") == "größe Ω"


def test_moments_are_in_utc():
    assert moment(1_800_000_000.25) == "2027-01-15T08:00:00.250Z"
