"""What the programs have in common: their log, their processor core, their end."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from typing import Any

from socs.closing import Closing
from socs.errors import ConfigError

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "FATAL")
FORMAT = "%(asctime)s %(name)-12s %(levelname)-8s %(message)s"
PAUSE = 0.2  # s between looks for a signal
WATCH = 1.0  # s between looks for troubles

log = logging.getLogger("ssdaq")


def set_up_log(level: str, where: str) -> None:
    """Log to stderr from ``level`` up.

    Raises:
        ConfigError: there is no such level; the message begins with ``where`` it was said.
    """
    if level not in LEVELS:
        raise ConfigError(f"{where}: {level!r} is none of {', '.join(LEVELS)}")
    logging.basicConfig(level=getattr(logging, level), format=FORMAT)


def pin_to_core(core: int, where: str) -> None:
    """Keep this process on one processor core, with the threads that libraries have begun.

    Raises:
        ConfigError: this process may not use it; the message begins with ``where`` it was said.
    """
    there = os.sched_getaffinity(0)
    if core not in there:
        usable = ", ".join(map(str, sorted(there)))
        raise ConfigError(f"{where}: core {core} is not among those of this process ({usable})")
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {core})


def loaded(class_name: str, where: str) -> Any:
    """The class ``package.module.Class``.

    Raises:
        ConfigError: there is none; the message begins with ``where`` it was said.
    """
    module, _, name = class_name.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: cannot load {class_name}: {error}") from error


class EndSignals(Closing):
    """From here on SIGTERM, SIGINT and SIGHUP do not end this process but are waited for."""

    NUMBERS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP

    def __init__(self) -> None:
        self._came: list[int] = []
        self._before = ExitStack()
        for number in self.NUMBERS:
            before = signal.signal(number, lambda number, _frame: self._came.append(number))
            self._before.callback(signal.signal, number, before)

    @property
    def came(self) -> bool:
        """Has there been one?"""
        return bool(self._came)

    def wait(
        self,
        troubles: Callable[[], Sequence[str]],
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """Wait for a signal, and log ``troubles`` when they change.

        Args:
            troubles: what is wrong now.
            pause: waits for so long [s]; ends the waiting if it returns True.
        """
        known: Sequence[str] = ()
        looked = time.monotonic()
        while not self.came and pause(PAUSE) is not True:
            if time.monotonic() >= looked + WATCH:
                looked = time.monotonic()
                known = _log_changes(known, troubles())
        if self._came:
            log.info("told to end (%s)", signal.Signals(self._came[0]).name)

    def close(self) -> None:
        """Signals do what they did before."""
        self._before.close()


def _log_changes(known: Sequence[str], now: Sequence[str]) -> Sequence[str]:
    for trouble in now:
        if trouble not in known:
            log.warning(trouble)
    if known and not now:
        log.info("all is well again")
    return list(now)
