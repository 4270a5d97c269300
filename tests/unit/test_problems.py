"""Messages for people: rarely, on one line, harmless to a terminal."""

import pytest

from socs.problems import Problems, printable


def test_first_at_once_then_one_per_interval_with_how_many_were_silent():
    told = []
    problems = Problems(told.append, interval=60)
    results = [problems.report("kind", f"at {now}", now) for now in (0, 1, 59.9, 60, 61)]
    assert results == [True, False, False, True, False]
    assert told == ["at 0", "at 60 (and 2 times since the last such message)"]


def test_kinds_are_apart():
    told = []
    problems = Problems(told.append)
    problems.report("one", "1", 0)
    problems.report("other", "2", 0)
    assert told == ["1", "2"]


def test_text_from_outside_is_escaped_and_cut():
    told = []
    problems = Problems(told.append)
    for now in (0, 1, 100):
        problems.report("kind", "\x1b[31m\n" + "x" * 1_000_000, now)
    assert told[0].startswith("\\x1b[31m\\nxxx")
    assert [len(text) for text in told] == [200, 200]


def test_a_failing_log_does_no_harm(caplog):
    def fail(text):
        raise RuntimeError("log is gone")

    assert Problems(fail).report("kind", "text", 0)
    assert "log is gone" in caplog.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü", "plain äöü"),
        ("a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"),
        ("\u202eright to left", "\\u202eright to left"),
        ("lone \ud800", "lone \\ud800"),
        ("1234567890", "1234567890"),
        ("12345678901", "1234567..."),
    ],
)
def test_printable(text, shown):
    assert printable(text, 10 if text.startswith("1") else 200) == shown
