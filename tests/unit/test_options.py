"""Types of options: what fits, and what is refused in words that name it."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from socs.options import fraction, mebibytes, numbers, octal, seconds, whole

NO_NUMBERS = ("", "x", "nan", "-inf", "1,5")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (fraction, "0", 0.0),
        (fraction, "1", 1.0),
        (fraction, " 2.5e-1", 0.25),
        (seconds, "1e-9", 1e-9),
        (seconds, "86400", 86_400.0),
        (mebibytes, "0.5", 0.5),
        (mebibytes, str(2.0**-20), 2.0**-20),
        (whole(2), "2", 2),
        (numbers(31), "7,0-2,2", [0, 1, 2, 7]),
        (numbers(31), "5-5", [5]),
        (octal, "664", 0o664),
    ],
)
def test_what_fits(kind: Callable[[str], object], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "texts", "wanted"),
    [
        (fraction, (*NO_NUMBERS, "-0.1", "1.1", "inf"), "is not between 0 and 1"),
        (seconds, (*NO_NUMBERS, "0", "-1", "inf"), "is not a positive number of seconds"),
        (
            mebibytes,
            (*NO_NUMBERS, "0", "-1", "inf", "1e-9", str(2**40)),
            "is not a positive number of MiB",
        ),
        (whole(2), ("", "x", "1", "-3", "2.0"), "is not a whole number of at least 2"),
        (
            numbers(31),
            ("", "x", "32", "0-32", "-1", "1-", "0,1-", "7-2", "1-2-3", "1,,2"),
            "is no list of numbers from 0 to 31",
        ),
        (octal, ("", "64", "668", "0o664", "-664"), "are not permissions"),
    ],
)
def test_what_does_not_fit_is_named(
    kind: Callable[[str], object], texts: tuple[str, ...], wanted: str
) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            kind(text)
        assert str(refused.value).startswith(f"{text!r} {wanted}")
