"""A snapshot that is written decodes to itself, whatever is in it, in both dialects."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socs.tango.decode import PATCHED, STOCK, decode
from socs.tango.encode import encode
from socs.tango.names import EventName, ServerName
from socs.tango.snapshot import Callback, NotConnected, Push, Snapshot, Subscription

DATA = Path(__file__).parents[1] / "data" / "tango"
WORDS = st.text("abcxyz_019", min_size=1, max_size=8)
MICROS = st.none() | st.integers(0, 2**62)
COUNTS = st.integers(0, 2**32 - 1)
TIMES = st.none() | st.integers(1, 2**32).map(float)
EVENTS = st.sampled_from(["change", "alarm", "periodic", "intr_change", "user_event"])
STREAMS = st.builds(
    EventName, st.just("host:10000"), st.tuples(WORDS, WORDS, WORDS).map("/".join), WORDS, EVENTS
)
SERVERS = st.tuples(WORDS, WORDS).map(
    lambda two: ServerName("host:10000", f"dserver/{two[0]}/{two[1]}")
)
EXTRA = st.dictionaries(
    WORDS.map(lambda word: f"new_{word}"), st.integers() | st.text(), max_size=2
)


@st.composite
def snapshots(draw, dialect):
    stock = dialect == STOCK
    discarded = COUNTS if stock else st.none()
    subscriptions = st.builds(
        Subscription, STREAMS, SERVERS, COUNTS, COUNTS, COUNTS, COUNTS, discarded, TIMES, EXTRA
    )
    callbacks = st.builds(
        Callback,
        WORDS | st.just(""),
        MICROS,
        COUNTS,
        COUNTS,
        COUNTS,
        st.none() | st.integers(-(2**30), 2**30),
        COUNTS,
        st.booleans() if stock else st.none(),
        EXTRA,
    )
    return Snapshot(
        dialect,
        draw(st.dictionaries(STREAMS, COUNTS, max_size=4)),
        {each.stream: each for each in draw(st.lists(subscriptions, max_size=4))},
        tuple(draw(st.lists(st.builds(NotConnected, STREAMS, TIMES, EXTRA), max_size=3))),
        draw(st.dictionaries(SERVERS.map(str), WORDS, max_size=3)),
        draw(st.none() | st.lists(st.builds(Push, MICROS, COUNTS, EXTRA), max_size=3).map(tuple)),
        draw(st.none() | st.lists(callbacks, max_size=3).map(tuple)),
        extra=draw(EXTRA) if stock else {},
    )


@given(st.sampled_from([STOCK, PATCHED]).flatmap(snapshots))
def test_what_is_written_decodes_to_itself(snapshot) -> None:
    line = encode(snapshot)
    assert b"\n" not in line
    assert decode(line) == snapshot


@pytest.mark.parametrize("name", ["idle", "not_connected", "publisher", "subscriber"])
def test_recorded_replies_come_back_as_they_were(name) -> None:
    text = (DATA / f"{name}.json").read_text()
    assert json.loads(encode(decode(text))) == _without_nothing(json.loads(text))


def _without_nothing(tree):
    """A side that tells nothing is written as if it were not used."""
    server = tree["server"]
    if server is not None and not server["event_counters"] and server["perf"] is None:
        tree["server"] = None
    return tree
