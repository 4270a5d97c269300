"""What tests of the archiver need: files that are announced, many of them spoilt, and the truth.

Every file that is announced is either good, and has to end archived under one name with the
contents announced, or spoilt in a way of :data:`tests.spoilt.WAYS`, and has to end with that way's
state and cause. :func:`check` compares this with what is in the tables and in the archive, whose
files it hashes itself.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from socs.archive.archiver import Archiver
from socs.archive.service import ArchiveService
from socs.archive.settings import ArchiveSettings
from socs.archive.storage import STAGING
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from tests.spoilt import ACTIONS, NAMES, PUBLISHERS, WAYS, Spot

ARCHIVER = "archiver"
MONITOR = "pysmurf-monitor"
BEGIN = 1_700_000_000  # UNIX time of the first file [s]
SMALLEST, LARGEST = 1000, 5_000_000  # bytes
TAIL = 0.75  # exponent of the distribution of sizes: 30 kB in the mean, half below 2.5 kB
AT_A_TIME = 1000  # rows announced in a transaction

Rows = Mapping[str, Mapping[str, Any]]


# -- announcing -----------------------------------------------------------------------------------


class End(NamedTuple):
    """What has to become of a spoilt file."""

    state: str
    cause: str
    attempts: int
    found: bytes | None  # MD5 that it has instead


@dataclass
class Source:
    """Files below ``directory/source``, and what was announced of them.

    Args:
        directory: of the test.
        seed: of sizes, contents and columns.
    """

    directory: Path
    seed: int = 1
    good: dict[str, bytes] = field(default_factory=dict)  # MD5s by path
    spoilt: dict[str, End] = field(default_factory=dict)  # by path
    renamed: set[str] = field(default_factory=set)  # paths of files whose name is taken

    def __post_init__(self) -> None:
        self.root = self.directory / "source"
        self.outside = self.directory / "outside"
        for path in (self.root, self.outside):
            path.mkdir(parents=True, exist_ok=True)
        self._random = random.Random(self.seed)
        self._rows: list[files.Row] = []
        self._number = 0

    def add(
        self,
        name: str | None = None,
        size: int | None = None,
        content: bytes | None = None,
        **row: Any,
    ) -> Path:
        """Write a good file, to be announced with the columns ``row``; each in a directory of 100.

        Args:
            name: of the file; made up if there is none.
            size: in bytes; one of many small and some large ones if it is not given.
            content: random if it is not given.
        """
        path, md5sum = self._write(name, size, content)
        self._announce(str(path), md5sum, **row)
        self.good[str(path)] = md5sum
        return path

    def add_large(self, size: int) -> Path:
        """Write a good file of ``size`` bytes, nearly all zero."""
        path = self._write(None, None, None)[0]
        os.truncate(path, size)
        md5sum = _md5(path)
        self._announce(str(path), md5sum)
        self.good[str(path)] = md5sum
        return path

    def add_spoilt(self, way: str, attempts: int = files.MAX_COPY_ATTEMPTS) -> None:
        """Write a file and spoil it; it comes to rest after so many failed ``attempts``."""
        spoil, state, cause = WAYS[way]
        written, md5sum = self._write(None, None, None)
        path = spoil(Spot(written, self.outside))
        found = None
        if state == copies.CHANGED:
            attempts, found = 1, _md5(Path(path))
        self._announce(path, md5sum)
        self.spoilt[path] = End(state, cause, attempts, found)

    def add_oddities(self) -> None:
        """Add good files with odd names, publishers, actions and places, and with taken names."""
        for name in NAMES:
            self.add(name)
        for publisher in PUBLISHERS:
            self.add(pub_id=publisher)
        for action in ACTIONS:
            self.add(action=action)
        self.add(size=0)
        self.add(action=None, action_timestamp=None, timestamp=None)
        where = self.root / "14000" / "stream"
        where.mkdir(parents=True, exist_ok=True)
        for place in (where, where / ".." / ".." / "14000"):
            self.add_in(place, action="timestreams")
        link = self.add().with_name("link")
        link.symlink_to(self._write(None, None, None)[0])
        self._announce(str(link), _md5(link))
        self.good[str(link)] = _md5(link)
        self.add_same_names(10)

    def add_in(self, directory: Path, size: int | None = None, **row: Any) -> None:
        """As :meth:`add`, in an existing ``directory`` below the root."""
        path, md5sum = self._write(None, size, None)
        moved = path.rename(directory / path.name)
        self._announce(str(moved), md5sum, **row)
        self.good[str(moved)] = md5sum

    def add_same_names(self, count: int) -> None:
        """Add ``count`` files whose name in the archive is the same, and three times the first."""
        columns = {"pub_id": f"same-{self._number}", "plot": False, "action": "same"}
        columns |= {"timestamp": files.utc_text(BEGIN), "action_timestamp": BEGIN}
        first = None
        for number in range(count + 2):
            content = first if 0 < number < 3 else None
            path, md5sum = self._write("same", None, content)
            first = first or path.read_bytes()
            moved = path.rename(self._subdirectory() / "same")
            self._announce(str(moved), md5sum, **columns)
            self.good[str(moved)] = md5sum
            self.renamed.add(str(moved))

    def mix(self, count: int, share: float = 0.01) -> None:
        """Add ``count`` files, of which ``share`` is spoilt, in all ways in turn."""
        ways = list(WAYS)
        every = round(1 / share)
        for number in range(count):
            if number % every == every // 2:
                self.add_spoilt(ways[len(self.spoilt) % len(ways)])
            else:
                self.add()

    def register(self, database: Database) -> None:
        """Put rows into the files table for all that was added since the last time."""
        copies.create_table(database)
        rows, self._rows = self._rows, []
        for start in range(0, len(rows), AT_A_TIME):
            with database.begin() as connection:
                files.add_entries(connection, rows[start : start + AT_A_TIME])

    def _subdirectory(self) -> Path:
        self._number += 1
        directory = self.root / f"same-{self._number}"
        directory.mkdir()
        return directory

    def _write(
        self, name: str | None, size: int | None, content: bytes | None
    ) -> tuple[Path, bytes]:
        self._number += 1
        directory = self.root / f"{self._number // 100:05}"
        directory.mkdir(exist_ok=True)
        if size is None:
            size = int(min(SMALLEST * self._random.random() ** (-1 / TAIL), LARGEST))
        if content is None:
            content = self._number.to_bytes(8, "big") * min(size, 1)  # no two are the same
            content += self._random.randbytes(max(size - 8, 0))
        path = directory / (name or f"{BEGIN + 100 * self._number}_{self._number}.npy")
        path.write_bytes(content)
        return path, hashlib.md5(content).digest()

    def _announce(self, path: str, md5sum: bytes, **row: Any) -> None:
        written = BEGIN + 100 * self._number  # so that there are several timecodes
        common = {
            "action": self._random.choice(["take_iv", "tune", "take_noise_psd"]),
            "timestamp": files.utc_text(written),
            "action_timestamp": written // 6000 * 6000,
            "format": "npy",
            "plot": self._random.random() < 0.3,
            "site": "site",
            "pub_id": self._random.choice(["crate1slot2", "crate1slot3"]),
            "instance_id": MONITOR,
            "copied": False,
            "failed_copy_attempts": 0,
        }
        self._rows.append(files.row_of(common | {"path": path, "md5sum": md5sum} | row))


# -- looking --------------------------------------------------------------------------------------


def rows_of(database: Database) -> Rows:
    """All rows of both tables, by the path that was announced."""
    with database.read() as connection:
        found = connection.execute(copies.with_state()).mappings().all()
    return {row["source"] or row["path"]: row for row in found}


def number(database: Database, *conditions: sa.ColumnElement[bool]) -> int:
    """How many rows of :func:`socs.db.copies.with_state` meet the conditions."""
    query = sa.select(sa.func.count()).select_from(copies.with_state(*conditions).subquery())
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def files_below(directory: Path) -> list[str]:
    """Paths of all files below ``directory`` that are no markers for readers."""
    return [
        os.path.join(where, name)
        for where, _, names in os.walk(directory)
        for name in names
        if "/suprsync/" not in where + "/"
    ]


def temporary(directory: Path) -> list[str]:
    """Directories for temporary names below the archive's ``directory``, also empty ones."""
    return [str(path) for path in directory.glob(f"*/{STAGING}*")]


def check(
    database: Database, archive: Path, source: Source, seen: Callable[[Path], Path] = Path
) -> None:
    """Everything announced has come to the end that it has to; nothing else is in the archive.

    Args:
        seen: where a path of the archive can be seen.
    """
    rows = rows_of(database)
    assert rows.keys() == source.good.keys() | source.spoilt.keys()
    for path, md5sum in source.good.items():
        row = rows[path]
        assert row["copied"] is True, row
        assert (row["state"], row["cause"]) == (copies.ARCHIVED, None), row
        assert bytes(row["md5sum"]) == md5sum, row
        assert row["path"].startswith(f"{archive}/"), row
        there = seen(Path(row["path"]))
        assert _md5(there) == md5sum, row
        assert row["size"] == there.stat().st_size, row
        if path not in source.renamed:
            assert os.path.basename(row["path"]) == os.path.basename(path), row
    for path, end in source.spoilt.items():
        row = rows[path]
        assert row["copied"] is False, row
        assert row["path"] == path, row
        reached = End(row["state"], row["cause"], row["failed_copy_attempts"], row["found_md5sum"])
        assert reached == end, row
        assert row["detail"], row
    names = files_below(seen(archive))
    assert sorted(names) == sorted({str(seen(rows[path]["path"])) for path in source.good})
    assert len(names) == len(set(source.good.values())), "contents are there under two names"
    assert temporary(seen(archive)) == []


def _md5(path: Path) -> bytes:
    md5 = hashlib.md5()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            md5.update(data)
    return md5.digest()


# -- an archiver ----------------------------------------------------------------------------------


def settings_of(source: Source, **settings: Any) -> dict[str, Any]:
    """Fields of :class:`ArchiveSettings` for ``source``, into ``directory/archive``."""
    archive = source.directory / "archive"
    archive.mkdir(exist_ok=True)
    return {
        "instance_id": ARCHIVER,
        "targets": [MONITOR],
        "data_dir": str(archive),
        "roots": [str(source.root)],
        "retry_wait": 0.02,
        "poll_interval": 0.2,
    } | settings


@contextmanager
def running_archiver(
    source: Source, environ: Mapping[str, str], **settings: Any
) -> Iterator[Archiver]:
    """An archiver of ``source`` in this process; ``log`` holds its lines."""
    database = Database(environ, statement_timeout=1)
    lines: list[str] = []
    service = ArchiveService(
        ArchiveSettings(**settings_of(source, **settings)), database, report=lines.append
    )
    service.archiver.log = lines
    service.start()
    try:
        yield service.archiver
    finally:
        service.stop()
        database.close()


def all_at_rest(database: Database) -> bool:
    """Is every file that was registered archived, or at rest for another reason?"""
    with database.read() as connection:
        return copies.on_their_way(connection, [MONITOR], files.MAX_COPY_ATTEMPTS)[0] == 0
