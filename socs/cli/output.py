"""How the console command writes: tables in a terminal, tab-separated lines in a pipe, or JSON.

What came from the network is shown with its control characters escaped, so that a file name cannot
move the cursor or forge a line.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = "  "  # between columns
WIDEST = 24  # of a column that is kept in line, in rows that do not fit into the terminal
DIGITS = 3  # after the point, of numbers that were measured
Row = Mapping[Any, Any]  # values by column name


def as_json(value: Any) -> Any:
    """A database value as JSON knows it: bytes as hex digits, times as ISO 8601 in UTC with Z."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return value


def json_line(row: Row) -> str:
    """One row as a JSON object on one line."""
    return json.dumps({name: as_json(value) for name, value in row.items()}, allow_nan=False)


def as_text(value: Any) -> str:
    """A database value as text on one line; empty for None."""
    value = as_json(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escaped(str(value))


def escaped(text: str) -> str:
    """``text`` with control characters, and the backslash that marks them, escaped."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in text.encode("utf-8", "backslashreplace").decode()
    )


def tab_separated(row: Row, columns: Sequence[str]) -> str:
    """The ``columns`` of ``row``, separated by tabs."""
    return "\t".join(as_text(row[column]) for column in columns)


def print_rows(
    rows: Iterable[Row],
    columns: Sequence[str],
    *,
    json_lines: bool = False,
    table_columns: Sequence[str] | None = None,
    out: TextIO | None = None,
) -> None:
    """Print ``rows``: JSON lines with all they hold, else the ``columns`` as a table or lines.

    Args:
        json_lines: one JSON object per line.
        table_columns: the columns for a table, where there is less room; ``columns`` if omitted.
        out: where to; standard output if omitted. A table only if it is a terminal.
    """
    out = out or sys.stdout
    if json_lines:
        for row in rows:
            print(json_line(row), file=out)
    elif out.isatty():
        _print_table(rows, table_columns or columns, out)
    else:
        print("\t".join(columns), file=out)
        for row in rows:
            print(tab_separated(row, columns), file=out)


def _print_table(rows: Iterable[Row], columns: Sequence[str], out: TextIO) -> None:
    console = Console(file=out)
    cells = [list(columns), *([_in_table(row[column]) for column in columns] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + len(GAP) * (len(widths) - 1) > console.width:
        # The terminal breaks these lines, so that a path can be copied in one piece.
        widths = [min(width, WIDEST) for width in widths]
    widths[-1] = 0
    for number, values in enumerate(cells):
        padded = (v + " " * (w - cell_len(v)) for v, w in zip(values, widths, strict=True))
        console.print(Text(GAP.join(padded), style="" if number else "bold"), soft_wrap=True)


def _in_table(value: Any) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    return as_text(value)


def print_one(row: Row, *, as_object: bool = False, out: TextIO | None = None) -> None:
    """Print one row, a value per line under its name, or as one JSON object."""
    out = out or sys.stdout
    if as_object:
        print(json_line(row), file=out)
        return
    width = max(map(len, row)) if out.isatty() else 0
    separator = "  " if out.isatty() else "\t"
    for name, value in row.items():
        print(f"{name:{width}}{separator}{as_text(value)}", file=out)


def utc_of(ns: int) -> str | None:
    """A time [ns since 1970] as ISO 8601 in UTC with Z; None for 0, which stands for none."""
    if ns <= 0:
        return None
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}.{rest // 1000:06}Z"


def moment(utc: float) -> str:
    """A UNIX time [s] for people; the number itself if no calendar has it, as anybody may say."""
    try:
        found = datetime.fromtimestamp(utc, timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return f"{utc:g}"
    return found.isoformat(timespec="milliseconds") + "Z"


def measured(value: float) -> float | None:
    """A number that was measured, as it is printed; None for NaN."""
    return None if math.isnan(value) else round(float(value), DIGITS)


def ranges(numbers: Iterable[int]) -> str:
    """``numbers``, which increase, as ``0-3,7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in runs)


class Lines:
    """Prints rows one by one as they come: in columns in a terminal, with tabs in a pipe.

    Args:
        columns: of each row; the first line names them.
        style: ``csv`` or ``json`` instead.
        flush: have each line out at once, for streams that never end.
        out: where to; standard output if omitted.
    """

    def __init__(
        self,
        columns: Sequence[str],
        style: str | None = None,
        *,
        flush: bool = False,
        out: TextIO | None = None,
    ) -> None:
        self._columns, self._style, self._flush = columns, style, flush
        self._out = out or sys.stdout
        self._csv = csv.writer(self._out, lineterminator="\n") if style == "csv" else None
        self._widths: list[int] = []

    def add(self, row: Row) -> None:
        """Print ``row``."""
        if self._style == "json":
            print(json_line(row), file=self._out, flush=self._flush)
            return
        cells = [_cell(row[column]) for column in self._columns]
        if not self._widths:
            self._widths = [max(map(len, pair)) for pair in zip(self._columns, cells, strict=True)]
            self._print(self._columns)
        self._print(cells)

    def _print(self, cells: Sequence[str]) -> None:
        if self._csv is not None:
            self._csv.writerow(cells)
            if self._flush:
                self._out.flush()
        elif self._out.isatty():
            padded = map(str.rjust, cells, self._widths)
            print("  ".join(padded).rstrip(), file=self._out, flush=self._flush)
        else:
            print("\t".join(cells), file=self._out, flush=self._flush)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{DIGITS}f}"
    if isinstance(value, list):
        return ranges(value)
    return as_text(value)
