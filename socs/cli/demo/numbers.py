"""The numbers of a demo, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from socs.cli.demo.part import Comparison, PartNumbers


@dataclass(frozen=True)
class ScriptRun:
    """What the controller shows of the script that it ran.

    Attributes:
        state: ``not started``, ``running``, ``done`` or ``failed``.
        said: what the script was told to publish as ``token``.
        arrived: the controller's session data, without its own.
        lines: lines of the script's log among the controller's messages.
    """

    state: str = "not started"
    said: str = ""
    arrived: Mapping[str, Any] = field(default_factory=dict)
    lines: int = 0

    @property
    def good(self) -> bool:
        """Whether the script succeeded and its session data arrived."""
        return self.state == "done" and self.arrived.get("token") == self.said


@dataclass(frozen=True)
class Numbers:
    """All that the demo knows at one moment.

    Attributes:
        seconds: since the source was started.
        announced: files whose announcement the source sent.
        dropped: messages of all kinds that took a number and were not sent, on purpose.
        duplicated: messages that were sent twice, on purpose.
        received: datagrams that the monitor took from the kernel.
        heard: announcements of files among them, each counted once.
        registered: rows in the files table.
        verified: rows whose md5 is that of the file, computed again here.
        archived: files in the archive, under the path that their row has, with the same md5.
        wrong: rows whose md5 is not that of the file or of the copy, or whose file is gone.
        lost: messages that the monitor reports as lost (gaps in the numbers).
        recognised: messages that the monitor recognised as duplicates.
        waiting: files in the monitor's spool.
        rate: rows per second, of late.
        database: what the monitor says of the database.
        troubles: what the monitor says is wrong.
        feeds: messages that an OCS listener has seen, by feed.
        script: the controller's script.
        missing: announced files without a row (known at the end).
        surplus: rows without an announced file, or second rows of one (known at the end).
        monitor_answers: whether an OCS client gets an answer from the monitor.
        archiver_answers: the same of the archiver.
        parts: numbers of the other streams, by name.
    """

    seconds: float = 0.0
    announced: int = 0
    dropped: int = 0
    duplicated: int = 0
    received: int = 0
    heard: int = 0
    registered: int = 0
    verified: int = 0
    archived: int = 0
    wrong: int = 0
    lost: int = 0
    recognised: int = 0
    waiting: int = 0
    rate: float = 0.0
    database: str = "unknown"
    troubles: tuple[str, ...] = ()
    feeds: Mapping[str, int] = field(default_factory=dict)
    script: ScriptRun = ScriptRun()
    missing: int = 0
    surplus: int = 0
    monitor_answers: bool = False
    archiver_answers: bool = False
    parts: Mapping[str, PartNumbers] = field(default_factory=dict)

    @property
    def announced_so_far(self) -> int:
        """At least so many files: the source writes its count now and then."""
        return max(self.announced, self.heard, self.registered)

    def as_json(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {
            **vars(self),
            "seconds": round(self.seconds, 1),
            "rate": round(self.rate, 1),
            "feeds": dict(self.feeds),
            "script": {**vars(self.script), "arrived": dict(self.script.arrived)},
            "parts": {name: part.as_json() for name, part in self.parts.items()},
        }


def comparisons(numbers: Numbers) -> list[Comparison]:
    """What must agree at the end of a demo."""
    return [
        Comparison("files announced", numbers.announced, "rows in the table", numbers.registered),
        Comparison("rows", numbers.registered, "md5 verified", numbers.verified),
        Comparison("rows", numbers.registered, "archived, md5 verified", numbers.archived),
        Comparison("dropped on purpose", numbers.dropped, "reported lost", numbers.lost),
        Comparison("messages sent twice", numbers.duplicated, "recognised", numbers.recognised),
        *(each for part in numbers.parts.values() for each in part.comparisons()),
    ]


def problems(numbers: Numbers) -> list[str]:
    """Why a demo failed; empty if all is as it must be."""
    found = [
        f"{each.what}: {each.done}, but {each.outcome}: {each.found}"
        for each in comparisons(numbers)
        if not each.good
    ]
    if numbers.announced == 0:
        found.append("no file was announced")
    if numbers.wrong:
        found.append(f"{numbers.wrong} rows do not have the md5 of their file")
    if numbers.missing or numbers.surplus:
        found.append(f"{numbers.missing} files have no row, {numbers.surplus} rows no file")
    if not numbers.monitor_answers:
        found.append("the monitor does not answer OCS clients")
    if not numbers.archiver_answers:
        found.append("the archiver does not answer OCS clients")
    if not numbers.feeds:
        found.append("the OCS listener has seen no feed")
    if not numbers.script.good:
        state, arrived = numbers.script.state, dict(numbers.script.arrived)
        found.append(f"the controller's script: {state}, its session data: {arrived}")
    return found + [problem for part in numbers.parts.values() for problem in part.problems()]
