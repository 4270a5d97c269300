"""Names by a pattern."""

import fnmatch
import random

import numpy as np
import pytest

from socs.epics.accounts.find import LONGEST_PATTERN, MOST_PIECES, NameFinder
from socs.epics.accounts.names import NameTable
from socs.errors import Malformed


def finder(*names):
    table = NameTable(1000, secret=1)
    numbers = {name: table.add(name.encode()) for name in names}
    return NameFinder(table), numbers, table


def found(which, table, pattern, **how):
    page = which.page(pattern, **how)
    return [name.decode() for name in table.names(page.numbers)], page.total


def test_pages_in_the_order_of_names():
    which, _, table = finder(*(f"PV:{n:02d}" for n in range(30, 0, -1)), "OTHER")
    assert found(which, table, "pv:*", most=3) == (["PV:01", "PV:02", "PV:03"], 30)
    assert found(which, table, "pv:*", start=28, most=3) == (["PV:29", "PV:30"], 30)
    assert found(which, table, "*1?", most=2) == (["PV:10", "PV:11"], 10)
    assert found(which, table, "other") == (["OTHER"], 1)
    assert found(which, table, "none*") == ([], 0)


def test_only_those_wanted():
    which, numbers, table = finder("A1", "A2", "B1")
    wanted = np.zeros(1000, bool)
    wanted[[numbers["A2"], numbers["B1"]]] = True
    assert found(which, table, "a*", wanted=wanted) == (["A2"], 1)
    assert found(which, table, "*", wanted=wanted) == (["A2", "B1"], 2)


def test_new_and_forgotten_names_after_a_refresh():
    which, numbers, table = finder("A", "B")
    table.add(b"C")
    table.forget(np.array([numbers["A"]]))
    assert len(which) == 2
    which.refresh()
    assert found(which, table, "*") == (["B", "C"], 2)


def test_nothing_known():
    which, _, table = finder()
    assert found(which, table, "*") == found(which, table, "a") == ([], 0)


def test_any_bytes():
    table = NameTable(10, secret=1)
    names = [b"A\nB", b"\xff\xfe", b"A"]
    for name in names:
        table.add(name)
    assert NameFinder(table).page("a").total == 1
    assert NameFinder(table).page("*").total == 3
    assert NameFinder(table).page("a?b").total == 1


def test_names_that_came_after_the_question_are_left_out():
    """Another thread may refresh between who is wanted and the look."""
    which, _, table = finder("A1", "A2")
    wanted = np.ones(table.end, bool)
    table.add(b"A3")
    which.refresh()
    assert found(which, table, "a*", wanted=wanted) == (["A1", "A2"], 2)
    assert found(which, table, "a*", wanted=wanted[:0]) == ([], 0)


def test_against_fnmatch():
    rnd = random.Random(2)
    names = sorted({"".join(rnd.choices("aAbB:1", k=rnd.randint(1, 12))) for _ in range(400)})
    which, _, table = finder(*names)
    patterns = ["".join(rnd.choices("ab:1*?", k=rnd.randint(0, 9))) for _ in range(600)]
    hits = 0
    for pattern in [*patterns, "", "*", "**", "?", "*a*b*a*"]:
        expected = [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern)]
        assert found(which, table, pattern, most=1000) == (expected, len(expected)), pattern
        hits += len(expected)
    assert hits > 1000


@pytest.mark.parametrize(
    "pattern", ["x" * (LONGEST_PATTERN + 1), "a*" * (MOST_PIECES + 1), "\ud800"]
)
def test_patterns_that_are_too_much(pattern):
    with pytest.raises(Malformed):
        finder("A")[0].page(pattern)
