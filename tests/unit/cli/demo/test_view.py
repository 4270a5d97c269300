"""How a demo looks in a pipe and in a terminal."""

import dataclasses
import io

from rich.console import Console

from socs.cli.demo.numbers import Numbers
from socs.cli.demo.view import Lines, LiveTable, Silent, line_of, make_view, table_of
from tests.unit.cli.demo.test_numbers import GOOD


def console(**settings) -> Console:
    return Console(file=io.StringIO(), width=120, **settings)


def test_a_line_comes_every_two_seconds():
    lines = Lines(console())
    for tenths in range(0, 61, 2):
        lines.show(Numbers(seconds=tenths / 10))
    shown = lines._console.file.getvalue().splitlines()
    assert [line.split()[0] for line in shown] == ["2.0", "4.0", "6.0"]


def test_a_line_holds_the_numbers_and_the_troubles():
    numbers = dataclasses.replace(GOOD, troubles=("the disk is full",), database="down")
    line = line_of(numbers)
    for words in ("announced 100", "registered 100", "verified 100", "lost 3 (on purpose 3)"):
        assert words in line
    assert "database down" in line
    assert line.endswith("the disk is full")


def test_a_monitor_that_does_not_answer_is_told():
    silent = dataclasses.replace(GOOD, monitor_answers=False, database="up")
    assert "the monitor does not answer" in line_of(silent)


def test_the_table_holds_the_numbers_and_the_feeds():
    out = console()
    out.print(table_of(GOOD))
    shown = out.file.getvalue()
    assert "pysmurf-monitor counters" in shown
    assert "3 were dropped on purpose" in shown


def test_the_live_table_restores_the_terminal():
    view = LiveTable(console(force_terminal=True))
    with view:
        view.show(GOOD)
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    written = view._console.file.getvalue()
    assert "registered" in written
    assert written.rindex(shown) > written.rindex(hidden)


def test_the_summary_says_ok_or_what_is_wrong():
    lines = Lines(console())
    lines.summarise(GOOD)
    good = lines._console.file.getvalue()
    assert "OK: 100 files, each registered and archived once with the right md5" in good
    assert "WRONG" not in good
    lines = Lines(console())
    lines.summarise(dataclasses.replace(GOOD, lost=1))
    bad = lines._console.file.getvalue()
    assert "FAILED: dropped on purpose: 3, but reported lost: 1" in bad
    assert "OK: " not in bad


def test_with_json_nothing_else_is_shown(capsys):
    view = make_view(silent=True)
    assert isinstance(view, Silent)
    with view:
        view.tell("x")
        view.show(GOOD)
    view.summarise(GOOD)
    assert capsys.readouterr().out == ""


def test_a_pipe_gets_lines(capsys):
    assert type(make_view(silent=False)) is Lines
