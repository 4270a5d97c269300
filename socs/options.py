"""Types of options, for argparse."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

MIB = 1 << 20  # bytes
TRUE = frozenset({"true", "yes", "1", "on"})
FALSE = frozenset({"false", "no", "0", "off"})


def parse_bool(text: str) -> bool:
    """A boolean option for argparse: ``type=parse_bool``. (``type=bool`` takes any text as true.)

    Raises:
        argparse.ArgumentTypeError: neither true nor false; the message names what is.
    """
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither true (true, yes, 1, on) nor false (false, no, 0, off)"
    )


def fraction(text: str) -> float:
    """An option between 0 and 1.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    return _number(text, lambda value: 0 <= value <= 1, "between 0 and 1")


def seconds(text: str) -> float:
    """A time above 0 [s].

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    return _number(text, lambda value: 0 < value < math.inf, "a positive number of seconds")


def mebibytes(text: str) -> float:
    """A size [MiB] of at least a byte, and less than 1 EiB.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    return _number(text, lambda value: 1 / MIB <= value < 1 << 40, "a positive number of MiB")


def _number(text: str, fits: Callable[[float], bool], wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # fits nothing
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def whole(least: int) -> Callable[[str], int]:
    """The type of whole numbers from ``least`` up."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return number


def numbers(most: int) -> Callable[[str], list[int]]:
    """The type of lists of numbers from 0 to ``most``, such as ``0-7,31``; sorted, each once."""

    def listed(text: str) -> list[int]:
        found: set[int] = set()
        for piece in text.split(","):
            low, dash, high = piece.partition("-")
            ends = (low, high if dash else low)
            if not all(map(str.isdecimal, ends)) or not int(low) <= int(ends[1]) <= most:
                raise argparse.ArgumentTypeError(
                    f"{text!r} is no list of numbers from 0 to {most}, such as 0-7,{most}"
                )
            found.update(range(int(low), int(ends[1]) + 1))
        return sorted(found)

    return listed


def octal(text: str) -> int:
    """Permissions as octal digits, such as 664.

    Raises:
        argparse.ArgumentTypeError: they are not.
    """
    if not 3 <= len(text) <= 5 or set(text) - set("01234567"):
        raise argparse.ArgumentTypeError(f"{text!r} are not permissions, such as 664")
    return int(text, 8)
