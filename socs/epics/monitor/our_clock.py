"""Was our clock set? By itself it goes as fast as one that nobody sets, or nearly so."""

from __future__ import annotations

import threading
import time

STEP = 1.0  # s; smaller steps do no harm
AT_ONE_MOMENT = 0.1  # s; two clocks that were read within this show the same moment


class OurClock:
    """Compares the clock with the monotonic one. Any thread may ask.

    A machine that slept counts as one whose clock was set: nobody listened meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead: float | None = None  # of the monotonic one
        self.was_set()

    def was_set(self) -> float:
        """By how much it was set since this was asked last [s]; 0 if it was not."""
        with self._lock:
            before = time.monotonic()
            utc = time.time()
            after = time.monotonic()
            if after - before > AT_ONE_MOMENT:
                return 0.0  # a busy machine; it is seen next time
            last, self._ahead = self._ahead, utc - after
            by = 0.0 if last is None else self._ahead - last
            return by if abs(by) > STEP else 0.0
