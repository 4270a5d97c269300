"""The result of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from socs.archive.findings import Findings


@dataclass
class Audited:
    """What an audit found, in numbers of files; ``bytes`` were hashed.

    Attributes:
        timecodes, timecodes_done: days' directories, in the archive or in the table only.
        timecode: the one that is looked at.
        files: in the archive.
        rows: of archived files below the archive's directory.
        right: rows whose file is as it should be, as far as it was looked at.
        recovered: of these, lost or altered before.
        young: files without a row that may get one any moment.
        unsettled: files without a row yet, which an archiver has placed and will find again.
        superseded: rows that were tried again or archived anew meanwhile.
        set_aside: altered copies that were set aside by a repair.
        outside: rows of archived files elsewhere, by directory; not looked at.
        repaired: lost or altered files that will be copied again.
        registered: dark files that have rows now.
        stopped: was it stopped before the end?
    """

    timecodes: int = 0
    timecodes_done: int = 0
    timecode: str = ""
    files: int = 0
    rows: int = 0
    bytes: int = 0
    right: int = 0
    recovered: int = 0
    young: int = 0
    unsettled: int = 0
    superseded: int = 0
    set_aside: int = 0
    outside: dict[str, int] = field(default_factory=dict)
    repaired: int = 0
    registered: int = 0
    stopped: bool = False
    findings: Findings = field(default_factory=Findings)

    def summary(self) -> str:
        """One line for the operator."""
        days = f"{self.timecodes_done} of {self.timecodes} days"
        if not self.stopped:
            days = "1 day" if self.timecodes == 1 else f"{self.timecodes} days"
        text = f"Compared {self.files} files and {self.rows} rows of {days}"
        text += f": {self.findings.summary()}"
        done = {
            "found right again": self.recovered,
            "to be copied again": self.repaired,
            "registered": self.registered,
        }
        text += "".join(f", {number} {what}" for what, number in done.items() if number)
        return f"{text}{'; stopped before the end' if self.stopped else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Fit for session data: less than 30 kB of JSON."""
        numbers = {name: value for name, value in vars(self).items() if name != "findings"}
        return numbers | {"counts": self.findings.counts, "findings": self.findings.shown()}
