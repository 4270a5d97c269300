"""Whom to ask when, and what is made of what comes of it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from socs.epics.applications.interviews import Interview, Interviews, InterviewSettings
from socs.epics.decode import heartbeat
from socs.epics.knowledge.wishes import Ask
from socs.epics.summary import AnswerPart
from socs.epics.track.applications import Application, Applications
from socs.epics.track.beacons import Beacons, Server
from socs.epics.track.events import CA, Event, ServerEvent
from socs.errors import ConfigError
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0
from tests.one_gateway import OneGateway

HOST, OTHER = address("10.0.0.2"), address("10.0.0.3")
PORT = 41_000
ON = InterviewSettings(True)
LINES = (
    "tcp: 0: 00000000:13C8 00000000:0000 0A 0 0 0 0 0 42 1",
    "pid: 7 socket:[42]",
    "pid: 7 cmdline: ./ioc st.cmd",
    "pid: 7 cwd: /ioc",
)


class Field:
    """Applications that beat every 30 s, and who decides when they are asked."""

    def __init__(self, settings: InterviewSettings = ON) -> None:
        sight = OneGateway(T0)
        self.applications = Applications(SETTINGS, sight)
        self.beacons = Beacons(SETTINGS, sight)
        self.interviews = Interviews(settings, self.applications, self.beacons)
        self.now = T0
        self.running: dict[int, tuple[int, dict[str, str]]] = {}
        self.live = ["gw"]

    def beat(self, port: int = PORT, host: int = HOST, gateway: str = "gw", **more: Any) -> None:
        told = {"seq": "1", "sp": "5064", "up": "0", "cur": str(int(self.now)), "pid": "7"}
        told |= {"cwd": "/ioc", "ver": "2.0", "img": "./ioc", "stcmd": "st.cmd"}
        datagram = json.dumps(told | {key: str(value) for key, value in more.items()}).encode()
        found = heartbeat.decode(datagram)
        assert isinstance(found, heartbeat.Heartbeat)
        events: list[Event] = [*self.applications.heartbeat(found, host, port, self.now)]
        for event in events:
            self.interviews.follow(event)
        self.interviews.heard(gateway, host)

    def server(self, kind: str, port: int = 5064, host: int = HOST) -> None:
        """A server starts, say its beacons."""
        self.beacons.servers[CA, host, port] = Server(CA, host, port, T0, "ALIVE", self.now)
        self.interviews.follow(ServerEvent(self.now, kind, "", {}, CA, host, port))

    def asked(self, after: float = 0.0) -> list[tuple[str, int]]:
        """Who is asked for what until ``after`` seconds from now, each second."""
        found: list[tuple[str, int]] = []
        until = self.now + after
        while True:
            for app in self.applications.known.values():  # they go on beating
                app.heard = self.now
            found += [(ask.what, ask.port) for ask in self.interviews.due(self.now, self.live)]
            if self.now >= until:
                return found
            self.now = min(self.now + (1.0 if until - self.now < 100 else 30.0), until)

    def tell(self, kind: Any, texts: tuple[str, ...] = (), port: int = PORT, **more: Any) -> None:
        told = AnswerPart(kind, HOST, port, texts, self.now, **more)
        self.interviews.told(told, self.application(port), self.now)

    def application(self, port: int) -> Application | None:
        known = self.applications.known.values()
        return next((each for each in known if each.sender == port), None)

    def interview(self, port: int = PORT) -> Interview:
        app = self.application(port)
        assert app is not None
        return self.interviews.names[app.key]


DAY = 86_400.0


def test_names_are_asked_for_at_first_sight_after_a_start_and_once_a_day() -> None:
    field = Field()
    field.beat(ver="1.1")
    ask = field.interviews.due(field.now, field.live)
    assert ask == [Ask("gw", "names", HOST, PORT, 1, 5064)]
    field.tell("names", ("A", "B"), total=2)
    assert field.asked(DAY - 60) == []
    assert field.asked(60) == [("names", PORT)]
    field.tell("names", ("A", "B"), total=2)
    field.now += 10
    field.beat(PORT + 1, ver="1.1", pid=8)
    assert field.asked() == [("names", PORT + 1)]


@pytest.mark.parametrize(
    ("ending", "settled"),
    [("complete", True), ("full", True), ("cut", False), ("silent", False), ("odd", False)],
)
def test_who_did_not_tell_all_is_asked_again_sooner(ending: str, settled: bool) -> None:
    field = Field()
    field.beat(ver="1.1")
    assert len(field.asked()) == 1
    texts = () if ending == "silent" else ("A",)
    field.tell("names", texts, ending=ending, total=5)
    assert len(field.asked(ON.again)) == (not settled)


def test_who_was_asked_and_of_whom_nothing_came_is_asked_again() -> None:
    field = Field()
    field.beat(ver="1.1")
    assert len(field.asked()) == 1
    assert field.asked(ON.again - 1) == []
    assert len(field.asked(1)) == 1


def test_no_names_are_another_thing_than_silence() -> None:
    field = Field()
    field.beat(ver="1.1")
    field.asked()
    field.tell("names", ending="silent")
    assert math.isnan(field.interview().told)
    assert field.interview().ending == "silent"
    field.tell("names", ending="complete")
    assert (field.interview().told, field.interview().texts) == (T0, 0)
    field.tell("names", ("A",), ending="cut", total=9)
    field.tell("names", ending="silent")  # what it told before is still all that is known
    found = field.interview()
    assert (found.texts, found.total, found.ending) == (1, 9, "silent")
    counts = field.interviews.counts
    assert (counts["told_nothing"], counts["told_complete"], counts["told_partial"]) == (2, 1, 1)


def test_what_is_told_in_parts_counts_when_all_have_come() -> None:
    field = Field()
    field.beat()
    field.asked()
    field.tell("lines", LINES[:2], ending="")
    assert field.interviews.processes.last(HOST) is None
    field.tell("lines", LINES[2:], first=2)
    reading = field.interviews.processes.last(HOST)
    assert reading is not None
    assert reading.complete
    assert reading.ports[5064].command == "./ioc st.cmd"
    field.tell("names", ("A", "B"), ending="", total=3)
    assert field.interview().awaited
    field.tell("names", ("C",), first=2, total=3)
    assert (field.interview().texts, field.interview().ending) == (3, "complete")


def test_parts_of_which_one_is_missing_are_not_all() -> None:
    field = Field()
    field.beat()
    field.asked()
    field.tell("lines", LINES[:1], ending="")
    field.tell("lines", LINES[2:3], first=2, ending="")  # the second one is lost
    field.tell("lines", LINES[3:], first=3)
    field.tell("names", ("C",), first=2, total=3)  # the first one is
    assert field.interviews.processes.last(HOST) is None
    assert field.interview().awaited
    assert field.interviews.counts["told_torn"] == 2
    assert sorted(field.asked(ON.again)) == [("lines", PORT), ("names", PORT)]


def test_lines_of_which_some_are_missing_are_not_complete() -> None:
    for more in ({"ending": "cut"}, {"skipped": 1}):
        field = Field()
        field.beat()
        field.asked()
        field.tell("lines", LINES, **more)
        reading = field.interviews.processes.last(HOST)
        assert reading is not None
        assert not reading.complete


def test_a_host_is_asked_for_lines_when_a_server_starts_but_not_too_often() -> None:
    field = Field()
    field.beat()
    assert field.asked(10) == [("names", PORT), ("lines", PORT)]
    field.tell("names", ("A",))
    field.tell("lines", LINES)
    field.server("NEW", 5070)
    assert field.asked(ON.lines_apart - 11) == []
    assert field.asked(1) == [("lines", PORT)]
    field.now += 1
    field.server("RESTARTED", 5070)
    assert field.asked(100) == []  # an answer is still awaited
    field.tell("lines", LINES)
    assert field.asked(5) == [("lines", PORT)]
    field.tell("lines", LINES)
    assert field.asked(DAY - 200) == []  # 5070 stays unknown, but there is nobody else to ask
    assert ("lines", PORT) in field.asked(300)


def test_a_port_is_not_known_from_the_start_of_a_server_until_it_is_told_again() -> None:
    field = Field()
    field.beat(sp=0)
    field.asked()
    field.tell("lines", LINES)
    place = HOST, 5064
    assert place in field.interviews.processes.of([place])
    field.server("DETECTED")
    assert place in field.interviews.processes.of([place])
    field.server("RESTARTED")
    assert place not in field.interviews.processes.of([place])


def test_who_is_run_by_root_is_asked_and_others_if_that_is_not_enough() -> None:
    field = Field()
    field.beat(PORT + 1, pid=1, img="./a", sp=5101)
    field.beat(PORT + 2, pid=2, img="/opt/LinuxMonitor", sp=5102)
    field.beat(PORT + 3, pid=3, img="./c", ver="1.1", sp=5103)
    field.server("NEW", 5064)
    field.server("NEW", 5101)
    lines = [port for what, port in field.asked() if what == "lines"]
    assert lines == [PORT + 2]
    field.tell("lines", ("build: 1",), PORT + 2)
    assert [port for what, port in field.asked(ON.lines_apart) if what == "lines"] == [PORT + 1]
    field.tell("lines", LINES, PORT + 1)
    assert [each for each in field.asked(1000) if each[0] == "lines"] == []
    field.server("RESTARTED", 5101)  # its heartbeat tells what that is
    assert [port for what, port in field.asked(ON.lines_apart) if what == "lines"] == [PORT + 2]
    field.tell("lines", LINES, PORT + 2)
    assert [each for each in field.asked(1000) if each[0] == "lines"] == []


def test_who_started_anew_before_it_could_answer_is_asked_where_it_is_now() -> None:
    field = Field()
    field.beat()
    assert ("lines", PORT) in field.asked()
    field.now += 5
    field.beat(PORT + 1, pid=8)  # the same application
    assert field.asked(100) == [("names", PORT + 1)]
    field.tell("lines", LINES, ending="cut")
    assert field.interviews.processes.last(HOST) is None  # nobody is there who told it
    assert field.asked(1) == [("lines", PORT + 1)]


def test_only_through_a_gateway_that_is_there_and_hears_it() -> None:
    field = Field()
    field.beat(ver="1.1", gateway="away")
    assert field.asked(10) == []
    field.beat(ver="1.1", seq=2)
    assert field.asked(10) == [("names", PORT)]
    field = Field(InterviewSettings())
    field.beat()
    field.server("NEW", 5070, OTHER)
    assert field.asked(10) == []
    assert field.interviews._hosts.keys() == {HOST}  # what is not asked takes no room either


def test_a_gateway_that_refused_is_not_waited_for() -> None:
    field = Field()
    field.beat()
    (_, lines) = field.interviews.due(field.now, field.live)
    field.interviews.refused(lines)
    assert field.interviews.counts["asks_refused"] == 1
    field.now += 1
    field.server("NEW", 5070)
    assert field.asked(ON.lines_apart) == [("lines", PORT)]


def test_what_is_gone_is_forgotten() -> None:
    field = Field()
    field.beat()
    field.asked()
    field.tell("lines", LINES)
    field.applications.known.clear()
    field.asked(10)
    assert not field.interviews.names
    assert not field.interviews.lines
    assert not field.interviews._hosts


@pytest.mark.parametrize("name", ["names_every", "lines_every", "lines_apart", "again"])
def test_times_must_be_possible(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        InterviewSettings(**{name: 0.0})
