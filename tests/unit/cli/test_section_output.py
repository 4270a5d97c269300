"""Tables with titles: drawn in a terminal, as lines in a pipe."""

import io
import re

from socs.cli.section_output import fitted, print_sections
from socs.sections import Section

SECTIONS = [
    Section(
        "times [us]",
        ("subscriber", "lost", "rate", "missed"),
        [
            {"subscriber": "dserver/[bold]x\x1b[2J", "lost": 12, "rate": 0.123, "missed": None},
            {"subscriber": "dserver/b", "lost": 0, "rate": 1e6, "missed": 3},
        ],
        left_out=7,
    )
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_lines_with_tabs():
    out = io.StringIO()
    print_sections("now", SECTIONS, out)
    assert out.getvalue().splitlines() == [
        "*** now",
        "times [us]",
        "\tsubscriber\tlost\trate\tmissed",
        "\tdserver/[bold]x\\x1b[2J\t12\t0.1\t",
        "\tdserver/b\t0\t1000000.0\t3",
        "\t(7 more)",
    ]


def test_a_terminal_gets_tables(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    print_sections("now", SECTIONS, out)
    text = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert "\x1b" not in text
    assert re.search(r"subscriber +lost +rate +missed", text)
    assert re.search(r"dserver/\[bold\]x\\x1b\[2J +12 +0.1", text)
    assert "times [us]" in text
    assert "(7 more)" in text


def test_tables_share_the_room():
    def rows(title, count, left_out=0):
        return Section(title, ("n",), [{"n": n} for n in range(count)], left_out)

    tables = fitted([rows("a", 2), rows("b", 100), rows("c", 100, left_out=5)], 40)
    assert [(len(each.rows), each.left_out) for each in tables] == [(2, 0), (10, 90), (10, 95)]
    assert [len(each.rows) for each in fitted([rows("a", 3)], 2)] == [1]
