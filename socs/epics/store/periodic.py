"""What snapshots and statistics share: when the next is due, whom to tell of files, what is wrong.

Not :class:`socs.attempts.Attempts`: who calls these says when to try again, and by a clock that
may be set back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from socs.counters import EPICS_SNAPSHOTS, Counters
from socs.epics.store.finishing import Tell, finish
from socs.errors import ConfigError, OurError


@dataclass(frozen=True)
class PeriodicSettings:
    """How files are made.

    Attributes:
        folder: where they are; made if it is missing.
        prefix: how their names begin.
        period: seconds from one piece to the next.

    Raises:
        ConfigError: one makes no sense; the message names it.
    """

    WHAT: ClassVar[str]  # is in the files, in the plural

    folder: Path
    prefix: str
    period: float

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-][\w.-]*", self.prefix):
            raise ConfigError(f"{self.prefix!r} cannot begin the names of {self.WHAT}")
        self._check_positive("period", self.period)

    def _check_positive(self, name: str, value: float) -> None:
        if not value > 0:
            raise ConfigError(f"{name} of {self.WHAT}: {value} is not above 0")


S = TypeVar("S", bound=PeriodicSettings)


class PeriodicFiles(Generic[S]):
    """Files in ``settings.folder`` that get something each period; one process at a time.

    Args:
        settings: see there.
        counters: must know :data:`socs.counters.EPICS_SNAPSHOTS`.
        on_finished: called with each complete file, until it does not raise. After a crash it
            may be called once more with the same id.
        on_settled: called when that cannot happen any more.
        report: gets lines for the log.

    Attributes:
        problem: what was refused last, and why, or None.
    """

    def __init__(
        self,
        settings: S,
        *,
        counters: Counters | None = None,
        on_finished: Tell = lambda file: None,
        on_settled: Tell = lambda file: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings = settings
        self.counters = counters or Counters(EPICS_SNAPSHOTS)
        self._on_finished, self._on_settled, self._report = on_finished, on_settled, report
        self._last: float | None = None  # when something was added, whatever became of it
        self.problem: str | None = None

    def due(self, now: float) -> bool:
        """Is it time for the next piece; also if the clock was set back."""
        return self._last is None or not 0 <= now - self._last < self._settings.period

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Call ``act``; False if the disk, or who is told, refuses: that is the problem then."""
        try:
            act()
        except (OurError, OSError) as error:  # a file server that is gone refuses any question
            if self.problem is None:
                self._report(f"{self._settings.WHAT}: {error}")
            self.problem = str(error)
            return False
        self.problem = None
        return True

    def _finish(self, path: Path, began: float) -> None:
        """The file ``path.part`` is complete; see :func:`.finish`."""
        finish(path, began, self._on_finished, self._on_settled)
