"""Archivers share the work: no file has two of them, and what comes of it counts once."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from socs.db import claims, copies
from socs.db import pysmurf_files_manager as files
from socs.db.claims import Archived, Failure
from socs.db.copies import ARCHIVED, COPYING, FAILED, IGNORED, MISSING, WAITING
from socs.db.engine import AlreadyStored, Database
from socs.errors import RowRefused, StorageUnavailable
from tests.copies_table import LEASE, MAX_ATTEMPTS, NOW, add, claim, row


@pytest.fixture
def database(files_env) -> Iterator[Database]:
    database = Database(files_env)
    copies.create_table(database)
    yield database
    database.close()


def settle(
    database: Database,
    owner: str,
    archived: Collection[int] = (),
    failed: Collection[Failure] = (),
    now: float = NOW + 1,
) -> set[int]:
    done = [Archived(number, f"/archive/{number}", number) for number in archived]
    with database.begin() as connection:
        return claims.settle(connection, owner, done, list(failed), now)


def waiting(number: int, attempts: int = 1, due: float = NOW) -> Failure:
    return Failure(number, WAITING, attempts, "attempts_missing", "not there", due)


def put_off(database: Database, ids: Collection[int], due: float, owner: str = "a") -> None:
    """Claimed files wait until ``due``."""
    with database.begin() as connection:
        claims.release(connection, owner, ids, due=due, cause="not_tried", detail="no disk")


def states(database: Database, ids: Collection[int]) -> list[str | None]:
    return [row(database, number)["state"] for number in ids]


# -- order and limits -----------------------------------------------------------------------------


def test_new_files_come_in_their_order(database: Database) -> None:
    ids = add(database, 25)
    assert claim(database, limit=10) == ids[:10]
    assert claim(database, "b", limit=10) == ids[10:20]
    assert claim(database, limit=10) == ids[20:]
    assert claim(database, limit=10) == []
    assert claim(database, limit=0) == []
    found = row(database, ids[0])
    assert (found["state"], found["owner"], found["due"]) == (COPYING, "a", NOW + LEASE)
    assert found["copied"] is False


def test_rows_are_those_of_the_files_table(database: Database) -> None:
    (number,) = add(database, path="/data/'\n😀", action="take_iv", action_timestamp=7, plot=True)
    with database.begin() as connection:
        (found,) = claims.claim(
            *(connection, "a", ["monitor"]), limit=1, now=NOW, until=NOW + 1, max_attempts=1
        )
    with database.read() as connection:
        (expected,) = files.select_files(connection, id=number)
    assert dict(found) == dict(expected)


def test_files_that_failed_less_often_come_first(database: Database) -> None:
    """An archiver without the table of copies has tried some, and given up others."""
    twice, once = (add(database, failed_copy_attempts=n) for n in (2, 1))
    given_up = add(database, failed_copy_attempts=MAX_ATTEMPTS)
    never = add(database)
    assert claim(database) == never + once + twice
    assert claim(database, max_attempts=MAX_ATTEMPTS + 1) == given_up


def test_files_of_others_and_copied_ones_are_left_alone(database: Database) -> None:
    add(database, 3, instance_id="other")
    add(database, 3, instance_id=None)
    add(database, 3, copied=True)
    (mine,) = add(database)
    assert claim(database) == [mine]


def test_files_of_one_instance_do_not_hold_up_those_of_another(database: Database) -> None:
    many, few = add(database, 50), add(database, 3, instance_id="second")
    got = claim(database, limit=10, instances=["monitor", "second", "silent", "monitor"])
    assert sorted(got) == many[:7] + few
    assert claim(database, limit=10, instances=["second", "monitor"]) == many[7:17]


def test_a_further_condition(database: Database) -> None:
    streams, others = add(database, 3, action="timestreams"), add(database, 3)
    only = files.table.c.action == "timestreams"
    assert claim(database, only=only) == streams
    put_off(database, streams, NOW)
    assert claim(database, now=NOW + 1, only=~only) == []
    assert claim(database, now=NOW + 1, only=files.table.c.action.is_(None)) == others


@pytest.mark.parametrize("limit", [1, 2, 7, 10])
def test_files_that_are_due_get_at_most_half(database: Database, limit: int) -> None:
    due = add(database, 20)
    assert claim(database) == due
    put_off(database, due, NOW)
    new = add(database, 20)
    got = claim(database, limit=limit, now=NOW + 1)
    half = (limit + 1) // 2
    assert got == due[:half] + new[: limit - half]


def test_what_one_kind_has_no_use_for_goes_to_the_other(database: Database) -> None:
    """After an outage of the archive nearly all files wait; that must not halve the speed."""
    due = add(database, 20)
    claim(database)
    put_off(database, due, NOW)
    new = add(database, 2)
    got = claim(database, limit=10, now=NOW + 1)
    assert got == due[:8] + new
    assert claim(database, limit=10, now=NOW + 1) == due[8:18]
    more = add(database, 20)
    assert claim(database, limit=10, now=NOW + 1) == due[18:] + more[:8]


def test_files_wait_until_they_are_due_and_the_longest_overdue_comes_first(
    database: Database,
) -> None:
    ids = add(database, 4)
    claim(database)
    for number, due in zip(ids, (NOW + 30, NOW + 10, NOW + 20, NOW + 40), strict=True):
        put_off(database, [number], due)
    assert claim(database, now=NOW + 9.99) == []
    assert claim(database, now=NOW + 30) == [ids[1], ids[2], ids[0]]


@pytest.mark.parametrize("state", [MISSING, copies.CHANGED, FAILED, IGNORED])
def test_files_at_rest_are_left_alone(database: Database, state: str) -> None:
    (number,) = add(database)
    claim(database)
    settle(database, "a", failed=[Failure(number, state, 1, "x", "x")])
    assert claim(database, now=NOW + 1e9) == []


def test_a_row_that_is_gone_or_copied_by_others_is_not_claimed_again(database: Database) -> None:
    gone, copied, left = add(database, 3)
    claim(database)
    put_off(database, [gone, copied, left], NOW)
    with database.begin() as connection:
        table = files.table
        connection.execute(table.delete().where(table.c.id == gone))
        connection.execute(table.update().where(table.c.id == copied).values(copied=True))
    assert claim(database, now=NOW + 1) == [left]


def test_rows_of_other_programs_are_taken_up(database: Database) -> None:
    """They may leave open whether a file is copied, and how often that failed; at any time."""
    late = add(database)
    assert claim(database) == late
    ids = [
        *add(database, 3, copied=None, failed_copy_attempts=None),
        *add(database, 3, copied=None),
        *add(database, 3, failed_copy_attempts=None),
        *add(database, 1, copied=None, failed_copy_attempts=2),
    ]
    others = add(database, 2, copied=None, instance_id="other")
    copied = add(database, copied=True, failed_copy_attempts=None)
    got: list[int] = []
    while more := claim(database, limit=2):
        got += more
    assert sorted(got) == ids
    assert row(database, ids[0])["failed_copy_attempts"] == 0
    assert row(database, ids[-1])["failed_copy_attempts"] == 2
    assert row(database, others[0])["copied"] is None
    assert row(database, copied[0])["failed_copy_attempts"] is None


def test_given_up_rows_of_an_archiver_of_old_can_be_retried(database: Database) -> None:
    (number,) = add(database, failed_copy_attempts=MAX_ATTEMPTS)
    assert claim(database) == []
    with database.begin() as connection:
        assert copies.retry(connection, [number]) == 1
    assert claim(database) == [number]
    assert row(database, number)["failed_copy_attempts"] == 0


# -- leases ---------------------------------------------------------------------------------------


def test_a_claim_that_has_run_out_is_taken_over(database: Database) -> None:
    ids = add(database, 3)
    claim(database, "a", until=NOW + 10)
    assert claim(database, "b", now=NOW + 9) == []
    assert claim(database, "b", now=NOW + 10) == ids
    assert row(database, ids[0])["owner"] == "b"
    assert claim(database, "c", now=NOW + 11) == []


def test_claims_that_have_run_out_come_before_files_that_wait(database: Database) -> None:
    wait, dead = add(database), add(database)
    claim(database)
    put_off(database, wait, NOW - 1000)
    assert claim(database, "b", limit=2, now=NOW + LEASE) == dead + wait


def test_a_claim_is_renewed_by_its_owner_only(database: Database) -> None:
    ids = add(database, 2)
    claim(database, "a", until=NOW + 10)
    with database.begin() as connection:
        claims.renew(connection, "a", ids[:1], NOW + 1000)
        claims.renew(connection, "b", ids[1:], NOW + 1000)
    assert claim(database, "b", now=NOW + 20) == ids[1:]
    with database.begin() as connection:
        claims.renew(connection, "a", ids, NOW + 1e6)  # too late for the second
    assert row(database, ids[1])["due"] == NOW + 20 + LEASE


def test_starting_again_gives_back_ones_own_claims(database: Database) -> None:
    mine, wait = add(database, 2), add(database)
    claim(database, "a")
    put_off(database, wait, NOW + 50)
    theirs = add(database, 2)
    claim(database, "b")
    with database.begin() as connection:
        assert claims.prepare(connection, "a") == 2
        assert claims.prepare(connection, "a") == 0
        assert claims.prepare(connection, "c") == 0
    assert claim(database, "c") == mine
    assert row(database, theirs[0])["due"] == NOW + LEASE
    assert row(database, wait[0])["due"] == NOW + 50


def test_claims_whose_commit_got_no_answer_are_given_back(database: Database) -> None:
    first, second = add(database, 2)
    claim(database, limit=1, until=NOW + 300.001)
    claim(database, limit=1, until=NOW + 300.002)
    with database.begin() as connection:
        claims.give_back(connection, "b", [NOW + 300.001])
        claims.give_back(connection, "a", [NOW + 300.002, NOW + 999])
    assert claim(database, "b", now=NOW + 1) == [second]
    assert row(database, first)["owner"] == "a"


def test_files_given_back_have_no_attempt_more(database: Database) -> None:
    mine, theirs = add(database, 2)
    claim(database, "a", limit=1)
    claim(database, "b", limit=1)
    put_off(database, [mine, theirs], NOW + 5)
    found = row(database, mine)
    assert (found["state"], found["due"], found["failed_copy_attempts"]) == (WAITING, NOW + 5, 0)
    assert (found["cause"], found["detail"]) == ("not_tried", "no disk")
    assert states(database, [theirs]) == [COPYING]


@pytest.fixture
def two(mariadb) -> Iterator[tuple[Database, Database]]:
    """Two archivers' ways to one database in which transactions see the past."""
    one, other = Database(mariadb.env()), Database(mariadb.env())
    copies.create_table(one)
    yield one, other
    one.close()
    other.close()


@contextmanager
def in_the_past(database: Database) -> Iterator[Callable[..., list[sa.RowMapping]]]:
    """A transaction that sees rows as they are now; it is given to claim in it later, as "a"."""
    with database.begin() as connection:
        connection.execute(sa.select(files.table)).all()

        def claim_late(**options: Any) -> list[sa.RowMapping]:
            common = {"limit": 9, "now": NOW + 1, "until": NOW + 99, "max_attempts": 5}
            return claims.claim(connection, "a", ["monitor"], **common | options)

        yield claim_late


def test_a_row_comes_as_it_is_when_it_is_claimed(two: tuple[Database, Database]) -> None:
    """Not as it was when the transaction began: another archiver had it in between, and failed."""
    one, other = two
    (number,) = add(one)
    claim(one)
    put_off(one, [number], NOW)
    with in_the_past(one) as claim_late:
        assert claim(other, "b", now=NOW + 1) == [number]
        assert settle(other, "b", failed=[waiting(number, 3)]) == {number}
        (found,) = claim_late()
    assert found["failed_copy_attempts"] == 3


@pytest.mark.parametrize("owner", ["a", "b"])
def test_a_claim_that_was_made_or_renewed_meanwhile_holds(
    two: tuple[Database, Database], owner: str
) -> None:
    one, other = two
    (number,) = add(one)
    claim(one, owner, until=NOW)
    with in_the_past(one) as claim_late:
        with other.begin() as connection:
            claims.renew(connection, owner, [number], NOW + 50)
        assert claim_late() == []
    assert (row(one, number)["owner"], row(one, number)["due"]) == (owner, NOW + 50)


def test_the_slower_of_two_is_told(two: tuple[Database, Database]) -> None:
    one, other = two
    due, new = add(one, 2)
    claim(one, limit=1)
    put_off(one, [due], NOW)

    def claim_after_the_other() -> None:
        with in_the_past(one) as claim_late:
            assert claim(other, "b", limit=1, now=NOW + 1) == [due]
            assert claim(other, "b", limit=1, now=NOW + 1) == [new]
            claim_late()

    with pytest.raises(AlreadyStored):
        claim_after_the_other()
    assert row(one, due)["owner"] == row(one, new)["owner"] == "b"


def test_what_is_left_open_is_filled_in_once(two: tuple[Database, Database]) -> None:
    """Not after another archiver has done so, and has archived the file."""
    one, other = two
    (number,) = add(one, copied=None, action="timestreams")
    with in_the_past(one) as claim_late:
        assert claim(other, "b") == [number]
        assert settle(other, "b", [number]) == {number}
        assert claim_late(only=files.table.c.action == "take_iv") == []
    assert row(one, number)["copied"] is True


# -- outcomes -------------------------------------------------------------------------------------


def test_an_archived_file_has_its_new_path(database: Database) -> None:
    (number,) = add(database)
    claim(database)
    assert settle(database, "a", [number]) == {number}
    found = row(database, number)
    expected = {
        "path": f"/archive/{number}",
        "copied": True,
        "failed_copy_attempts": 0,
        "state": ARCHIVED,
        "due": None,
        "cause": None,
        "detail": None,
        "source": f"/data/{number}",
        "size": number,
        "archived_at": NOW + 1,
        "verified_at": NOW + 1,
        "deleted_at": None,
        "owner": "a",
        "found_md5sum": None,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_failed_attempt_is_counted_and_explained(database: Database) -> None:
    (number,) = add(database)
    claim(database)
    detail = "😀" * 2000
    failure = Failure(number, copies.CHANGED, 1, "attempts_changed", detail, None, b"\xff" * 16)
    assert settle(database, "a", failed=[failure]) == {number}
    found = row(database, number)
    expected = {
        "path": f"/data/{number}",
        "copied": False,
        "failed_copy_attempts": 1,
        "state": copies.CHANGED,
        "due": None,
        "cause": "attempts_changed",
        "detail": detail[: copies.DETAIL_LENGTH],
        "found_md5sum": b"\xff" * 16,
        "archived_at": None,
    }
    assert {name: found[name] for name in expected} == expected


def test_success_after_failures_takes_the_blame_away(database: Database) -> None:
    (number,) = add(database)
    claim(database)
    settle(database, "a", failed=[waiting(number)])
    assert claim(database, now=NOW + 1) == [number]
    settle(database, "a", [number])
    found = row(database, number)
    assert (found["cause"], found["detail"], found["failed_copy_attempts"]) == (None, None, 1)


def test_outcomes_count_once_however_often_they_are_told(database: Database) -> None:
    """After a COMMIT without an answer nobody knows whether it took place."""
    good, bad, ill = add(database, 3)
    claim(database)
    failed = [waiting(bad, 1, NOW + 20.125), Failure(ill, MISSING, 5, "attempts_missing", "gone")]
    for _ in range(3):
        assert settle(database, "a", [good], failed) == {good, bad, ill}
    assert [row(database, n)["failed_copy_attempts"] for n in (good, bad, ill)] == [0, 1, 5]
    assert row(database, good)["source"] == f"/data/{good}"  # not where it is archived
    assert row(database, good)["path"] == f"/archive/{good}"


def test_outcomes_of_a_claim_that_was_lost_do_not_count(database: Database) -> None:
    good, bad = ids = add(database, 2)
    claim(database, "a", until=NOW + 10)
    assert settle(database, "b", [good], [waiting(bad)]) == set()
    assert claim(database, "b", now=NOW + 10) == ids
    assert settle(database, "a", [good], [waiting(bad)]) == set()
    assert states(database, ids) == [COPYING, COPYING]
    assert row(database, bad)["failed_copy_attempts"] == 0
    assert settle(database, "b", [good], [waiting(bad)]) == {good, bad}
    before = [row(database, number) for number in ids]
    assert settle(database, "a", [bad], [waiting(good, 4)]) == set()
    assert [row(database, number) for number in ids] == before


def test_what_others_made_of_a_file_is_not_taken_for_ones_own(database: Database) -> None:
    (number,) = add(database)
    claim(database, "a")
    assert settle(database, "a", failed=[waiting(number, 1, NOW + 5)]) == {number}
    assert settle(database, "a", failed=[waiting(number, 2, NOW + 5)]) == set()
    assert settle(database, "a", failed=[waiting(number, 1, NOW + 6)]) == set()
    assert settle(database, "a", [number]) == set()
    assert claim(database, "b", now=NOW + 5) == [number]
    assert settle(database, "b", [number], now=NOW + 7) == {number}
    assert settle(database, "b", [number], now=NOW + 8) == set()
    assert settle(database, "a", [number], now=NOW + 7) == set()
    assert row(database, number)["archived_at"] == NOW + 7


def test_a_claim_that_is_lost_meanwhile_is_not_settled(two: tuple[Database, Database]) -> None:
    one, other = two
    (number,) = add(one)
    claim(one, "a", until=NOW)
    with one.begin() as connection:
        connection.execute(sa.select(files.table)).all()  # what it sees stays as it is now
        assert claim(other, "b", now=NOW + 1) == [number]
        done = [Archived(number, "/archive/x", 1)]
        assert claims.settle(connection, "a", done, [], NOW + 2) == set()
    assert (row(one, number)["state"], row(one, number)["owner"]) == (COPYING, "b")


def test_nothing_to_settle(database: Database) -> None:
    assert settle(database, "a") == set()
    assert settle(database, "a", [12345]) == set()


def test_an_outcome_that_the_database_refuses_changes_nothing(database: Database) -> None:
    good, bad = add(database, 2)
    claim(database)
    done = [Archived(good, "/archive/good", 1), Archived(bad, "/archive/\ud800", 1)]
    with pytest.raises(RowRefused), database.begin() as connection:
        claims.settle(connection, "a", done, [], NOW)
    assert states(database, [good, bad]) == [COPYING, COPYING]
    assert row(database, good)["path"] == f"/data/{good}"


# -- many at once ---------------------------------------------------------------------------------

FILES, GROUP = 2000, 37


class Event(msgspec.Struct):
    """Some files were claimed at ``now`` until ``until``, or given to :func:`settle` at ``now``.

    ``archived`` and ``failed`` are those whose outcome counted. Times are monotonic [s].
    """

    now: float
    ids: list[int]
    until: float | None = None
    archived: list[int] = []
    failed: list[int] = []


def work(environ: Mapping[str, str], owner: str, lease: tuple[float, float]) -> list[Event]:
    """An archiver's life until all is archived. Some attempts fail, and are repeated at once.

    Claims last for a time between those of ``lease`` [s]. Where that is not long, some are
    forgotten.
    """
    database, chance, events = Database(environ), random.Random(owner), []
    forgetful = 0.1 if lease[1] < 100 else 0.0
    while True:
        now = time.monotonic()
        until = now + chance.uniform(*lease)
        try:
            with database.begin() as connection:
                rows = claims.claim(
                    *(connection, owner, ["monitor"]),
                    **{"limit": GROUP, "now": now, "until": until, "max_attempts": 99},
                )
        except (AlreadyStored, StorageUnavailable):
            continue
        attempts = {row["id"]: row["failed_copy_attempts"] for row in rows}
        events.append(Event(now, list(attempts), until))
        if not rows and is_done(database):
            database.close()
            return events
        if rows and chance.random() >= forgetful:
            failed = {n: count + 1 for n, count in attempts.items() if chance.random() < 0.2}
            events.append(tell(database, owner, attempts.keys() - failed.keys(), failed))


def is_done(database: Database) -> bool:
    with database.read() as connection:
        uncopied = files.table.c.copied == sa.false()
        return connection.execute(sa.select(files.table.c.id).where(uncopied)).first() is None


def tell(database: Database, owner: str, archived: Set[int], failed: Mapping[int, int]) -> Event:
    """Settle, whatever it takes; and once more."""
    now = time.monotonic()
    failures = [waiting(number, count, now) for number, count in failed.items()]
    answers: list[set[int]] = []
    while len(answers) < 2:
        try:
            answers.append(settle(database, owner, archived, failures, now))
        except StorageUnavailable:
            continue
    assert answers[1] <= answers[0]  # less if another archiver was at it in between
    done = answers[0]
    return Event(
        now,
        [*archived, *failed],
        archived=sorted(done & archived),
        failed=sorted(done & failed.keys()),
    )


def held(histories: Iterable[Iterable[Event]]) -> dict[int, list[tuple[float, float, int]]]:
    """By file: from when to when which archiver had it, in the order of time."""
    found: dict[int, list[tuple[float, float, int]]] = {}
    for archiver, events in enumerate(histories):
        claimed: dict[int, tuple[float, float]] = {}
        for event in events:
            for number in event.ids:
                if event.until is not None:
                    if number in claimed:  # forgotten
                        found.setdefault(number, []).append((*claimed[number], archiver))
                    claimed[number] = event.now, event.until
                else:
                    since, until = claimed.pop(number)
                    end = min(until, event.now)
                    found.setdefault(number, []).append((since, end, archiver))
        for number, (since, until) in claimed.items():
            found.setdefault(number, []).append((since, until, archiver))
    return {number: sorted(times) for number, times in found.items()}


def check(database: Database, ids: list[int], histories: list[list[Event]]) -> None:
    """No file had two archivers at a time, and each outcome was written down once."""
    for number, times in held(histories).items():
        for (_, end, one), (since, _, other) in itertools.pairwise(times):
            assert end <= since, f"{number}: {one} had it until {end}, {other} from {since}"
    events = [event for events in histories for event in events]
    assert sorted(number for event in events for number in event.archived) == ids
    attempts = Counter(number for event in events for number in event.failed)
    assert attempts, "no attempt has failed, so nothing is shown"
    with database.read() as connection:
        rows = connection.execute(copies.with_state()).mappings().all()
    assert {row["id"]: (row["state"], row["copied"], row["path"]) for row in rows} == {
        number: (ARCHIVED, True, f"/archive/{number}") for number in ids
    }
    assert {row["id"]: row["failed_copy_attempts"] for row in rows} == {
        number: attempts[number] for number in ids
    }


def disturb(environ: Mapping[str, str], ids: list[int], stop: threading.Event) -> None:
    """Lock rows in an order that no archiver takes, as other programs may: deadlocks."""
    database, chance, table = Database(environ), random.Random(1), copies.table
    while not stop.wait(0.002):
        with suppress(StorageUnavailable), database.begin() as connection:
            for number in sorted(chance.sample(ids, 5), reverse=True):
                update = table.update().where(table.c.file_id == number)
                connection.execute(update.values(size=chance.randrange(1000)))
    database.close()


def in_threads(
    environ: dict[str, str], count: int, lease: tuple[float, float]
) -> list[list[Event]]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda n: work(environ, f"archiver-{n}", lease), range(count)))


def in_processes(
    environ: dict[str, str], count: int, lease: tuple[float, float]
) -> list[list[Event]]:
    command = [sys.executable, "-m", "tests.integration.test_claims"]
    processes = []
    try:
        for n in range(count):
            arguments = [f"archiver-{n}", *map(str, lease)]
            processes.append(
                subprocess.Popen(
                    [*command, *arguments],
                    cwd=Path(__file__).parents[2],
                    env={**os.environ, **environ},
                    stdout=subprocess.PIPE,
                )
            )
        return [
            msgspec.json.decode(process.communicate(timeout=100)[0], type=list[Event])
            for process in processes
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("lease", [(1e6, 1e6), (0.05, 0.5)], ids=["long", "short"])
@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("run", [pytest.param(in_threads, marks=pytest.mark.slow), in_processes])
def test_archivers_never_hold_the_same_file(
    database: Database,
    files_env: dict[str, str],
    run: Callable[..., list[list[Event]]],
    count: int,
    lease: tuple[float, float],
) -> None:
    """With claims that never run out, and with such that do, now and then while at work."""
    ids = add(database, FILES)
    stop = threading.Event()
    disturber = threading.Thread(target=disturb, args=(files_env, ids, stop))
    disturber.start()
    try:
        histories = run(files_env, count, lease)
    finally:
        stop.set()
        disturber.join()
    check(database, ids, histories)


# -- what it costs --------------------------------------------------------------------------------

LONG = 20_000  # rows copied long ago


@pytest.fixture
def long_table(database: Database) -> Database:
    """Many files are copied; of the others some are new, wait, or have an archiver or an end."""
    add(database, LONG, copied=True)
    table = copies.table
    with database.begin() as connection:
        ids = sa.select(files.table.c.id, sa.literal(ARCHIVED), sa.literal(NOW))
        connection.execute(table.insert().from_select(["file_id", "state", "archived_at"], ids))
    for state in (COPYING, WAITING, MISSING, IGNORED):
        rows = [
            {"file_id": n, "state": state, "owner": "b", "due": NOW - n} for n in add(database, 300)
        ]
        with database.begin() as connection:
            connection.execute(table.insert(), rows)
    add(database, 1000)
    add(database, 1000, instance_id="second")
    with database.begin() as connection:
        names = f"{files.table.name}, {table.name}"
        connection.execute(sa.text(f"ANALYZE TABLE {names}" if database.is_mariadb else "SELECT 1"))
    return database


def plans(database: Database, act: Callable[[sa.Connection], object]) -> dict[str, list[str]]:
    """How the database goes about each statement of ``act``, which is undone: a line per table."""
    found: dict[str, list[str]] = {}

    def explain(connection, cursor, statement, parameters, context, many) -> None:
        if statement.startswith("INSERT"):
            return
        values = parameters[0] if many else parameters
        raw = connection.connection.cursor()
        raw.execute(f"EXPLAIN {'' if database.is_mariadb else 'QUERY PLAN '}{statement}", values)
        if database.is_mariadb:
            names = [column[0] for column in raw.description]
            lines = [dict(zip(names, line, strict=True)) for line in raw.fetchall()]
            found[statement] = [f"{x['table']} {x['type']} {x['key']} {x['Extra']}" for x in lines]
        else:
            found[statement] = [line[3] for line in raw.fetchall()]

    sa.event.listen(database.engine, "before_cursor_execute", explain)
    try:
        with database.begin() as connection:
            act(connection)
            connection.rollback()
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", explain)
    assert found
    return found


def acts() -> dict[str, Callable[[sa.Connection], object]]:
    """All that an archiver does as long as it runs, and all that is done to many files."""
    first = LONG + 1
    some = list(range(first, first + 200))
    done = [Archived(number, f"/archive/{number}", 1) for number in some[:150]]
    failed = [waiting(number) for number in some[150:]]

    def claim_some(connection: sa.Connection) -> None:
        claims.claim(
            *(connection, "a", ["monitor", "second"]),
            **{"limit": 200, "now": NOW, "until": NOW + 1, "max_attempts": 5},
        )

    return {
        "prepare": lambda c: claims.prepare(c, "b"),
        "claim": claim_some,
        "renew": lambda c: claims.renew(c, "b", some, NOW),
        "release": lambda c: claims.release(c, "b", some, due=NOW, cause="x", detail="x"),
        "settle": lambda c: claims.settle(c, "b", done, failed, NOW),
        "on_their_way": lambda c: copies.on_their_way(c, ["monitor", "second"], 5),
        "counts": copies.counts,
        "verified": lambda c: copies.verified(c, range(1, 301), NOW),
        "damaged": lambda c: copies.damaged(c, 5, copies.LOST, "gone"),
        "retry": lambda c: copies.retry(c, some),
        "ignore": lambda c: copies.ignore(c, some, "x"),
    }


def test_nothing_is_scanned_nor_sorted(long_table: Database) -> None:
    for name, act in acts().items():
        for statement, lines in plans(long_table, act).items():
            for line in lines:
                where = f"{name}: {line}: {statement[:300]} ... {statement[-300:]}"
                if long_table.is_mariadb:
                    assert line.split()[1] not in {"ALL", "index"}, where
                    assert "filesort" not in line, where
                    assert "temporary" not in line, where
                else:
                    assert line.startswith("SEARCH"), where


def test_rows_to_be_written_are_looked_up_by_their_ids(long_table: Database) -> None:
    """Looked up by their state, an UPDATE would pass, and lock, those of other archivers too."""
    key = " PRIMARY " if long_table.is_mariadb else "USING INTEGER PRIMARY KEY"
    updates = 0
    for name, act in acts().items():
        for statement, lines in plans(long_table, act).items():
            if statement.startswith("UPDATE") or statement.endswith("FOR UPDATE"):
                updates += 1
                for line in lines:
                    assert key in line, f"{name}: {line}: {statement[:300]} ... {statement[-300:]}"
    assert updates >= 10


def steps(database: Database, act: Callable[[], object]) -> int:
    """Thousands of steps of SQLite's virtual machine that ``act`` takes."""
    count = 0

    def another() -> None:
        nonlocal count
        count += 1

    def watch(raw, _record, _proxy) -> None:
        raw.set_progress_handler(another, 1000)

    database.engine.dispose()
    sa.event.listen(database.engine, "checkout", watch)
    try:
        act()
    finally:
        sa.event.remove(database.engine, "checkout", watch)
        database.engine.dispose()
    return count


MANY_COPIED = f"""
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :number)
INSERT INTO {files.table.name}
    (path, timestamp, instance_id, copied, failed_copy_attempts, md5sum)
SELECT '/archive/' || n, '2023-11-14 22:13:20.000000', 'monitor', 1, 0, zeroblob(16)
FROM numbers WHERE :number
"""


def test_a_million_rows_cost_no_more_than_none(tmp_path: Path) -> None:
    costs = []
    for copied in (0, 1_000_000):
        database = Database({"SOCS_DATA_DIR": str(tmp_path / str(copied))})
        copies.create_table(database)
        with database.begin() as connection:
            connection.execute(sa.text(MANY_COPIED), {"number": copied})
            ids = sa.select(files.table.c.id, sa.literal(ARCHIVED))
            connection.execute(copies.table.insert().from_select(["file_id", "state"], ids))
        new = add(database, 100)
        assert len(new) == 100

        def look(database: Database = database) -> None:
            with database.read() as connection:
                copies.on_their_way(connection, ["monitor"], 5)
                copies.counts(connection)

        def once(database: Database = database, new: list[int] = new) -> None:
            assert claim(database, limit=200) == new
            assert settle(database, "a", new) == set(new)
            assert claim(database, limit=200) == []

        costs.append((steps(database, look), steps(database, once)))
        database.close()
    for few, many in zip(*costs, strict=True):
        assert many <= 2 * few + 10, costs


if __name__ == "__main__":
    history = work(os.environ, sys.argv[1], (float(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(history))
