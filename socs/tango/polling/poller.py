"""Polls device servers by a child process, which it starts, watches, and starts again.

One thread does everything here: it keeps the time, takes what the child tells, and calls back. ::

    poller = Poller(settings, on_sample=tracker.feed, on_round_end=reconcile, report=log.warning)
    poller.start()
    ...
    poller.stop(timeout=5)

Each server is asked once a poll, all at the same moment, as `EventTracker` wants it. Whatever
happens, it gets exactly one sample for each poll, before the end of the poll is told.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from socs.counters import TANGO, TANGO_POLLING, Counters
from socs.errors import PeerError
from socs.problems import Problems, printable
from socs.tango.decode import decode
from socs.tango.installed import require_pytango
from socs.tango.polling.doubles import Doubles
from socs.tango.polling.messages import (
    Answer,
    Answers,
    Configure,
    FromChild,
    Known,
    Over,
    PerfDone,
    Poll,
    Stop,
)
from socs.tango.polling.performance import PerformanceSwitch
from socs.tango.polling.process import ChildProcess
from socs.tango.polling.settings import PollSettings
from socs.tango.server import Sample

GRACE = 1.0  # s after the deadline of a poll that the child may take to tell of it
READY_TIME = 10.0  # s that the first poll waits for the child to have connected to all
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # s between two starts of a child that does not live
CAUSES = ("reply_malformed", "reply_too_large", "version_unknown")  # of bad replies
AWAY = "the process that asks servers is being started"
SILENT = "the process that asks servers did not tell"

OnSample = Callable[[Sample], object]
OnRoundEnd = Callable[[int], object]


class Poller:
    """Polls, from :meth:`start` to :meth:`stop`; no method but these two ever waits.

    Args:
        settings: what, and how often.
        on_sample: gets each sample as it comes.
        on_round_end: gets the number of a poll when each server has its sample. What the two raise
            is counted and told, and ends nothing. Both are called by the same thread.
        report: gets sentences for people about what goes wrong.

    Raises:
        ConfigError: pytango is not installed, or ``TANGO_HOST`` makes no sense.
    """

    def __init__(
        self,
        settings: PollSettings,
        on_sample: OnSample,
        on_round_end: OnRoundEnd,
        report: Callable[[str], None] | None = None,
    ) -> None:
        require_pytango()
        self._environ = settings.environ()
        self.counters = Counters(TANGO_POLLING, [c for c in TANGO if c.name in CAUSES])
        self._settings = settings
        self._on_sample, self._on_round_end = on_sample, on_round_end
        self._problems = Problems(report)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tango-poller", daemon=True)
        self._stop_at: float | None = None
        self._child: ChildProcess | None = None
        self._pause = SHORTEST_PAUSE
        self._start_at = 0.0
        self._known = Known([], False, 0, [], [])
        self._ready = False
        self._started = 0.0
        self._number = 0
        self._round: tuple[float, set[str]] | None = None  # when it is over at last, who lacks
        self._poll_at: float | None = None
        self._last: dict[str, Any] = {}
        self._begun: list[float] = []
        self._doubles = Doubles()
        self._performance = PerformanceSwitch(settings.lease, self.counters, self._problem)

    # -- for everybody ----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: the first poll is as soon as everything is connected."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Switch performance monitoring off, and end within about ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        self._inbox.put(lambda: setattr(self, "_stop_at", deadline))
        if self._thread.ident is not None:
            self._thread.join(timeout + GRACE)

    def poll_now(self) -> None:
        """Poll at once, or right after the poll that is under way; the period begins anew."""
        self._inbox.put(lambda: setattr(self, "_poll_at", time.monotonic()))

    def set_names(self, names: Iterable[str]) -> None:
        """Poll other servers from now on.

        Raises:
            ConfigError: one is no name.
        """
        wanted = tuple(names)
        replace(self._settings, names=wanted)  # is checked here, and done upon what holds by then
        self._inbox.put(lambda: self._take_settings(replace(self._settings, names=wanted)))

    def set_performance(self, on: bool) -> None:
        """Switch performance monitoring on or off, everywhere."""
        self._inbox.put(lambda: self._take_settings(replace(self._settings, performance=on)))

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def status(self) -> dict[str, Any]:
        """What is polled, and how the last poll went; fit for JSON."""
        child = self._child
        return {
            "servers": list(self._known.servers),
            "unresolved": list(self._known.unresolved),
            "refused": self._known.refused,
            "databases": {state.host: state.reason for state in self._known.databases},
            "child": child.pid if child is not None else None,
            "polls": self.counters["polls"],
            "performance": self._settings.performance,
            "monitored": sorted(self._performance.monitored),
            "last_poll": dict(self._last),
        }

    def troubles(self) -> list[str]:
        """What is wrong at this moment, in sentences; empty if nothing is."""
        now, known = time.monotonic(), self._known
        found = [] if self._child is not None or not self.alive else [AWAY]
        for state in known.databases:
            if state.silent_since is not None:
                found.append(
                    f"the Tango database {state.host} has not answered for "
                    f"{now - state.silent_since:.0f} s ({printable(state.reason)}): servers that "
                    "are known are polled, new ones are not found"
                )
        if known.unresolved:
            found.append(f"nothing is found for {printable(', '.join(known.unresolved))}")
        if known.refused:
            found.append(
                f"{known.refused} servers are not polled: there are more than "
                f"{self._settings.max_servers}"
            )
        return found + self._doubles.troubles() + self._performance.troubles()

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        self._started = time.monotonic()
        self._performance.want(self._settings.performance)
        self._performance.tell_left_on()
        while self._stop_at is None:
            self._see_to_child(time.monotonic())
            self._see_to_round(time.monotonic())
            try:
                act = self._inbox.get(timeout=max(0.0, self._due() - time.monotonic()))
            except queue.Empty:
                continue
            act()
        self._end(self._stop_at)

    def _due(self) -> float:
        """When something is to be done without being told [s]."""
        times = [time.monotonic() + 1.0]
        if self._child is None:
            times.append(self._start_at)
        if self._round is not None:
            times.append(self._round[0])
        elif self._poll_at is not None:
            times.append(self._poll_at)
        return min(times)

    def _problem(self, kind: str, text: str) -> None:
        self._problems.report(kind, text, time.monotonic())

    def _end(self, deadline: float) -> None:
        """Let the child switch performance monitoring off, and end it."""
        child, self._child = self._child, None
        if child is None:
            return
        child.tell(Stop())
        child.stop(deadline - time.monotonic())
        while True:
            try:
                act = self._inbox.get_nowait()
            except queue.Empty:
                return
            act()  # what it has told at the end

    # -- the child --------------------------------------------------------------------------------

    def _see_to_child(self, now: float) -> None:
        if self._child is None:
            if now >= self._start_at:
                self._start_child(now)
        elif self._child.is_stuck(now):
            self.counters.add("polling_stuck")
            self._lose_child(f"told nothing for {now - self._child.heard:.0f} s and was killed")

    def _start_child(self, now: float) -> None:
        try:
            self._child = ChildProcess(self._environ, self._take_later)
        except OSError as error:
            self._problem("start", f"the process that asks servers does not start: {error}")
            self._start_at = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return
        self._performance.restarted()
        self._configure()

    def _lose_child(self, how: str) -> None:
        child, self._child = self._child, None
        self.counters.add("polling_restarts")
        self._problem("lost", f"the process that asks servers {how}; it is started again")
        self._start_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._ready = False
        if child is not None:
            child.kill()
        self._finish_round()

    def _take_settings(self, settings: PollSettings) -> None:
        renamed = settings.names != self._settings.names
        self._settings = settings
        self._performance.want(settings.performance)
        if renamed and self._child is not None:
            self._configure()
        self._send_performance()

    def _configure(self) -> None:
        settings = self._settings
        assert self._child is not None
        self._child.tell(
            Configure(
                list(settings.names),
                settings.timeout,
                settings.ping_timeout,
                settings.directory_period,
                settings.max_servers,
            )
        )

    def _take_later(self, child: ChildProcess, message: FromChild | None) -> None:
        """Called by the thread that reads from the child."""
        self._inbox.put(lambda: self._take(child, message))

    def _take(self, child: ChildProcess, message: FromChild | None) -> None:
        if isinstance(message, PerfDone):
            self._performance.done(message)
        if child is not self._child:
            return
        match message:
            case None:
                self._lose_child("ended")
            case Known():
                self._take_known(message)
            case Answers():
                for answer in message.answers:
                    self._take_answer(answer)
            case Over():
                self.counters.add("answers_late", message.late)
                if message.number == self._number:
                    self._finish_round()

    def _take_known(self, known: Known) -> None:
        self._known = known
        if known.settled and not self._ready:
            self._ready = True
            self._pause = SHORTEST_PAUSE
            if self._poll_at is None:
                self._poll_at = time.monotonic()
        self._send_performance()

    def _send_performance(self) -> None:
        message = self._performance.message(self._known.servers, settled=self._ready)
        if self._child is not None and message is not None:
            self._child.tell(message)

    # -- polls ------------------------------------------------------------------------------------

    def _see_to_round(self, now: float) -> None:
        if self._round is not None:
            if now >= self._round[0]:
                self.counters.add("polls_unfinished")
                self._finish_round()
        elif self._poll_at is None and now > self._started + READY_TIME:
            self._poll_at = now
        elif self._poll_at is not None and now >= self._poll_at:
            self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        settings = self._settings
        self._number += 1
        self.counters.add("polls")
        assert self._poll_at is not None
        missed = int((now - self._poll_at) / settings.period)
        self._poll_at += (missed + 1) * settings.period
        deadline = now + settings.timeout + settings.ping_timeout + GRACE
        self._round = deadline, set(self._known.servers)
        self._begun = []
        self._last = {"number": self._number, "time": time.time(), "servers": len(self._round[1])}
        if self._child is None or not self._ready:
            self._finish_round()
            return
        self._performance.try_again()
        self._send_performance()
        self._child.tell(Poll(self._number))

    def _take_answer(self, answer: Answer) -> None:
        if self._round is None or answer.number != self._number:
            return
        self._round[1].discard(answer.server)
        outcome, snapshot, reason = answer.outcome, None, answer.reason
        if outcome == "ok":
            self._begun.append(answer.begun)
            self._doubles.note(answer.server, answer.identity)
            try:
                snapshot = decode(answer.reply)
            except PeerError as error:
                outcome, reason = "bad_reply", str(error)
                self.counters.add(error.cause)
            else:
                self._performance.seen(answer.server, snapshot.measures)
        self._give(
            Sample(
                answer.server,
                outcome,
                answer.begun,
                answer.ended,
                snapshot,
                answer.identity,
                printable(reason),
            )
        )

    def _finish_round(self) -> None:
        """Nothing more comes: who has no sample yet could not be asked."""
        if self._round is None:
            return
        now = time.monotonic()
        _, lacking = self._round
        reason = AWAY if self._child is None else SILENT
        self._round = None
        self._doubles.poll_over()
        for server in sorted(lacking):
            self._give(Sample(server, "unknown", now, now, reason=reason))
        if self._begun:
            self._last["spread"] = max(self._begun) - min(self._begun)
            self._last["seconds"] = now - min(self._begun)
        self._call(self._on_round_end, self._number)

    def _give(self, sample: Sample) -> None:
        self._call(self._on_sample, sample)

    def _call(self, function: Callable[[Any], object], value: Any) -> None:
        try:
            function(value)
        except Exception as error:  # noqa: BLE001  not ours, and polling goes on
            self.counters.add("polling_callback_errors")
            self._problem("callback", f"a sample could not be taken: {error!r}")
