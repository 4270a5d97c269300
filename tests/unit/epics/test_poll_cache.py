"""Rounds of polling: few searches judge all names, and what changed is found."""

import numpy as np
import pytest

from socs.epics.knowledge.poll_cache import UNANSWERED, PollRound, Progress
from socs.errors import ConfigError


def poll(keys, truth, most=1000, **settings):
    """Run a round; (how often each name was searched, names judged, the round)."""
    keys, truth = np.asarray(keys), np.asarray(truth)
    polling = PollRound(keys, np.random.default_rng(1), **settings)
    searched, judged = np.zeros(len(keys), int), np.zeros(len(keys), int)
    while len(rows := polling.next(most)):
        assert len(rows) <= most
        np.add.at(searched, rows, 1)
        kept = polling.answered(rows, truth[rows])
        judged[kept] += 1
    return searched, judged, polling


def test_a_million_names_on_a_thousand_servers_are_judged_by_less_than_two_percent():
    keys = np.arange(1_000_000) % 1000
    searched, judged, polling = poll(keys, keys)
    assert searched.sum() < 0.02 * len(keys)
    assert searched.max() == judged.max() == 1
    assert np.all(searched + judged == 1)
    assert polling.progress == Progress(len(keys), searched.sum(), judged.sum(), 0)


def test_all_names_of_a_server_that_is_gone_or_was_replaced_are_searched():
    keys = np.repeat(np.arange(10), 100)
    truth = np.where(keys == 3, UNANSWERED, np.where(keys == 7, 70, keys))
    searched, judged, _ = poll(keys, truth, most=7)
    for key in (3, 7):
        assert np.all(searched[keys == key] == 1)
        assert not judged[keys == key].any()
    others = (keys != 3) & (keys != 7)
    assert np.all((searched + judged)[others] == 1)
    assert searched[others].sum() < 0.06 * others.sum()


def test_names_without_a_server_are_all_searched():
    keys = np.where(np.arange(100) % 2, UNANSWERED, 1)
    searched, judged, _ = poll(keys, np.where(keys < 0, 5, keys), spot_share=0.0)
    assert np.all(searched[keys < 0] == 1)
    assert not judged[keys < 0].any()
    assert searched[keys == 1].sum() == 3


def test_a_name_that_is_gone_from_a_living_server_is_found_after_some_rounds():
    keys = np.zeros(1000, int)
    truth = keys.copy()
    truth[17] = UNANSWERED
    found = 0
    for seed in range(300):
        polling = PollRound(keys, np.random.default_rng(seed))
        searched = []
        while len(rows := polling.next(10)):
            polling.answered(rows, truth[rows])
            searched += rows.tolist()
        assert len(searched) == len(set(searched))
        if 17 in searched:
            found += 1
            assert len(searched) == 1000  # its server is not trusted in this round
    assert found > 1


def test_a_spot_check_that_fails_late_takes_the_judgement_back():
    keys = np.zeros(100, int)
    polling = PollRound(keys, np.random.default_rng(2), witnesses=1, spot_share=0.1)
    rows = polling.next(100)
    spots = [row for row in rows.tolist() if not polling._is_witness[row]]
    witness = [row for row in rows.tolist() if polling._is_witness[row]]
    assert len(witness) == 1
    assert spots
    judged = polling.answered(np.array(witness), np.array([0]))
    assert len(judged) == 100 - len(rows) == polling.progress.judged
    assert len(polling.answered(np.array(spots), np.full(len(spots), UNANSWERED))) == 0
    assert polling.progress.judged == 0
    assert sorted(polling.next(1000).tolist()) == sorted(judged.tolist())


def test_an_answer_that_comes_twice_counts_once():
    polling = PollRound(np.zeros(10, int), np.random.default_rng(1), witnesses=2, spot_share=0)
    rows = polling.next(10)
    assert len(rows) == 2
    assert len(polling.answered(rows[:1], np.zeros(1))) == 0
    assert len(polling.answered(rows[:1], np.zeros(1))) == 0
    assert len(polling.answered(rows[1:], np.zeros(1))) == 8


def test_nothing_to_poll_and_settings_that_are_not_possible():
    polling = PollRound(np.empty(0, int), np.random.default_rng(1))
    assert len(polling.next(10)) == 0
    assert polling.progress == Progress(0, 0, 0, 0)
    with pytest.raises(ConfigError, match="witnesses: 0"):
        PollRound(np.zeros(1, int), np.random.default_rng(1), witnesses=0)
    with pytest.raises(ConfigError, match="spot_share: 2"):
        PollRound(np.zeros(1, int), np.random.default_rng(1), spot_share=2)
