"""An archive and its table, made without an archiver, for tests and benchmarks of what looks at it.

Every file that is added is whole and known; what is planted afterwards is what has to be found.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from socs.archive.audit import Audit
from socs.archive.audited import Audited
from socs.archive.findings import Finding
from socs.archive.verify import Verified, Verify
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database

BEGIN = 1_700_000_000  # UNIX time of the first file [s]
DAY = 100_000  # s, as the directories count
LATER = 3600.0  # s from now, when nothing is young any more
PER_ACTION = 20  # files
AT_A_TIME = 5000  # rows per transaction


def later() -> float:
    """A clock that runs ahead."""
    return time.time() + LATER


@dataclass
class Archive:
    """An archive in ``directory/archive`` of files that were written to ``directory/source``."""

    directory: Path
    database: Database
    size: int = 100
    paths: dict[int, str] = field(default_factory=dict)  # by id

    def __post_init__(self) -> None:
        self.root = self.directory / "archive"
        self.source = self.directory / "source"
        self.root.mkdir(exist_ok=True)
        self.source.mkdir(exist_ok=True)
        copies.create_table(self.database)

    @classmethod
    def of(cls, directory: Path, database: Database) -> Archive:
        """The archive that an archiver has made there."""
        made = cls(directory, database)
        made.paths = {number: row["path"] for number, row in made.rows().items()}
        return made

    def add(
        self, count: int = 1, *, days: int = 1, with_source: bool = False, **row: Any
    ) -> list[int]:
        """Add files of as many ``days``; their ids. ``row`` replaces columns of all."""
        rows, sizes = [], {}
        for number in range(len(self.paths), len(self.paths) + count):
            content = number.to_bytes(8, "big") * -(-self.size // 8)
            path = self._place(number, number % days * DAY + number // days // PER_ACTION)
            path.write_bytes(content[: self.size])
            if with_source:
                self._source_of(str(path)).write_bytes(content[: self.size])
            rows.append(self._row(str(path), content[: self.size], row))
            sizes[str(path)] = self.size
        return self._store(rows, sizes, with_source)

    def add_row(self, path: str | Path, content: bytes, copy: bool = True, **row: Any) -> int:
        """A row for ``path``, whose file may or may not be there; without that of a ``copy``."""
        rows = [self._row(str(path), content, row)]
        (number,) = self._store(rows, {str(path): len(content)} if copy else {}, False)
        return number

    def _place(self, number: int, after: int) -> Path:
        action = BEGIN + after
        place = f"{str(action)[:5]}/crate1slot{number % 3}/{action}_take_iv/outputs"
        directory = self.root / place
        directory.mkdir(parents=True, exist_ok=True)
        return directory / f"{action}_{number}.npy"

    def _source_of(self, path: str) -> Path:
        return self.source / os.path.basename(path)

    def _row(self, path: str, content: bytes, row: Mapping[str, Any]) -> files.Row:
        common = {
            "path": path,
            "action": "take_iv",
            "timestamp": files.utc_text(BEGIN),
            "action_timestamp": BEGIN,
            "format": "npy",
            "plot": False,
            "pub_id": "crate1slot1",
            "instance_id": "monitor",
            "copied": True,
            "failed_copy_attempts": 0,
            "md5sum": hashlib.md5(content).digest(),
        }
        return files.row_of(common | dict(row))

    def _store(
        self, rows: Sequence[files.Row], sizes: Mapping[str, int], with_source: bool
    ) -> list[int]:
        number = files.table.c.id
        ids = []
        for start in range(0, len(rows), AT_A_TIME):
            with self.database.begin() as connection:
                last = connection.execute(sa.select(sa.func.max(number))).scalar() or 0
                files.add_entries(connection, rows[start : start + AT_A_TIME])
                query = sa.select(number, files.table.c.path).where(number > last)
                new = {row.id: row.path for row in connection.execute(query)}
                told = [
                    {
                        "file_id": file_id,
                        "state": copies.ARCHIVED,
                        "size": sizes[path],
                        "archived_at": float(BEGIN),
                        "source": str(self._source_of(path)) if with_source else None,
                    }
                    for file_id, path in new.items()
                    if path in sizes
                ]
                if told:
                    connection.execute(copies.table.insert(), told)
            self.paths |= new
            ids += new
        return ids

    # -- planting -------------------------------------------------------------------------------

    def lose(self, file_id: int) -> str:
        """Remove the file; its path."""
        os.unlink(self.paths[file_id])
        return self.paths[file_id]

    def alter(self, file_id: int, *, size: int = 0) -> str:
        """Change the contents, and add ``size`` bytes; the path."""
        path = Path(self.paths[file_id])
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()) + b"x" * size)
        return str(path)

    def darken(self, name: str, content: bytes = b"dark") -> str:
        """Write a file that no row has, as ``name`` below the archive; its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    # -- looking --------------------------------------------------------------------------------

    def audit(self, **settings: Any) -> tuple[Audited, list[Finding]]:
        """An audit an hour from now: its result, and all that it found."""
        seen: list[Finding] = []
        audit = Audit(**{"data_dir": str(self.root)} | settings)
        found = audit.run(self.database, clock=later, on_finding=seen.append)
        return found, seen

    def verify(self, **settings: Any) -> tuple[Verified, list[Finding]]:
        """A verification: its result, and all that it found."""
        seen: list[Finding] = []
        verify = Verify(**{"data_dir": str(self.root)} | settings)
        found = verify.run(self.database, clock=later, on_finding=seen.append)
        return found, seen

    def states(self) -> dict[int, str | None]:
        """States of all copies, by id of their file."""
        return {number: row["state"] for number, row in self.rows().items()}

    def rows(self) -> dict[int, Mapping[str, Any]]:
        """All rows of both tables."""
        with self.database.read() as connection:
            found = connection.execute(copies.with_state()).mappings().all()
        return {row["id"]: row for row in found}


def kinds(findings: Sequence[Finding]) -> dict[str, set[str]]:
    """``{kind: paths}``; no path twice."""
    told: dict[str, set[str]] = {}
    for finding in findings:
        assert finding.path not in told.setdefault(finding.kind, set()), finding
        told[finding.kind].add(finding.path)
    return told
