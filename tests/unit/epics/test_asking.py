"""Conversations with applications by simulated time: what is sent, what counts, how they end."""

from dataclasses import replace
from itertools import count

import msgspec
import pytest

from socs.counters import EPICS_ASKING, EPICS_ASKING_CONSERVATION, imbalances
from socs.epics.applications.asking import Asking, AskingSettings
from socs.epics.applications.conversations import ENDINGS, MOST_REBUILT, MOST_SKIPPED
from socs.epics.decode.heartbeat import LAST_LINE
from socs.epics.networks import Networks
from socs.epics.search.limiter import MOST_PER_SECOND
from socs.errors import ConfigError
from socs.sim.heartbeat_app import REQUEST, Application, Truth
from tests.epics_packets import address

ON = AskingSettings(enabled=True, datagrams_per_second=100, burst=100)
HOST, OTHER, PORT = address("10.0.0.2"), address("10.0.0.3"), 40000
NAMES = [f"N{number}" for number in range(23)]
LINES = [f"udp: {number}" for number in range(7)]


def application(names=NAMES, lines=LINES, version="2.0"):
    truth = Truth(version, 7, "app", "st.cmd", "/iocs", PORT, 5064, list(names), 0, "ioc")
    app = Application(truth, lambda: list(lines))
    app.heartbeat(0.0, 30.0)
    return app


class World:
    """Applications by their address, and who asks them; datagrams take no time."""

    def __init__(self, settings=ON, **given):
        numbers = count(1000)
        self.core = Asking(settings, lambda: next(numbers), **given)
        self.apps, self.told, self.sent, self.now = {}, [], [], 0.0

    def add(self, host=HOST, port=PORT, **how):
        self.apps[host, port] = application(**how)
        return self.apps[host, port]

    def step(self, deliver=lambda request: True, seconds=0.0):
        """Send what is due, and let it be answered unless it is not delivered."""
        self.now += seconds
        self.told += self.core.tick(self.now)
        for request in self.core.due(self.now):
            self.sent.append(request)
            app = self.apps.get(request[:2])
            answer = app and deliver(request) and app.answer(request.datagram)
            if answer:
                self.core.feed(answer, *request[:2])
        self.told += self.core.tick(self.now)

    def run(self, seconds, step=0.5, deliver=lambda request: True):
        for _ in range(int(seconds / step)):
            self.step(deliver, step)
        return self.told

    def counts(self):
        values = {each.name: 0 for each in EPICS_ASKING} | self.core.tally.counts
        assert len(values) == len(EPICS_ASKING)
        if not len(self.core):
            assert imbalances(values, EPICS_ASKING_CONSERVATION) == {}
        return {name: value for name, value in values.items() if value}


def names_answer(handle, names, total, offset=0):
    return msgspec.json.encode({"handle": handle, "offset": offset, "pvs": names, "total": total})


def line_answer(handle, line, build="1"):
    return msgspec.json.encode({"h": str(handle), "o": "0", "b": build, "l": line})


def test_all_names_are_told_by_ten_and_all_lines_one_by_one():
    world = World()
    world.add()
    assert world.core.ask_names(HOST, PORT, 1, server=5064)
    assert world.core.ask_netstat(HOST, PORT, 1, 0.0)
    told = {each.what: each for each in world.run(5)}
    names, lines = told["names"], told["lines"]
    assert names.texts == tuple(NAMES)
    assert (names.host, names.port, names.server, names.total) == (HOST, PORT, 5064, 23)
    assert (names.ending, names.requests, names.skipped) == ("complete", 3, 0)
    assert lines.texts == ("build: 1", *LINES)
    assert (lines.ending, lines.requests, lines.total) == ("complete", 9, 0)
    handles = [REQUEST.unpack(each.datagram)[3] for each in world.sent]
    assert len(set(handles)) == 12
    offsets = [REQUEST.unpack(each.datagram)[2] for each in world.sent if each.what == "names"]
    assert offsets == [0, 10, 20]
    assert len(world.core) == 0
    counts = world.counts()
    assert counts["asking_names"] == 23
    assert counts["asking_lines"] == 8
    assert counts["asking_complete"] == counts["asking_asked"] == 2


@pytest.mark.parametrize(("version", "total"), [("1.1", 23), ("2.0", 23), ("3.0", 0)])
def test_each_version_tells_its_names(version, total):
    world = World()
    world.add(version=version)
    world.core.ask_names(HOST, PORT, world.apps[HOST, PORT].sequence)
    (told,) = world.run(5)
    assert (told.ending, len(told.texts), told.total) == ("complete", total, total)


def test_what_is_lost_is_asked_for_again_with_the_same_handle():
    world = World()
    world.add()
    world.core.ask_names(HOST, PORT, 1)
    seen = set()

    def second_time(request):
        known = request in seen
        seen.add(request)
        return known

    (told,) = world.run(30, deliver=second_time)
    assert told.texts == tuple(NAMES)
    assert told.requests == 6
    assert world.counts()["asking_repeated"] == 3


def test_nobody_answers_at_all_and_nobody_any_more():
    world = World()
    world.add()
    world.core.ask_names(HOST, PORT, 1)
    world.core.ask_names(OTHER, PORT, 1)
    left = iter([True, True])
    told = {each.host: each for each in world.run(40, deliver=lambda _: next(left, False))}
    assert (told[OTHER].ending, told[OTHER].requests) == ("silent", ON.attempts)
    assert told[HOST].ending == "cut"
    assert told[HOST].texts == tuple(NAMES[:20])


def test_the_first_line_has_time_and_is_not_asked_for_again_meanwhile():
    world = World()
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    world.run(ON.first_line_timeout - 1)
    assert len(world.sent) == 1
    world.run(2)
    assert len(world.sent) == 2
    (told,) = world.run(150)
    assert told.ending == "silent"


def test_only_the_address_that_was_asked_and_the_handle_of_the_request_count():
    world = World()
    world.core.ask_names(HOST, PORT, 1)
    (request,) = world.core.due(0.0)
    handle = REQUEST.unpack(request.datagram)[3]
    good = names_answer(handle, ["A"], 1)
    beat = application().heartbeat(0.0, 30.0)
    for datagram, host, port in (
        (good, OTHER, PORT),
        (good, HOST, PORT + 1),
        (names_answer(handle + 1, ["B"], 1), HOST, PORT),
        (line_answer(handle, "C"), HOST, PORT),
        (beat, HOST, PORT),
    ):
        world.core.feed(datagram, host, port)
    world.core.feed(b"\xff", HOST, PORT)
    assert world.core.tick(0.1) == []
    world.core.feed(good, HOST, PORT)
    world.core.feed(good, HOST, PORT)
    (told,) = world.core.tick(0.2)
    assert told.texts == ("A",)
    counts = world.counts()
    assert counts["asking_stray"] == 6
    assert counts["asking_unreadable"] == counts["asking_answers"] == 1


def test_an_empty_answer_before_all_was_told_ends_it_and_names_come_once():
    world = World()
    world.core.ask_names(HOST, PORT, 1)
    for names in (["A", "B", "A"], ["B", "C", "", "x" * 600], []):
        (request,) = world.core.due(0.0)
        world.core.feed(names_answer(REQUEST.unpack(request.datagram)[3], names, 99), HOST, PORT)
    (told,) = world.core.tick(0.0)
    assert (told.texts, told.ending) == (("A", "B", "C"), "cut")
    assert (told.skipped, told.total) == (2, 99)


def test_no_more_is_kept_than_may_be():
    world = World(replace(ON, most_names=12, most_lines=3))
    world.add()
    world.add(OTHER, names=NAMES[:12], lines=LINES[:2])
    for host in (HOST, OTHER):
        world.core.ask_names(host, PORT, 1)
        world.core.ask_netstat(host, PORT, 1, 0.0)
    told = {(each.host, each.what): each for each in world.run(5)}
    assert told[HOST, "names"].texts == tuple(NAMES[:12])
    assert told[HOST, "lines"].texts == ("build: 1", *LINES[:2])
    assert {told[HOST, what].ending for what in ("names", "lines")} == {"full"}
    assert {told[OTHER, what].ending for what in ("names", "lines")} == {"complete"}


def test_characters_are_limited_too(monkeypatch):
    monkeypatch.setattr("socs.epics.applications.conversations.LARGEST", 30)
    world = World()
    world.add()
    world.core.ask_names(HOST, PORT, 1)
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    for told in world.run(5):
        assert told.ending == "full"
        assert 20 < sum(map(len, told.texts)) <= 30


def test_a_conversation_that_never_ends_is_ended():
    world = World(replace(ON, longest=20.0))
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    for _ in range(100):
        world.now += 0.5
        for request in world.core.due(world.now):
            world.core.feed(line_answer(REQUEST.unpack(request.datagram)[3], "x"), HOST, PORT)
        world.told += world.core.tick(world.now)
    (told,) = world.told
    assert told.ending == "long"
    assert len(told.texts) > 30


def test_one_that_is_ended_while_it_waits_for_its_turn_sends_nothing_more():
    world = World(replace(ON, datagrams_per_second=0.01, burst=1, longest=20.0))
    world.add()
    world.core.ask_names(HOST, PORT, 1)
    (told,) = world.run(30)
    assert (told.ending, told.texts) == ("long", tuple(NAMES[:10]))
    world.run(300)
    assert len(world.sent) == 1
    assert world.core.wait(world.now) == float("inf")


def test_an_answer_that_comes_twice_counts_once():
    world = World()
    world.core.ask_names(HOST, PORT, 1)
    for names in (["A"], ["B"]):
        (request,) = world.core.due(0.0)
        for _ in range(2):
            answer = names_answer(REQUEST.unpack(request.datagram)[3], names, 2)
            world.core.feed(answer, HOST, PORT)
    (told,) = world.core.tick(0.0)
    assert (told.texts, told.ending) == (("A", "B"), "complete")
    assert world.counts()["asking_stray"] == 2


def test_lines_that_others_had_made_anew_are_taken_from_the_second_one_on():
    world = World()
    app = world.add()
    world.core.ask_netstat(HOST, PORT, 1, 0.0)

    def disturbed(request):
        if len(world.sent) in {4, 8}:
            app.answer(REQUEST.pack(0x7F201C3B, 1, 0, 1))
        return True

    (told,) = world.run(10, deliver=disturbed)
    assert told.texts == ("build: 3", *LINES)
    assert told.ending == "complete"


def test_lines_that_are_made_anew_again_and_again_are_given_up():
    world = World()
    app = world.add()
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    (told,) = world.run(10, deliver=lambda _: bool(app.answer(REQUEST.pack(0x7F201C3B, 1, 0, 1))))
    assert told.ending == "changed"
    assert told.requests == MOST_REBUILT + 2


@pytest.mark.parametrize(("spoilt", "ending"), [(2, "complete"), (MOST_SKIPPED + 1, "cut")])
def test_lines_that_cannot_be_read_are_passed_over(spoilt, ending):
    world = World(replace(ON, first_line_timeout=5.0))
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    left = iter([b'{"h":"1","l":"a " b"}'] * spoilt)
    for _ in range(400):
        world.now += 0.5
        world.told += world.core.tick(world.now)
        for request in world.core.due(world.now):
            _, _, offset, handle = REQUEST.unpack(request.datagram)
            line = f"line {offset}" if offset < spoilt + 2 else LAST_LINE
            world.core.feed(next(left, line_answer(handle, line, "")), HOST, PORT)
    (told,) = world.told
    assert (told.ending, told.skipped) == (ending, spoilt)
    assert told.texts == ((f"line {spoilt}", f"line {spoilt + 1}") if ending == "complete" else ())


def test_an_old_number_is_replaced_by_that_of_the_next_heartbeat():
    world = World(replace(ON, datagrams_per_second=1, burst=1))
    app = world.add(lines=LINES * 10)
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    for _ in range(5):
        app.heartbeat(0.0, 30.0)
        world.core.heard(HOST, PORT, app.sequence)
        world.run(30)
    (told,) = world.told
    assert told.texts == ("build: 1", *LINES * 10)
    assert "asking_repeated" not in world.counts()


def test_the_rate_and_how_many_at_once_are_kept():
    settings = replace(ON, datagrams_per_second=4, burst=2, at_once=3, attempts=1)
    world = World(settings)
    for number in range(20):
        world.core.ask_names(HOST + number, PORT, 1)
    world.run(3, 0.1)
    assert {each.host for each in world.sent} == {HOST, HOST + 1, HOST + 2}
    assert len(world.sent) == 3  # and no more until the time-out
    world.run(60, 0.1)
    assert len(world.told) == 20
    world.add(lines=LINES * 100)
    world.core.ask_netstat(HOST, PORT, 1, world.now)
    before = len(world.sent)
    world.run(10, 0.1)
    assert len(world.sent) - before <= 2 + 4 * 10


def test_what_is_asked_for_already_is_not_asked_twice():
    world = World()
    world.add()
    world.add(port=PORT + 1)
    assert world.core.ask_names(HOST, PORT, 1)
    assert not world.core.ask_names(HOST, PORT, 1)
    assert world.core.ask_names(HOST, PORT + 1, 1)
    assert world.core.ask_netstat(HOST, PORT, 1, 0.0)
    assert not world.core.ask_netstat(HOST, PORT + 1, 1, 0.0)
    world.run(5)
    assert len(world.told) == 3
    assert not world.core.ask_netstat(HOST, PORT, 1, world.now)
    counts = world.counts()
    assert counts["asking_merged"] == 2
    assert counts["asking_refused_soon"] == 1
    world.now = ON.lines_every + 1
    assert world.core.ask_netstat(HOST, PORT, 1, world.now)
    assert world.core.ask_names(HOST, PORT, 1)
    assert len(world.run(5)) == 5


def test_what_must_not_or_cannot_be_asked_is_refused():
    off = World(AskingSettings())
    assert not off.core.ask_names(HOST, PORT, 1)
    assert off.core.due(0.0) == []
    assert off.counts() == {"asking_refused_off": 1}
    world = World(replace(ON, most_waiting=2), admit=Networks(["10.0.0.0/24"]))
    for host, port in (
        (address("10.0.1.1"), PORT),
        (address("224.0.0.1"), PORT),
        (0, PORT),
        (-1, PORT),
        (1 << 40, PORT),
        (HOST, 0),
        (HOST, 70000),
    ):
        assert not world.core.ask_names(host, port, 1)
        assert not world.core.ask_netstat(host, port, 1, 0.0)
    assert [world.core.ask_names(HOST + n, PORT, 1) for n in range(3)] == [True, True, False]
    assert world.counts() == {
        "asking_refused_address": 14,
        "asking_asked": 2,
        "asking_refused_full": 1,
    }


def test_what_the_system_did_not_send_is_no_attempt():
    world = World()
    world.core.ask_netstat(HOST, PORT, 1, 0.0)
    for _ in range(10 * ON.attempts):
        for request in world.core.due(world.now):
            world.core.unsent(request, world.now)
        world.now += ON.timeout
        assert world.core.tick(world.now) == []
    world.add()
    (told,) = world.run(10)
    assert told.ending == "complete"
    assert told.requests == len(LINES) + 2


def test_how_long_there_is_nothing_to_do():
    world = World(replace(ON, datagrams_per_second=1, burst=1))
    assert world.core.wait(0.0) == float("inf")
    world.core.ask_names(HOST, PORT, 1)
    world.core.ask_names(OTHER, PORT, 1)
    assert world.core.wait(0.0) == 0.0
    world.core.due(0.0)
    assert world.core.wait(0.0) == pytest.approx(1.0)
    world.core.due(1.0)
    assert world.core.wait(1.0) == pytest.approx(ON.timeout - 1)
    (request, *_) = world.core._running.values()
    world.core.feed(names_answer(request.handle, [], 0), HOST, PORT)
    assert world.core.wait(1.0) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"datagrams_per_second": 0},
        {"datagrams_per_second": MOST_PER_SECOND + 1},
        {"burst": 0},
        {"timeout": 0},
        {"attempts": -1},
        {"longest": float("nan")},
        {"lines_every": -1},
        {"most_lines": 0},
    ],
)
def test_settings_that_are_not_possible(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AskingSettings(**wrong)


def test_each_ending_has_its_counter():
    assert {f"asking_{ending}" for ending in ENDINGS} == set(EPICS_ASKING_CONSERVATION[1].parts)
