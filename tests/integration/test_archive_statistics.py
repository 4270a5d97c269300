"""What the feed archive_stats tells, and that it is cheap to know."""

import time

import pytest

from socs.archive.settings import ArchiveSettings
from socs.archive.statistics import Statistics
from socs.counters import ARCHIVE, Counters
from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database

FIRST = 1_700_000_000.0


class Table:
    def __init__(self, environ):
        self.database = Database(environ)
        copies.create_table(self.database)

    def add(self, *timestamps, action="tune", instance_id="monitor"):
        rows = [
            files.row_of(
                {
                    **{"path": f"/data/{action}/{when}", "action": action, "md5sum": bytes(16)},
                    **{"timestamp": files.utc_text(when), "instance_id": instance_id},
                    **{"copied": False, "failed_copy_attempts": 0},
                }
            )
            for when in timestamps
        ]
        with self.database.begin() as connection:
            files.add_entries(connection, rows)

    def archive(self, count, instance_id="monitor"):
        with self.database.begin() as connection:
            rows = claims.claim(
                *(connection, "archiver", [instance_id]),
                **{"limit": count, "now": 0.0, "until": time.time(), "max_attempts": 5},
            )
            done = [claims.Archived(row["id"], f"/archive{row['path']}", 10) for row in rows]
            claims.settle(connection, "archiver", done, [], time.time())


@pytest.fixture
def table(files_env):
    made = Table(files_env)
    yield made
    made.database.close()


def statistics(table, archive_name="all"):
    settings = ArchiveSettings(
        "archiver", ["monitor"], "/archive", ["/data"], archive_name=archive_name
    )
    made = Statistics(settings, Counters(ARCHIVE))
    made.update(table.database, 1000.0)
    return made


def test_it_tells_how_far_the_archive_is(table):
    table.add(FIRST, FIRST + 1, FIRST + 2)
    table.add(FIRST - 500, instance_id="another")
    table.archive(2)
    stats = statistics(table).archive_stats()
    assert stats | {"last_file_copied": ""} == {
        "num_files": 3,
        "uncopied_files": 1,
        "failed": 0,
        "bytes": 20,
        "last_file_added": f"/data/tune/{FIRST + 2}",
        "last_file_copied": "",
        "finalized_until": FIRST + 1,
    }


def test_archives_are_told_apart(table):
    table.add(FIRST)
    table.add(FIRST - 100, FIRST - 90, action="timestreams")
    stats = {name: statistics(table, name).archive_stats() for name in ("smurf", "timestreams")}
    assert stats["smurf"]["finalized_until"] == FIRST - 1
    assert stats["timestreams"]["finalized_until"] == FIRST - 101
    assert (stats["smurf"]["num_files"], stats["timestreams"]["num_files"]) == (1, 2)
    assert (stats["smurf"]["uncopied_files"], stats["timestreams"]["uncopied_files"]) == (1, 2)


def test_with_all_archived_it_is_final_until_now(table):
    table.add(FIRST)
    table.archive(1)
    before = time.time()
    assert before <= statistics(table).archive_stats()["finalized_until"] <= time.time()


def test_later_rows_are_counted_on_top_and_after_an_hour_all_anew(table):
    table.add(FIRST, FIRST + 1)
    stats = statistics(table)
    table.add(FIRST + 2)
    stats.update(table.database, 1001.0)
    assert stats.archive_stats()["num_files"] == 2  # too soon to look again
    stats.update(table.database, 2000.0)
    assert stats.archive_stats()["num_files"] == 3
    with table.database.begin() as connection:
        connection.execute(files.table.delete().where(files.table.c.id == 1))
    stats.update(table.database, 3000.0)
    assert stats.archive_stats()["num_files"] == 3
    stats.update(table.database, 9000.0)
    assert stats.archive_stats()["num_files"] == 2


def test_files_of_other_targets_do_not_count(table):
    table.add(FIRST)
    table.archive(1)
    table.add(FIRST, FIRST + 1, instance_id="another")
    table.archive(1, instance_id="another")
    with table.database.begin() as connection:
        connection.execute(copies.table.insert(), {"file_id": 3, "state": "missing"})
    stats = statistics(table)
    told = stats.archive_stats()
    assert (told["num_files"], told["bytes"], told["failed"]) == (1, 10, 0)
    assert (stats.states, stats.failed_files) == ({}, [])


def test_the_newest_failed_files_are_named_after_a_restart_too(table):
    table.add(*(FIRST + n for n in range(30)))
    with table.database.begin() as connection:
        for number in range(1, 31):
            state = "missing" if number % 2 else "changed"
            values = {"file_id": number, "state": state, "cause": "c", "detail": "why"}
            connection.execute(copies.table.insert(), values)
    stats = statistics(table)
    assert [file["id"] for file in stats.failed_files] == list(range(30, 10, -1))
    assert stats.failed_files[0] == {
        "id": 30,
        "path": f"/data/tune/{FIRST + 29}",
        "state": "changed",
        "cause": "c",
        "detail": "why",
    }
    assert stats.gauges()["files_failed"] == 30


def test_a_target_without_rows_is_named(table):
    assert statistics(table).unknown_targets == ["monitor"]
    table.add(FIRST)
    assert statistics(table).unknown_targets == []


def test_a_database_that_is_away_is_a_problem_and_the_numbers_stay(table):
    table.add(FIRST)
    stats = statistics(table)
    with table.database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE socs_copies_v1 RENAME TO away")
    stats.update(table.database, 2000.0)
    assert "socs_copies_v1" in stats.problem
    assert stats.archive_stats()["num_files"] == 1
    with table.database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO socs_copies_v1")
    stats.update(table.database, 3000.0)
    assert stats.problem is None
