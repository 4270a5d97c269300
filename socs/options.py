"""Types of options, for argparse."""

from __future__ import annotations

import argparse

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
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value
