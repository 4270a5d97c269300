"""What the tables know of a timecode: the files of 100 000 s, which share a directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import sqlalchemy as sa

from socs.archive.paths import FIRST_TIME, LAST_TIME, SMURF, TIMESTREAMS, file_of, place_of
from socs.db import copies
from socs.db import pysmurf_files_manager as files

TIMECODE = 100_000  # s
PAGE = 500  # rows fetched at a time
STREAM_FILE = "(^|/)[0-9]{5}/[^/.][^/]*/[^/.][^/]*$"  # surely one of the timestreams


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

    def awaits(self, connection: sa.Connection, timecode: str, archive_name: str) -> bool:
        """Are files of ``timecode`` still on their way to this archive?"""
        on_its_way = copies.is_on_its_way(self.max_attempts)
        return any(self._uncopied(connection, timecode, archive_name, on_its_way))

    def at_rest(self, connection: sa.Connection, timecode: str, archive_name: str) -> int:
        """How many of its files are not archived and not tried again."""
        at_rest = sa.or_(
            copies.is_failed(self.max_attempts), copies.table.c.state == copies.IGNORED
        )
        return sum(self._uncopied(connection, timecode, archive_name, at_rest))

    def contents(
        self, connection: sa.Connection, timecode: str
    ) -> dict[str, tuple[int, list[str]]]:
        """How many files are archived there, and in which directories, by the archive's name.

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
            .order_by("directory")
        )
        found: dict[str, tuple[int, list[str]]] = {}
        for row in connection.execute(query):
            archive_name = SMURF if row.deeper else TIMESTREAMS
            number, directories = found.get(archive_name, (0, []))
            found[archive_name] = number + row.number, [*directories, row.directory]
        return found

    def _uncopied(
        self,
        connection: sa.Connection,
        timecode: str,
        archive_name: str,
        condition: sa.ColumnElement[bool],
    ) -> Iterator[bool]:
        """Files that are not copied, meet ``condition`` and may belong there: do they?

        Fetched in the order of the index, so that it costs with the number of those not copied.
        """
        columns = files.table.c
        attempts = columns.failed_copy_attempts
        for instance in self.instances:
            query = (
                sa.select(files.table)
                .outerjoin(copies.table, copies.table.c.file_id == columns.id)
                .where(columns.copied == sa.false(), columns.instance_id == instance)
                .where(condition, _may_belong(timecode, archive_name))
                .order_by(attempts, columns.id)
                .limit(PAGE)
            )
            page = connection.execute(query).mappings().all()
            while page:
                for row in page:
                    place = place_of(file_of(row))
                    yield (place.timecode, place.archive_name) == (timecode, archive_name)
                last = page[-1]
                after = sa.or_(
                    attempts > last["failed_copy_attempts"],
                    sa.and_(attempts == last["failed_copy_attempts"], columns.id > last["id"]),
                )
                full = len(page) == PAGE
                page = connection.execute(query.where(after)).mappings().all() if full else []


def _may_belong(timecode: str, archive_name: str) -> sa.ColumnElement[bool]:
    """Condition met by all rows that belong there, and few others; ``place_of`` has the say."""
    action, path, timestamp = (files.table.c[n] for n in ("action", "path", "timestamp"))
    if archive_name == TIMESTREAMS:
        return sa.and_(action == TIMESTREAMS, path.like(f"%{timecode}/%"))
    begin = int(timecode) * TIMECODE
    return sa.and_(
        sa.or_(
            sa.and_(timestamp >= _utc(begin), timestamp < _utc(begin + TIMECODE)),
            timestamp.is_(None),
            timestamp < _utc(FIRST_TIME),
            timestamp > _utc(LAST_TIME),
        ),
        sa.or_(action.is_(None), action != TIMESTREAMS, ~path.regexp_match(STREAM_FILE)),
    )


def _utc(seconds: int) -> datetime:
    """A UNIX time [s] as the table has it."""
    return datetime.fromtimestamp(seconds, timezone.utc).replace(tzinfo=None)
