"""Values of process variables as JSON has them, however long and odd they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from socs.epics.cainfo.messages import Number

MOST_CHARACTERS = 4096  # of a text
DEEPEST = 8  # structures within each other


def plain(value: Any, most: int, depth: int = DEEPEST) -> Any:  # noqa: PLR0911  a kind of value each
    """``value`` made of None, booleans, numbers, texts, lists and mappings by texts.

    Args:
        most: elements of each list and mapping that are kept.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str | bytes):
        return text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        pairs = islice(value.items(), most)
        return {text(str(key)): plain(each, most, depth - 1) for key, each in pairs}
    if isinstance(value, np.ndarray):
        value = value.ravel()[:most].tolist()
    if isinstance(value, Sequence):
        return [plain(each, most, depth - 1) for each in value[:most]]
    return text(str(value))


def number(value: Any) -> float | int | str:
    """A number, or the text ``NaN``, ``Infinity`` or ``-Infinity``."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) or math.isfinite(value):
        return value  # type: ignore[no-any-return]
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def text(value: str | bytes) -> str:
    """Text that can be encoded, of at most `MOST_CHARACTERS`; bytes up to their first NUL."""
    if isinstance(value, bytes):
        value = value.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    if len(value) > MOST_CHARACTERS:
        value = value[: MOST_CHARACTERS - 3] + "..."
    return value.encode("utf-8", "backslashreplace").decode()


def pair(low: Any, high: Any) -> tuple[Number, Number] | None:
    """Two limits; what is not a number is none. None if there is neither."""
    limits = [_limit(low), _limit(high)]
    return None if limits == [None, None] else (limits[0], limits[1])


def _limit(value: Any) -> Number:
    if not isinstance(value, int | float | np.number) or np.isnan(value):
        return None
    return number(value)


def characters(octets: bytes) -> str | None:
    """The text that stands in an array of characters; None if it is none."""
    try:
        found = octets.partition(b"\0")[0].decode()
    except UnicodeDecodeError:
        return None
    return text(found) if found and found.isprintable() else None
