"""Rows of EPICS as people read them, and times as they write them."""

from __future__ import annotations

import argparse
import io
import time

import pytest

from socs.cli import epics_monitor, epics_search, epics_who
from socs.cli.epics_asked import moment_of
from socs.cli.epics_events import Following
from socs.cli.epics_tables import EVENTS, PVS, event_line, readable, section
from socs.cli.section_output import print_sections
from socs.epics.rows import event_row
from socs.epics.track.events import (
    CA,
    ApplicationEvent,
    Event,
    HostEvent,
    PvEvent,
    PvsEvent,
    ServerEvent,
)
from socs.errors import NotAllowed
from tests.epics_packets import address

T0 = 1_700_000_000.0
HOST = address("10.0.0.2")


@pytest.mark.parametrize(
    ("event", "what", "why"),
    [
        (PvEvent(T0, "FOUND", "it answered", {"servers": "x"}, 1, b"A\xff"), "A\\xff",
         "it answered (servers x)"),
        (PvsEvent(T0, "LOST", "c", {}, 12, (b"A", b"B"), CA, HOST, 5064),
         "12 of CA 10.0.0.2:5064: A, B", "c"),
        (ServerEvent(T0, "LOST", "c", {"heard": T0, "silent": 60.25}, CA, HOST, 5064),
         "CA 10.0.0.2:5064", "c (heard 2023-11-14T22:13:20.000Z, silent 60.250)"),
        (ApplicationEvent(T0, "NEW", "c", {}, "json:1", HOST, 5064), "json:1", "c"),
        (HostEvent(T0, "MISSING", "c", {}, HOST), "10.0.0.2", "c"),
        (Event(T0, "GATEWAY_BLIND", "c", {"gateway": "g", "blind_from": T0}), "g",
         "c (blind_from 2023-11-14T22:13:20.000Z)"),
    ],
)  # fmt: skip
def test_an_event_says_what_happened_to_whom_and_why(event, what, why):
    line = event_line(event_row(event))
    assert (line["what"], line["why"], line["kind"]) == (what, why, event.kind)
    assert tuple(line) == EVENTS


@pytest.mark.parametrize("time", [-6.3e10, 1e18, float("inf"), float("nan")])
def test_times_that_no_calendar_has_are_numbers(time):
    """Anybody can send a beacon that tells a start two thousand years ago."""
    assert readable({"started": time}, ("started",)) == {"started": f"{time:g}"}


def test_times_and_numbers_are_written_for_people():
    row = {"name": "A", "last_seen": T0, "changed": None, "requests": 7, "period": 14.99951}
    assert readable(row, PVS)["last_seen"] == "2023-11-14T22:13:20.000Z"
    assert readable(row, PVS)["changed"] is None
    assert readable(row, ("requests", "period")) == {"requests": 7, "period": 15.0}
    assert readable({"servers": ["CA:1", "CA:2"]}, ("servers",)) == {"servers": "CA:1, CA:2"}


def test_control_characters_never_reach_the_terminal():
    out = io.StringIO()
    event = event_line(event_row(PvEvent(T0, "FOUND", "c", {"s": "\x1b[2J"}, 1, b"A\x1b\n")))
    print_sections("head", [section("events", EVENTS, [event])], out)
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1700000000.5", T0 + 0.5),
        ("2023-11-14T22:13:20", T0),
        ("2023-11-14T22:13:20Z", T0),
        ("2023-11-14T23:13:20+01:00", T0),
    ],
)
def test_times_in_options(text, moment):
    assert moment_of(text) == moment


def test_times_ago_and_what_is_none():
    before = time.time()
    assert before - 7200 <= moment_of("2h") <= time.time() - 7200
    assert moment_of("1.5d") == pytest.approx(time.time() - 129_600, abs=60)
    for text in ("", "yesterday", "2w", "-2h"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no time such as"):
            moment_of(text)


class Pages:
    """Answers with pages, into which a name comes while they are read."""

    def __init__(self, *pages: list[str]) -> None:
        self._pages = pages

    def pages(self, task, **params):
        for names in self._pages:
            yield {"rows": [{"name": name} for name in names], "total": 9}


def test_a_row_that_moves_to_the_next_page_is_told_once():
    source = Pages(["A", "B", "C"], ["C", "D"], ["E"])
    assert [row["name"] for row in epics_search.every_row(source, "search")] == [*"ABCDE"]


class MonitorOfOneName:
    """A monitor that knows one name."""

    def ask(self, task, **params):
        if params["name"] != "A":
            raise NotAllowed(f"name: {params['name']!r} is not known: nobody asked for it")
        return {
            **{"timestamp": T0, "name": "A", "state": "ONLINE", "protocol": "CA"},
            **{"server": "10.0.0.2:5064", "valid": True, "requests": 3, "changed": T0},
            **dict.fromkeys(("first_asked", "last_asked", "first_seen", "last_seen"), T0),
            **{"searched": None, "answers": 1, "misses": 0},
            "requests_by_class": {"client": 2, "archiver": 1},
            "requesters": [{"source": "10.0.0.9:4711", "requests": 2, "last": T0}],
            "requesters_left_out": 4,
            "servers": [{"protocol": "CA", "server": "10.0.0.2:5064", "first": T0, "last": T0}],
            "events": [event_row(PvEvent(T0, "FOUND", "c", {}, 1, b"A", CA, HOST, 5064))],
        }

    def pages(self, task, **params):
        rows = {
            "servers": {
                **{"protocol": "CA", "server": "10.0.0.2:5064", "state": "ALIVE"},
                **{"started": T0, "restarts": 2},
            },
            "applications": {"title": "ioc st.cmd", "host": "10.0.0.2", "port": 5064},
            "clients": {"source": "10.0.0.9:4711", "class": "archiver"},
        }
        assert params["host"] == ("10.0.0.9" if task == "clients" else "10.0.0.2")
        yield {"rows": [rows[task]], "total": 1}


def test_who_puts_together_servers_applications_and_classes_of_clients(capsys):
    known = epics_who.who(MonitorOfOneName(), "A")
    (server,) = known["servers"]
    assert (server["state"], server["restarts"], server["application"]) == (
        *("ALIVE", 2, "ioc st.cmd"),
    )
    assert known["requesters"][0]["class"] == "archiver"
    assert "timestamp" not in known
    assert epics_who.head(known) == (
        "A is ONLINE since 2023-11-14T22:13:20.000Z, served by CA 10.0.0.2:5064"
    )
    tables = {each.title: each for each in epics_who.sections(known)}
    assert [*tables] == ["served by", "asked for by", "facts", "events"]
    assert tables["asked for by"].left_out == 4
    facts = {row["what"]: row["value"] for row in tables["facts"].rows}
    assert facts["requests of archiver"] == 1
    assert facts["first_asked"] == "2023-11-14T22:13:20.000Z"
    assert "searched" not in facts
    assert ", last served by CA " in epics_who.head({**known, "state": "LOST"})


class Heard:
    """A monitor whose database has some events."""

    def __init__(self, *rows) -> None:
        self.rows, self.asked = list(rows), []

    def ask(self, task, **params):
        self.asked.append(params)
        return {"rows": self.rows[::-1], "next": None}


def options(**given) -> argparse.Namespace:
    names = ("since", "until", "subject", "kinds", "host", "port", "name")
    return argparse.Namespace(
        **dict.fromkeys(names) | {"json": False, "all": False, "most": 5} | given
    )


def test_what_is_followed_is_printed_once_and_as_it_is_filtered(capsys):
    rows = [
        event_row(PvEvent(T0 + n, kind, "c", {}, 1, name))
        for n, (kind, name) in enumerate([("FOUND", b"A"), ("LOST", b"A"), ("LOST", b"B")])
    ]
    heard = Heard(*rows[:2])
    following = Following(heard, options(kinds=["LOST"]), {"kinds": ["LOST"]})
    for row in [*following.catch_up(), *rows, *following.catch_up()]:
        following.show(row)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "\t".join(EVENTS)
    assert [line.split("\t")[3] for line in lines[1:]] == ["A", "B"]
    assert heard.asked[0]["most"] == 5
    assert "since" not in heard.asked[0]
    following.catch_up()
    assert heard.asked[-1]["since"] == T0 + 2 - 60.0


class Reply:
    """Of an OCS client."""

    def __init__(self, status, message="", **session) -> None:
        self.status, self.msg, self.session = status, message, session


class Task:
    """A Task that somebody else starts as well: replies one after the other."""

    def __init__(self, begun, ended) -> None:
        self._begun, self._ended = iter(begun), iter(ended)

    def start(self, **params):
        return next(self._begun)

    def wait(self):
        return next(self._ended)


def asking(task) -> epics_monitor.Monitor:
    monitor = object.__new__(epics_monitor.Monitor)
    monitor._client = argparse.Namespace(search=task)
    monitor._site = argparse.Namespace(instance_id="pvs", http="http://nowhere")
    return monitor


def test_an_answer_to_somebody_else_is_not_taken_for_ours():
    busy = Reply(-1, 'Operation "search" already in progress.', session_id=1)
    ours = Reply(0, session_id=3, success=True, data={"rows": ["ours"]})
    theirs = Reply(0, session_id=2, success=True, data={"rows": ["theirs"]})
    task = Task([busy, Reply(0, session_id=1), Reply(0, session_id=3)], [theirs, ours])
    assert asking(task).ask("search") == {"rows": ["ours"]}


def test_refusals_say_what_the_monitor_said():
    said = [(T0, "Status is now"), (T0, "state: 'X' is none of A, B"), (T0, "Status is done")]
    ended = Reply(0, session_id=1, success=False, messages=said)
    with pytest.raises(NotAllowed, match="state: 'X' is none of A, B"):
        asking(Task([Reply(0, session_id=1)], [ended])).ask("search")
    with pytest.raises(NotAllowed, match="search: most: wrong"):
        asking(Task([Reply(-1, "most: wrong")], [])).ask("search")
