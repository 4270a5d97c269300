"""Tango's part of the demo: when it has failed."""

from __future__ import annotations

import dataclasses

import pytest

from socs.cli.demo.numbers import problems
from socs.cli.demo.tango import SLOW, TangoNumbers
from tests.unit.cli.demo.test_numbers import GOOD

TANGO = TangoNumbers(
    pushed=900,
    received=900,
    told_published=900,
    told_received=900,
    files=3,
    archived=3,
    answers=True,
)
LOSING = dataclasses.replace(
    TANGO, received=890, told_received=890, told_lost=10, losers=(SLOW,), fault=True
)


def failed(numbers: TangoNumbers, **change) -> list[str]:
    part = dataclasses.replace(numbers, **change)
    return problems(dataclasses.replace(GOOD, parts={"tango": part}))


@pytest.mark.parametrize("numbers", [TANGO, LOSING])
def test_a_good_demo_has_no_problem(numbers):
    assert failed(numbers) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"told_published": 899}, "Tango events pushed: 900, but told published: 899"),
        ({"told_received": 899}, "events seen by callbacks: 900, but told: 899"),
        ({"told_lost": 1}, "events lost: 0, but told lost: 1"),
        ({"archived": 2}, "files of lines: 3, but archived, md5 verified: 2"),
        ({"losers": ("quick",)}, "told to have lost events: ('quick',)"),
        ({"not_up": ("pub",)}, "told not to be up: ('pub',)"),
        ({"wrong": 1}, "1 files of lines do not have the md5"),
        ({"answers": False}, "the Tango event monitor does not answer"),
    ],
)
def test_each_difference_is_one_problem(change, words):
    (problem,) = failed(TANGO, **change)
    assert words in problem


def test_a_loss_must_be_told_of_the_right_subscriber():
    (problem,) = failed(LOSING, losers=("quick", SLOW))
    assert "slow was made slow" in problem
    (problem,) = failed(LOSING, losers=())
    assert "slow was made slow" in problem


def test_without_events_nothing_was_shown():
    nothing = {"pushed": 0, "received": 0, "told_published": 0, "told_received": 0}
    assert failed(TANGO, **nothing) == ["no Tango event was pushed"]
