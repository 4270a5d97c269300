"""When a demo has failed."""

import dataclasses
import json

import pytest

from socs.cli.demo.numbers import Numbers, ScriptRun, problems

GOOD = Numbers(
    seconds=10.0,
    announced=100,
    dropped=3,
    duplicated=4,
    registered=100,
    verified=100,
    archived=100,
    lost=3,
    recognised=4,
    feeds={"pysmurf-monitor counters": 10},
    script=ScriptRun("done", "abcd", {"token": "abcd"}, 2),
    monitor_answers=True,
    archiver_answers=True,
)


def test_a_good_demo_has_no_problem():
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"registered": 99, "verified": 99, "archived": 99},
            "files announced: 100, but rows in the table: 99",
        ),
        ({"registered": 101, "verified": 101, "archived": 101}, "rows in the table: 101"),
        ({"verified": 99}, "rows: 100, but md5 verified: 99"),
        ({"archived": 99}, "rows: 100, but archived, md5 verified: 99"),
        ({"wrong": 1}, "1 rows do not have the md5"),
        ({"lost": 2}, "dropped on purpose: 3, but reported lost: 2"),
        ({"lost": 4}, "reported lost: 4"),
        ({"recognised": 3}, "sent twice: 4, but recognised: 3"),
        ({"missing": 1}, "1 files have no row, 0 rows no file"),
        ({"surplus": 1}, "0 files have no row, 1 rows no file"),
        ({"announced": 0, "registered": 0, "verified": 0, "archived": 0}, "no file was announced"),
        ({"feeds": {}}, "seen no feed"),
        ({"monitor_answers": False}, "the monitor does not answer"),
        ({"archiver_answers": False}, "the archiver does not answer"),
        ({"script": ScriptRun("failed", "abcd", {"token": "abcd"})}, "script: failed"),
        ({"script": ScriptRun("done", "abcd", {})}, "its session data: {}"),
        ({"script": ScriptRun("done", "abcd", {"token": "old"})}, "old"),
    ],
)
def test_each_difference_is_one_problem(change, words):
    (problem,) = problems(dataclasses.replace(GOOD, **change))
    assert words in problem


def test_numbers_are_fit_for_json():
    numbers = json.loads(json.dumps(GOOD.as_json()))
    assert numbers["feeds"] == {"pysmurf-monitor counters": 10}
    assert numbers["script"]["arrived"] == {"token": "abcd"}


def test_the_count_on_show_is_never_behind_the_rows():
    assert dataclasses.replace(GOOD, announced=50).announced_so_far == 100
    assert dataclasses.replace(GOOD, announced=50, heard=120).announced_so_far == 120
    assert dataclasses.replace(GOOD, announced=150).announced_so_far == 150
