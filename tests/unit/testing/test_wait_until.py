import pytest

from socs.testing import wait_until


def test_returns_the_first_true_answer():
    answers = iter([0, "", None, 7, 8])
    assert wait_until(lambda: next(answers), period=0) == 7


def test_says_what_it_waited_for_and_the_last_answer():
    with pytest.raises(TimeoutError, match=r"waited 0\.1 s for rain; last answer: \[\]"):
        wait_until(list, 0.02, "rain")


def test_asks_once_more_after_the_deadline():
    answers = iter([False, True])
    assert wait_until(lambda: next(answers), timeout=0.01, period=0.05)


def test_passes_errors_on():
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 // 0)
