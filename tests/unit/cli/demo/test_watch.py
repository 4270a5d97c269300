"""Looking at a demo: feeds in a listener's log, files against rows, rates, silent monitors."""

import hashlib
import json
from types import SimpleNamespace

import pytest
from ocs.client_http import ControlClientError

from socs.cli.demo import watch as demo_watch
from socs.cli.demo.watch import (
    Differences,
    FeedCount,
    Patience,
    RateMeter,
    Status,
    Verifier,
    Watcher,
)
from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.sim.pysmurf_truth import Truth
from socs.testing import wait_until


def feed_line(topic: str) -> str:
    return json.dumps({"topic": topic, "message": []}) + "\n"


def test_feeds_are_counted_over_torn_lines(tmp_path):
    log = tmp_path / "listener.log"
    count = FeedCount(log)
    count.look()
    line = feed_line("observatory.pysmurf-monitor.feeds.counters")
    log.write_text("a warning\n" + line + line[:20])
    count.look()
    assert count.counts == {"pysmurf-monitor counters": 1}
    with log.open("a") as stream:
        stream.write(line[20:] + '{"no": "topic"}\n[]\n')
    count.look()
    count.look()
    assert count.counts == {"pysmurf-monitor counters": 2}


def test_the_rate_is_that_of_the_last_seconds():
    meter = RateMeter()
    assert meter.rate(0, 0.0) == 0.0
    assert meter.rate(100, 2.0) == 50.0
    for now in range(3, 20):
        rate = meter.rate(100 + 10 * (now - 2), float(now))
    assert rate == pytest.approx(10.0)


@pytest.mark.parametrize("error", [ControlClientError([]), OSError(), ValueError()])
def test_a_client_without_an_answer_keeps_the_last_one_until_it_is_stale(monkeypatch, error):
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(demo_watch, "time", clock)
    answers = [SimpleNamespace(session={"data": {"backlog": 3}})]

    def ask():
        if not answers:
            raise error
        return answers.pop()

    now = 100.0
    status = Status(ask)
    assert not status.fresh
    status.look()
    assert status.fresh
    now += demo_watch.STALE
    status.look()
    assert not status.fresh
    assert status.data == {"backlog": 3}


def test_a_session_that_never_ran_has_no_data():
    status = Status(lambda: SimpleNamespace(session=None))
    status.look()
    assert status.data == {}


def test_a_watcher_looks_until_it_is_stopped():
    looks = []
    watcher = Watcher("test", lambda: looks.append(1))
    watcher.start()
    wait_until(lambda: len(looks) > 1, 5, "a second look")
    watcher.stop()
    assert not watcher.is_alive()
    Watcher("never started", lambda: None).stop()


@pytest.fixture
def table(tmp_path):
    """The environment of a files table, and something that adds a row to it."""
    environ = {"SOCS_DATA_DIR": str(tmp_path / "data")}
    database = Database(environ)
    copies.create_table(database)

    def add(path, content: bytes) -> None:
        md5 = hashlib.md5(content).digest()
        fresh = {"instance_id": "monitor", "copied": False, "failed_copy_attempts": 0}
        row = files.row_of({"path": str(path), "md5sum": md5, **fresh})
        with database.begin() as connection:
            files.add_entries(connection, [row])

    def archive(copies_of: dict[str, str]) -> None:
        """Say that the files, by path, have copies at other paths."""
        with database.begin() as connection:
            rows = claims.claim(
                *(connection, "archiver", ["monitor"]),
                **{"limit": 100, "now": 0.0, "until": 1.0, "max_attempts": 5},
            )
            made = [
                claims.Archived(row["id"], copies_of[row["path"]], 7)
                for row in rows
                if row["path"] in copies_of
            ]
            claims.settle(connection, "archiver", made, [], 0.0)

    yield SimpleNamespace(environ=environ, add=add, archive=archive, directory=tmp_path)
    database.close()


def test_rows_are_verified_against_the_files(table, monkeypatch):
    monkeypatch.setattr(demo_watch, "PAGE", 2)
    for number in range(5):
        path = table.directory / f"{number}"
        path.write_bytes(b"content")
        table.add(path, b"content")
    (table.directory / "changed").write_bytes(b"other content")
    table.add(table.directory / "changed", b"content")
    table.add(table.directory / "gone", b"content")
    verifier = Verifier(table.environ, table.directory / "archive", "monitor")
    for _ in range(2):
        verifier.look()
        assert (verifier.registered, verifier.verified, verifier.wrong) == (7, 5, 2)
    assert [path.rpartition("/")[2] for path in verifier.examples] == ["changed", "gone"]
    verifier.close()


def test_copies_are_verified_where_their_rows_say(table):
    verifier = Verifier(table.environ, table.directory / "archive", "monitor")
    copied = {}
    for name in ("good", "altered", "elsewhere"):
        path = table.directory / name
        path.write_bytes(b"content")
        table.add(path, b"content")
        place = table.directory / ("archive" if name != "elsewhere" else "other") / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"content" if name != "altered" else b"other")
        copied[str(path)] = str(place)
    verifier.look()
    assert (verifier.registered, verifier.verified, verifier.archived) == (3, 3, 0)
    table.archive(copied)
    for _ in range(2):
        verifier.look()
        assert (verifier.archived, verifier.wrong) == (1, 1)
    truth = Truth(announced=dict.fromkeys(copied, hashlib.md5(b"content").hexdigest()))
    assert verifier.compare(truth) == Differences()
    verifier.close()


def test_a_row_that_is_wrong_twice_counts_once(table):
    verifier = Verifier(table.environ, table.directory / "archive", "monitor")
    path, place = table.directory / "file", table.directory / "archive" / "file"
    place.parent.mkdir()
    for each in (path, place):
        each.write_bytes(b"other")
    table.add(path, b"content")
    verifier.look()
    assert verifier.wrong == 1
    table.archive({str(path): str(place)})
    verifier.look()
    assert verifier.wrong == 1
    verifier.close()


def test_a_table_that_is_not_there_yet_is_waited_for(tmp_path):
    verifier = Verifier({"SOCS_DATA_DIR": str(tmp_path)}, tmp_path, "monitor")
    verifier.look()
    assert verifier.registered == 0
    verifier.close()


def test_missing_second_foreign_and_wrong_rows_are_counted(table):
    for name in ("a", "a", "b", "foreign"):
        table.add(f"/{name}", b"")
    verifier = Verifier(table.environ, table.directory / "archive", "monitor")
    empty = hashlib.md5(b"").hexdigest()
    announced = {"/a": empty, "/b": hashlib.md5(b"other").hexdigest(), "/lost": empty}
    found = verifier.compare(Truth(announced=announced))
    assert found == Differences(missing=1, surplus=2, wrong=1)
    verifier.close()


def test_patience_lasts_as_long_as_something_moves():
    patience = Patience(still=15.0, longest=120.0)
    assert patience.lasts([1, 2], 1000.0)
    assert patience.lasts([1, 2], 1014.9)
    assert patience.lasts([1, 3], 1014.95)
    assert patience.lasts([1, 3], 1029.9)
    assert not patience.lasts([1, 3], 1029.96)


def test_patience_has_an_end_even_if_something_always_moves():
    patience = Patience(still=15.0, longest=120.0)
    assert all(patience.lasts(step, 1000.0 + step) for step in range(120))
    assert not patience.lasts(120, 1120.0)
