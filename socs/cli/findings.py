"""What a check finds, and how findings are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from rich.console import Console
from rich.text import Text

from socs.cli.output import escaped

Level = Literal["OK", "WARN", "FAIL"]
STYLES: dict[Level, str] = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Attributes:
        level: OK, WARN (works, but not as well or as safely as it should) or FAIL (does not work).
        subject: what was looked at.
        text: what was found.
        remedy: what to change; empty when all is well.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding("OK", subject, text)


def warn(subject: str, text: str, remedy: str) -> Finding:
    """It works, but not as well or as safely as it should."""
    return Finding("WARN", subject, text, remedy)


def fail(subject: str, text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("FAIL", subject, text, remedy)


def failed(findings: Sequence[Finding]) -> bool:
    """Whether any of ``findings`` is a FAIL."""
    return any(finding.level == "FAIL" for finding in findings)


def print_findings(
    findings: Sequence[Finding], *, as_json: bool, out: TextIO | None = None
) -> None:
    """Print all ``findings`` with their remedies, and how many there are of each level."""
    out = out or sys.stdout
    counts = {level: sum(f.level == level for f in findings) for level in STYLES}
    if as_json:
        found = {"failed": failed(findings), "counts": counts}
        print(json.dumps({**found, "findings": list(map(asdict, findings))}), file=out)
        return
    console = Console(file=out, soft_wrap=True, highlight=False)
    for finding in findings:
        line = Text.assemble(
            (f"{finding.level:<6}", STYLES[finding.level]),
            (escaped(finding.subject), "bold"),
            f": {escaped(finding.text)}",
        )
        console.print(line)
        if finding.remedy:
            console.print(Text(f"      -> {escaped(finding.remedy)}"))
    console.print(Text(", ".join(f"{count} {level}" for level, count in counts.items())))
