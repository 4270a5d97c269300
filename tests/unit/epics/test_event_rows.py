"""Events become rows and events again; any event at all becomes a row that can be stored."""

import math
from dataclasses import asdict

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socs.epics.store.event_rows import event_of, row_of
from socs.epics.store.tables import LONGEST_NAME, LONGEST_NOTE, LONGEST_TEXT
from socs.epics.track.events import (
    SUBJECTS,
    ApplicationEvent,
    Event,
    HostEvent,
    PvEvent,
    PvsEvent,
    ServerEvent,
)

TIMES = st.floats(0, 4e9)
NUMBERS = {"host": st.integers(0, 2**32 - 1), "port": st.integers(0, 65535)}
PROTOCOL = {"protocol": st.integers(0, 2)}
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
EVIDENCE = st.dictionaries(
    TEXT, st.integers(-(2**63), 2**63 - 1) | st.floats(allow_infinity=False) | TEXT, max_size=5
)
COMMON = {"time": TIMES, "kind": TEXT, "cause": TEXT, "evidence": EVIDENCE}
NAMES = st.binary(max_size=LONGEST_NAME)


def built(kind, **more):
    return st.builds(kind, **COMMON, **more)


EVENTS = st.one_of(
    built(Event),
    built(ServerEvent, **NUMBERS, **PROTOCOL),
    built(PvEvent, number=st.integers(-1, 2**31), name=NAMES, **NUMBERS, **PROTOCOL),
    built(
        PvsEvent,
        count=st.integers(0, 10**6),
        examples=st.lists(NAMES, max_size=3).map(tuple),
        **NUMBERS,
        **PROTOCOL,
    ),
    built(ApplicationEvent, key=TEXT, **NUMBERS),
    built(HostEvent, host=NUMBERS["host"]),
)


@given(EVENTS)
def test_an_event_is_the_same_after_being_a_row(event: Event) -> None:
    again = event_of(msgspec.structs.asdict(row_of(event)))
    assert type(again) is type(event)
    assert repr(asdict(again)) == repr(asdict(event))  # NaN is NaN there


def test_all_kinds_of_events_are_known() -> None:
    assert set(SUBJECTS.values()) == {Event, *Event.__subclasses__()}


def test_what_no_database_takes_is_made_fit() -> None:
    evidence = {"surrogate \ud800": "\udcff", "big": 2**70, "inf": math.inf, "n": np.uint32(7)}
    evidence["long"] = "x" * 100_000
    event = ApplicationEvent(1.0, "K" * 99, "c" * 999, evidence, "json:\ud800" + "y" * 999, 5, 6)
    row = row_of(event)
    assert (len(row.kind), len(row.cause), len(row.name)) == (32, LONGEST_TEXT, LONGEST_NAME)
    assert len(row.text) <= LONGEST_NOTE
    assert len(row.details) < 10_000
    told = event_of(msgspec.structs.asdict(row)).evidence
    assert told["big"] == str(2**70)
    assert told["n"] == 7
    assert math.isnan(told["inf"])
    assert "surrogate \\ud800" in told
    msgspec.msgpack.encode(row)


@pytest.mark.parametrize(
    "details", ["", "{", '{"evidence": 3}', '{"examples": ["\u4e00"], "evidence": {"a": 1}}']
)
def test_details_that_cannot_be_read_are_left_out(details: str) -> None:
    row = msgspec.structs.asdict(row_of(HostEvent(1.0, "MISSING", "why", {"a": 1}, 5)))
    event = event_of(row | {"details": details, "subject": "pvs"})
    assert (event.kind, event.host, event.count, event.examples) == ("MISSING", 5, 0, ())
    assert list(event.evidence) == ["damaged"]


def test_evidence_is_not_without_bounds() -> None:
    row = row_of(Event(1.0, "K", "c", {str(n): n for n in range(1000)}))
    assert len(event_of(msgspec.structs.asdict(row)).evidence) == 100


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (HostEvent(1.0, "MISSING", "why", {}, 0x0A000001), "MISSING 10.0.0.1: why"),
        (
            ApplicationEvent(1.0, "LOST", "why", {"title": "ioc"}, "json:1", 0x0A000001, 5),
            "LOST ioc on 10.0.0.1: why",
        ),
    ],
)
def test_text_for_the_log(event: Event, text: str) -> None:
    assert row_of(event).text == text
