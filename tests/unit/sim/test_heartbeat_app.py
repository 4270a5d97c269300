"""What a simulated application says, and that it says what real ones do."""

import json

import pytest

from socs.epics.decode import alive, heartbeat
from socs.epics.decode.heartbeat import LIST_PVS, NETSTAT
from socs.sim.heartbeat_app import ALIVE, RUNNING, Application, Truth, parser, truth_of

NAMES = [f"N{number}" for number in range(12)]


def application(version):
    truth = Truth(
        version, 7, "img", 'st "1".cmd', "/iocs", 40000, 5064, NAMES, 1_700_000_000, "ioc1"
    )
    return Application(truth, lambda: ["a", "b"])


def ask(app, command, offset=0, sequence=None, handle=77):
    sequence = app.sequence if sequence is None else sequence
    answer = app.answer(heartbeat.request(command, sequence, offset, handle))
    return answer and heartbeat.decode(answer)


@pytest.mark.parametrize(("version", "first"), [("1.1", 1), ("2.0", 1), ("3.0", 0)])
def test_heartbeats_are_numbered_and_all_values_are_texts(version, first):
    app = application(version)
    datagrams = [app.heartbeat(1_700_000_030.5 + 30 * n, 30.0) for n in range(2)]
    one, two = map(heartbeat.decode, datagrams)
    assert (one.sequence, two.sequence) == (first, first + 1)
    assert (one.uptime, one.clock, one.pid, one.port) == (30, 1_700_000_030, 7, 5064)
    assert (one.image, one.command, one.directory) == ("img", 'st "1".cmd', "/iocs")
    assert one.version == version
    assert all(isinstance(each, str) for each in json.loads(datagrams[0]).values())


def test_an_alive_record_counts_too_and_answers_nothing():
    app = application(ALIVE)
    one, two = (alive.decode(app.heartbeat(1_700_000_060.0, 15.0)) for _ in range(2))
    assert (one.name, one.started, one.clock, one.period) == (
        "ioc1",
        1_700_000_000,
        1_700_000_060,
        15,
    )
    assert (one.count, two.count) == (1, 2)
    assert app.answer(heartbeat.request(LIST_PVS, 2, 0, 1)) is None


def test_names_come_by_ten():
    app = application("1.1")
    answers = [ask(app, LIST_PVS, offset) for offset in (0, 10, 12)]
    assert [each.names for each in answers] == [tuple(NAMES[:10]), tuple(NAMES[10:]), ()]
    assert {(each.total, each.handle) for each in answers} == {(12, 77)}
    assert ask(app, NETSTAT) is None
    assert app.requests == {LIST_PVS: 3, NETSTAT: 1}


def test_version_3_has_no_names():
    assert ask(application("3.0"), LIST_PVS, sequence=500).total == 0
    assert ask(application("3.0"), NETSTAT) is None


def test_lines_are_made_anew_when_the_first_one_is_asked_for():
    app = application("2.0")
    assert ask(app, NETSTAT, 1).line == ""
    first = ask(app, NETSTAT)
    assert (first.line, first.build, first.handle) == ("build: 1", "1", 77)
    assert [ask(app, NETSTAT, n).line for n in (1, 2, 3)] == ["a", "b", ""]
    assert ask(app, NETSTAT).build == ask(app, NETSTAT, 2).build == "2"


def test_only_the_last_two_numbers_are_answered():
    app = application("2.0")
    for _ in range(3):
        app.heartbeat(1_700_000_000.0, 30.0)
    answered = [n for n in range(6) if ask(app, LIST_PVS, sequence=n) is not None]
    assert answered == [2, 3]
    assert app.answer(b"x" * 15) is None
    assert ask(app, 0xD58E309A) is None


def test_it_is_known_when_it_runs():
    assert truth_of("") is None
    assert truth_of(RUNNING + "{") is None
    assert parser().parse_args([]).version == "2.0"
