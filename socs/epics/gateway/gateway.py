"""A gateway hears the EPICS traffic of a network, and tells it in summaries.

::

    Listening or Replay --batches--> Gathering --each interval--> on_summary(Summary)
    ActiveSearch, Asker --results------^

It decides nothing: monitors do, which hear all gateways.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import msgspec

from socs import counters as c
from socs.closing import Closing
from socs.counters import Counters, imbalances
from socs.epics.decode.words import Tally
from socs.epics.gateway.gathering import Gathering
from socs.epics.gateway.listening import Handler, Listening
from socs.epics.gateway.questions import Questions
from socs.epics.gateway.replay import Replay
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.gateway.under_way import UnderWay
from socs.epics.networks import Networks
from socs.epics.search.searcher import Priority
from socs.epics.summary import AnswerPart, Found, Summary
from socs.problems import Problems
from socs.wire.batch import Batch
from socs.wire.carrier import has_carrier

TROUBLE_LASTS = 60.0  # s since the last loss

TABLES = (
    c.UDP, c.CAPTURE, c.PCAP, c.EPICS_CA, c.EPICS_PVA, c.EPICS_HEARTBEATS,
    c.EPICS_GATHERING, c.EPICS_GATEWAY, c.EPICS_SEARCH, c.EPICS_ASKING,
)  # fmt: skip
EQUATIONS = (*c.EPICS_GATHERING_CONSERVATION, *c.EPICS_GATEWAY_CONSERVATION)
# Counters whose movement means that something was not heard or not told.
LOSSES = (
    "kernel_drops", "handler_errors", "socket_errors", "beacons_not_told", "answers_not_told",
    "heartbeats_not_told", "findings_not_told", "requests_nameless_fast", "requests_nameless_full",
    "requests_sourceless", "summaries_unpublished", "summaries_unacknowledged", "gathering_errors",
)  # fmt: skip

DEAF = "no interface of these networks has a carrier"
NOT_DEAF = "an interface has a carrier again; monitors are told what it hears"

log = logging.getLogger(__name__)


class Gateway(Closing):
    """Hears, and tells.

    Args:
        settings: see there.
        on_summary: gets each summary, in order, from a thread of this. It tells `under_way` what
            became of it, if anybody wants to know.
        report: gets lines for people, from any thread.

    Attributes:
        boot: drawn for this object.
        counters: of everything here, by name.
        under_way: the summaries of which it is not known what became.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        on_summary: Callable[[Summary], None],
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.settings, self.boot = settings, secrets.token_hex(8)
        self.counters = Counters(*TABLES)
        self.under_way = UnderWay(self.counters)
        self._networks = Networks(settings.networks, "networks") if settings.networks else None
        self._on_summary, self._report = on_summary, report or log.info
        self._problems = Problems(self._report)
        self._lock = threading.Lock()  # of the gathering
        self._telling = threading.Lock()  # keeps summaries in their order
        self._gathering: Gathering | None = None
        self._source: Listening | Replay | None = None
        self._questions = Questions(
            settings, self._on_found, self._on_told, report=self._report, counters=self.counters
        )
        self._ending = threading.Event()
        self._finished = self._deaf = False
        self._thread: threading.Thread | None = None
        self._next = 0.0  # when a replay at full speed has its next summary
        self._lost = dict.fromkeys(LOSSES, 0)
        self._lost_at: dict[str, float] = {}

    # -- start and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and tell.

        Raises:
            ConfigError: it is not possible; the message says what to change.
        """
        if self._thread is not None:
            return
        try:
            self._questions.start()
            self._open_source()
        except BaseException:
            self._close_parts()
            raise
        self._thread = threading.Thread(target=self._run, name="udp-gateway", daemon=True)
        self._thread.start()

    def _open_source(self) -> None:
        settings = self.settings
        if settings.source is None:
            self._source = listening = Listening(
                self._handlers(),
                settings.ports,
                wanted=settings.listen,
                interfaces=settings.interfaces,
                address=settings.address,
                own_ports=self._questions.ports,
                allow=settings.allow,
                receive_buffer=settings.receive_buffer,
                gather=settings.gather,
                on_problem=self._report,
                counters=self.counters,
            )
            self._begin(time.time())
            assert self._gathering is not None
            self._gathering.own = self._questions.sources()
            choice = listening.start()
            self._gathering.left_out = tuple(sorted(choice.left_out))
            lines = [choice.reason, *choice.left_out.values(), *choice.warnings]
            self._report(f"{'; '.join(lines)}; ports {dict(choice.ports)}")
            return
        self._source = replay = Replay(
            settings.source,
            self._handlers(),
            settings.ports,
            speed=settings.speed,
            allow=settings.allow,
            on_batch=self._on_replayed,
            on_end=self._ending.set,
            on_problem=self._report,
            counters=self.counters,
        )
        self._begin(replay.began)
        self._next = replay.began + settings.interval
        self._report(f"replays {settings.source}")
        replay.start()

    def _begin(self, now: float) -> None:
        ports = self.settings.ports
        of_site = replace(self.settings.gathering, server_port=ports.ca, beacon_port=ports.beacons)
        self._gathering = Gathering(
            of_site,
            gateway=self.settings.name,
            boot=self.boot,
            began=now,
            secret=secrets.randbits(64),
            networks=self.settings.networks,
        )

    def _handlers(self) -> dict[str, Handler]:
        return {use: self._handler(use) for use in self.settings.ports.by_use()}

    def _handler(self, use: str) -> Handler:
        def handle(batch: Batch, /) -> None:
            with self._lock:
                assert self._gathering is not None
                getattr(self._gathering, use)(batch)

        return handle

    def stop(self) -> None:
        """Take what there still is, tell it in a last summary, and close."""
        self._close_parts()
        self._ending.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def close(self) -> None:
        """The same as :meth:`stop`."""
        self.stop()

    def _close_parts(self) -> None:
        self._questions.close()
        if self._source is not None:
            self._source.close()

    # -- telling ----------------------------------------------------------------------------------

    def _run(self) -> None:
        """Tell each interval, and at the end."""
        paced = not (isinstance(self._source, Replay) and self._source.speed == 0)
        due = time.monotonic()
        while not self._ending.is_set():
            due = max(due + self.settings.interval, time.monotonic())
            self._ending.wait(due - time.monotonic())
            if paced and not self._ending.is_set():
                self._tell()
        self._tell(last=True)
        self._finished = True
        if isinstance(self._source, Replay):
            problem = self._source.problem
            end = "at its end" if self._source.ended else "not read to its end"
            self._report(f"{self._source.path} is {end}{problem and f': {problem}'}")

    def _now(self) -> float:
        return self._source.now() if isinstance(self._source, Replay) else time.time()

    def _on_replayed(self, now: float) -> None:
        """Before each batch of a file: at full speed its time says when to tell."""
        if self.settings.speed == 0 and now >= self._next:
            self._next = now + self.settings.interval
            self._tell(now)

    def _tell(self, now: float | None = None, *, last: bool = False) -> None:
        with self._telling:
            try:
                was_deaf, self._deaf = self._deaf, self._is_deaf()
                if was_deaf != self._deaf:
                    self._report("monitors are told nothing: " + DEAF if self._deaf else NOT_DEAF)
                summaries = self._summaries(now, last)
                if was_deaf and self._deaf and not last:
                    self.counters.add("intervals_deaf")
                    return
                for summary in summaries:
                    self._questions.heard(summary.beats)
                    self._hand_on(summary)
            except Exception as error:  # supervised: counted and reported, telling goes on
                self.counters.add("gathering_errors")
                if self._problems.report("telling", f"summary: {error!r}", time.monotonic()):
                    log.exception("a summary could not be made")

    def _hand_on(self, summary: Summary) -> None:
        self.under_way.begin(summary.number)
        try:
            self._on_summary(summary)
        except Exception:
            self.under_way.became(summary.number, "summaries_unpublished")
            raise

    def _is_deaf(self) -> bool:
        """Does nothing reach us, so that silence says nothing."""
        if not isinstance(self._source, Listening):
            return False
        networks = self._networks
        belongs = None if networks is None else lambda host: host in networks
        return not has_carrier(self.settings.interfaces, belongs)

    def _summaries(self, now: float | None, last: bool) -> list[Summary]:
        """All up to ``now``; by default up to when nothing more is added to it."""
        if isinstance(self._source, Listening):
            self._source.stats()  # takes over the kernel's count of drops
        own = self._questions.sources()
        with self._lock:
            assert self._gathering is not None
            if len(own):  # the network may come after us, and our address may change
                self._gathering.own = own
            self._count()
            faults, self._gathering.faults = self._gathering.faults, {}
            now = self._now() if now is None else now
            told = self._gathering.take(now, self.under_way.numbers(), last=last)
        for cause, example in faults.items():
            self._problems.report(cause, f"{cause}, last from {example}", time.monotonic())
        return told

    def _count(self) -> None:
        """Take over counts. With the lock held."""
        if self._gathering is not None:
            self.counters.add_all(self._gathering.tally.counts)
            self._gathering.tally = Tally()

    # -- searching and asking ---------------------------------------------------------------------

    def search(self, names: Iterable[str], priority: Priority = Priority.POLL) -> int:
        """Search for names, by all protocols; how many are searched for now that were not before.

        Results are in summaries.

        Raises:
            NotAllowed: searching is off.
        """
        return self._questions.search(names, priority)

    def ask(
        self, what: Literal["names", "lines"], host: int, port: int, sequence: int, server: int = 0
    ) -> bool:
        """Ask an application for its names, or its host's processes and sockets; will it be asked.

        The answer is in a summary.

        Args:
            what: ``names`` or ``lines``.
            host, port: where its heartbeats come from.
            sequence: number of its last heartbeat.
            server: TCP port of its server.

        Raises:
            NotAllowed: asking is off.
        """
        return self._questions.ask(what, host, port, sequence, server)

    def resync(self) -> None:
        """Tell all names anew, from the next summary but one on."""
        with self._lock:
            if self._gathering is not None:
                self._gathering.begin_epoch()
                self.counters.add("resyncs")

    def _on_found(self, found: list[Found]) -> None:
        with self._lock:
            if self._gathering is not None:
                self._gathering.found(found)

    def _on_told(self, told: list[AnswerPart]) -> None:
        with self._lock:
            if self._gathering is not None:
                self._gathering.told(told)

    # -- status -----------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Was the last summary told: a file is at its end, or it was stopped."""
        return self._finished

    def status(self) -> dict[str, Any]:
        """Fit for session data; see the docstring of the agent's Process."""
        if isinstance(self._source, Listening):
            self._source.stats()
        with self._lock:
            gathering = self._gathering
            self._count()
            numbers = self.under_way.numbers()
        return {
            "gateway": self.settings.name,
            "boot": self.boot,
            "networks": list(self.settings.networks),
            "source": self._source_status(),
            "summaries": gathering.number if gathering else 0,
            "epoch": gathering.epoch if gathering else 0,
            **self._questions.status(),
            "counters": numbers,
            "unaccounted": imbalances(numbers, EQUATIONS),
            "troubles": self._troubles(numbers),
        }

    def _source_status(self) -> dict[str, Any]:
        if isinstance(self._source, Replay):
            return self._source.status()
        choice = self._source.choice if self._source is not None else None
        return {} if choice is None else dict(msgspec.to_builtins(choice))

    def _troubles(self, numbers: dict[str, int]) -> list[str]:
        now = time.monotonic()
        for name in LOSSES:
            if numbers[name] > self._lost[name]:
                self._lost[name], self._lost_at[name] = numbers[name], now
        troubles = [DEAF] if self._deaf else []
        troubles += [
            f"{name}: {numbers[name]}"
            for name, at in self._lost_at.items()
            if now - at < TROUBLE_LASTS
        ]
        if isinstance(self._source, Replay):
            return [*troubles, *filter(None, [self._source.problem])]
        if self._source is not None and not self._source.alive and not self._finished:
            troubles.append("nobody listens: see the log")
        return troubles
