"""What tests of pruning need: files that were archived, where they were written and in the archive.

Nothing here uses the code under test: the tables are filled, and looked at, by statements.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from socs.archive.policy_yaml import read_policy
from socs.archive.prune import Decision, Prune, Pruned
from socs.archive.prune_local import LocalSources
from socs.dataroots import DataRoots
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database

NOW = 1_700_000_000.0  # UNIX time of the tests [s]
DAY = 86400.0
MONITOR = "pysmurf-monitor"
ALL = "delete_after: 0s"


class World:
    """A data root, an archive and a database; made by :func:`world`."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.root, self.archive = directory / "wrote", directory / "archive"
        self.outside = directory / "outside"
        for made in (self.root, self.archive, self.outside):
            made.mkdir()
        (self.root / "other").write_text("something else is always there")
        (self.archive / "15999").mkdir()
        self.database = Database(environ)
        copies.create_table(self.database)

    # -- what there is --------------------------------------------------------------------------

    def add(self, name: str, content: bytes | None = None, *, write: bool = True, **known) -> int:
        """A file below the data root and its copy; its id. ``known`` are columns of both tables.

        Args:
            name: below the root, or an absolute path.
            content: of both; differs from name to name if omitted.
            write: False for a row alone.
        """
        content = f"contents of {name}".encode() if content is None else content
        source = Path(os.path.join(self.root, name))
        copy = self.archive / "16000" / known.get("pub_id", "crate1") / name.lstrip("/")
        if write:
            for path in (source, copy):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        row = {
            "path": str(copy),
            "md5sum": hashlib.md5(content).digest(),
            "timestamp": files.utc_text(NOW - 100 * DAY),
            "instance_id": MONITOR,
            "pub_id": "crate1",
            "copied": True,
            "failed_copy_attempts": 0,
        }
        own = {
            "state": copies.ARCHIVED,
            "source": str(source),
            "size": len(content),
            "archived_at": NOW - 10 * DAY,
            "verified_at": NOW - 10 * DAY,
        }
        row |= {name: value for name, value in known.items() if name in files.COLUMNS}
        own |= {name: value for name, value in known.items() if name in own}
        with self.database.begin() as connection:
            files.add_entries(connection, [files.row_of(row)])
            number = connection.execute(sa.select(sa.func.max(files.table.c.id))).scalar_one()
            if own["state"] is not None:
                connection.execute(copies.table.insert(), {"file_id": number, **own})
        return number

    def source(self, number: int) -> Path:
        """Where a file was written."""
        return Path(self.row(number)["source"])

    def copy(self, number: int) -> Path:
        """Where its copy is."""
        return Path(self.row(number)["path"])

    def row(self, number: int) -> Mapping[str, Any]:
        """All that both tables know of a file."""
        with self.database.read() as connection:
            query = copies.with_state(files.table.c.id == number)
            return connection.execute(query).mappings().one()

    def rows(self) -> list[Mapping[str, Any]]:
        """All rows of both tables, as they are."""
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(copies.with_state()).mappings()]

    def everything(self) -> dict[str, tuple]:
        """All files on the disks: path, contents, time."""
        found = {}
        for top in (self.root, self.archive, self.outside):
            for path in top.rglob("*"):
                if path.is_file():
                    found[str(path)] = path.read_bytes(), path.lstat().st_mtime_ns
        return found

    # -- pruning --------------------------------------------------------------------------------

    @contextmanager
    def pruning(self, policy: str = ALL, **settings) -> Iterator[Prune]:
        """Something to run."""
        with LocalSources(DataRoots([self.root]), str(self.archive)) as sources:
            settings = {"instances": [MONITOR], "sources": sources} | settings
            yield Prune(read_policy(policy, "a test"), str(self.archive), **settings)

    def prune(self, policy: str = ALL, *, dry_run: bool = False, **settings) -> dict[int, Decision]:
        """Run it to its end; what was decided, by id."""
        return self.run(policy, dry_run=dry_run, **settings)[1]

    def run(
        self, policy: str = ALL, *, dry_run: bool = False, **settings
    ) -> tuple[Pruned, dict[int, Decision]]:
        """Run it to its end; its numbers, and what was decided."""
        decisions: list[Decision] = []
        with self.pruning(policy, **settings) as prune:
            pruned = prune.run(
                self.database, now=NOW, dry_run=dry_run, on_decision=decisions.append
            )
        assert len({decision.id for decision in decisions}) == len(decisions) == pruned.looked_at
        return pruned, {decision.id: decision for decision in decisions}


@contextmanager
def world(directory: Path, environ: Mapping[str, str]) -> Iterator[World]:
    """Files to prune, below ``directory``."""
    made = World(directory, environ)
    try:
        yield made
    finally:
        made.database.close()
