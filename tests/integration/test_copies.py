"""What operators decide about copies, what is to be seen of them, and that they move as drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.claims import Archived, Failure
from socs.db.copies import (
    ALTERED,
    ARCHIVED,
    CHANGED,
    COPYING,
    DAMAGED,
    FAILED,
    IGNORED,
    LOST,
    MISSING,
    STATES,
    WAITING,
)
from socs.db.engine import Database
from tests.copies_table import ANNOUNCED, MAX_ATTEMPTS, NOW, add, claim, row, rows

FOUND = b"\xff" * 16
NEW = "new"
NO_SUCH_FILE = 10**9


@pytest.fixture
def database(files_env) -> Iterator[Database]:
    database = Database(files_env)
    copies.create_table(database)
    yield database
    database.close()


def do(database: Database, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    with database.begin() as connection:
        return act(connection, *arguments, **options)


def outcome(number: int, state: str, attempts: int = 1) -> Failure:
    return Failure(
        number,
        state,
        attempts,
        "attempts_x",
        "in words",
        due=NOW + 60 if state == WAITING else None,
        md5sum=FOUND if state == CHANGED else None,
    )


def fail(database: Database, number: int, state: str) -> None:
    assert do(database, claims.settle, "a", [], [outcome(number, state)], NOW) == {number}


def archive(database: Database, number: int) -> None:
    done = [Archived(number, f"/archive/{number}", 7)]
    assert do(database, claims.settle, "a", done, [], NOW) == {number}


def bring(database: Database, state: str) -> int:
    """A file that has come into ``state``."""
    (number,) = add(database)
    if state == IGNORED:
        assert do(database, copies.ignore, [number], "no use") == 1
    elif state != NEW:
        assert claim(database, only=files.table.c.id == number) == [number]
    if state in (WAITING, MISSING, CHANGED, FAILED):
        fail(database, number, state)
    if state in (ARCHIVED, *DAMAGED):
        archive(database, number)
    if state in DAMAGED:
        do(database, copies.damaged, number, state, "in words", FOUND)
    assert row(database, number)["state"] == (None if state == NEW else state)
    return number


# -- retry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [WAITING, MISSING, CHANGED, FAILED, IGNORED, LOST, ALTERED])
def test_retried_files_start_anew(database: Database, state: str) -> None:
    number = bring(database, state)
    assert do(database, copies.retry, [number]) == 1
    found = row(database, number)
    expected = {
        "state": WAITING,
        "due": 0.0,
        "copied": False,
        "failed_copy_attempts": 0,
        "path": f"/data/{number}",
        "md5sum": ANNOUNCED,
        "found_md5sum": None,
    }
    assert {name: found[name] for name in expected} == expected
    assert claim(database, "b") == [number]


@pytest.mark.parametrize("state", [NEW, COPYING, ARCHIVED])
def test_there_is_nothing_to_retry(database: Database, state: str) -> None:
    number = bring(database, state)
    before = row(database, number)
    assert do(database, copies.retry, [number], accept_changed=True, restored=True) == 0
    assert row(database, number) == before


def test_changed_contents_may_be_accepted(database: Database) -> None:
    number = bring(database, CHANGED)
    assert row(database, number)["found_md5sum"] == FOUND
    assert do(database, copies.retry, [number], accept_changed=True) == 1
    assert row(database, number)["md5sum"] == FOUND


@pytest.mark.parametrize("state", [MISSING, LOST, ALTERED])
def test_contents_of_others_are_not_accepted(database: Database, state: str) -> None:
    """What a copy was altered to is not what the file should be."""
    number = bring(database, state)
    assert do(database, copies.retry, [number], accept_changed=True) == 1
    assert row(database, number)["md5sum"] == ANNOUNCED


@pytest.mark.parametrize("state", DAMAGED)
def test_damaged_copies_without_a_source_stay(database: Database, state: str) -> None:
    """An archiver of old did not keep where the file was written."""
    (number,) = add(database, copied=True, path="/archive/old")
    do(database, copies.damaged, number, state, "in words", FOUND)
    before = row(database, number)
    assert before["source"] is None
    assert do(database, copies.retry, [number], restored=True) == 0
    assert row(database, number) == before


@pytest.mark.parametrize("state", DAMAGED)
def test_damaged_copies_whose_source_was_deleted_stay(database: Database, state: str) -> None:
    """Their row would forget where the copy is, and there is nothing to copy."""
    number = bring(database, state)
    do(database, copies.deleted, [number], NOW)
    before = row(database, number)
    assert do(database, copies.retry, [number]) == 0
    assert row(database, number) == before
    assert do(database, copies.retry, [number], restored=True) == 1
    assert claim(database) == [number]
    archive(database, number)
    assert row(database, number)["deleted_at"] is None


def test_files_that_an_archiver_of_old_gave_up_are_retried(database: Database) -> None:
    given_up, tried, new = (
        add(database, failed_copy_attempts=attempts)[0] for attempts in (MAX_ATTEMPTS, 2, 0)
    )
    (copied,) = add(database, failed_copy_attempts=MAX_ATTEMPTS, copied=True)
    assert do(database, copies.retry, [given_up, tried, new, copied]) == 2
    assert row(database, copied)["failed_copy_attempts"] == MAX_ATTEMPTS
    assert [row(database, n)["failed_copy_attempts"] for n in (given_up, tried)] == [0, 0]
    assert sorted(claim(database)) == [given_up, tried, new]


@pytest.mark.parametrize("state", [WAITING, MISSING, IGNORED])
def test_files_that_an_archiver_of_old_copied_meanwhile_are_not_retried(
    database: Database, state: str
) -> None:
    number = bring(database, state)
    with database.begin() as connection:
        update = files.table.update().where(files.table.c.id == number)
        connection.execute(update.values(copied=True, path="/archive/old"))
    assert do(database, copies.retry, [number]) == 0
    assert row(database, number)["path"] == "/archive/old"


def test_many_at_once(database: Database) -> None:
    bad, old = add(database, 5000), add(database, 5000, failed_copy_attempts=MAX_ATTEMPTS)
    with database.begin() as connection:
        failed = [{"file_id": number, "state": FAILED} for number in bad]
        connection.execute(copies.table.insert(), failed)
    assert do(database, copies.retry, [*bad, *old]) == 10_000
    assert do(database, copies.ignore, [*bad, *old], "x") == 10_000
    assert do(database, copies.counts) == {IGNORED: 10_000}
    do(database, copies.verified, [*bad, *old], NOW)
    assert do(database, copies.counts) == {IGNORED: 10_000}


@pytest.mark.parametrize("ids", [[], [NO_SUCH_FILE]])
def test_nothing_is_done_to_no_file(database: Database, ids: list[int]) -> None:
    add(database)
    assert do(database, copies.retry, ids) == 0
    assert do(database, copies.ignore, ids, "x") == 0
    do(database, copies.verified, ids, NOW)
    do(database, copies.deleted, ids, NOW)
    do(database, copies.damaged, NO_SUCH_FILE, LOST, "x")
    assert do(database, copies.counts) == {}


@pytest.mark.parametrize("act", ["retry", "ignore"])
def test_operators_do_not_take_files_from_archivers(mariadb, act: str) -> None:
    """One that claims the file after the operator's transaction has begun."""
    one, other = (Database(mariadb.env()) for _ in range(2))
    try:
        copies.create_table(one)
        number = bring(one, WAITING)
        with one.begin() as connection:
            connection.execute(sa.select(files.table)).all()  # what it sees stays as it is now
            assert claim(other, "b", now=NOW + 60) == [number]
            if act == "retry":
                assert copies.retry(connection, [number]) == 0
            else:
                assert copies.ignore(connection, [number], "x") == 0
        found = row(one, number)
        assert (found["state"], found["owner"]) == (COPYING, "b")
    finally:
        one.close()
        other.close()


# -- ignore ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [NEW, WAITING, MISSING, CHANGED, FAILED])
def test_ignored_files_are_left_alone(database: Database, state: str) -> None:
    number = bring(database, state)
    assert do(database, copies.ignore, [number], "😀" * 2000) == 1
    found = row(database, number)
    assert (found["state"], found["due"], found["copied"]) == (IGNORED, None, False)
    assert found["detail"] == "😀" * copies.DETAIL_LENGTH
    assert claim(database, now=NOW + 1e9) == []


def test_files_that_rows_of_others_leave_open_can_be_ignored(database: Database) -> None:
    ids = add(database, 2, copied=None, failed_copy_attempts=None)
    assert do(database, copies.ignore, ids, "x") == 2
    assert claim(database) == []


@pytest.mark.parametrize("state", [COPYING, ARCHIVED, IGNORED, LOST, ALTERED])
def test_there_is_nothing_to_ignore(database: Database, state: str) -> None:
    number = bring(database, state)
    before = row(database, number)
    assert do(database, copies.ignore, [number], "another reason") == 0
    assert row(database, number) == before


# -- verified and damaged -------------------------------------------------------------------------


@pytest.mark.parametrize("state", [ARCHIVED, LOST, ALTERED])
def test_a_copy_that_is_right_is_archived(database: Database, state: str) -> None:
    number = bring(database, state)
    do(database, copies.verified, [number], NOW + 5)
    found = row(database, number)
    expected = {
        "state": ARCHIVED,
        "verified_at": NOW + 5,
        "archived_at": NOW,
        "cause": None,
        "detail": None,
        "found_md5sum": None,
        "copied": True,
        "path": f"/archive/{number}",
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("state", [NEW, COPYING, WAITING, MISSING, CHANGED, FAILED, IGNORED])
def test_there_is_no_copy_to_judge(database: Database, state: str) -> None:
    """It may have been retried since it was looked at."""
    number = bring(database, state)
    before = row(database, number)
    do(database, copies.verified, [number], NOW + 5)
    do(database, copies.damaged, number, LOST, "gone")
    assert row(database, number) == before


@pytest.mark.parametrize("before", [ARCHIVED, LOST, ALTERED])
@pytest.mark.parametrize("state", DAMAGED)
def test_damage_is_noted_and_nothing_else(database: Database, before: str, state: str) -> None:
    number = bring(database, before)
    kept = ("path", "copied", "source", "archived_at", "verified_at", "size", "md5sum")
    expected = {name: row(database, number)[name] for name in kept}
    for _ in range(2):  # MariaDB tells of a row that is as it was already that it has not changed
        do(database, copies.damaged, number, state, "😀" * 2000, FOUND)
    found = row(database, number)
    assert {name: found[name] for name in kept} == expected
    assert (found["state"], found["found_md5sum"]) == (state, FOUND)
    assert found["detail"] == "😀" * copies.DETAIL_LENGTH


@pytest.mark.parametrize("state", DAMAGED)
def test_damage_to_copies_of_an_archiver_of_old_is_noted_too(
    database: Database, state: str
) -> None:
    (number,) = add(database, copied=True, path="/archive/old")
    for detail in ("one", "two", "two"):
        do(database, copies.damaged, number, state, detail)
    found = row(database, number)
    assert (found["state"], found["detail"], found["copied"]) == (state, "two", True)
    do(database, copies.verified, [number], NOW)
    assert row(database, number)["state"] == ARCHIVED


def test_copies_of_an_archiver_of_old_need_no_row(database: Database) -> None:
    (number,) = add(database, copied=True)
    do(database, copies.verified, [number], NOW)
    assert row(database, number)["state"] is None


def test_the_first_deletion_counts(database: Database) -> None:
    number = bring(database, ARCHIVED)
    do(database, copies.deleted, [number], NOW)
    do(database, copies.deleted, [number], NOW + 1, "again")
    assert (row(database, number)["deleted_at"], row(database, number)["detail"]) == (NOW, None)


# -- looking --------------------------------------------------------------------------------------


def test_rows_with_what_is_known_of_their_copies(database: Database) -> None:
    new, good, bad = (bring(database, state) for state in (NEW, ARCHIVED, CHANGED))
    found = rows(database)
    assert found.keys() == {new, good, bad}
    assert found[new]["state"] is None
    assert found[good].keys() >= {*files.COLUMNS, "id", "size", "verified_at", "deleted_at"}
    expected = ("attempts_x", "in words", FOUND, ANNOUNCED)
    names = ("cause", "detail", "found_md5sum", "md5sum")
    assert tuple(found[bad][name] for name in names) == expected
    assert rows(database, copies.table.c.state == CHANGED).keys() == {bad}


def test_which_have_failed(database: Database) -> None:
    states = {bring(database, state): state for state in STATES if state != COPYING}
    expected = {n for n, state in states.items() if state in (*copies.AT_REST, *DAMAGED)}
    (given_up,) = add(database, failed_copy_attempts=MAX_ATTEMPTS)
    (nearly,) = add(database, failed_copy_attempts=MAX_ATTEMPTS - 1)
    add(database, failed_copy_attempts=MAX_ATTEMPTS, copied=True)
    assert rows(database, copies.is_failed()).keys() == expected | {given_up}
    assert rows(database, copies.is_failed(4)).keys() == expected | {given_up, nearly}


def test_how_many_are_on_their_way_and_since_when(database: Database) -> None:
    assert do(database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS) == (0, None)
    add(database, timestamp=None)
    assert do(database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS) == (1, None)
    add(database, timestamp=files.utc_text(NOW - 30))
    for late in ({"instance_id": "other"}, {"failed_copy_attempts": 5}, {"copied": True}):
        add(database, **{"timestamp": files.utc_text(NOW - 99)} | late)
    assert do(database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS) == (2, NOW - 30)
    assert do(database, copies.on_their_way, ["monitor", "other"], 6) == (4, NOW - 99)
    assert len(claim(database)) == 2
    assert do(database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS) == (2, NOW - 30)
    do(database, claims.release, "a", [1, 2], due=NOW, cause="x", detail="x")
    assert do(database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS) == (2, NOW - 30)
    do(database, copies.ignore, [2], "x")
    assert do(database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS) == (1, None)


def test_the_tables_are_made_where_they_are_missing(files_env) -> None:
    database = Database(files_env)
    try:
        assert copies.create_table(database) is True
        assert copies.create_table(database) is False
        bring(database, ARCHIVED)
        with database.begin() as connection:
            copies.table.drop(connection)
        assert copies.create_table(database) is True
        assert len(rows(database)) == 1
    finally:
        database.close()


# -- the table of the states ----------------------------------------------------------------------

MOVES: dict[tuple[str, str], Callable[[Database, int], object]] = {
    (NEW, COPYING): lambda db, _: claim(db),
    (NEW, IGNORED): lambda db, n: do(db, copies.ignore, [n], "x"),
    (COPYING, ARCHIVED): archive,
    (WAITING, COPYING): lambda db, _: claim(db, now=NOW + 60),
    (WAITING, IGNORED): lambda db, n: do(db, copies.ignore, [n], "x"),
    (ARCHIVED, LOST): lambda db, n: do(db, copies.damaged, n, LOST, "x"),
    (ARCHIVED, ALTERED): lambda db, n: do(db, copies.damaged, n, ALTERED, "x"),
    (LOST, ALTERED): lambda db, n: do(db, copies.damaged, n, ALTERED, "x"),
    (ALTERED, LOST): lambda db, n: do(db, copies.damaged, n, LOST, "x"),
    (IGNORED, WAITING): lambda db, n: do(db, copies.retry, [n]),
}
for _state in (WAITING, MISSING, CHANGED, FAILED):
    MOVES[COPYING, _state] = lambda db, n, state=_state: fail(db, n, state)
for _state in (MISSING, CHANGED, FAILED):
    MOVES[_state, WAITING] = lambda db, n: do(db, copies.retry, [n])
    MOVES[_state, IGNORED] = lambda db, n: do(db, copies.ignore, [n], "x")
for _state in DAMAGED:
    MOVES[_state, WAITING] = lambda db, n: do(db, copies.retry, [n])
    MOVES[_state, ARCHIVED] = lambda db, n: do(db, copies.verified, [n], NOW)


def test_the_table_says_all_moves() -> None:
    assert {(state, other) for state in STATES for other in STATES[state][2]} == MOVES.keys()
    assert all(other in STATES for _, _, others in STATES.values() for other in others)


@pytest.mark.parametrize(("state", "other"), MOVES)
def test_each_move_can_be_made(database: Database, state: str, other: str) -> None:
    number = bring(database, state)
    MOVES[state, other](database, number)
    assert row(database, number)["state"] == other


OWNERS = st.sampled_from(["a", "b"])
SEVERAL = st.sets(st.integers(1, 12) | st.just(NO_SUCH_FILE), max_size=8).map(sorted)
ATTEMPTS = st.sampled_from([0, 0, 2, MAX_ATTEMPTS])
FAILURES = st.sampled_from([WAITING, MISSING, CHANGED, FAILED])


class Life(RuleBasedStateMachine):
    """Whatever archivers, operators, audits and other programs do, in whatever order."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.written: dict[int, str] = {}  # where each file was written
        with self.database.begin() as connection:
            connection.execute(copies.table.delete())
            connection.execute(files.table.delete())
        self.first = add(self.database)[0]
        self.written[self.first] = row(self.database, self.first)["path"]
        self.before = rows(self.database)

    def ids(self, numbers: Collection[int]) -> list[int]:
        """The files of these numbers, among them one that is not there."""
        return [n if n == NO_SUCH_FILE else self.first + n - 1 for n in numbers]

    # -- what happens -----------------------------------------------------------------------------

    @rule(count=st.integers(1, 3), attempts=ATTEMPTS, copied=st.sampled_from([False, False, True]))
    def announce(self, count: int, attempts: int, copied: bool) -> None:
        for number in add(self.database, count, failed_copy_attempts=attempts, copied=copied):
            self.written[number] = row(self.database, number)["path"]

    @rule(seconds=st.sampled_from([1, 60, 400]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(owner=OWNERS, limit=st.integers(1, 6))
    def claim(self, owner: str, limit: int) -> None:
        got = claim(self.database, owner, limit, now=self.now)
        assert len(got) == len(set(got)) <= limit
        now = rows(self.database)
        assert all((now[n]["state"], now[n]["owner"]) == (COPYING, owner) for n in got)
        if len(got) < limit:  # then nothing was left
            assert not [n for n, old in self.before.items() if self.is_due(old) and n not in got]

    def is_due(self, old: dict[str, Any]) -> bool:
        if old["state"] is None:
            return not old["copied"] and old["failed_copy_attempts"] < MAX_ATTEMPTS
        return old["state"] in (COPYING, WAITING) and old["due"] <= self.now

    @rule(owner=OWNERS, good=SEVERAL, bad=SEVERAL, state=FAILURES)
    def settle(self, owner: str, good: list[int], bad: list[int], state: str) -> None:
        good = self.ids(good)
        bad = [number for number in self.ids(bad) if number not in good]
        done = [Archived(number, f"/archive/{number}", 7) for number in good]
        known = self.before
        attempts = {n: known[n]["failed_copy_attempts"] + 1 for n in bad if n in known}
        failed = [outcome(number, state, attempts.get(number, 1)) for number in bad]
        self.now += 1  # each outcome has its own time
        settled = do(self.database, claims.settle, owner, done, failed, self.now)
        held = {n for n, r in known.items() if (r["state"], r["owner"]) == (COPYING, owner)}
        assert settled & held == held & {*good, *bad}
        for number in settled - held:  # told before
            assert rows(self.database)[number] == known[number]
            assert (known[number]["state"], known[number]["owner"]) == (state, owner)

    @rule(owner=OWNERS, several=SEVERAL)
    def renew(self, owner: str, several: list[int]) -> None:
        do(self.database, claims.renew, owner, self.ids(several), self.now + 300)

    @rule(owner=OWNERS, several=SEVERAL)
    def release(self, owner: str, several: list[int]) -> None:
        do(
            *(self.database, claims.release, owner, self.ids(several)),
            **{"due": self.now + 30, "cause": "not_tried", "detail": "x"},
        )

    @rule(owner=OWNERS)
    def prepare(self, owner: str) -> None:
        do(self.database, claims.prepare, owner)

    @rule(several=SEVERAL, accept=st.booleans(), restored=st.booleans())
    def retry(self, several: list[int], accept: bool, restored: bool) -> None:
        ids = self.ids(several)
        count = do(self.database, copies.retry, ids, accept_changed=accept, restored=restored)
        now = rows(self.database)
        again = [n for n in ids if n in now and now[n] != self.before[n]]
        assert len(again) <= count  # those that were due at once already are counted too
        assert all(now[n]["failed_copy_attempts"] == 0 and not now[n]["copied"] for n in again)

    @rule(several=SEVERAL)
    def ignore(self, several: list[int]) -> None:
        count = do(self.database, copies.ignore, self.ids(several), "x")
        was = Counter(old["state"] for old in self.before.values())
        is_now = Counter(new["state"] for new in rows(self.database).values())
        assert count == is_now[IGNORED] - was[IGNORED]

    @rule(several=SEVERAL)
    def verify(self, several: list[int]) -> None:
        do(self.database, copies.verified, self.ids(several), self.now)

    @rule(number=st.integers(1, 12), state=st.sampled_from(DAMAGED))
    def find_damaged(self, number: int, state: str) -> None:
        do(self.database, copies.damaged, *self.ids([number]), state, "x", FOUND)

    @rule(several=SEVERAL)
    def delete_source(self, several: list[int]) -> None:
        do(self.database, copies.deleted, self.ids(several), self.now)

    # -- what holds -------------------------------------------------------------------------------

    @invariant()
    def states_move_as_the_table_says(self) -> None:
        now = rows(self.database)
        for number, old in self.before.items():
            was, is_now = self.state_of(old), self.state_of(now[number])
            assert is_now == was or is_now in STATES[was][2], f"{was} -> {is_now}"
        self.before = now

    def state_of(self, row: dict[str, Any]) -> str:
        """Also of those that an archiver of old copied."""
        return row["state"] or (ARCHIVED if row["copied"] else NEW)

    @invariant()
    def rows_make_sense(self) -> None:
        for number, found in rows(self.database).items():
            state = self.state_of(found)
            assert found["copied"] == (state in (ARCHIVED, *DAMAGED))
            assert (found["due"] is not None) == (state in (COPYING, WAITING))
            if not found["copied"] or found["source"] is None:
                assert found["path"] == self.written[number]
            else:
                assert found["path"] == f"/archive/{number}"
            assert found["source"] in (None, self.written[number])
            if state in (WAITING, COPYING, NEW):
                assert found["found_md5sum"] is None

    @invariant()
    def what_is_told_is_true(self) -> None:
        found = rows(self.database)
        counted = Counter(row["state"] for row in found.values())
        del counted[None], counted[ARCHIVED]
        assert do(self.database, copies.counts) == counted
        on_their_way = [
            row
            for row in found.values()
            if row["state"] in (COPYING, WAITING)
            or (self.state_of(row) == NEW and row["failed_copy_attempts"] < MAX_ATTEMPTS)
        ]
        number, earliest = do(self.database, copies.on_their_way, ["monitor"], MAX_ATTEMPTS)
        assert (number, earliest) == (len(on_their_way), NOW if on_their_way else None)
        failed = {
            number
            for number, row in found.items()
            if row["state"] in (*copies.AT_REST, *DAMAGED)
            or (self.state_of(row) == NEW and row["failed_copy_attempts"] >= MAX_ATTEMPTS)
        }
        assert rows(self.database, copies.is_failed()).keys() == failed


@pytest.mark.parametrize("lives", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_copies_move_as_drawn(database: Database, lives: int) -> None:
    class LifeHere(Life):
        pass

    LifeHere.database = database
    few = settings(
        max_examples=lives,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(LifeHere, settings=few)


def test_times_are_utc(database: Database) -> None:
    moment = datetime(2023, 11, 14, 22, 13, 20, 250000, tzinfo=timezone.utc)
    assert moment.timestamp() == NOW
    add(database)
    assert do(database, copies.on_their_way, ["monitor"], 1)[1] == NOW
