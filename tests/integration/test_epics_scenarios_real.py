"""Real servers and clients in random scenarios: exactly the right events and states, no others."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from socs.epics.gateway.listening import look_around
from socs.epics.track.events import CA, PVA, Event, HostEvent, PvEvent, ServerEvent
from socs.errors import OurError
from socs.sim.lan import Lan
from tests.epics_real import TRACK
from tests.epics_scenarios import Scenario, Story, Way
from tests.epics_truth import Truth

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)

NO_CAPTURE = look_around([5064]).no_capture
WAYS: list[Way] = ["sockets"] if NO_CAPTURE else ["sockets", "capture", "overhear"]
MANY = 102
AT_ONCE = 10


def play(scenarios: Iterable[Scenario], at_once: int) -> list[Story]:
    """Play them side by side; their stories, all told to the end."""

    def one(scenario: Scenario) -> Story:
        try:
            return scenario.run()
        except Exception as error:  # of one of many: told with its story
            scenario.story.wrong.append(f"{type(error).__name__}: {error}")
            return scenario.story

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, scenarios))


def check(stories: list[Story]) -> None:
    """All are right, and there was something to be right about."""
    wrong = [str(story) for story in stories if story.wrong]
    assert not wrong, f"{len(wrong)} of {len(stories)}:\n" + "\n".join(wrong)
    assert all(story.events > 1 for story in stories)


def test_what_is_missing_too_much_too_early_or_elsewhere_is_noticed() -> None:
    place, other = (1, 5064), (1, 5065)
    truth = Truth(TRACK, {CA: 2.0, PVA: 15.0}, 0.0, overhears=False)
    truth.started((CA, *place), 100.0, 101.0)
    truth.searched("A", [{CA: {place}, PVA: set()}], 101.0)
    truth.gone((CA, *place), 110.0, 110.0)
    truth.searched("A", [{CA: set(), PVA: set()}, {CA: {other}, PVA: set()}], 110.0)

    def server(time: float, kind: str) -> ServerEvent:
        return ServerEvent(time, kind, "", {}, CA, *place)

    def pv(time: float, kind: str, where: tuple[int, int] = place) -> PvEvent:
        return PvEvent(time, kind, "", {}, 0, b"A", CA, *where)

    good = [
        server(100.5, "NEW"),
        HostEvent(100.6, "RUNNING", "", {}, 1),
        pv(102.0, "FOUND"),
        pv(113.0, "MOVED", other),
        server(119.5, "LOST"),
        HostEvent(119.6, "NO_DATA", "", {}, 1),
    ]
    assert truth.differences(good) == []
    lost_between = [*good[:3], pv(112.0, "LOST"), pv(114.0, "REAPPEARED", other), *good[3:]]
    assert truth.differences(lost_between) == []
    for place_of_wrong in range(len(good)):
        assert truth.differences(good[:place_of_wrong] + good[place_of_wrong + 1 :])
        assert truth.differences([*good, good[place_of_wrong]])
    for wrong in (server(113.0, "LOST"), pv(113.0, "MOVED"), pv(99.0, "FOUND")):
        same = [e for e in good if (type(e), e.kind) != (type(wrong), wrong.kind)]
        assert truth.differences(sorted([*same, wrong], key=lambda event: event.time))
    assert truth.differences([*good, Event(120.0, "GATEWAY_BLIND", "")])


@pytest.mark.timeout(120)
def test_a_few_scenarios(tmp_path: Path) -> None:
    check(
        play(
            [
                Scenario(seed, tmp_path / f"{seed}", WAYS[seed % len(WAYS)], steps=2)
                for seed in range(3)
            ],
            at_once=3,
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_scenarios(tmp_path: Path) -> None:
    stories = play(
        (
            Scenario(seed, tmp_path / f"{seed}", WAYS[seed % len(WAYS)], steps=5)
            for seed in range(1000, 1000 + MANY)
        ),
        AT_ONCE,
    )
    check(stories)
    told = {words[1] for story in stories for words in map(str.split, story.steps)}
    assert {"started", "ended", "moved"} <= told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_scenarios_on_several_hosts(tmp_path: Path) -> None:
    try:
        lan = Lan(["watch", "one", "two", "client"])
    except OurError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with lan:
        check(
            play(
                (
                    Scenario(seed, tmp_path / f"{seed}", "sockets", steps=5, lan=lan)
                    for seed in range(2000, 2008)
                ),
                at_once=4,
            )
        )
