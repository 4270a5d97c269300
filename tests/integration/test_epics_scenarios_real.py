"""Real servers and clients in random scenarios: exactly the right events and states, no others."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from socs.epics.listening import look_around
from socs.errors import OurError
from socs.sim.lan import Lan
from tests.epics_scenarios import Scenario, Story, Way

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
