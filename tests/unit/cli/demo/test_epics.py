"""EPICS in the demo: when it has failed."""

from __future__ import annotations

import dataclasses

import pytest

from socs.cli.demo.epics import EpicsNumbers
from socs.cli.demo.numbers import problems
from tests.unit.cli.demo.test_numbers import GOOD

EPICS = EpicsNumbers(
    served=20,
    online=20,
    unserved=1,
    never_seen=1,
    files=1,
    archived=1,
    answers=True,
    who=("A is ONLINE",),
)
KILLED = dataclasses.replace(EPICS, served=10, online=10, killed=10, lost=10)


def failed(numbers: EpicsNumbers, **change) -> list[str]:
    part = dataclasses.replace(numbers, **change)
    return problems(dataclasses.replace(GOOD, parts={"epics": part}))


@pytest.mark.parametrize("numbers", [EPICS, KILLED])
def test_a_good_demo_has_no_problem(numbers):
    assert failed(numbers) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"online": 9}, "PVs served by IOCs: 10, but told online, and where: 9"),
        ({"lost": 9}, "PVs of a killed IOC: 10, but told lost: 9"),
        ({"never_seen": 0}, "PVs served by nobody: 1, but told never seen: 0"),
        ({"archived": 0}, "snapshots of PVs: 1, but archived, md5 verified: 0"),
        ({"served": 0, "online": 0}, "no IOC serves anything"),
        ({"files": 0, "archived": 0}, "no snapshot of PVs was registered"),
        ({"wrong": 1}, "1 snapshots do not have the md5"),
        ({"unaccounted": ("requests",)}, "the PV monitor cannot account for: requests"),
        ({"answers": False}, "the PV monitor does not answer"),
        ({"refused": "no router"}, "socs epics who: no router"),
        ({"who": ()}, "socs epics who was not asked"),
    ],
)
def test_each_difference_is_one_problem(change, words):
    (problem,) = failed(KILLED, **change)
    assert words in problem
