"""Doing several things at given rates, in one thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_SLEEP = 0.05  # seconds; how late a wish to stop is noticed


@dataclass
class Repeat:
    """Something done ``rate`` times per second: 0 never, infinity whenever there is time."""

    act: Callable[[], object]
    rate: float
    start: float
    done: int = 0

    def due(self) -> float:
        """When it is to be done next, on the clock of ``start``."""
        return self.start + self.done / self.rate if self.rate else math.inf


def run_paced(
    files: Repeat, others: Sequence[Repeat], count: int | None, stopped: Callable[[], bool]
) -> None:
    """Do ``files`` ``count`` times (``None``: for ever), and the others in between.

    What is late is done at once, so that the mean rates are kept.
    """
    while not stopped() and (count is None or files.done < count):
        now = time.monotonic()
        # the others first: in a burst ``files`` is always due
        for task in (*others, files):
            if task.due() <= now:
                task.act()
                task.done += 1
                break
        else:
            wait = min(task.due() for task in (*others, files)) - now
            time.sleep(min(wait, MAX_SLEEP))
