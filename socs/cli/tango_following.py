"""Following Tango servers on the command line: one poll after the other, until a signal."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from socs.closing import Closing
from socs.db.engine import data_dir
from socs.errors import ConfigError, StorageUnavailable
from socs.problems import printable
from socs.tango.events import Event
from socs.tango.polling.poller import Poller
from socs.tango.polling.settings import LEASE, PollSettings
from socs.tango.server import Sample
from socs.tango.track import EventTracker

MOST_WAITING = 100  # polls that nobody takes: the output is not read
MOST_RUNS = 100  # on one machine at one time, of one user
STOP_TIME = 5.0  # s for switching performance monitoring off
TIMEOUT, PING_TIMEOUT = 1.0, 0.5  # s
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Polled(NamedTuple):
    """One poll.

    Attributes:
        utc: UNIX time [s].
        offset: UNIX time minus the clock of the samples [s].
        samples: of each server.
        told: what the tracker told of it.
    """

    utc: float
    offset: float
    samples: Sequence[Sample]
    told: Sequence[Event]


class Following(Closing):
    """Polls servers from :meth:`start` to :meth:`close`, and follows what they tell.

    Args:
        settings: what, and how often.
        tell: gets lines for people about what goes wrong; standard error if omitted.

    Attributes:
        tracker: fed by whoever takes polls, and by no other thread.
        dropped: polls that were not taken in time.

    Raises:
        ConfigError: pytango is not installed.
    """

    def __init__(self, settings: PollSettings, tell: Callable[[str], None] | None = None) -> None:
        self.tracker = EventTracker()
        self.dropped = 0
        self._tell = tell or _to_stderr
        self._told_dropped = 0
        self._polls: queue.SimpleQueue[tuple[float, float, list[Sample]] | None]
        self._polls = queue.SimpleQueue()
        self._samples: list[Sample] = []
        self._troubles: list[str] = []
        self.poller = Poller(settings, self._samples.append, self._round_ended, self._tell)

    def start(self) -> None:
        """Begin."""
        self.poller.start()

    def close(self) -> None:
        """Switch performance monitoring off, and end."""
        self.poller.stop(STOP_TIME)

    def stop(self) -> None:
        """Let :meth:`polls` end. May be called from a signal handler."""
        self._polls.put(None)

    def _round_ended(self, number: int) -> None:
        """Called by the poller's thread, as is what collects the samples."""
        samples = self._samples[:]
        self._samples.clear()
        if self._polls.qsize() < MOST_WAITING:
            utc = time.time()
            self._polls.put((utc, utc - time.monotonic(), samples))
        else:
            self.dropped += 1

    def polls(self) -> Iterator[Polled]:
        """Each poll, followed, until :meth:`stop`; what troubles the poller is told in between."""
        while True:
            try:
                taken = self._polls.get(timeout=1.0)
            except queue.Empty:
                self._tell_troubles()
                if not self.poller.alive:
                    raise StorageUnavailable("the poller has stopped by itself") from None
                continue
            if taken is None:
                return
            self._tell_troubles()
            yield self._followed(*taken)

    def _followed(self, utc: float, offset: float, samples: list[Sample]) -> Polled:
        told = [event for sample in samples for event in self.tracker.feed(sample)]
        told += self.tracker.reconcile(utc - offset)
        return Polled(utc, offset, samples, told)

    def _tell_troubles(self) -> None:
        """Those that were not there before."""
        troubles = self.poller.troubles()
        known = [_without_numbers(text) for text in self._troubles]
        for text in troubles:
            if _without_numbers(text) not in known:
                self._tell(text)
        if self._troubles and not troubles:
            self._tell("all is well again")
        self._troubles = troubles
        if self.dropped > self._told_dropped:
            self._tell(f"{self.dropped} polls were not shown: what is printed is read too slowly")
            self._told_dropped = self.dropped


def _without_numbers(text: str) -> str:
    """``text`` without how long it has been so."""
    return "".join(character for character in text if not character.isdecimal())


def _to_stderr(text: str) -> None:
    print(printable(text, 1000), file=sys.stderr, flush=True)


def poll_settings(
    names: Sequence[str], state_dir: Path, period: float, timeout: float, *, performance: bool
) -> PollSettings:
    """Settings with time-outs that fit into ``period``, as do ``timeout`` at most.

    Raises:
        ConfigError: a name is none.
    """
    answer = min(timeout, 0.5 * period)
    return PollSettings(
        names=tuple(names),
        state_dir=state_dir,
        period=period,
        timeout=answer,
        ping_timeout=min(PING_TIMEOUT, 0.25 * period),
        performance=performance,
    )


@contextmanager
def following(settings: PollSettings) -> Iterator[Following]:
    """A :class:`Following` that has begun, whose :meth:`~Following.polls` end with a signal."""
    with ExitStack() as stack:
        made = Following(settings)
        for number in SIGNALS:
            before = signal.signal(number, lambda *args: made.stop())
            stack.callback(signal.signal, number, before)
        stack.enter_context(made)
        made.start()
        yield made


@contextmanager
def state_directory() -> Iterator[Path]:
    """A directory that no other run uses now, one that a killed run left first.

    Raises:
        ConfigError: none can be had.
    """
    base = data_dir() / "tango-event-monitor"
    numbered = [base / str(number) for number in range(MOST_RUNS)]
    for directory in sorted(numbered, key=lambda each: not (each / LEASE).exists()):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ConfigError(
                f"cannot use {directory}: {error.strerror}; let SOCS_DATA_DIR name another place"
            ) from error
        try:
            if _locked(lock):
                yield directory
                return
        finally:
            os.close(lock)
    raise ConfigError(f"{MOST_RUNS} monitors run already: {base}")


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


def head_of(polled: Polled, shown: Callable[[float], str]) -> str:
    """The line above a poll."""
    answered = sum(sample.outcome == "ok" for sample in polled.samples)
    return f"{shown(polled.utc)}  {answered} of {len(polled.samples)} servers answered"
