"""How commands that take long look: a bar in a terminal, findings as they come, a summary.

Findings go to standard output, all else to standard error: a table in a terminal, in a pipe a
line with tabs each, with ``--json`` an object each and the summary as the last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from socs.archive.findings import Finding, Findings
from socs.cli.output import escaped, print_rows, tab_separated

COLUMNS = ("kind", "file_id", "path", "size", "detail", "done")
IN_TERMINAL = ("kind", "path", "detail", "done")
SHOWN = 1000  # findings in a terminal
PERIOD = 0.1  # s between two changes of the bar


class Result(Protocol):
    """What such a job returns."""

    findings: Findings

    def summary(self) -> str:
        """One line."""

    def as_dict(self) -> dict[str, Any]:
        """All numbers."""


R = TypeVar("R", bound=Result)


class LongJob(Generic[R]):
    """Shows one job; a context manager, around the job alone.

    Args:
        args: the options ``json`` and ``quiet``.
        shown: ``(done, of how many, what is done now)`` of a result.
    """

    def __init__(
        self, args: argparse.Namespace, shown: Callable[[R], tuple[int, int, str]]
    ) -> None:
        self._json, self._quiet = args.json, args.quiet
        self._shown = shown
        self._table = sys.stdout.isatty() and not args.json
        self._kept: list[dict[str, Any]] = []
        self._next = 0.0
        self._last: R | None = None
        self._bar: Progress | None = None
        if sys.stderr.isatty() and not args.quiet:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[found]}"),
                console=Console(stderr=True),
                redirect_stdout=False,
                transient=True,
            )
            self._task = self._bar.add_task("begins", total=None, found="")

    def __enter__(self) -> LongJob[R]:
        if not self._table and not self._json:
            print("\t".join(COLUMNS), flush=True)
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            if self._last is not None:
                self._next = 0.0
                self.progress(self._last)
            self._bar.stop()
        if self._kept:
            print_rows(self._kept, COLUMNS, table_columns=IN_TERMINAL)

    def progress(self, result: R) -> bool:
        """Show how far it is; go on."""
        self._last = result
        now = time.monotonic()
        if self._bar is not None and now >= self._next:
            self._next = now + PERIOD
            done, total, what = self._shown(result)
            self._bar.update(
                self._task,
                completed=done,
                total=total or None,
                description=escape(escaped(what)),
                found=result.findings.summary(),
            )
        return True

    def on_finding(self, finding: Finding) -> None:
        """Print it, or keep it for the table."""
        told = finding.as_dict()
        if self._json:
            print(json.dumps(told, allow_nan=False), flush=True)
        elif not self._table:
            print(tab_separated(dict.fromkeys(COLUMNS) | told, COLUMNS), flush=True)
        elif len(self._kept) < SHOWN:
            self._kept.append(dict.fromkeys(COLUMNS) | told)

    def finish(self, result: R, notes: Sequence[str] = ()) -> None:
        """Print the summary, what to do about the findings, and ``notes``."""
        if self._json:
            numbers = {k: v for k, v in result.as_dict().items() if k != "findings"}
            print(json.dumps({"summary": numbers}, allow_nan=False))
        if self._quiet:
            return
        lines = [result.summary()]
        if len(result.findings) > len(self._kept) > 0:
            lines.append(f"The first {SHOWN} are shown; --json prints all of them")
        for line in (*lines, *result.findings.advice(), *notes):
            print(f"socs: {escaped(line)}", file=sys.stderr)
