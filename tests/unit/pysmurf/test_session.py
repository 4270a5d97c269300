import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socs.errors import TooLarge
from socs.pysmurf.session import (
    MAX_LINE,
    MAX_LINES,
    MAX_SESSION_DATA,
    ScriptSession,
    json_safe,
)


def message(payload, kind="session_data", pub_id="mine"):
    return {"id": pub_id, "type": kind, "payload": payload}


@pytest.fixture
def session():
    return ScriptSession("mine", {"script": "a.py"})


def own(session):
    return {key: value for key, value in session.data.items() if key != "_run"}


def test_session_data_accumulates(session):
    assert session.take(message({"a": 1, "b": [1, 2]})) is None
    assert session.take(message({"b": None, "c": "x"})) is None
    assert own(session) == {"a": 1, "b": None, "c": "x"}
    assert session.data["_run"] == {
        "script": "a.py",
        "ignored_messages": 0,
        "ignored": {},
        "foreign_messages": 0,
    }


def test_session_log_is_a_line(session):
    assert session.take(message("hello", "session_log")) == "hello"
    assert own(session) == {}


@pytest.mark.parametrize(
    "foreign", [message({"a": 1}, pub_id="other"), {"type": "session_data"}, None, "text", []]
)
def test_messages_of_others_are_only_counted(session, foreign):
    assert session.take(foreign) is None
    assert own(session) == {}
    assert session.data["_run"]["foreign_messages"] == 1
    assert session.data["_run"]["ignored_messages"] == 0


@pytest.mark.parametrize(
    ("useless", "cause"),
    [
        (message([1]), "data_not_a_dict"),
        (message("x"), "data_not_a_dict"),
        (message({"a": 1}, "session_log"), "log_not_a_text"),
        (message({"a": 1}, "data_file"), "other_type"),
        ({"id": "mine"}, "other_type"),
        (message({"_run": 1, "a": 1}), "reserved_key"),
        (message({"a": "x" * MAX_SESSION_DATA}), "too_large"),
    ],
)
def test_useless_messages_are_counted_by_cause_and_told_once(session, useless, cause):
    assert "Ignored" in session.take(useless)
    assert session.take(useless) is None
    assert own(session) == {}
    assert session.data["_run"]["ignored_messages"] == 2
    assert session.data["_run"]["ignored"] == {cause: 2}
    assert session.data["_run"]["script"] == "a.py"


def test_the_size_of_all_data_is_limited(session):
    part = "x" * (MAX_SESSION_DATA // 3)
    for key in "ab":
        assert session.take(message({key: part})) is None
    assert "beyond" in session.take(message({"c": part, "d": 1}))
    assert sorted(own(session)) == ["a", "b"]
    session.take(message({"a": part[1:]}))  # what replaces does not add
    session.take(message({"a": "", "c": part}))
    assert sorted(own(session)) == ["a", "b", "c"]
    assert len(json.dumps(session.data)) < MAX_SESSION_DATA + 1000


def test_long_lines_are_cut_and_all_of_them_limited(session):
    line = session.take(message("x" * (MAX_LINE + 1), "session_log"))
    assert line == "x" * MAX_LINE + f"... ({MAX_LINE + 1} characters)"
    taken = len(line)
    while (line := session.take(message("y" * MAX_LINE, "session_log"))) == "y" * MAX_LINE:
        taken += len(line)
    assert MAX_LINES - MAX_LINE < taken <= MAX_LINES
    assert session.data["_run"]["ignored"] == {"too_many_lines": 1}


def test_json_safe_replaces_what_json_has_not():
    value = {
        1: math.nan,
        "b": [math.inf, -math.inf, 1.5, (True, None)],
        "c": 2**63,
        "d": 10**400,
        "e": b"bytes",
        "f\ud800": "\ud800",
        "g": -(2**63) + 1,
    }
    assert json_safe(value) == {
        "1": None,
        "b": [None, None, 1.5, [True, None]],
        "c": float(2**63),
        "d": None,
        "e": "b'bytes'",
        "f?": "?",
        "g": -(2**63) + 1,
    }


def test_json_safe_refuses_great_depth():
    nested = []
    for _ in range(2000):
        nested = [nested]
    with pytest.raises(TooLarge):
        json_safe({"a": nested})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "id": st.sampled_from(["mine", "other"]),
                "type": st.sampled_from(["session_data", "session_log", "x"]) | anything,
                "payload": anything,
            }
        )
        | anything
    )
)
def test_whatever_comes_the_data_stay_strict_json(messages):
    session = ScriptSession("mine", {})
    for each in messages:
        line = session.take(each)
        assert line is None or isinstance(line.encode(), bytes)
    json.dumps(session.data, allow_nan=False).encode()
