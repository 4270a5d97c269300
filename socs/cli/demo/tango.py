"""Tango in the demo: a database, a publisher, two subscribers, and the monitor of their events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from socs.cli.demo.directory import DemoDirectory
from socs.cli.demo.part import Comparison, StartChild
from socs.cli.demo.watch import NO_ANSWER, RateMeter, Status, Verifier
from socs.errors import OurError
from socs.sim.site import AgentInstance, Site
from socs.sim.tango_site import TangoSite
from socs.testing.tango_database import TangoDatabase

MONITOR = "tango-event-monitor"
FAULT = "tango-slow"
PUBLISHER, QUICK, SLOW = "pub", "quick", "slow"  # device servers
STEADY, WILD = "sim/pub/1", "sim/pub/2"  # devices of the publisher
EVENTS = {  # pushed per second, by stream, and who subscribes to it
    f"{STEADY}/value0.change": (50.0, QUICK),
    f"{WILD}/value0.change": (10.0, SLOW),
    f"{WILD}/value1.change": (0.0, SLOW),  # for the fault
}
SUBSCRIBERS = {QUICK: "sim/sub/1", SLOW: "sim/sub/2"}
POLL_PERIOD = 2.0  # s
ROTATE = 6.0  # s
READY = 40.0  # s until the monitor must know all subscriptions
FAULT_AFTER = 4.0  # s from the start of the source
BURST = 30_000  # events of the fault; sockets hold some 20 000 of them
DELAY = 5e-4  # s that each callback of the slow subscriber takes then


def missing() -> str | None:
    """Why there is no Tango; None if there can be."""
    if find_spec("tango") is None:
        return "no Tango, as there is no pytango: pip install 'socs[tango]'"
    return None


@dataclass(frozen=True)
class TangoNumbers:
    """What is known of Tango at one moment.

    Attributes:
        pushed: events that publishers pushed, as they know it.
        received: events that subscribers' callbacks saw, as they know it.
        told_published, told_received, told_lost: the same as the monitor tells it.
        losers: device servers that lost events, as the monitor tells it.
        not_up: servers that are not up, as the monitor tells it.
        files, archived: rows of files of lines; those archived.
        wrong: files with another md5 than their row.
        rate: events pushed per second, of late.
        troubles: what the monitor says is wrong.
        answers: whether it answers OCS clients.
        fault: the subscriber was made slow.
        events: the last sentences of the monitor about losses.
    """

    pushed: int = 0
    received: int = 0
    told_published: int = 0
    told_received: int = 0
    told_lost: int = 0
    losers: tuple[str, ...] = ()
    not_up: tuple[str, ...] = ()
    files: int = 0
    archived: int = 0
    wrong: int = 0
    rate: float = 0.0
    troubles: tuple[str, ...] = ()
    answers: bool = False
    fault: bool = False
    events: tuple[str, ...] = field(default=())

    @property
    def lost(self) -> int:
        """Events that were pushed and not received."""
        return self.pushed - self.received

    def line(self) -> list[str]:
        """Pieces of a line of text."""
        return [
            f"Tango: events {self.told_published}",
            f"received {self.told_received}",
            f"lost {self.told_lost}",
            *self.events[-1:],
            *self.troubles,
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the live table: name, value, explanation."""
        return [
            ("Tango", f"{self.rate:.1f}/s", "events published, as the monitor tells it"),
            ("events", str(self.told_published), f"{self.told_received} received by subscribers"),
            ("lost events", str(self.told_lost), "; ".join(self.events[-1:])),
            *(("trouble", "", trouble) for trouble in self.troubles),
        ]

    def comparisons(self) -> list[Comparison]:
        """What must agree at the end."""
        return [
            Comparison("Tango events pushed", self.pushed, "told published", self.told_published),
            Comparison("events seen by callbacks", self.received, "told", self.told_received),
            Comparison("events lost", self.lost, "told lost", self.told_lost),
            Comparison("files of lines", self.files, "archived, md5 verified", self.archived),
        ]

    def problems(self) -> list[str]:
        """Why the demo failed, beyond comparisons."""
        found = []
        if self.pushed == 0:
            found.append("no Tango event was pushed")
        if self.fault and self.losers != (SLOW,):
            found.append(f"{SLOW} was made slow, and these are told to have lost: {self.losers}")
        if not self.fault and self.losers:
            found.append(f"told to have lost events: {self.losers}")
        if self.not_up:
            found.append(f"told not to be up: {self.not_up}")
        if self.wrong:
            found.append(f"{self.wrong} files of lines do not have the md5 of their row")
        if not self.answers:
            found.append("the Tango event monitor does not answer OCS clients")
        return found

    def sentence(self) -> str:
        """What was achieved, if all is as it must be."""
        lost = (
            f"{self.lost} lost, all by the subscriber that was slow" if self.lost else "none lost"
        )
        said = "".join(f"\n  told: {text}" for text in self.events[-3:])
        return f"{self.pushed} Tango events, each told as what became of it; {lost}{said}"

    def as_json(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {
            **vars(self),
            "lost": self.lost,
            "rate": round(self.rate, 1),
            **{
                name: list(getattr(self, name))
                for name in ("losers", "not_up", "troubles", "events")
            },
        }


class TangoPart:
    """Tango, from pushed events to what is told of them.

    Args:
        directory: of the demo.
        environment: of its agents.
        fault: make a subscriber slow and push a burst.
    """

    name = "tango"

    def __init__(
        self, directory: DemoDirectory, environment: Mapping[str, str], *, fault: bool = False
    ) -> None:
        self._directory, self._fault = directory, fault
        self.registering: Mapping[str, str] = {MONITOR: str(directory.tango)}
        self._database = TangoDatabase(directory.data / "tango")
        self._database.start()
        self._tango = TangoSite(directory.site / "log", self._database.host)
        self._status = Status(lambda: None)
        self._verifier = Verifier(environment, directory.archive, MONITOR)
        self._meter = RateMeter()
        self._stop_monitor: Callable[[], Any] = lambda: None
        self._asked_to_stop = False
        self._pushed: dict[str, int] = {}
        self._received: dict[str, int] = {}
        self._started: float | None = None
        self._fault_done = not fault

    def instances(self) -> Sequence[AgentInstance]:
        """The monitor."""
        options = [
            ["--tango-host", self._database.host],
            ["--device", f"{TangoSite.admin('*')}"],
            ["--poll-period", POLL_PERIOD],
            ["--folder", str(self._directory.tango)],
            ["--rotate-every", ROTATE],
        ]
        return [AgentInstance("TangoEventMonitor", MONITOR, options)]

    def prepare(self) -> None:
        """Start the device servers, the publisher first.

        Raises:
            OurError: one did not start.
        """
        self._tango.add(PUBLISHER, publishers={STEADY: 1, WILD: 2})
        for server, device in SUBSCRIBERS.items():
            events = [stream for stream, (_, who) in EVENTS.items() if who == server]
            self._tango.add(server, subscribers={device: events})
        self._tango.start(PUBLISHER)
        self._tango.start(*SUBSCRIBERS)

    def looks(self, site: Site) -> Mapping[str, Callable[[], None]]:
        """The monitor's status, and its rows."""
        client = site.client(MONITOR)
        self._status = Status(client.monitor.status)
        self._stop_monitor = client.monitor.stop
        return {"tango": self._status.look, "tango-files": self._verifier.look}

    def start(self, child: StartChild) -> None:
        """Have events pushed as soon as the monitor knows all subscribers.

        Raises:
            OurError: it does not get to know them.
        """
        deadline = time.monotonic() + READY
        while len(self._links()) < len(EVENTS):
            if time.monotonic() > deadline:
                raise OurError(
                    f"after {READY:g} s the Tango event monitor knows {len(self._links())} of "
                    f"{len(EVENTS)} subscriptions; troubles: {self._status.data.get('troubles')}"
                )
            time.sleep(0.1)
        for stream, (rate, _) in EVENTS.items():
            if rate:
                device, _, event = stream.rpartition("/")
                self._tango.pace(device, event, rate)
        self._started = time.monotonic()

    def _links(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._status.data.get("reconciliation", [])
        return [row for row in rows if row["status"] != "gone"]

    def watch(self) -> None:
        """Do what is due: the fault."""
        started = self._started
        if self._fault_done or started is None or time.monotonic() < started + FAULT_AFTER:
            return
        self._fault_done = True
        self._tango.call(SUBSCRIBERS[SLOW], "Delay", DELAY)
        self._tango.burst(WILD, "value1.change", BURST)

    def stop(self) -> None:
        """Have nothing pushed any more, nobody slow any more, and ask for the truth.

        Raises:
            OurError: a device does not answer.
        """
        for device in (STEADY, WILD):
            self._tango.call(device, "StopPace")
            for event, number in self._tango.truth(device)["pushed"].items():
                self._pushed[f"{device}/{event}"] = number
        if self._fault:  # what was lost is lost; what waits for the subscriber need not wait
            self._tango.call(SUBSCRIBERS[SLOW], "Delay", 0.0)
        self._look_at_subscribers()

    def _look_at_subscribers(self) -> None:
        for device in SUBSCRIBERS.values():
            self._received.update(self._tango.truth(device)["received"])

    def settled(self) -> bool:
        """Whether all is told and archived; ends the monitor when all is told."""
        if not self._asked_to_stop:
            with suppress(OurError):  # busy: next time
                self._look_at_subscribers()
            numbers = self.numbers()
            told = (numbers.told_published, numbers.told_received, numbers.told_lost)
            if told != (numbers.pushed, numbers.received, numbers.lost):
                return False
            try:
                self._stop_monitor()
            except NO_ANSWER:
                return False
            self._asked_to_stop = True
            return False
        numbers = self.numbers()
        ended = self._status.session.get("status") == "done"
        return ended and numbers.archived + numbers.wrong >= numbers.files

    def compare(self) -> None:
        """Look at the subscribers, unless all was told before."""
        if not self._asked_to_stop:
            with suppress(OurError):  # the numbers will not agree
                self._look_at_subscribers()

    def numbers(self) -> TangoNumbers:
        """What is known now."""
        data, verifier = self._status.data, self._verifier
        counters, events = data.get("counters", {}), data.get("events", [])
        published = counters.get("events_published", 0)
        return TangoNumbers(
            pushed=sum(self._pushed.values()),
            received=sum(self._received.values()),
            told_published=published,
            told_received=counters.get("events_received", 0),
            told_lost=counters.get("events_lost", 0),
            losers=tuple(
                sorted({_last(row["subscriber"]) for row in self._links() if row["lost"]})
            ),
            not_up=tuple(_last(r["server"]) for r in data.get("servers", []) if r["state"] != "up"),
            files=verifier.registered,
            archived=verifier.archived,
            wrong=verifier.wrong,
            rate=self._meter.rate(published, time.monotonic()),
            troubles=tuple(data.get("troubles", ())),
            answers=self._status.fresh,
            fault=self._fault,
            events=tuple(event["text"] for event in events if event["kind"] == "lost"),
        )

    def close(self) -> None:
        """End the device servers and their database."""
        self._tango.close()
        self._database.close()
        self._verifier.close()


def _last(server: str) -> str:
    return server.rpartition("/")[2]
