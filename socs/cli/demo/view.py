"""How a demo looks: a live table in a terminal, a line every two seconds elsewhere."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from socs.cli.demo.numbers import Numbers, comparisons, problems
from socs.cli.demo.run import ADDRESS_ROOT, Demo

LINE_PERIOD = 2.0  # s between plain lines


class View(Protocol):
    """What the demo needs of a view."""

    def tell(self, text: str) -> None:
        """A step, in words."""

    def show(self, numbers: Numbers) -> None:
        """The numbers as they are now; called several times a second."""

    def summarise(self, numbers: Numbers) -> None:
        """The result."""

    def __enter__(self) -> View:
        """Begin showing numbers."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End showing numbers."""


class Silent:
    """Shows nothing."""

    def tell(self, text: str) -> None:
        """Nothing."""

    def show(self, numbers: Numbers) -> None:
        """Nothing."""

    def summarise(self, numbers: Numbers) -> None:
        """Nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines:
    """Plain lines, for pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = LINE_PERIOD

    def tell(self, text: str) -> None:
        """A step, as a line."""
        self._print(text)

    def show(self, numbers: Numbers) -> None:
        """A line every :data:`LINE_PERIOD`."""
        if numbers.seconds >= self._next:
            self._next = numbers.seconds - numbers.seconds % LINE_PERIOD + LINE_PERIOD
            self._print(line_of(numbers))

    def summarise(self, numbers: Numbers) -> None:
        """The result as a table and a sentence."""
        print_summary(self._console, numbers)

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveTable(Lines):
    """A table that is renewed in place, for terminals."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def show(self, numbers: Numbers) -> None:
        """Renew the table."""
        self._live.update(table_of(numbers))

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def make_view(*, silent: bool) -> View:
    """The view for this standard output."""
    if silent:
        return Silent()
    console = Console(highlight=False)
    return LiveTable(console) if console.is_terminal else Lines(console)


def line_of(numbers: Numbers) -> str:
    """The numbers on one line."""
    parts = [
        f"{numbers.seconds:6.1f} s",
        f"announced {numbers.announced_so_far}",
        f"registered {numbers.registered}",
        f"verified {numbers.verified}",
        f"archived {numbers.archived}",
        f"wrong {numbers.wrong}",
        f"lost {numbers.lost} (on purpose {numbers.dropped})",
        f"in spool {numbers.waiting}",
        f"{numbers.rate:.1f} files/s",
        f"database {_database(numbers)}",
        f"feed messages {sum(numbers.feeds.values())}",
        *numbers.troubles,
    ]
    return "  ".join(parts + [text for part in numbers.parts.values() for text in part.line()])


def table_of(numbers: Numbers) -> Table:
    """The numbers as a table."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    wrong = "red" if numbers.wrong else "default"
    rows = [
        ("running", f"{numbers.seconds:.0f} s", ""),
        (
            "announced",
            str(numbers.announced_so_far),
            "files that the source wrote and announced",
        ),
        ("received", str(numbers.received), "datagrams taken by the monitor, of all kinds"),
        ("registered", str(numbers.registered), "rows in the files table"),
        ("verified", str(numbers.verified), "rows whose md5 this program computed again"),
        ("archived", str(numbers.archived), "copies in the archive, their md5 computed again too"),
        ("wrong", f"[{wrong}]{numbers.wrong}[/]", "rows with another md5 than their file or copy"),
        ("lost", str(numbers.lost), f"messages missed; {numbers.dropped} were dropped on purpose"),
        (
            "duplicates",
            str(numbers.recognised),
            f"recognised; {numbers.duplicated} were sent twice on purpose",
        ),
        ("in spool", str(numbers.waiting), "in the spool, until unchanged for 0.5 s"),
        ("rate", f"{numbers.rate:.1f}/s", "files registered per second"),
        ("database", _database(numbers), escape("; ".join(numbers.troubles))),
        ("controller", numbers.script.state, "script run by the pysmurf controller"),
        *((name, value, escape(text)) for name, value, text in _part_rows(numbers)),
    ]
    for row in rows:
        table.add_row(*row)
    for feed, count in sorted(numbers.feeds.items()):
        table.add_row("feed", str(count), escape(feed))
    return table


def _part_rows(numbers: Numbers) -> list[tuple[str, str, str]]:
    return [row for part in numbers.parts.values() for row in part.rows()]


def _database(numbers: Numbers) -> str:
    return numbers.database if numbers.monitor_answers else "unknown: the monitor does not answer"


def print_summary(console: Console, numbers: Numbers) -> None:
    """The result of a demo."""
    table = Table(title=f"After {numbers.seconds:.1f} s", title_justify="left")
    for heading in ("done", "", "outcome", "", ""):
        table.add_column(heading, justify="left" if heading else "right")
    for each in comparisons(numbers):
        mark = "[green]ok[/]" if each.good else "[bold red]WRONG[/]"
        table.add_row(each.what, str(each.done), each.outcome, str(each.found), mark)
    script = numbers.script
    mark = "[green]ok[/]" if script.good else "[bold red]WRONG[/]"
    arrived = str(script.arrived.get("token", "-"))
    table.add_row("script publishes token", script.said or "-", "in the controller", arrived, mark)
    console.print(table)
    console.print(Text(f"Session data of the controller: {dict(script.arrived)}"))
    feeds = ", ".join(f"{feed} ({count})" for feed, count in sorted(numbers.feeds.items()))
    console.print(Text(f"Feeds seen by an OCS listener (messages): {feeds or 'none'}"))
    found = problems(numbers)
    for problem in found:
        console.print(Text(f"FAILED: {problem}", "bold red"), soft_wrap=True)
    if not found:
        text = f"{numbers.registered} files, each registered and archived once with the right md5,"
        console.print(Text(f"OK: {text} {numbers.rate:.1f} per second", "bold green"))
        for part in numbers.parts.values():
            console.print(Text(f"OK: {part.sentence()}", "bold green"))


def introduction(demo: Demo) -> str:
    """Where the demo is, and how to look at it with other tools."""
    site, data = _short(demo.directory.site), _short(demo.directory.data)
    lines = [
        f"The site is in {_short(demo.directory.path)}: router on port {demo.site.port}, logs in "
        f"{site}/log. To look at it from another terminal:",
        f"  OCS_CONFIG_DIR={site} {_program('ocs-client-cli')} listen '{ADDRESS_ROOT}..feeds.'",
        f"  OCS_CONFIG_DIR={site} {_program('ocs-client-cli')} scan --details",
        f"  SOCS_DATA_DIR={data} {_program('socs')} files tail",
        f"  OCS_CONFIG_DIR={site} SOCS_DATA_DIR={data} {_program('socs')} doctor",
    ]
    return "\n".join(lines)


def _program(name: str) -> str:
    """What to type for a program of this Python's environment."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found is not None and os.path.realpath(found) == os.path.realpath(own):
        return name
    return _short(own)


def _short(path: Path) -> str:
    """``path`` as typed here: relative if it is below the working directory, quoted if needed."""
    with_dots = Path(os.path.relpath(path))
    return shlex.quote(str(path if ".." in with_dots.parts else with_dots))
