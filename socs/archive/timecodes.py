"""What the tables know of a timecode: the files of 100 000 s, which share a directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import sqlalchemy as sa

from socs.archive.paths import FIRST_TIME, LAST_TIME, SMURF, TIMESTREAMS, file_of, place_of
from socs.db import copies
from socs.db import pysmurf_files_manager as files

TIMECODE = 100_000  # s
PAGE = 500  # rows fetched at a time


class Timecodes:
    """Questions about timecodes, which are given as their five digits.

    Args:
        data_dir: directory of the archive.
        instances: those that registered the files.
        max_attempts: failed attempts after which a file comes to rest.
    """

    def __init__(self, data_dir: str, instances: Sequence[str], max_attempts: int) -> None:
        self._data_dir = data_dir
        self.instances, self.max_attempts = list(instances), max_attempts

    def awaited(self, connection: sa.Connection, timecode: str) -> set[str]:
        """The names of the archives for which files of ``timecode`` are still on their way."""
        awaited = set()
        on_its_way = copies.is_on_its_way(self.max_attempts)
        for archive_name in self._uncopied(connection, timecode, on_its_way):
            awaited.add(archive_name)
            if len(awaited) == len((SMURF, TIMESTREAMS)):
                break
        return awaited

    def at_rest(self, connection: sa.Connection, timecode: str) -> Counter[str]:
        """How many of its files are not archived and not tried again, by the archive's name."""
        at_rest = sa.or_(
            copies.is_failed(self.max_attempts), copies.table.c.state == copies.IGNORED
        )
        return Counter(self._uncopied(connection, timecode, at_rest))

    def contents(
        self, connection: sa.Connection, timecode: str, archive_name: str
    ) -> tuple[int, list[str]]:
        """How many files are archived there, and in which directories, in order.

        Costs with their number, however long the table.
        """
        columns = files.table.c
        prefix = f"{self._data_dir}/{timecode}/"
        below = sa.func.substr(columns.path, len(prefix) + 1)
        directory = sa.func.substr(below, 1, sa.func.instr(below, "/") - 1).label("directory")
        name = sa.func.substr(below, sa.func.instr(below, "/") + 1)
        deeper = (sa.func.instr(name, "/") > 0).label("deeper")
        query = (
            sa.select(directory, deeper, sa.func.count().label("number"))
            .where(columns.path >= prefix, columns.path < f"{prefix[:-1]}0")  # 0 comes after /
            .where(columns.copied == sa.true(), columns.instance_id.in_(self.instances))
            .group_by("directory", "deeper")
        )
        found = [
            (row.directory, row.number)
            for row in connection.execute(query)
            if bool(row.deeper) == (archive_name == SMURF)
        ]
        return sum(number for _, number in found), sorted(directory for directory, _ in found)

    def _uncopied(
        self, connection: sa.Connection, timecode: str, condition: sa.ColumnElement[bool]
    ) -> Iterator[str]:
        """Archive names of the files not copied that meet ``condition`` and belong there."""
        columns = files.table.c
        query = (
            sa.select(files.table)
            .outerjoin(copies.table, copies.table.c.file_id == columns.id)
            .where(columns.copied == sa.false(), columns.instance_id.in_(self.instances))
            .where(condition, _may_belong(timecode))
            .order_by(columns.id)
            .limit(PAGE)
        )
        last, page = 0, PAGE
        while page == PAGE:
            rows = connection.execute(query.where(columns.id > last)).mappings().all()
            for row in rows:
                place = place_of(file_of(row))
                if place.timecode == timecode:
                    yield place.archive_name
            page = len(rows)
            last = rows[-1]["id"] if rows else last


def _may_belong(timecode: str) -> sa.ColumnElement[bool]:
    """Condition met by all rows that belong into ``timecode``; ``place_of`` tells which do."""
    columns = files.table.c
    begin = int(timecode) * TIMECODE
    return sa.or_(
        sa.and_(columns.timestamp >= _utc(begin), columns.timestamp < _utc(begin + TIMECODE)),
        columns.timestamp.is_(None),
        columns.timestamp < _utc(FIRST_TIME),
        columns.timestamp > _utc(LAST_TIME),
        sa.and_(columns.action == TIMESTREAMS, columns.path.like(f"%{timecode}/%")),
    )


def _utc(seconds: int) -> datetime:
    """A UNIX time [s] as the table has it."""
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
