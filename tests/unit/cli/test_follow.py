"""Following a table: nothing missed, nothing twice."""

from socs.cli.follow import LATE, Follower


def read(follower: Follower, ids: list[int], now: float) -> list[int]:
    """One complete read of a table that holds ``ids``."""
    rows = [{"id": number} for number in ids if number > follower.after]
    fresh = [row["id"] for row in follower.fresh(rows, now)]
    follower.advance(now)
    return fresh


def test_new_rows_come_once():
    follower = Follower(after=2)
    assert read(follower, [1, 2, 3], 0) == [3]
    assert read(follower, [1, 2, 3], 1) == []
    assert read(follower, [1, 2, 3, 4, 5], 2) == [4, 5]
    assert follower.after == 5


def test_a_row_that_was_committed_after_a_later_one_is_not_missed():
    follower = Follower()
    assert read(follower, [1, 2, 5, 6], 0) == [1, 2, 5, 6]
    assert follower.after == 2
    assert read(follower, [1, 2, 3, 5, 6], 1) == [3]
    assert read(follower, [1, 2, 3, 4, 5, 6], 2) == [4]
    assert follower.after == 6


def test_numbers_that_never_appear_are_given_up_after_a_while():
    follower = Follower()
    read(follower, [1, 3], 0)
    read(follower, [1, 3, 10], LATE)
    assert follower.after == 3
    read(follower, [1, 3, 10], 2 * LATE)
    assert follower.after == 10
    assert not follower._seen
