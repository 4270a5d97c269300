"""Tables with titles as a command prints them: drawn in a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from socs.cli.output import as_text
from socs.sections import Row, Section

STYLES = {  # of rows, by their severity or status
    "error": "bold red",
    "warning": "yellow",
    "stalled": "bold red",
    "unserved": "bold red",
    "backlog": "yellow",
}
NUMBERS = (int, float)
LINES_AROUND = 6  # of a table: its title, its columns, how many more rows there are


def print_sections(head: str, sections: Sequence[Section], out: TextIO | None = None) -> None:
    """Print ``head`` and the sections, and have it out at once."""
    out = out or sys.stdout
    if out.isatty():
        Console(file=out).print(drawn(head, sections))
    else:
        print("\n".join(plain(head, sections)), file=out)
    out.flush()


def plain(head: str, sections: Iterable[Section]) -> list[str]:
    """Lines for a pipe: a title for each section, then its rows with tabs before each value."""
    lines = [f"*** {head}"]
    for section in sections:
        lines.append(section.title)
        lines.append("\t" + "\t".join(section.columns))
        for row in section.rows:
            lines.append("\t" + "\t".join(shown(row[name]) for name in section.columns))
        if section.left_out:
            lines.append(f"\t({section.left_out} more)")
    return lines


def drawn(head: str, sections: Iterable[Section]) -> RenderableType:
    """The same for a terminal."""
    parts: list[RenderableType] = [Text(head, style="bold")]
    for section in sections:
        parts.append(_table(section))
        if section.left_out:
            parts.append(Text(f"({section.left_out} more)", style="dim"))
    return Group(*parts)


def fitted(sections: Sequence[Section], lines: int) -> list[Section]:
    """``sections`` with no more rows than fit into so many lines; those with few rows keep them."""
    room = lines - LINES_AROUND * len(sections)
    rows: dict[str, int] = {}
    for left, section in enumerate(sorted(sections, key=lambda each: len(each.rows))):
        share = max(1, room // (len(sections) - left))
        rows[section.title] = min(len(section.rows), share)
        room -= rows[section.title]
    return [
        Section(
            each.title,
            each.columns,
            each.rows[: rows[each.title]],
            each.left_out + len(each.rows) - rows[each.title],
        )
        for each in sections
    ]


def _table(section: Section) -> Table:
    table = Table(
        title=Text(section.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in section.columns:
        is_number = bool(section.rows) and isinstance(section.rows[0][name], NUMBERS)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in section.rows:
        table.add_row(*(Text(shown(row[name])) for name in section.columns), style=_style(row))
    return table


def _style(row: Row) -> str:
    if row.get("lost"):
        return "bold red"
    return STYLES.get(row.get("severity") or row.get("status") or "", "")


def shown(value: Any) -> str:
    """A value as text; floats with one digit after the point."""
    return f"{value:.1f}" if isinstance(value, float) else as_text(value)
