"""What a counter is, what equations hold between counters, and what counts."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """One counter. ``action`` says what to do when it is not what you expect."""

    name: str
    unit: str
    meaning: str
    action: str = ""


@dataclass(frozen=True)
class Conservation:
    """The sum of ``whole`` equals the sum of ``parts``, at any quiet moment."""

    whole: tuple[str, ...]
    parts: tuple[str, ...]


class Counters:
    """A set of counters that several threads add to.

    Args:
        tables: the definitions; adding to a name that is in none of them raises ``KeyError``.
    """

    def __init__(self, *tables: Iterable[Counter]) -> None:
        self._values = {counter.name: 0 for table in tables for counter in table}
        self._lock = threading.Lock()

    def add(self, name: str, n: int = 1) -> None:
        """Add ``n`` to the counter called ``name``."""
        with self._lock:
            self._values[name] += n

    def add_all(self, amounts: Mapping[str, int]) -> None:
        """Add to several counters at one moment."""
        with self._lock:
            for name in amounts:
                self._values[name] += amounts[name]

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def snapshot(self) -> dict[str, int]:
        """All values at one moment, by name."""
        with self._lock:
            return dict(self._values)


def imbalances(values: Mapping[str, int], equations: Iterable[Conservation]) -> dict[str, int]:
    """What is missing from each equation that does not hold: ``{first of whole: difference}``."""
    differences = {
        equation.whole[0]: sum(values[name] for name in equation.whole)
        - sum(values[name] for name in equation.parts)
        for equation in equations
    }
    return {name: difference for name, difference in differences.items() if difference}
